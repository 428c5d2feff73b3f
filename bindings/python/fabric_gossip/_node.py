"""Peers of the network."""

from __future__ import annotations

from ctypes import byref, c_char_p
from typing import Callable, Iterable, Mapping, NamedTuple, Optional, Union

from . import _c as c
from ._codes import WhenFull
from ._comm import Comm, Config, Metrics, accept, take_list, take_metrics
from ._core import (
    KEPT, LIVE, Handle, Owner, Span, as_data, as_optional_text, as_text, call, call_waiting, handle_of, loaded, make,
    make_with, nanoseconds, unsigned, wrap,
)
from ._identity import Crypto
from ._messages import AnyPeer, Event, Member, Message, Subscription, as_peers, options


class Identity(NamedTuple):
    """A known identity.

    * pki_id: Its PKI-ID.
    * identity: The identity as it is sent to peers.
    * org: The MSP id of its organisation; "" if none is known.
    """

    pki_id: bytes
    identity: bytes
    org: str

    @classmethod
    def _of(cls, identity: c.Identity) -> "Identity":
        return cls(bytes(identity.pki_id), bytes(identity.identity), str(identity.org))


class Seed(NamedTuple):
    """State of a bootstrap or anchor peer.

    * endpoint: Its endpoint, as configured.
    * pki_id: PKI-ID of the peer that was last found there; empty if none was.
    * connected: Whether it has answered.
    * attempts: Number of consecutive failed attempts to contact it.
    * last_error: Reason of the last failure.
    * next_attempt: Seconds until the next attempt.
    """

    endpoint: str
    pki_id: bytes
    connected: bool
    attempts: int
    last_error: str
    next_attempt: float

    @classmethod
    def _of(cls, seed: c.Seed) -> "Seed":
        pki_id, error = bytes(seed.pki_id), str(seed.last_error)
        return cls(str(seed.endpoint), pki_id, seed.connected, seed.attempts, error, seed.next_attempt / 1e9)


class Chaincode(NamedTuple):
    """A chaincode that a peer announces. Texts of other peers can contain control characters.

    * name: Its name.
    * version: Its version.
    """

    name: str
    version: str


class ChannelMember(NamedTuple):
    """A peer that is alive and in a channel, with its announcement in that channel.

    * member: The peer, as the membership knows it.
    * ledger_height: The number of blocks that it has; 0 if it announces none.
    * chaincodes: The chaincodes that it can execute.
    """

    member: Member
    ledger_height: int
    chaincodes: "tuple[Chaincode, ...]"


