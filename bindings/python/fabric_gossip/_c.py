"""Declares the structures, callbacks and functions of capi/include/fabric_gossip.h for ctypes, and finds the library.

The other files of this package make classes of them. test_header.py compares the declarations with the header, type by
type.
"""

import ctypes
import ctypes.util
import os
from ctypes import CFUNCTYPE, POINTER, Structure
from ctypes import c_bool as BOOL
from ctypes import c_char_p as TEXT
from ctypes import c_double as F64
from ctypes import c_int as INT
from ctypes import c_int32 as I32
from ctypes import c_int64 as I64
from ctypes import c_size_t as SIZE
from ctypes import c_uint16 as U16
from ctypes import c_uint32 as U32
from ctypes import c_uint64 as U64
from ctypes import c_void_p as HANDLE
from pathlib import Path
from typing import Iterator

#: The interface that this module was written for: the header's major and minor version.
MAJOR, MINOR = 0, 1

#: Input bytes: a pointer to a Python `bytes`; the length is a separate argument.
DATA = TEXT
#: Location where the library writes a handle.
OUT = POINTER(HANDLE)


class Str(Structure):
    _fields_ = [("data", HANDLE), ("len", SIZE)]

    def __str__(self) -> str:
        # Text of other peers that is not UTF-8 does not get here; `replace` allows for later versions.
        return ctypes.string_at(self.data, self.len).decode("utf-8", "replace") if self.len else ""


class Bytes(Structure):
    _fields_ = [("data", HANDLE), ("len", SIZE)]

    def __bytes__(self) -> bytes:
        return ctypes.string_at(self.data, self.len) if self.len else b""


class Peer(Structure):
    _fields_ = [("endpoint", TEXT), ("pki_id", DATA), ("pki_id_len", SIZE)]


class Member(Structure):
    _fields_ = [("endpoint", Str), ("internal_endpoint", Str), ("metadata", Bytes), ("pki_id", Bytes)]


class ChannelMember(Structure):
    _fields_ = [("member", Member), ("ledger_height", U64), ("chaincode_count", SIZE)]


class Chaincode(Structure):
    _fields_ = [("name", Str), ("version", Str)]


class Connection(Structure):
    _fields_ = [("pki_id", Bytes), ("identity", Bytes), ("endpoint", Str)]


class Identity(Structure):
    _fields_ = [("pki_id", Bytes), ("identity", Bytes), ("org", Str)]


class Seed(Structure):
    _fields_ = [
        ("endpoint", Str),
        ("pki_id", Bytes),
        ("connected", BOOL),
        ("attempts", U32),
        ("last_error", Str),
        ("next_attempt", U64),
    ]


class SubscriptionOptions(Structure):
    _fields_ = [("size", SIZE), ("capacity", SIZE), ("bytes", SIZE), ("when_full", U32), ("wait", U64)]


# Callbacks. The functions are in the other files: one for each use, for the lifetime of the process.
LogCallback = CFUNCTYPE(None, HANDLE, U32, Str, Str)
FreeCallback = CFUNCTYPE(None, HANDLE)
SignCallback = CFUNCTYPE(BOOL, HANDLE, HANDLE, SIZE, HANDLE)
SignDigestCallback = CFUNCTYPE(BOOL, HANDLE, HANDLE, SIZE, HANDLE)
VerifyCallback = CFUNCTYPE(BOOL, HANDLE, Bytes, Bytes, Bytes, HANDLE)
VerifyByChannelCallback = CFUNCTYPE(BOOL, HANDLE, Bytes, Bytes, Bytes, Bytes, HANDLE)
IdentityCallback = CFUNCTYPE(BOOL, HANDLE, Bytes, HANDLE)
ExpirationCallback = CFUNCTYPE(BOOL, HANDLE, Bytes, POINTER(I64), HANDLE)
BlockVerifier = CFUNCTYPE(BOOL, HANDLE, HANDLE, HANDLE)
EventCallback = CFUNCTYPE(None, HANDLE, HANDLE)
Predicate = CFUNCTYPE(BOOL, HANDLE, HANDLE)
IdentityPredicate = CFUNCTYPE(BOOL, HANDLE, Bytes)


class CryptoCallbacks(Structure):
    _fields_ = [
        ("size", SIZE),
        ("user", HANDLE),
        ("free", FreeCallback),
        ("sign", SignCallback),
        ("verify", VerifyCallback),
        ("verify_by_channel", VerifyByChannelCallback),
        ("pki_id", IdentityCallback),
        ("validate_identity", IdentityCallback),
        ("expiration", ExpirationCallback),
        ("org", IdentityCallback),
    ]


