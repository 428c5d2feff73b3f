"""Messages, events, and subscriptions to them."""

from __future__ import annotations

import ctypes
import select
import time
from ctypes import byref
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Union

from . import _c as c
from ._codes import Code, Content, EventKind, WhenFull
from ._core import (
    KEPT, LIVE, Error, Handle, Owner, Span, as_data, as_optional_text, as_text, call, error_of, function, handle_of,
    loaded, make, make_with, nanoseconds, on_free, report, unsigned, wrap,
)
from ._identity import Crypto


class Message(Owner):
    """A gossip message in its envelope. Immutable."""

    _free = "gossip_message_free"

    def __init__(self, payload: bytes) -> None:
        """Creates a message of any content from a serialized `gossip.GossipMessage`; unsigned."""
        super().__init__(make("gossip_message_new_payload", *as_data(payload)))

    @classmethod
    def block(cls, channel: str, number: int, data: bytes) -> "Message":
        """Creates a block message, for peers of the channel and the organisation; unsigned, as blocks are in Fabric."""
        return wrap(cls, make("gossip_message_new_data", as_text(channel), unsigned(number), *as_data(data)))

    @classmethod
    def empty(cls) -> "Message":
        """Creates a message without content."""
        return wrap(cls, make("gossip_message_new_empty"))

    @classmethod
    def decode(cls, envelope: bytes) -> "Message":
        """Decodes a message from a serialized `gossip.Envelope`. Does not verify the signature."""
        return wrap(cls, make("gossip_message_decode", *as_data(envelope)))

    @classmethod
    def _of_lent(cls, pointer: int) -> "Message":
        return wrap(cls, make("gossip_message_clone", pointer))

    def sign(self, crypto: Crypto) -> "Message":
        """Returns a copy of the message with our signature."""
        return wrap(Message, make("gossip_message_sign", self._h, handle_of(crypto, Crypto)))

    def verify(self, crypto: Crypto, identity: bytes) -> None:
        """Verifies the signatures under the key of `identity`; raises if one is not accepted."""
        call("gossip_message_verify", self._h, handle_of(crypto, Crypto), *as_data(identity))

    @property
    def content(self) -> Content:
        """The content type."""
        return Content(loaded().gossip_message_content(self._h))

    @property
    def nonce(self) -> int:
        """The nonce: chosen by the sender, repeated by answers and acknowledgements."""
        return loaded().gossip_message_nonce(self._h)

    @property
    def channel(self) -> str:
        """The name of the message's channel; "" for messages outside of channels."""
        return self._bytes("gossip_message_channel").decode("utf-8", "replace")

    @property
    def number(self) -> int:
        """The number of a block; 0 for other messages."""
        return loaded().gossip_message_seq_num(self._h)

    @property
    def data(self) -> bytes:
        """The content of a block; empty for other messages."""
        return self._bytes("gossip_message_data")

    @property
    def payload(self) -> bytes:
        """The serialized `gossip.GossipMessage`, over which a signature is computed."""
        return self._bytes("gossip_message_payload")

    @property
    def signature(self) -> bytes:
        """The signature; empty if there is none."""
        return self._bytes("gossip_message_signature")

    @property
    def wire(self) -> bytes:
        """The serialized `gossip.Envelope` as it is sent or was received."""
        return self._bytes("gossip_message_wire")

    def __str__(self) -> str:
        return self._text("gossip_message_text")

    _brief = __str__


class Member(NamedTuple):
    """A peer as the membership knows it.

    * endpoint: The endpoint for other organisations; "" if they may not reach it.
    * internal_endpoint: The endpoint for its own organisation; "" if it is not disclosed to us.
    * metadata: The metadata that it publishes.
    * pki_id: Its PKI-ID.
    """

    endpoint: str
    internal_endpoint: str
    metadata: bytes
    pki_id: bytes

    @classmethod
    def _of(cls, member: c.Member) -> "Member":
        return cls(str(member.endpoint), str(member.internal_endpoint), bytes(member.metadata), bytes(member.pki_id))


class Connection(NamedTuple):
    """A connection to a peer.

    * pki_id: The authenticated PKI-ID.
    * identity: The identity that the peer authenticated with.
    * endpoint: The socket address of the peer.
    """

    pki_id: bytes
    identity: bytes
    endpoint: str

    @classmethod
    def _of(cls, connection: c.Connection) -> "Connection":
        return cls(bytes(connection.pki_id), bytes(connection.identity), str(connection.endpoint))