class Node(Owner):
    """A peer of the network: maintains the membership, pulls identities, joins channels and forwards their messages.

    * start_notices: A subscription like that of `notices`, which misses nothing from the start.
    """

    _free = "gossip_node_free"

    def __init__(self, crypto: Crypto, config: Config) -> None:
        """Starts a node. Does not wait for other members: `wait_for_members` does."""
        self.start_notices: Subscription
        notices = c.HANDLE()
        own, settings = handle_of(crypto, Crypto), handle_of(config, Config)
        with config._lock:
            super().__init__(make("gossip_node_start", own, settings, byref(notices)))
        assert notices.value is not None
        self.start_notices = wrap(Subscription, notices.value)
        LIVE.add(self)

    def _brief(self) -> str:
        own = self.self()
        return own.internal_endpoint or own.endpoint or own.pki_id.hex()

    def comm(self) -> Comm:
        """Returns the communication layer. Stopping it stops the node's communication too; closing it does not."""
        return wrap(Comm, make("gossip_node_comm", self._h))

    def self(self) -> Member:
        """Returns our own member record as others see it."""
        return take_list("member", Member, make("gossip_node_self", self._h))[0]

    def peers(self) -> "list[Member]":
        """Returns the members that are alive, without ourselves."""
        return take_list("member", Member, make("gossip_node_peers", self._h))

    def dead(self) -> "list[Member]":
        """Returns the dead members that are still remembered."""
        return take_list("member", Member, make("gossip_node_dead", self._h))

    def lookup(self, pki_id: bytes) -> Optional[Member]:
        """Returns a member, alive or dead, or ourselves, by PKI-ID; None if it is not known."""
        found = take_list("member", Member, make("gossip_node_lookup", self._h, *as_data(pki_id)))
        return found[0] if found else None

    def channel_peers(self, channel: str) -> "list[Member]":
        """Returns the peers that are alive and in a channel. `peers_of_channel` returns their announcements as well."""
        return take_list("member", Member, make("gossip_node_channel_peers", self._h, as_text(channel)))

    def peers_of_channel(self, channel: str) -> "list[ChannelMember]":
        """Returns the same peers as `channel_peers`, each with the ledger height and the chaincodes that it announces,
        sorted by PKI-ID. Error with Code.INVALID_ARGUMENT: we were never in this channel."""
        made = make("gossip_node_peers_of_channel", self._h, as_text(channel))
        members, lib, found = Handle(made, "gossip_channel_member_list_free"), loaded(), []
        one, chaincode = c.ChannelMember(), c.Chaincode()
        for index in range(lib.gossip_channel_member_list_len(members)):
            call("gossip_channel_member_list_at", members, index, byref(one))
            chaincodes = []
            for number in range(one.chaincode_count):
                call("gossip_channel_member_list_chaincode", members, index, number, byref(chaincode))
                chaincodes.append(Chaincode(str(chaincode.name), str(chaincode.version)))
            found.append(ChannelMember(Member._of(one.member), one.ledger_height, tuple(chaincodes)))
        return found

    def seeds(self) -> "list[Seed]":
        """Returns the bootstrap and anchor peers, and the endpoints given to `connect`."""
        return take_list("seed", Seed, make("gossip_node_seeds", self._h))

    def identities(self) -> "list[Identity]":
        """Returns all known identities, including our own."""
        return take_list("identity", Identity, make("gossip_node_identities", self._h))

    def connect(self, endpoint: str) -> None:
        """Contacts an endpoint until a peer has answered there, and keeps it known from then on. Does not block."""
        call("gossip_node_connect", self._h, as_text(endpoint))

    def initiate_sync(self, count: int) -> None:
        """Requests the membership from up to `count` random members now."""
        call("gossip_node_initiate_sync", self._h, unsigned(count))

    def update_metadata(self, metadata: bytes) -> None:
        """Changes our metadata, from the next alive message on."""
        call("gossip_node_update_metadata", self._h, *as_data(metadata))

    def update_endpoint(self, endpoint: str) -> None:
        """Changes our external endpoint; "" means that other organisations cannot reach us."""
        call("gossip_node_update_endpoint", self._h, as_text(endpoint))

    def suspect_peers(self, suspect: Optional[Callable[[bytes], bool]] = None) -> None:
        """Validates the identities again for which `suspect` returns True, or all. Forgets those no longer valid."""
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
        """Joins a channel, or updates the organisations of a joined one: MSP ids, each with its anchor peers'
        addresses."""
        made = Handle(make("gossip_channel_orgs_new"), "gossip_channel_orgs_free")
        if not isinstance(orgs, Mapping):
            raise TypeError(f"expected a dict of MSP ids with their anchor peers, not {type(orgs).__name__}")
        for mspid, anchors in orgs.items():
            call("gossip_channel_orgs_add", made, as_text(mspid))
            for anchor in anchors:
                if isinstance(anchor, str):
                    raise TypeError(f"expected anchor peers as tuples of host and port, not {anchor!r}")
                host, port = anchor
                call("gossip_channel_orgs_add_anchor", made, as_text(mspid), as_text(host), unsigned(port, 16))
        call("gossip_node_join_channel", self._h, as_text(channel), made)

    def leave_channel(self, channel: str) -> None:
        """Leaves a channel and notifies its members."""
        call("gossip_node_leave_channel", self._h, as_text(channel))

    def update_ledger_height(self, channel: str, height: int) -> None:
        """Publishes our number of blocks to the members of a channel."""
        call("gossip_node_update_ledger_height", self._h, as_text(channel), unsigned(height))

    def update_chaincodes(self, channel: str, chaincodes: "Iterable[tuple[str, str]]") -> None:
        """Publishes the chaincodes that we can execute, names with versions, to the members of a channel, in place of
        those published before."""
        pairs = [(as_text(name), as_text(version)) for name, version in chaincodes]
        texts = c_char_p * len(pairs)
        names, versions = texts(*(name for name, _ in pairs)), texts(*(version for _, version in pairs))
        call("gossip_node_update_chaincodes", self._h, as_text(channel), names, versions, len(pairs))

    def gossip(self, message: Message) -> None:
        """Gossips a block of a channel to its members in our organisation; each receiver forwards it."""
        call("gossip_node_gossip", self._h, handle_of(message, Message))

    def send(self, message: Message, peers: Union[AnyPeer, Iterable[AnyPeer]]) -> None:
        """Sends a message to the given peers; see `Comm.send`."""
        call("gossip_node_send", self._h, handle_of(message, Message), *as_peers(peers))

    def send_by_criteria(
        self, message: Message, timeout: Span, *, min_ack: int, max_peers: int, channel: Optional[str] = None
    ) -> None:
        """Sends a message to at most `max_peers` members, of a channel, and waits for `min_ack` acknowledgements."""
        numbers = (nanoseconds(timeout), unsigned(min_ack), unsigned(max_peers))
        sent = handle_of(message, Message)
        call_waiting("gossip_node_send_by_criteria", self._h, sent, *numbers, as_optional_text(channel))

    def accept(
        self,
        predicate: Optional[Callable[[Event], bool]] = None,
        *,
        capacity: int = 0,
        bytes: int = 0,
    ) -> Subscription:
        """Subscribes to the blocks of our channels for which `predicate` returns True, each delivered once.

        Blocks for which there is no space are dropped. `comm().accept` delivers all other messages.
        """
        return accept("gossip_node_accept", self._h, predicate, options(capacity, bytes, WhenFull.DROP, 0))

    def notices(self) -> Subscription:
        """Subscribes to events of the network, from now on: members that appear, change, die, are forgotten, and
        more."""
        return wrap(Subscription, make("gossip_node_notices", self._h))

    def wait_for_members(self, count: int, timeout: Span) -> None:
        """Waits until at least `count` other members are alive. The text of a Timeout says why seeds have not
        answered."""
        call_waiting("gossip_node_wait_for_members", self._h, unsigned(count), nanoseconds(timeout))

    def metrics(self) -> Metrics:
        """Returns the current counters and gauges, including those of its communication layer."""
        return take_metrics("gossip_node_metrics", self._h)

    def stop(self) -> None:
        """Stops: nothing more is sent, written data arrives, and every thread ends."""
        call("gossip_node_stop", self._h)

    def close(self) -> None:
        """Stops the node and frees the handle."""
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