#: All functions: the result type, then the argument types.
FUNCTIONS = {
    "gossip_version": (Str,),
    "gossip_result_name": (Str, U32),
    "gossip_error_code": (U32, HANDLE),
    "gossip_error_message": (Str, HANDLE),
    "gossip_error_reason": (Str, HANDLE),
    "gossip_error_peer": (Str, HANDLE),
    "gossip_error_step": (Str, HANDLE),
    "gossip_error_part_count": (SIZE, HANDLE),
    "gossip_error_part": (HANDLE, HANDLE, SIZE),
    "gossip_error_peer_index": (SIZE, HANDLE),
    "gossip_error_free": (None, HANDLE),
    "gossip_buffer_bytes": (Bytes, HANDLE),
    "gossip_buffer_free": (None, HANDLE),
    "gossip_set_log_callback": (U32, LogCallback, U32, HANDLE, FreeCallback, OUT),
    "gossip_msp_load": (U32, TEXT, TEXT, OUT, OUT),
    "gossip_msp_config_new": (U32, TEXT, OUT, OUT),
    "gossip_msp_config_add": (U32, HANDLE, U32, TEXT, DATA, SIZE, OUT),
    "gossip_msp_config_add_ou": (U32, HANDLE, TEXT, DATA, SIZE, OUT),
    "gossip_msp_config_set_node_ou": (U32, HANDLE, U32, TEXT, DATA, SIZE, OUT),
    "gossip_msp_config_set_version": (U32, HANDLE, U32, OUT),
    "gossip_msp_config_set_sha3": (U32, HANDLE, BOOL, OUT),
    "gossip_msp_config_free": (None, HANDLE),
    "gossip_msp_new": (U32, HANDLE, OUT, OUT),
    "gossip_msp_id": (Str, HANDLE),
    "gossip_msp_free": (None, HANDLE),
    "gossip_crypto_load": (U32, TEXT, TEXT, OUT, OUT),
    "gossip_crypto_new": (U32, HANDLE, DATA, SIZE, DATA, SIZE, OUT, OUT),
    "gossip_crypto_new_callbacks": (U32, DATA, SIZE, POINTER(CryptoCallbacks), HANDLE, OUT, OUT),
    "gossip_crypto_new_signer": (U32, HANDLE, DATA, SIZE, SignDigestCallback, HANDLE, FreeCallback, OUT, OUT),
    "gossip_serialized_identity": (U32, TEXT, DATA, SIZE, OUT, OUT),
    "gossip_crypto_identity": (Bytes, HANDLE),
    "gossip_crypto_pki_id": (Bytes, HANDLE),
    "gossip_crypto_trust": (U32, HANDLE, HANDLE, OUT),
    "gossip_crypto_distrust": (U32, HANDLE, TEXT, OUT),
    "gossip_crypto_set_channel": (U32, HANDLE, TEXT, POINTER(HANDLE), SIZE, POINTER(TEXT), SIZE, OUT),
    "gossip_crypto_remove_channel": (U32, HANDLE, TEXT, OUT),
    "gossip_crypto_sign": (U32, HANDLE, DATA, SIZE, OUT, OUT),
    "gossip_crypto_verify": (U32, HANDLE, DATA, SIZE, DATA, SIZE, DATA, SIZE, OUT),
    "gossip_crypto_free": (None, HANDLE),
    "gossip_reply_set": (None, HANDLE, DATA, SIZE),
    "gossip_reply_set_der": (None, HANDLE, DATA, SIZE),
    "gossip_reply_set_raw": (None, HANDLE, DATA, SIZE),
    "gossip_reply_fail": (None, HANDLE, TEXT),
    "gossip_tls_config_new": (U32, OUT, OUT),
    "gossip_tls_config_set_pair": (U32, HANDLE, DATA, SIZE, DATA, SIZE, OUT),
    "gossip_tls_config_set_pair_files": (U32, HANDLE, TEXT, TEXT, OUT),
    "gossip_tls_config_set_client_pair": (U32, HANDLE, DATA, SIZE, DATA, SIZE, OUT),
    "gossip_tls_config_add_roots": (U32, HANDLE, DATA, SIZE, OUT),
    "gossip_tls_config_add_roots_file": (U32, HANDLE, TEXT, OUT),
    "gossip_tls_config_verify_clients": (U32, HANDLE, DATA, SIZE, OUT),
    "gossip_tls_config_set_server_name": (U32, HANDLE, TEXT, OUT),
    "gossip_tls_config_free": (None, HANDLE),
    "gossip_tls_new": (U32, HANDLE, OUT, OUT),
    "gossip_tls_replace": (U32, HANDLE, HANDLE, OUT),
    "gossip_tls_expires": (I64, HANDLE),
    "gossip_tls_free": (None, HANDLE),
    "gossip_config_new": (U32, OUT, OUT),
    "gossip_config_set": (U32, HANDLE, TEXT, U64, OUT),
    "gossip_config_value": (U32, HANDLE, TEXT, POINTER(U64), OUT),
    "gossip_config_name": (Str, SIZE),
    "gossip_config_set_listen": (U32, HANDLE, TEXT, OUT),
    "gossip_config_set_tls": (U32, HANDLE, HANDLE, OUT),
    "gossip_config_set_transport": (U32, HANDLE, TEXT, OUT),
    "gossip_config_set_c_core_argument": (U32, HANDLE, TEXT, I32, OUT),
    "gossip_config_add_bootstrap": (U32, HANDLE, TEXT, OUT),
    "gossip_config_set_endpoint": (U32, HANDLE, TEXT, OUT),
    "gossip_config_set_external_endpoint": (U32, HANDLE, TEXT, OUT),
    "gossip_config_set_metadata": (U32, HANDLE, DATA, SIZE, OUT),
    "gossip_config_set_block_verifier": (U32, HANDLE, BlockVerifier, HANDLE, FreeCallback, OUT),
    "gossip_config_free": (None, HANDLE),
    "gossip_message_new_data": (U32, TEXT, U64, DATA, SIZE, OUT, OUT),
    "gossip_message_new_empty": (U32, OUT, OUT),
    "gossip_message_new_payload": (U32, DATA, SIZE, OUT, OUT),
    "gossip_message_decode": (U32, DATA, SIZE, OUT, OUT),
    "gossip_message_sign": (U32, HANDLE, HANDLE, OUT, OUT),
    "gossip_message_verify": (U32, HANDLE, HANDLE, DATA, SIZE, OUT),
    "gossip_message_clone": (U32, HANDLE, OUT, OUT),
    "gossip_message_content": (U32, HANDLE),
    "gossip_message_nonce": (U64, HANDLE),
    "gossip_message_channel": (Bytes, HANDLE),
    "gossip_message_seq_num": (U64, HANDLE),
    "gossip_message_data": (Bytes, HANDLE),
    "gossip_message_payload": (Bytes, HANDLE),
    "gossip_message_signature": (Bytes, HANDLE),
    "gossip_message_wire": (Bytes, HANDLE),
    "gossip_message_text": (Str, HANDLE),
    "gossip_message_free": (None, HANDLE),
    "gossip_event_kind_of": (U32, HANDLE),
    "gossip_event_message": (HANDLE, HANDLE),
    "gossip_event_message_count": (SIZE, HANDLE),
    "gossip_event_message_at": (HANDLE, HANDLE, SIZE),
    "gossip_event_pki_id": (Bytes, HANDLE),
    "gossip_event_new_pki_id": (Bytes, HANDLE),
    "gossip_event_identity": (Bytes, HANDLE),
    "gossip_event_endpoint": (Str, HANDLE),
    "gossip_event_text": (Str, HANDLE),
    "gossip_event_error": (HANDLE, HANDLE),
    "gossip_event_inbound": (BOOL, HANDLE),
    "gossip_event_remaining": (U64, HANDLE),
    "gossip_event_member": (BOOL, HANDLE, POINTER(Member)),
    "gossip_event_respond": (U32, HANDLE, HANDLE, OUT),
    "gossip_event_ack": (U32, HANDLE, TEXT, OUT),
    "gossip_event_clone": (U32, HANDLE, OUT, OUT),
    "gossip_event_free": (None, HANDLE),
    "gossip_subscription_recv": (U32, HANDLE, U64, OUT, OUT),
    "gossip_subscription_fd": (U32, HANDLE, POINTER(INT), OUT),
    "gossip_subscription_set_callback": (U32, HANDLE, EventCallback, HANDLE, FreeCallback, OUT),
    "gossip_subscription_close": (None, HANDLE),
    "gossip_subscription_missed": (U64, HANDLE),
    "gossip_subscription_len": (SIZE, HANDLE),
    "gossip_subscription_free": (None, HANDLE),
    "gossip_comm_start": (U32, HANDLE, HANDLE, OUT, OUT),
    "gossip_comm_local_addr": (Str, HANDLE),
    "gossip_comm_pki_id": (Bytes, HANDLE),
    "gossip_comm_send": (U32, HANDLE, HANDLE, POINTER(Peer), SIZE, OUT),
    "gossip_comm_send_timeout": (U32, HANDLE, HANDLE, U64, POINTER(Peer), SIZE, OUT),
    "gossip_comm_send_with_ack": (U32, HANDLE, HANDLE, U64, SIZE, POINTER(Peer), SIZE, POINTER(SIZE), OUT),
    "gossip_comm_send_tracked": (U32, HANDLE, HANDLE, U64, POINTER(Peer), OUT, OUT),
    "gossip_comm_connect": (U32, HANDLE, POINTER(Peer), U64, POINTER(BOOL), OUT),
    "gossip_comm_flush": (U32, HANDLE, U64, OUT),
    "gossip_comm_probe": (U32, HANDLE, POINTER(Peer), OUT),
    "gossip_comm_handshake": (U32, HANDLE, POINTER(Peer), OUT, POINTER(BOOL), OUT),
    "gossip_comm_accept": (U32, HANDLE, POINTER(SubscriptionOptions), Predicate, HANDLE, FreeCallback, OUT, OUT),
    "gossip_comm_events": (U32, HANDLE, OUT, OUT),
    "gossip_comm_presumed_dead": (U32, HANDLE, OUT, OUT),
    "gossip_comm_close": (U32, HANDLE, POINTER(Peer), OUT),
    "gossip_comm_connections": (U32, HANDLE, OUT, OUT),
    "gossip_comm_identity": (U32, HANDLE, DATA, SIZE, OUT, OUT),
    "gossip_comm_org": (U32, HANDLE, DATA, SIZE, OUT, OUT),
    "gossip_comm_metrics": (U32, HANDLE, OUT, OUT),
    "gossip_comm_stop": (U32, HANDLE, U64, OUT),
    "gossip_comm_free": (None, HANDLE),
    "gossip_ack_handle_wait": (U32, HANDLE, U64, OUT),
    "gossip_ack_handle_nonce": (U64, HANDLE),
    "gossip_ack_handle_free": (None, HANDLE),
    "gossip_node_start": (U32, HANDLE, HANDLE, OUT, OUT, OUT),
    "gossip_node_comm": (U32, HANDLE, OUT, OUT),
    "gossip_node_self": (U32, HANDLE, OUT, OUT),
    "gossip_node_peers": (U32, HANDLE, OUT, OUT),
    "gossip_node_dead": (U32, HANDLE, OUT, OUT),
    "gossip_node_lookup": (U32, HANDLE, DATA, SIZE, OUT, OUT),
    "gossip_node_channel_peers": (U32, HANDLE, TEXT, OUT, OUT),
    "gossip_node_peers_of_channel": (U32, HANDLE, TEXT, OUT, OUT),
    "gossip_node_seeds": (U32, HANDLE, OUT, OUT),
    "gossip_node_identities": (U32, HANDLE, OUT, OUT),
    "gossip_node_connect": (U32, HANDLE, TEXT, OUT),
    "gossip_node_initiate_sync": (U32, HANDLE, SIZE, OUT),
    "gossip_node_update_metadata": (U32, HANDLE, DATA, SIZE, OUT),
    "gossip_node_update_endpoint": (U32, HANDLE, TEXT, OUT),
    "gossip_node_suspect_peers": (U32, HANDLE, IdentityPredicate, HANDLE, OUT),
    "gossip_channel_orgs_new": (U32, OUT, OUT),
    "gossip_channel_orgs_add": (U32, HANDLE, TEXT, OUT),
    "gossip_channel_orgs_add_anchor": (U32, HANDLE, TEXT, TEXT, U16, OUT),
    "gossip_channel_orgs_free": (None, HANDLE),
    "gossip_node_join_channel": (U32, HANDLE, TEXT, HANDLE, OUT),
    "gossip_node_leave_channel": (U32, HANDLE, TEXT, OUT),
    "gossip_node_update_ledger_height": (U32, HANDLE, TEXT, U64, OUT),
    "gossip_node_update_chaincodes": (U32, HANDLE, TEXT, POINTER(TEXT), POINTER(TEXT), SIZE, OUT),
    "gossip_node_gossip": (U32, HANDLE, HANDLE, OUT),
    "gossip_node_send": (U32, HANDLE, HANDLE, POINTER(Peer), SIZE, OUT),
    "gossip_node_send_by_criteria": (U32, HANDLE, HANDLE, U64, SIZE, SIZE, TEXT, OUT),
    "gossip_node_accept": (U32, HANDLE, POINTER(SubscriptionOptions), Predicate, HANDLE, FreeCallback, OUT, OUT),
    "gossip_node_notices": (U32, HANDLE, OUT, OUT),
    "gossip_node_wait_for_members": (U32, HANDLE, SIZE, U64, OUT),
    "gossip_node_metrics": (U32, HANDLE, OUT, OUT),
    "gossip_node_stop": (U32, HANDLE, OUT),
    "gossip_node_free": (None, HANDLE),
    "gossip_member_list_len": (SIZE, HANDLE),
    "gossip_member_list_at": (U32, HANDLE, SIZE, POINTER(Member), OUT),
    "gossip_member_list_free": (None, HANDLE),
    "gossip_channel_member_list_len": (SIZE, HANDLE),
    "gossip_channel_member_list_at": (U32, HANDLE, SIZE, POINTER(ChannelMember), OUT),
    "gossip_channel_member_list_chaincode": (U32, HANDLE, SIZE, SIZE, POINTER(Chaincode), OUT),
    "gossip_channel_member_list_free": (None, HANDLE),
    "gossip_connection_list_len": (SIZE, HANDLE),
    "gossip_connection_list_at": (U32, HANDLE, SIZE, POINTER(Connection), OUT),
    "gossip_connection_list_free": (None, HANDLE),
    "gossip_identity_list_len": (SIZE, HANDLE),
    "gossip_identity_list_at": (U32, HANDLE, SIZE, POINTER(Identity), OUT),
    "gossip_identity_list_free": (None, HANDLE),
    "gossip_seed_list_len": (SIZE, HANDLE),
    "gossip_seed_list_at": (U32, HANDLE, SIZE, POINTER(Seed), OUT),
    "gossip_seed_list_free": (None, HANDLE),
    "gossip_metrics_prometheus": (Str, HANDLE),
    "gossip_metrics_count": (SIZE, HANDLE),
    "gossip_metrics_name": (Str, HANDLE, SIZE),
    "gossip_metrics_value": (U32, HANDLE, TEXT, POINTER(F64), OUT),
    "gossip_metrics_free": (None, HANDLE),
}


