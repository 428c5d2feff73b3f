"""Peers of the network."""

from __future__ import annotations

from ctypes import byref
from typing import Callable, Iterable, Mapping, NamedTuple, Optional, Union

from . import _c as c
from ._codes import WhenFull
from ._comm import Comm, Config, Metrics, accept, take_list, take_metrics
from ._core import KEPT, LIVE, Handle, Owner, Span, as_data, as_text, call, make, make_with, nanoseconds, unsigned, wrap
from ._identity import Crypto
from ._messages import AnyPeer, Event, Member, Message, Subscription, as_peers, options


class Identity(NamedTuple):
    """An identity that is known."""

    #: Its PKI-ID.
    pki_id: bytes
    #: The identity as it travels.
    identity: bytes
    #: Its organisation, the MSP id; "" if none is known.
    org: str

    @classmethod
    def _of(cls, identity: c.Identity) -> "Identity":
        return cls(bytes(identity.pki_id), bytes(identity.identity), str(identity.org))


class Seed(NamedTuple):
    """How things stand with a bootstrap or anchor peer."""

    #: Its endpoint, as it was given.
    endpoint: str
    #: Who was found there last; empty if nobody.
    pki_id: bytes
    #: Whether it has answered.
    connected: bool
    #: How often in a row contacting it has failed.
    attempts: int
    #: Why it failed last.
    last_error: str
    #: In how many seconds it will be tried again.
    next_attempt: float

    @classmethod
    def _of(cls, seed: c.Seed) -> "Seed":
        pki_id, error = bytes(seed.pki_id), str(seed.last_error)
        return cls(str(seed.endpoint), pki_id, seed.connected, seed.attempts, error, seed.next_attempt / 1e9)


