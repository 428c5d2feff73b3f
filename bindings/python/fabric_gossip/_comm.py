"""Settings, and the communication layer."""

from __future__ import annotations

import datetime
import threading
from ctypes import byref
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Union

from . import _c as c
from ._codes import WhenFull
from ._core import (
    KEPT, LIVE, Handle, Owner, Span, Timeout, as_data, as_text, call, call_waiting, function, handle_of, judge,
    loaded, make, make_with, nanoseconds, on_free, report, take_buffer, unsigned, wrap,
)
from ._identity import Crypto, Tls
from ._messages import AnyPeer, Connection, Event, Message, Subscription, _on_predicate, as_peer, as_peers, options


class Config(Owner):
    """Settings for starting comms and nodes, initially Fabric's defaults. Can be used for any number of them.

    `config["comm.dial_timeout"] = timedelta(seconds=1)`: docs/c-settings.md lists the names. Numbers are in the unit
    given there; time spans are in nanoseconds or a timedelta.
    """

    _free = "gossip_config_free"

    def __init__(
        self,
        *,
        listen: Optional[str] = None,
        tls: Optional[Tls] = None,
        transport: Optional[str] = None,
        bootstrap: Iterable[str] = (),
        endpoint: Optional[str] = None,
        external_endpoint: Optional[str] = None,
        metadata: bytes = b"",
        block_verifier: Optional[Callable[[Message], bool]] = None,
        c_core_arguments: Optional[Mapping[str, int]] = None,
        settings: Optional[Mapping[str, Union[int, datetime.timedelta]]] = None,
    ) -> None:
        """`listen` is "host:port"; port 0 takes a free port. Without `listen` there is no server, without `tls` no TLS.
        `transport` is "c-core" or "http2"; without it the library's default is used.

        For nodes: `bootstrap` lists the endpoints to contact first. Peers of our organisation reach us at `endpoint`,
        others at `external_endpoint`. `metadata` is published to all members. `block_verifier` returns True for blocks
        to accept (default: all are accepted); it runs on the node's verifying threads. One that raises rejects the
        block.
        """
        super().__init__(make("gossip_config_new"))
        # One thread at a time may use a configuration, and calls release the GIL.
        self._lock = threading.Lock()
        texts = {"listen": listen, "transport": transport, "endpoint": endpoint, "external_endpoint": external_endpoint}
        for name, text in texts.items():
            if text is not None:
                self._set(f"gossip_config_set_{name}", as_text(text))
        if tls is not None:
            self._set("gossip_config_set_tls", handle_of(tls, Tls))
        if isinstance(bootstrap, str):
            raise TypeError("bootstrap is a list of endpoints")
        for peer in bootstrap:
            self._set("gossip_config_add_bootstrap", as_text(peer))
        if metadata:
            self._set("gossip_config_set_metadata", *as_data(metadata))
        if block_verifier is not None:
            verifier = "gossip_config_set_block_verifier"
            function(block_verifier, "block_verifier")
            make_with(block_verifier, lambda number: self._set(verifier, _on_block, number, on_free))
        for name, value in (c_core_arguments or {}).items():
            if not -(2**31) <= value < 2**31:
                raise ValueError(f"{value} is out of range for {name}")
            self._set("gossip_config_set_c_core_argument", as_text(name), value)
        for name, setting in (settings or {}).items():
            self[name] = setting

    def _set(self, name: str, *arguments: Any) -> None:
        with self._lock:
            call(name, self._h, *arguments)

    def __setitem__(self, name: str, value: Union[int, datetime.timedelta]) -> None:
        if isinstance(value, float):
            raise TypeError(f"{name} takes a whole number; time spans are a timedelta, or nanoseconds")
        number = nanoseconds(value) if isinstance(value, datetime.timedelta) else unsigned(value)
        self._set("gossip_config_set", as_text(name), number)

    def __getitem__(self, name: str) -> int:
        value = c.U64()
        self._set("gossip_config_value", as_text(name), byref(value))
        return value.value

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names of all settings."""
        index = 0
        while name := str(loaded().gossip_config_name(index)):
            yield name
            index += 1


class Ack(Owner):
    """A message sent to one peer, whose acknowledgement is awaited."""

    _free = "gossip_ack_handle_free"

    def wait(self, timeout: Span = None) -> None:
        """Waits until the peer has acknowledged the message. Returns the answer once.

        Timeout: no answer yet; call again. Nack: the peer's own error.
        """
        call_waiting("gossip_ack_handle_wait", self._h, nanoseconds(timeout))

    @property
    def nonce(self) -> int:
        """The message's nonce, which identifies its acknowledgement."""
        return loaded().gossip_ack_handle_nonce(self._h)