class Peer(NamedTuple):
    """A peer as given by a caller: by an endpoint, a PKI-ID, or both.

    * endpoint: Where it is dialled, as "host:port"; "" for a peer that is connected.
    * pki_id: The PKI-ID that it must have; empty for any.
    """

    endpoint: str = ""
    pki_id: bytes = b""


#: The types that identify a peer.
AnyPeer = Union[str, bytes, Peer, Member, Connection]


def as_peer(peer: AnyPeer) -> c.Peer:
    if isinstance(peer, str):
        peer = Peer(endpoint=peer)
    elif isinstance(peer, bytes):
        peer = Peer(pki_id=peer)
    elif isinstance(peer, Member):
        peer = Peer(peer.internal_endpoint or peer.endpoint, peer.pki_id)
    elif isinstance(peer, Connection):
        peer = Peer(pki_id=peer.pki_id)
    elif not isinstance(peer, Peer):
        raise TypeError(f"expected a peer as str, bytes, Peer, Member or Connection, not {type(peer).__name__}")
    return c.Peer(as_text(peer.endpoint) if peer.endpoint else None, *as_data(peer.pki_id))


def as_peers(peers: Union[AnyPeer, Iterable[AnyPeer]]) -> "tuple[Any, int]":
    if isinstance(peers, (str, bytes, Peer, Member, Connection)) or not isinstance(peers, Iterable):
        peers = [peers]
    named = [as_peer(peer) for peer in peers]
    return (c.Peer * len(named))(*named), len(named)


class Event(Owner):
    """A received message or an event. Immutable; the kinds document their fields."""

    _free = "gossip_event_free"

    @classmethod
    def _of_lent(cls, pointer: int) -> "Event":
        return wrap(cls, make("gossip_event_clone", pointer))

    @property
    def kind(self) -> EventKind:
        """The kind of the event."""
        return EventKind(loaded().gossip_event_kind_of(self._h))

    @property
    def message(self) -> Optional[Message]:
        """The first message of the event; None if it has none."""
        handle = self._h
        lent = loaded().gossip_event_message(handle)
        return None if lent is None else Message._of_lent(lent)

    @property
    def messages(self) -> "list[Message]":
        """The messages of the event, in order."""
        handle, lib = self._h, loaded()
        count = lib.gossip_event_message_count(handle)
        return [Message._of_lent(lib.gossip_event_message_at(handle, n)) for n in range(count)]

    @property
    def pki_id(self) -> bytes:
        """The PKI-ID of the peer that the event concerns; empty if none is known."""
        return self._bytes("gossip_event_pki_id")

    @property
    def new_pki_id(self) -> bytes:
        """The new PKI-ID of the peer after an identity switch."""
        return self._bytes("gossip_event_new_pki_id")

    @property
    def identity(self) -> bytes:
        """The identity that the peer authenticated with; empty if the event does not concern a connection."""
        return self._bytes("gossip_event_identity")

    @property
    def endpoint(self) -> str:
        """The address of the peer: the socket address of a connection, or the endpoint that was given for it."""
        return self._text("gossip_event_endpoint")

    @property
    def text(self) -> str:
        """A human-readable text; see the kinds."""
        return self._text("gossip_event_text")

    @property
    def error(self) -> Optional[Error]:
        """The error of the event; None if it has none."""
        handle, lib = self._h, loaded()
        lent = lib.gossip_event_error(handle)
        return None if lent is None else error_of(lent, lib.gossip_error_code(lent))

    @property
    def inbound(self) -> bool:
        """For a refusal: whether we refused an inbound peer."""
        return loaded().gossip_event_inbound(self._h)

    @property
    def remaining(self) -> float:
        """For an expiring identity: the number of seconds for which it remains valid."""
        return loaded().gossip_event_remaining(self._h) / 1e9

    @property
    def member(self) -> Optional[Member]:
        """The member of the event; None if it has none."""
        handle, member = self._h, c.Member()
        return Member._of(member) if loaded().gossip_event_member(handle, byref(member)) else None

    def respond(self, message: Message) -> None:
        """Sends a message back to the peer that this message came from, unsigned. Does not block."""
        call("gossip_event_respond", self._h, handle_of(message, Message))

    def ack(self, error: Optional[str] = None) -> None:
        """Acknowledges a message to the sender that waits for it, as processed or with an error."""
        call("gossip_event_ack", self._h, as_optional_text(error))

    def __str__(self) -> str:
        text = self.text or (str(self.message) if self.message else "")
        return f"{self.kind.name}: {text}" if text else self.kind.name

    _brief = __str__


