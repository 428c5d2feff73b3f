"""Gossip among a program's other descriptors: one thread, one selector, an echo server on TCP beside two peers.

Lines from a TCP client are gossiped to the other peer, and the client gets each back once that peer has it. asyncio's
`loop.add_reader(subscription.fileno(), ...)` takes the place of the selector in the same way.

    fabric-gossip crypto DIR
    python3 selectors_loop.py DIR

prints:

```text
a client connected
a client says b'one'
  over gossip came b'one'
a client says b'two'
  over gossip came b'two'
a client says b'three'
  over gossip came b'three'
the client went, the peer stopped
```
"""

import selectors
import socket
import sys
import threading
from pathlib import Path

import fabric_gossip as gossip


def start(folder: Path, name: str) -> gossip.Comm:
    home = folder / "peerOrganizations/org1.example.com/peers" / f"{name}.org1.example.com"
    config = gossip.Config(listen="127.0.0.1:0", tls=gossip.Tls.load(home / "tls"))
    return gossip.Comm(gossip.Crypto.load(home / "msp", "Org1MSP"), config)


def client(address: "tuple[str, int]") -> None:
    """Sends lines, each after the previous one has come back."""
    with socket.create_connection(address) as connection, connection.makefile("rwb", buffering=0) as lines:
        for line in (b"one\n", b"two\n", b"three\n"):
            lines.write(line)
            assert lines.readline() == line


def main(folder: Path) -> None:
    with start(folder, "peer0") as near, start(folder, "peer1") as far, selectors.DefaultSelector() as selector:
        inbox = far.accept()
        server = socket.create_server(("127.0.0.1", 0))
        # Both are objects with a fileno(): the selector treats them alike.
        selector.register(server, selectors.EVENT_READ, "server")
        selector.register(inbox, selectors.EVENT_READ, "gossip")
        thread = threading.Thread(target=client, args=(server.getsockname(),))
        thread.start()

        clients: "list[socket.socket]" = []
        number, running = 0, True
        while running:
            for key, _ in selector.select():
                if key.data == "server":
                    connection, _ = server.accept()
                    clients.append(connection)
                    selector.register(connection, selectors.EVENT_READ, "client")
                    print("a client connected")
                elif key.data == "client":
                    line = key.fileobj.recv(1024)
                    if line:
                        print(f"a client says {line.strip()}")
                        number += 1
                        near.send(gossip.Message.block("mychannel", number, line), far.local_addr)
                    else:
                        selector.unregister(key.fileobj)
                        far.stop()  # The subscription ends: its descriptor is readable once more.
                elif key.data == "gossip":
                    try:
                        for event in inbox.ready():
                            print(f"  over gossip came {event.message.data.strip()}")
                            clients[0].sendall(event.message.data)
                    except gossip.Stopped:
                        selector.unregister(inbox)  # Before it is closed.
                        running = False
        print("the client went, the peer stopped")
        thread.join()
        inbox.close()
        for each in (server, *clients):
            each.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