class Metrics(Mapping[str, float]):
    """A snapshot of counters and gauges: a mapping of names with labels to values.

    * prometheus: All values in Prometheus' text format.
    """

    def __init__(self, handle: Handle) -> None:
        lib = loaded()
        self.prometheus: str = str(lib.gossip_metrics_prometheus(handle))
        self._values: "dict[str, float]" = {}
        for index in range(lib.gossip_metrics_count(handle)):
            name, value = str(lib.gossip_metrics_name(handle, index)), c.F64()
            call("gossip_metrics_value", handle, as_text(name), byref(value))
            self._values[name] = value.value

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics({self._values})"


def take_metrics(name: str, of: Handle) -> Metrics:
    return Metrics(Handle(make(name, of), "gossip_metrics_free"))


def take_list(kind: str, item: Any, made: int) -> "list[Any]":
    """Returns the elements of a list and frees the list; `item._of` copies each one before that."""
    handle, lib, found = Handle(made, f"gossip_{kind}_list_free"), loaded(), []
    structure = {"member": c.Member, "connection": c.Connection, "identity": c.Identity, "seed": c.Seed}[kind]
    for index in range(getattr(lib, f"gossip_{kind}_list_len")(handle)):
        one = structure()
        call(f"gossip_{kind}_list_at", handle, index, byref(one))
        found.append(item._of(one))
    return found


def accept(name: str, of: Handle, predicate: Optional[Callable[[Event], bool]], bounds: Any) -> Subscription:
    if predicate is None:
        return wrap(Subscription, make(name, of, bounds, c.Predicate(), None, c.FreeCallback()))
    subscribe = lambda number: make(name, of, bounds, _on_predicate, number, on_free)  # noqa: E731
    return wrap(Subscription, make_with(function(predicate, "predicate"), subscribe))