def options(capacity: int, size: int, when_full: WhenFull, wait: Span) -> Any:
    numbers = (unsigned(capacity), unsigned(size), unsigned(when_full, 32), nanoseconds(wait))
    return byref(c.SubscriptionOptions(ctypes.sizeof(c.SubscriptionOptions), *numbers))


class Subscription(Owner):
    """A queue of messages or events from the time of subscribing on. Iterating waits for each item until the end.

    Items wait here, within its limits, until they are received: by `recv`, iteration or `ready`, in any number of
    threads, each item in one of them, or by a callback.
    """

    _free = "gossip_subscription_free"
    _called = False

    def recv(self, timeout: Span = None) -> Event:
        """Returns the next event. Blocks for at most `timeout`; signals interrupt it as they do Python's own waits.

        Timeout: there is none yet. Stopped: the comm or node was stopped and everything left was received, or the
        subscription was closed.
        """
        handle = self._h
        patience = nanoseconds(timeout) / 1e9
        deadline = time.monotonic() + patience
        poll = None
        while True:
            try:
                return wrap(Event, make("gossip_subscription_recv", handle, 0))
            except Error as error:
                left = deadline - time.monotonic()
                if error.code != Code.TIMEOUT or left <= 0:
                    raise
            if poll is None:
                # Waiting here and not in the library lets Ctrl-C through.
                poll = select.poll()
                poll.register(self._fd(handle), select.POLLIN)
            poll.poll(min(left, 86400) * 1000)

    def ready(self) -> Iterator[Event]:
        """Iterates over the available events without waiting, for use when the descriptor is readable.

        Stopped: the comm or node was stopped, and there is nothing left.
        """
        while True:
            try:
                event = self.recv(0)
            except TimeoutError:
                return
            yield event

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                event = self.recv()
            except Error as error:
                if error.code == Code.STOPPED:
                    return
                raise
            yield event

    def fileno(self) -> int:
        """Returns a descriptor that is readable while there is something to receive: for selectors, and asyncio's
        add_reader.

        Iterate over `ready()` when it is readable. Only poll it, and stop polling it before closing the subscription.
        """
        return self._fd(self._h)

    @staticmethod
    def _fd(handle: Handle) -> int:
        fd = c.INT()
        call("gossip_subscription_fd", handle, byref(fd))
        return fd.value

    def set_callback(self, callback: Callable[[Event], object], on_end: Optional[Callable[[], object]] = None) -> None:
        """Passes every event to `callback`, one at a time, on a separate thread; calls `on_end` last.

        The callback may take long, call the library, stop the comm or node, and close the subscription. The
        subscription is kept until the end, even without other references to it.
        """
        function(callback, "callback")
        if on_end is not None:
            function(on_end, "on_end")
        set_callback = "gossip_subscription_set_callback"
        make_with((callback, on_end, self), lambda number: call(set_callback, self._h, _on_event, number, on_free))
        LIVE.add(self)

    def _brief(self) -> str:
        return f"with {self.waiting} waiting"

    @property
    def missed(self) -> int:
        """The number of items that were dropped because the subscription was full."""
        return loaded().gossip_subscription_missed(self._h)

    @property
    def waiting(self) -> int:
        """The number of items that wait to be received."""
        return loaded().gossip_subscription_len(self._h)

    def close(self) -> None:
        """Ends the subscription, which wakes its waiting threads, and frees it. Waits until a callback has returned."""
        handle = getattr(self, "_handle", None)
        if handle is not None and handle.is_usable():
            loaded().gossip_subscription_close(handle)
        super().close()

    _end = close


# Functions that the library calls.


@c.EventCallback
def _on_event(user: int, event: Optional[int]) -> None:
    try:
        callback, on_end, _ = KEPT[user]
        if event is not None:
            callback(Event._of_lent(event))
        elif on_end is not None:
            on_end()
    except BaseException:
        report("the callback of a subscription")


@c.Predicate
def _on_predicate(user: int, event: int) -> bool:
    try:
        return bool(KEPT[user](Event._of_lent(event)))
    except BaseException:
        report("the predicate of a subscription")
        return False