class Node(Owner):
    """A peer of the network: keeps the membership, pulls identities, joins channels and spreads their messages."""

    _free = "gossip_node_free"

    def __init__(self, crypto: Crypto, config: Config) -> None:
        """Starts one. Does not wait for anybody: `wait_for_members` does."""
        #: As of `notices`, from the very start.
        self.start_notices: Subscription
        notices = c.HANDLE()
        with config._lock:
            super().__init__(make("gossip_node_start", crypto._h, config._h, byref(notices)))
        assert notices.value is not None
        self.start_notices = wrap(Subscription, notices.value)
        LIVE.add(self)

    def comm(self) -> Comm:
        """The communication layer under it. Stopping it stops the node's too, closing it does not."""
        return wrap(Comm, make("gossip_node_comm", self._h))

    def self(self) -> Member:
        """Ourselves, as others see us."""
        return take_list("member", Member, make("gossip_node_self", self._h))[0]

    def peers(self) -> "list[Member]":
        """The members that are alive, without ourselves."""
        return take_list("member", Member, make("gossip_node_peers", self._h))

    def dead(self) -> "list[Member]":
        """The members that died and are remembered."""
        return take_list("member", Member, make("gossip_node_dead", self._h))

    def lookup(self, pki_id: bytes) -> Optional[Member]:
        """A member, alive or dead, or ourselves, by its PKI-ID."""
        found = take_list("member", Member, make("gossip_node_lookup", self._h, *as_data(pki_id)))
        return found[0] if found else None

    def channel_peers(self, channel: str) -> "list[Member]":
        """The peers that are alive and in a channel."""
        return take_list("member", Member, make("gossip_node_channel_peers", self._h, as_text(channel)))

    def seeds(self) -> "list[Seed]":
        """The bootstrap and anchor peers, and what else was to be connected to."""
        return take_list("seed", Seed, make("gossip_node_seeds", self._h))

    def identities(self) -> "list[Identity]":
        """Every identity that is known, our own included."""
        return take_list("identity", Identity, make("gossip_node_identities", self._h))

    def connect(self, endpoint: str) -> None:
        """Contacts an endpoint until it has answered, and from then on keeps it known. Does not block."""
        call("gossip_node_connect", self._h, as_text(endpoint))

    def initiate_sync(self, count: int) -> None:
        """Asks up to `count` random members for theirs, now."""
        call("gossip_node_initiate_sync", self._h, unsigned(count))

    def update_metadata(self, metadata: bytes) -> None:
        """Says something else about ourselves, from the next alive message on."""
        call("gossip_node_update_metadata", self._h, *as_data(metadata))

    def update_endpoint(self, endpoint: str) -> None:
        """Changes our external endpoint; "" if other organisations shall not reach us."""
        call("gossip_node_update_endpoint", self._h, as_text(endpoint))

    def suspect_peers(self, suspect: Optional[Callable[[bytes], bool]] = None) -> None:
        """Validates those identities anew that `suspect` picks, or all; who is no longer valid is forgotten."""
        if suspect is None:
            call("gossip_node_suspect_peers", self._h, c.IdentityPredicate(), None)
            return
        raised: "list[BaseException]" = []

        def run(number: int) -> None:
            try:
                call("gossip_node_suspect_peers", self._h, _on_suspect, number)
            finally:
                KEPT.pop(number, None)

        make_with((suspect, raised), run)
        if raised:
            raise raised[0]

    def join_channel(self, channel: str, orgs: "Mapping[str, Iterable[tuple[str, int]]]") -> None:
        """Joins a channel, or takes note of its new organisations: MSP ids, each with its anchor peers' addresses."""
        made = Handle(make("gossip_channel_orgs_new"), "gossip_channel_orgs_free")
        for mspid, anchors in orgs.items():
            call("gossip_channel_orgs_add", made, as_text(mspid))
            for host, port in anchors:
                call("gossip_channel_orgs_add_anchor", made, as_text(mspid), as_text(host), unsigned(port, 16))
        call("gossip_node_join_channel", self._h, as_text(channel), made)

    def leave_channel(self, channel: str) -> None:
        """Leaves a channel: its members are told."""
        call("gossip_node_leave_channel", self._h, as_text(channel))

    def update_ledger_height(self, channel: str, height: int) -> None:
        """Tells the members of a channel how many blocks we have."""
        call("gossip_node_update_ledger_height", self._h, as_text(channel), unsigned(height))

    def gossip(self, message: Message) -> None:
        """Spreads a block of a channel to its members in our organisation; each that gets it passes it on."""
        call("gossip_node_gossip", self._h, message._h)

    def send(self, message: Message, peers: Union[AnyPeer, Iterable[AnyPeer]]) -> None:
        """Sends a message to these peers; see `Comm.send`."""
        call("gossip_node_send", self._h, message._h, *as_peers(peers))

    def send_by_criteria(
        self, message: Message, timeout: Span, *, min_ack: int, max_peers: int, channel: Optional[str] = None
    ) -> None:
        """Sends a message to at most `max_peers` members, of a channel, and waits for `min_ack` acknowledgements."""
        numbers = (nanoseconds(timeout), unsigned(min_ack), unsigned(max_peers))
        call("gossip_node_send_by_criteria", self._h, message._h, *numbers, as_text(channel))

    def accept(
        self,
        predicate: Optional[Callable[[Event], bool]] = None,
        *,
        capacity: int = 0,
        bytes: int = 0,
    ) -> Subscription:
        """Subscribes to the blocks of our channels that `predicate` wants, each once. What has no room is dropped.

        Whatever else comes in, the `accept` of `comm()` has.
        """
        return accept("gossip_node_accept", self._h, predicate, options(capacity, bytes, WhenFull.DROP, 0))

    def notices(self) -> Subscription:
        """Subscribes to what happens in the network, from now on: who comes, changes, dies, is forgotten, and more."""
        return wrap(Subscription, make("gossip_node_notices", self._h))

    def wait_for_members(self, count: int, timeout: Span) -> None:
        """Waits until at least `count` other members are alive. Timeout says what keeps the seeds."""
        call("gossip_node_wait_for_members", self._h, unsigned(count), nanoseconds(timeout))

    def metrics(self) -> Metrics:
        """The counters and gauges at this moment, those of its communication layer among them."""
        return take_metrics("gossip_node_metrics", self._h)

    def stop(self) -> None:
        """Stops: nothing is sent any more, connections end so that what was written arrives, every thread ends."""
        call("gossip_node_stop", self._h)

    def close(self) -> None:
        """Stops it and frees the handle."""
        handle = getattr(self, "_handle", None)
        if handle is not None and handle.is_usable():
            self.stop()
        super().close()

    _end = close


@c.IdentityPredicate
def _on_suspect(user: int, identity: c.Bytes) -> bool:
    suspect, raised = KEPT[user]
    try:
        return not raised and bool(suspect(bytes(identity)))
    except BaseException as error:  # It is raised where the caller is, on this very thread.
        raised.append(error)
        return False