class Comm(Owner):
    """The communication layer: authenticated connections to peers, with messages and acknowledgements over them."""

    _free = "gossip_comm_free"
    #: Whether closing this handle stops it.
    _stops = False

    def __init__(self, crypto: Crypto, config: Config) -> None:
        """Starts a communication layer. Without an address to listen on it only dials."""
        own, settings = handle_of(crypto, Crypto), handle_of(config, Config)
        with config._lock:
            super().__init__(make("gossip_comm_start", own, settings))
        self._stops = True
        LIVE.add(self)

    def _brief(self) -> str:
        return self.local_addr or "that only dials"

    @property
    def local_addr(self) -> str:
        """The address that it listens on, with the actual port; "" if it does not listen."""
        return self._text("gossip_comm_local_addr")

    @property
    def pki_id(self) -> bytes:
        """Our own PKI-ID."""
        return self._bytes("gossip_comm_pki_id")

    def send(self, message: Message, peers: Union[AnyPeer, Iterable[AnyPeer]], timeout: Span = 0) -> None:
        """Queues a message for each peer. Dials peers that are not connected. Waits up to `timeout` for space.

        An accepted message is later written or reported as an event. If the message could not be queued for some
        peers, the error has a part for each of them; for all other peers it has been queued.
        """
        if (wait := nanoseconds(timeout)) == 0:
            call("gossip_comm_send", self._h, handle_of(message, Message), *as_peers(peers))
        else:
            sent = handle_of(message, Message)
            call_waiting("gossip_comm_send_timeout", self._h, sent, wait, *as_peers(peers))

    def send_with_ack(
        self,
        message: Message,
        peers: Union[AnyPeer, Iterable[AnyPeer]],
        timeout: Span,
        min_ack: Optional[int] = None,
    ) -> int:
        """Sends a message and waits until `min_ack` peers, or all, have acknowledged it. Returns the number that have.

        If fewer have, the error has a part for each peer that did not. Blocks for at most `timeout`.
        """
        array, count = as_peers(peers)
        acks, least = c.SIZE(), unsigned(count if min_ack is None else min_ack)
        sent, wait = handle_of(message, Message), nanoseconds(timeout)
        call_waiting("gossip_comm_send_with_ack", self._h, sent, wait, least, array, count, byref(acks))
        return acks.value

    def send_tracked(self, message: Message, peer: AnyPeer, timeout: Span = 0) -> Ack:
        """Queues a message and returns a handle for its acknowledgement. Waits up to `timeout` for space in the
        queue."""
        wait = nanoseconds(timeout)
        arguments = (self._h, handle_of(message, Message), wait, byref(as_peer(peer)))
        return wrap(Ack, make("gossip_comm_send_tracked", *arguments, by=call_waiting if wait else call))

    def connect(self, peer: AnyPeer, timeout: Span) -> bool:
        """Connects to a peer now if it is not connected. Returns whether the peer has shown that it accepts us. Blocks
        for at most `timeout`."""
        confirmed = c.BOOL()
        call_waiting("gossip_comm_connect", self._h, byref(as_peer(peer)), nanoseconds(timeout), byref(confirmed))
        return confirmed.value

    def flush(self, timeout: Span) -> None:
        """Waits until every accepted message has been written or reported."""
        call_waiting("gossip_comm_flush", self._h, nanoseconds(timeout))

    def probe(self, peer: AnyPeer) -> None:
        """Checks that the peer's endpoint answers a Ping. Opens a new connection; does not authenticate. Blocks."""
        call_waiting("gossip_comm_probe", self._h, byref(as_peer(peer)))

    def handshake(self, peer: AnyPeer) -> "tuple[Connection, bool]":
        """Returns the peer at an endpoint, and whether it said that it accepts us. Blocks."""
        who, confirmed = c.HANDLE(), c.BOOL()
        call_waiting("gossip_comm_handshake", self._h, byref(as_peer(peer)), byref(who), byref(confirmed))
        assert who.value is not None
        return take_list("connection", Connection, who.value)[0], confirmed.value

    def accept(
        self,
        predicate: Optional[Callable[[Event], bool]] = None,
        *,
        capacity: int = 0,
        bytes: int = 0,
        when_full: WhenFull = WhenFull.WAIT,
        wait: Span = 0,
    ) -> Subscription:
        """Subscribes to received messages for which `predicate` returns True; it runs on the threads that read the
        connections.

        At most `capacity` messages and `bytes` bytes wait to be received (0: 1,024 and 16 MiB). If the subscription is
        full, the connections that its messages come from wait for space for `wait` (0: one second), or the message is
        dropped; see `when_full`.
        """
        return accept("gossip_comm_accept", self._h, predicate, options(capacity, bytes, when_full, wait))

    def events(self) -> Subscription:
        """Subscribes to events of connections and of accepted messages, from now on."""
        return wrap(Subscription, make("gossip_comm_events", self._h))

    def presumed_dead(self) -> Subscription:
        """Subscribes to the peers that could not be reached."""
        return wrap(Subscription, make("gossip_comm_presumed_dead", self._h))

    def close_connection(self, peer: AnyPeer) -> None:
        """Closes the connection to a peer and forgets the peer. Queued messages are still written. Does not block."""
        call("gossip_comm_close", self._h, byref(as_peer(peer)))

    def connections(self) -> "list[Connection]":
        """Returns the peers that are connected now."""
        return take_list("connection", Connection, make("gossip_comm_connections", self._h))

    def identity(self, pki_id: bytes) -> bytes:
        """Returns the identity that belongs to a PKI-ID."""
        return take_buffer("gossip_comm_identity", self._h, *as_data(pki_id))

    def org(self, pki_id: bytes) -> str:
        """Returns the MSP id of the organisation that a PKI-ID belongs to."""
        return take_buffer("gossip_comm_org", self._h, *as_data(pki_id)).decode("utf-8", "replace")

    def metrics(self) -> Metrics:
        """Returns the current counters and gauges."""
        return take_metrics("gossip_comm_metrics", self._h)

    def stop(self, drain: Span = 0) -> None:
        """Stops: written data arrives, queued messages are written within `drain`, and every thread ends.

        Timeout: not everything was written within `drain`; it has stopped nevertheless.
        """
        wait = nanoseconds(drain)
        (call_waiting if wait else call)("gossip_comm_stop", self._h, wait)

    def close(self) -> None:
        """Stops the comm, if this handle started it and it is not a node's, and frees the handle."""
        handle = getattr(self, "_handle", None)
        if self._stops and handle is not None and handle.is_usable():
            try:
                self.stop()
            except Timeout:
                pass
        super().close()

    _end = close


@c.BlockVerifier
def _on_block(user: int, message: int, reply: int) -> bool:
    def ask() -> Any:
        try:
            return KEPT[user](Message._of_lent(message))
        except BaseException:  # No call returns the error: the library only drops the block.
            report("the block verifier")
            raise

    return judge(reply, "block verifier", ask)
