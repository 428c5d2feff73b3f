"""The numbers of the interface, under the names of the header without their prefix."""

from __future__ import annotations

import enum


class _Open(enum.IntEnum):
    """An enumeration to which a later version of the library may add numbers."""

    @classmethod
    def _missing_(cls, value: object) -> "_Open":
        member = int.__new__(cls, value)  # type: ignore[call-overload]
        member._name_, member._value_ = f"UNKNOWN_{value}", value
        return member


class Code(_Open):
    """Code of an error: gossip_result.

    * OK: Success.
    * NULL_POINTER: A required argument is missing. Nothing was attempted.
    * INVALID_UTF8: A text is not UTF-8. Nothing was attempted.
    * INVALID_ARGUMENT: An argument is invalid: an unknown name, a number out of range, a structure of unknown size.
      Nothing was attempted.
    * PANIC: An internal fault of the library, from which it recovered. Please report it.
    * CONFIG: A setting or file is wrong. Nothing was attempted.
    * STOPPED: The component was stopped, or the subscription has ended and everything left in it was received.
    * TIMEOUT: A time limit passed.
    * UNREACHABLE: No connection could be made: nothing listens at the address, the name is unknown, TLS failed, or the
      peer does not answer.
    * DISCONNECTED: The connection ended: closed by the peer, lost, or closed by us.
    * REFUSED: The peer refused us, or we refused the peer: authentication failed, or the peer ended the stream with an
      error.
    * PROTOCOL: The peer violated the protocol, or a message is malformed.
    * IDENTITY: An identity is unknown, invalid, expired or not the expected one.
    * SIGNATURE: A signature is missing, malformed or wrong.
    * FULL: A bounded queue or table is full. A later attempt may succeed.
    * TOO_LARGE: A message exceeds a size limit.
    * NACK: The peer acknowledged the message with an error.
    * ALREADY_ACKNOWLEDGED: This message was already acknowledged.
    * INTERNAL: The cryptography library, the operating system or the C core failed for a reason that no input caused.
    """

    OK = 0
    NULL_POINTER = 1
    INVALID_UTF8 = 2
    INVALID_ARGUMENT = 3
    PANIC = 4
    CONFIG = 100
    STOPPED = 101
    TIMEOUT = 102
    UNREACHABLE = 103
    DISCONNECTED = 104
    REFUSED = 105
    PROTOCOL = 106
    IDENTITY = 107
    SIGNATURE = 108
    FULL = 109
    TOO_LARGE = 110
    NACK = 111
    ALREADY_ACKNOWLEDGED = 112
    INTERNAL = 113


class LogLevel(_Open):
    """Severity of a log line: gossip_log_level.

    * OFF: As a limit: no lines.
    * ERROR: An error.
    * WARN: A possible error.
    * INFO: Information for operators.
    * DEBUG: Information for developers.
    * TRACE: All lines.
    """

    OFF = 0
    ERROR = 1
    WARN = 2
    INFO = 3
    DEBUG = 4
    TRACE = 5


class Content(_Open):
    """Content type of a message: gossip_content.

    * NONE: No content, or an unknown one.
    * ALIVE: An alive message of a member.
    * MEMBERSHIP_REQUEST: Requests the membership.
    * MEMBERSHIP_RESPONSE: The membership.
    * DATA: A block.
    * HELLO: Pull: hello.
    * DATA_DIGEST: Pull: digests of the available items.
    * DATA_REQUEST: Pull: requests items.
    * DATA_UPDATE: Pull: the requested items.
    * EMPTY: An empty message.
    * CONN: Authenticates a connection.
    * STATE_INFO: State of a channel at one peer.
    * STATE_SNAPSHOT: A list of state messages.
    * STATE_INFO_PULL_REQUEST: Requests state messages.
    * STATE_REQUEST: Requests blocks.
    * STATE_RESPONSE: The requested blocks.
    * LEADERSHIP: Election of a leader.
    * PEER_IDENTITY: An identity.
    * ACK: An acknowledgement.
    * PRIVATE_REQUEST: Requests private data.
    * PRIVATE_RESPONSE: The requested private data.
    * PRIVATE_DATA: Private data.
    """

    NONE = 0
    ALIVE = 5
    MEMBERSHIP_REQUEST = 6
    MEMBERSHIP_RESPONSE = 7
    DATA = 8
    HELLO = 9
    DATA_DIGEST = 10
    DATA_REQUEST = 11
    DATA_UPDATE = 12
    EMPTY = 13
    CONN = 14
    STATE_INFO = 15
    STATE_SNAPSHOT = 16
    STATE_INFO_PULL_REQUEST = 17
    STATE_REQUEST = 18
    STATE_RESPONSE = 19
    LEADERSHIP = 20
    PEER_IDENTITY = 21
    ACK = 22
    PRIVATE_REQUEST = 23
    PRIVATE_RESPONSE = 24
    PRIVATE_DATA = 25


