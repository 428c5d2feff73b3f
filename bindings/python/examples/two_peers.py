"""Two peers in one process, over mutual TLS on loopback: messages, acknowledgements, and an impostor that is refused.

    fabric-gossip crypto DIR
    python3 two_peers.py DIR

prints:

```text
peer0 dials peer1 and sends
  peer1 received b'hello' from Org1MSP
  acknowledged by 1
peer1 answers over the same connection
  peer0 received b'hello to you' from Org1MSP
  acknowledged by 1
peer1 does not want it
  peer1 received b'spam' from Org1MSP
  NACK: no room for spam
an impostor presents the certificate of peer0, without its key
  refused
  peer1 says: SIGNATURE at handshake
stopped
```
"""

import sys
import threading
from pathlib import Path

import fabric_gossip as gossip


def member(folder: Path, name: str) -> Path:
    return folder / "peerOrganizations/org1.example.com/peers" / f"{name}.org1.example.com"


def start(home: Path) -> gossip.Comm:
    """Starts a peer that listens on a free port of the loopback interface."""
    config = gossip.Config(listen="127.0.0.1:0", tls=gossip.Tls.load(home / "tls"))
    return gossip.Comm(gossip.Crypto.load(home / "msp", "Org1MSP"), config)


def serve(name: str, comm: gossip.Comm, inbox: gossip.Subscription) -> None:
    """Acknowledges incoming messages, until the comm stops."""
    for event in inbox:
        data = event.message.data
        print(f"  {name} received {data!r} from {comm.org(event.pki_id)}")
        event.ack("no room for spam" if data == b"spam" else None)


def main(folder: Path) -> None:
    with start(member(folder, "peer0")) as peer0, start(member(folder, "peer1")) as peer1:
        threads = []
        for name, comm in (("peer0", peer0), ("peer1", peer1)):
            # Subscribes before anything is sent; the predicate selects the messages of this subscription.
            inbox = comm.accept(lambda event: event.message.content == gossip.Content.DATA)
            threads.append(threading.Thread(target=serve, args=(name, comm, inbox)))
            threads[-1].start()

        print("peer0 dials peer1 and sends")
        # An endpoint is enough to reach a peer; the handshake provides its identity.
        acks = peer0.send_with_ack(gossip.Message.block("mychannel", 1, b"hello"), peer1.local_addr, timeout=10)
        print(f"  acknowledged by {acks}")

        print("peer1 answers over the same connection")
        # A PKI-ID additionally requires that identity.
        there = gossip.Peer(peer0.local_addr, peer0.pki_id)
        acks = peer1.send_with_ack(gossip.Message.block("mychannel", 2, b"hello to you"), there, timeout=10)
        print(f"  acknowledged by {acks}")

        print("peer1 does not want it")
        try:
            peer0.send_with_ack(gossip.Message.block("mychannel", 3, b"spam"), peer1.pki_id, timeout=10)
        except gossip.Nack as error:
            print(f"  NACK: {error.parts[0].reason}")

        print("an impostor presents the certificate of peer0, without its key")
        events = peer1.events()
        home = member(folder, "peer1")
        msp = gossip.Msp.load(home / "msp", "Org1MSP")
        other = gossip.Crypto.load(home / "msp", "Org1MSP")
        stolen = gossip.Crypto.load(member(folder, "peer0") / "msp", "Org1MSP").identity
        # Without `verify` its own start would fail: the key does not belong to the certificate.
        forged = gossip.Crypto.of_callbacks(stolen, msp, sign=other.sign, verify=lambda *_: True)
        with gossip.Comm(forged, gossip.Config(tls=gossip.Tls.load(home / "tls"))) as impostor:
            try:
                _, accepted = impostor.handshake(peer1.local_addr)
                print(f"  accepted: {accepted}")
            except gossip.Error:
                print("  refused")
            refusal = next(event for event in events if event.kind == gossip.EventKind.REFUSED)
            print(f"  peer1 says: {refusal.error.code.name} at {refusal.error.step}")
    for thread in threads:
        thread.join()
    print("stopped")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