#: The library in an installed package.
INSTALLED = Path(__file__).with_name("libfabric_gossip.so")

#: The remedy for a library that cannot be loaded.
REMEDY = (
    "install the package with its library (pip install ./bindings/python in a clone of fabric-gossip), install the "
    "library for all programs (make install), or set FABRIC_GOSSIP_LIBRARY to the path of libfabric_gossip.so"
)


def candidates() -> "Iterator[str]":
    """Yields the files to try: the one that FABRIC_GOSSIP_LIBRARY names, and no other; else the one in this package, and
    the one that the system's loader finds.
    """
    given = os.environ.get("FABRIC_GOSSIP_LIBRARY")
    if given:
        yield given
        return
    yield str(INSTALLED)
    # A library in the package that cannot be loaded is an error: another one could be of another release.
    if not INSTALLED.exists():
        yield ctypes.util.find_library("fabric_gossip") or "libfabric_gossip.so"


def load() -> ctypes.CDLL:
    """Loads the library, checks that it has this interface, and declares its functions.

    ImportError: no library can be loaded, or it has a different version; the text has the files tried and the remedy.
    """
    tried = []
    for file in candidates():
        try:
            library = ctypes.CDLL(file)
        except OSError as error:
            tried.append(f"\n  {error}" if file in str(error) else f"\n  {file}: {error}")
            continue
        return declared(library, file)
    files = "".join(tried)
    raise ImportError(f"the library of fabric_gossip cannot be loaded. Tried:{files}\nTo remedy this, {REMEDY}")


def declared(library: ctypes.CDLL, file: str) -> ctypes.CDLL:
    """Declares the functions of the library in `file`, if it has this interface."""
    try:
        library.gossip_version.restype = Str
    except AttributeError:
        raise ImportError(f"{file} is not the library fabric_gossip. To remedy this, {REMEDY}") from None
    version = str(library.gossip_version())
    major, minor = (int(number) for number in version.split(".")[:2])
    # Before 1.0 a different minor version means a different interface; from then on a larger one has additions.
    if major != MAJOR or (minor != MINOR if MAJOR == 0 else minor < MINOR):
        raise ImportError(f"{file} has version {version}; this module needs {MAJOR}.{MINOR}. To remedy this, {REMEDY}")
    for name, (result, *arguments) in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{file} is older than this module: it has no {name}. To remedy this, {REMEDY}") from None
        function.restype, function.argtypes = result, arguments
    return library
