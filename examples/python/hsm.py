"""A key that never leaves where it is: the library asks a Python function for every signature.

`Hsm` stands for a module with the key in it: PKCS #11, a cloud's key service, an agent on a socket. Here it is a process of
its own, which alone reads the key; a peer that has only the certificate authenticates through it.

    fabric-gossip crypto DIR
    python3 hsm.py DIR

prints:

```text
the peer has no key, and is accepted as a member of Org1MSP
  delivered b'signed elsewhere' to 1
the module goes away
  SIGNATURE: the host's sign callback failed: ConnectionError: the module is gone
```
"""

import multiprocessing
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import fabric_gossip as gossip


def module(folder: str, pipe: Connection) -> None:
    """The module's side: signs what it is sent. (It borrows the library to do so.)"""
    key = gossip.Crypto.load(folder, "Org1MSP")
    while True:
        try:
            pipe.send_bytes(key.sign(pipe.recv_bytes()))
        except EOFError:
            return


class Hsm:
    """The host's side. The library may ask on several threads at a time; the pipe is for one."""

    def __init__(self, folder: Path) -> None:
        # Not "fork": a forked child cannot use the library.
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=module, args=(str(folder), other), daemon=True)
        self.process.start()
        other.close()
        self.lock = threading.Lock()

    def sign(self, message: bytes) -> bytes:
        with self.lock:
            if self.pipe.closed:
                raise ConnectionError("the module is gone")
            self.pipe.send_bytes(message)
            return self.pipe.recv_bytes()

    def close(self) -> None:
        with self.lock:
            self.pipe.close()
        self.process.join()


def main(folder: Path) -> None:
    peers = folder / "peerOrganizations/org1.example.com/peers"
    home = peers / "peer0.org1.example.com"
    hsm = Hsm(home / "msp")
    # The organisation, without the folder `keystore/`.
    root, name = home / "msp/cacerts/ca-cert.pem", "Org1MSP"
    roles = {gossip.MspRole.CLIENT: "client", gossip.MspRole.PEER: "peer", gossip.MspRole.ADMINISTRATOR: "admin"}
    msp = gossip.Msp(name, [(gossip.MspPart.ROOT, str(root), root.read_bytes())], node_ous=roles)
    (cert,) = (home / "msp/signcerts").iterdir()
    crypto = gossip.Crypto.of_callbacks(gossip.serialized_identity(name, cert.read_bytes()), msp, sign=hsm.sign)

    other = peers / "peer1.org1.example.com"
    listening = gossip.Config(listen="127.0.0.1:0", tls=gossip.Tls.load(other / "tls"))
    with gossip.Comm(gossip.Crypto.load(other / "msp", name), listening) as peer1:
        inbox = peer1.accept()
        inbox.set_callback(lambda event: event.ack())
        with gossip.Comm(crypto, gossip.Config(tls=gossip.Tls.load(home / "tls"))) as peer0:
            events = peer1.events()
            peer0.connect(peer1.local_addr, timeout=10)
            connected = next(event for event in events if event.kind == gossip.EventKind.CONNECTED)
            print(f"the peer has no key, and is accepted as a member of {peer1.org(connected.pki_id)}")
            data = b"signed elsewhere"
            acks = peer0.send_with_ack(gossip.Message.block("mychannel", 1, data), peer1.local_addr, timeout=10)
            print(f"  delivered {data!r} to {acks}")

    hsm.close()
    print("the module goes away")
    try:
        crypto.sign(b"anything")
    except gossip.Error as error:
        print(f"  {error.code.name}: {error.reason}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