class EventKind(_Open):
    """Kind of an event: gossip_event_kind. Ignore events that are UNKNOWN.

    * NONE: No event.
    * MESSAGE: A message from a connected peer (`Comm.accept`). Has the message, and the sender's PKI-ID, identity and
      socket address. Can be answered with `respond` and `ack`.
    * GOSSIPED: A block of one of our channels, delivered once (`Node.accept`). Has the message, and the PKI-ID of the
      peer that sent it to us.
    * CONNECTED: A peer has connected. Has its PKI-ID, identity and socket address. The text is the endpoint that we
      dialled; empty if the peer dialled us.
    * DISCONNECTED: A peer is no longer connected. Has its PKI-ID, identity and socket address. The text is the reason.
    * REFUSED: An authentication failed: we refused an inbound peer (`inbound`), or a peer refused us afterwards. Has
      the endpoint, the error, and the PKI-ID if it was received.
    * DIAL_FAILED: Connecting to a peer failed. Has the endpoint and PKI-ID as they were given to us, and the error.
    * UNDELIVERED: Accepted messages will not be delivered, because they could not be written or because the peer
      refused us afterwards. Has the endpoint, PKI-ID, error and messages.
    * IDENTITY_SWITCH: A peer authenticated with a different identity of the same organisation than expected. The PKI-ID
      is the old one; `new_pki_id` returns the new one.
    * PRESUMED_DEAD: A peer could not be reached for a send, or not reached again after its connection was lost. Has the
      PKI-ID.
    * UNCONFIRMED: A connection was closed without confirmation that the peer has read everything that was written to
      it. Has the PKI-ID, identity and socket address. The text is the reason, with the number of messages that were
      written.
    * OUT_OF_THREADS: A thread could not be started, and the operation that needed it has failed. Has the error.
    * MEMBER_ALIVE: Nodes: a member is alive, either new or back again. Has the member.
    * MEMBER_UPDATED: Nodes: an alive member has changed its endpoint or metadata. Has the member.
    * MEMBER_DEAD: Nodes: a member is no longer alive. Has the member.
    * MEMBER_FORGOTTEN: Nodes: a known member was removed from the membership. Has the member.
    * SEED_FAILED: Nodes: a bootstrap or anchor peer could not be contacted; it will be tried again. Has the endpoint.
      The text is the reason.
    * IDENTITY_EXPIRES: Nodes: our own identity expires soon or has expired. Has `remaining`.
    """

    NONE = 0
    MESSAGE = 1
    GOSSIPED = 2
    CONNECTED = 10
    DISCONNECTED = 11
    REFUSED = 12
    DIAL_FAILED = 13
    UNDELIVERED = 14
    IDENTITY_SWITCH = 15
    PRESUMED_DEAD = 16
    UNCONFIRMED = 17
    OUT_OF_THREADS = 18
    MEMBER_ALIVE = 30
    MEMBER_UPDATED = 31
    MEMBER_DEAD = 32
    MEMBER_FORGOTTEN = 33
    SEED_FAILED = 34
    IDENTITY_EXPIRES = 35


class MspPart(_Open):
    """Kind of a PEM file of an MSP: gossip_msp_part.

    * ROOT: A root authority, `cacerts/`. At least one is required.
    * INTERMEDIATE: An intermediate authority, `intermediatecerts/`.
    * TLS_ROOT: A root authority for TLS, `tlscacerts/`.
    * TLS_INTERMEDIATE: An intermediate authority for TLS, `tlsintermediatecerts/`.
    * ADMIN: A certificate of an administrator, `admincerts/`.
    * REVOCATION_LIST: A certificate revocation list, `crls/`.
    """

    ROOT = 1
    INTERMEDIATE = 2
    TLS_ROOT = 3
    TLS_INTERMEDIATE = 4
    ADMIN = 5
    REVOCATION_LIST = 6


class MspRole(_Open):
    """A role that members have by their organisational unit: gossip_msp_role.

    * CLIENT: Clients.
    * PEER: Peers.
    * ADMINISTRATOR: Administrators.
    * ORDERER: Orderers.
    """

    CLIENT = 1
    PEER = 2
    ADMINISTRATOR = 3
    ORDERER = 4


class MspVersion(_Open):
    """Version of Fabric's MSP rules: gossip_msp_version.

    * V1_0: Without NodeOUs.
    * V1_1: NodeOUs for clients and peers.
    * V1_3: Same as 1.1 for X.509.
    * V1_4_3: NodeOUs for clients, peers, admins and orderers.
    * V3_0: Also Ed25519 keys. The default.
    """

    V1_0 = 100
    V1_1 = 101
    V1_3 = 103
    V1_4_3 = 143
    V3_0 = 300


class WhenFull(_Open):
    """Behaviour of a full subscription: gossip_when_full.

    * WAIT: The connection that the item came from waits for space, for at most `wait`. After a wait without success the
      subscription drops items until it has space again. (Subscriptions of nodes always drop.)
    * DROP: The item is dropped and counted.
    """

    WAIT = 0
    DROP = 1
