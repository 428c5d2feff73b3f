"""Hyperledger Fabric's gossip networking for Python, over the C interface, by ctypes: nothing to compile.

    with Comm(Crypto.load(msp_folder, "Org1MSP"), Config(listen="0.0.0.0:7051", tls=tls)) as comm:
        inbox = comm.accept()
        comm.send_with_ack(Message.block("mychannel", 1, b"hello"), "peer1.example.com:7051", timeout=5)
        for event in inbox:
            print(event.message)

The following holds for all of it:

* Importing loads the library: the file that FABRIC_GOSSIP_LIBRARY names, else the one in this package, else the one that
  the system finds. ImportError says which files were tried, and the remedy.
* Calls release the GIL. Signals interrupt calls that wait as they do Python's own waits: after Ctrl-C, the call goes on
  in the background until its time limit or a stop, and its result is dropped.
* Handles are freed when they are closed (`close`, `with`) or garbage-collected, in any order: a handle that depends
  on another one keeps what it needs. A thread that is in a call keeps its handle until it returns.
* Failures raise `Error`, with `code`, `message`, `peer`, `step` and `parts`; time limits raise `Timeout`.
* Time spans are seconds, as int, float or timedelta; None means no limit.
* A peer is given by an endpoint ("host:port"), a PKI-ID (bytes), a `Peer` with both, or a `Member` or `Connection`.
* Callbacks run on the library's threads. Their exceptions are caught and go to the logger "fabric_gossip"; those of
  host cryptography go into the error that the library reports.
* When the interpreter exits, every running comm and node is stopped.
* After a fork the child cannot use objects of its parent. If the parent had created any, the child cannot use the
  library at all: calls raise RuntimeError. Use multiprocessing's "spawn" or "forkserver".
"""

from ._codes import Code, Content, EventKind, LogLevel, MspPart, MspRole, MspVersion, WhenFull
from ._comm import Ack, Comm, Config, Metrics
from ._core import Error, Full, Nack, Stopped, Timeout
from ._identity import Crypto, DerSignature, Msp, RawSignature, Tls, serialized_identity
from ._log import log, log_to, version
from ._messages import Connection, Event, Member, Message, Peer, Subscription
from ._node import Chaincode, ChannelMember, Identity, Node, Seed

__all__ = [
    "Ack", "Chaincode", "ChannelMember", "Code", "Comm", "Config", "Connection", "Content", "Crypto", "DerSignature",
    "Error", "Event", "EventKind", "Full", "Identity", "LogLevel", "Member", "Message", "Metrics", "Msp", "MspPart",
    "MspRole", "MspVersion", "Nack", "Node", "Peer", "RawSignature", "Seed", "Stopped", "Subscription", "Timeout", "Tls",
    "WhenFull", "log", "log_to", "serialized_identity", "version",
]
