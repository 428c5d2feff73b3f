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
    """Code of an error: gossip_result."""

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
    """Severity of a log line: gossip_log_level."""

    OFF = 0
    ERROR = 1
    WARN = 2
    INFO = 3
    DEBUG = 4
    TRACE = 5


class Content(_Open):
    """Content type of a message: gossip_content."""

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
    """Kind of an event: gossip_event_kind. Ignore events that are UNKNOWN."""

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
    """Kind of a PEM file of an MSP: gossip_msp_part."""

    ROOT = 1
    INTERMEDIATE = 2
    TLS_ROOT = 3
    TLS_INTERMEDIATE = 4
    ADMIN = 5
    REVOCATION_LIST = 6


class MspRole(_Open):
    """A role that members have by their organisational unit: gossip_msp_role."""

    CLIENT = 1
    PEER = 2
    ADMINISTRATOR = 3
    ORDERER = 4


class MspVersion(_Open):
    """Version of Fabric's MSP rules: gossip_msp_version."""

    V1_0 = 100
    V1_1 = 101
    V1_3 = 103
    V1_4_3 = 143
    V3_0 = 300


class WhenFull(_Open):
    """Behaviour of a full subscription: gossip_when_full."""

    WAIT = 0
    DROP = 1
