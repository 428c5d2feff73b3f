"""Organisations, identities, keys and TLS."""

from __future__ import annotations

import ctypes
import datetime
import os
from ctypes import byref, string_at
from typing import Any, Callable, Iterable, Mapping, Optional, Union

from . import _c as c
from ._codes import MspPart, MspRole, MspVersion
from ._core import (
    KEPT, Handle, Owner, Text, answer, as_data, as_text, call, function, handle_of, judge, loaded, make, make_with,
    on_free, take_buffer, unsigned, wrap,
)

Pem = Union[bytes, bytearray, memoryview]
Ou = Union[str, "tuple[str, Pem]"]


def _ou(ou: Ou) -> "tuple[Optional[bytes], bytes, int]":
    identifier, cert = (ou, b"") if isinstance(ou, str) else ou
    return (as_text(identifier), *as_data(cert))


class Msp(Owner):
    """An organisation, which validates its members' identities."""

    _free = "gossip_msp_free"

    def __init__(
        self,
        mspid: str,
        parts: "Iterable[tuple[MspPart, str, Pem]]",
        *,
        ous: Iterable[Ou] = (),
        node_ous: "Optional[Mapping[MspRole, Ou]]" = None,
        version: Optional[MspVersion] = None,
        sha3: bool = False,
    ) -> None:
        """Creates an MSP from PEM in memory, each with its part, a name for errors, and its content. Needs a root
        authority.

        `ous` are units of which members must have at least one; `node_ous` are units that identify roles. Each is a
        name, or a name and the certificate of the authority that must certify it.
        """
        config = Handle(make("gossip_msp_config_new", as_text(mspid)), "gossip_msp_config_free")
        for part, name, pem in parts:
            call("gossip_msp_config_add", config, unsigned(part, 32), as_text(name), *as_data(pem))
        for ou in ous:
            call("gossip_msp_config_add_ou", config, *_ou(ou))
        for role, ou in (node_ous or {}).items():
            call("gossip_msp_config_set_node_ou", config, unsigned(role, 32), *_ou(ou))
        if version is not None:
            call("gossip_msp_config_set_version", config, unsigned(version, 32))
        call("gossip_msp_config_set_sha3", config, sha3)
        super().__init__(make("gossip_msp_new", config))

    @classmethod
    def load(cls, folder: Text, mspid: str) -> "Msp":
        """Loads an MSP from its folder, as cryptogen and fabric-ca-client create it."""
        return wrap(cls, make("gossip_msp_load", as_text(folder), as_text(mspid)))

    def _brief(self) -> str:
        return self.id

    @property
    def id(self) -> str:
        """The MSP id: the organisation's name in the network."""
        return self._text("gossip_msp_id")


def serialized_identity(mspid: str, cert: Pem) -> bytes:
    """Serializes the identity of a member as it is sent to peers, from its PEM certificate."""
    return take_buffer("gossip_serialized_identity", as_text(mspid), *as_data(cert))


class DerSignature(bytes):
    """An ECDSA signature in ASN.1 DER, a SEQUENCE of the INTEGERs r and s, as OpenSSL and cloud key services return
    it."""


class RawSignature(bytes):
    """An ECDSA signature as r followed by s, each padded to the length of the curve's order, as PKCS #11 returns it."""


class Crypto(Owner):
    """Our own identity and key, and the organisations that we trust. Can be used for any number of comms and nodes."""

    _free = "gossip_crypto_free"

    def __init__(self, msp: Msp, cert: Pem, key: Pem) -> None:
        """Creates the identity of a member of `msp` from its certificate and its unencrypted private key, both PEM."""
        super().__init__(make("gossip_crypto_new", handle_of(msp, Msp), *as_data(cert), *as_data(key)))

    @classmethod
    def load(cls, folder: Text, mspid: str) -> "Crypto":
        """Loads our identity from the folder of our local MSP: `signcerts/`, `keystore/` and the organisation."""
        return wrap(cls, make("gossip_crypto_load", as_text(folder), as_text(mspid)))

    @classmethod
    def of_signer(
        cls, msp: Msp, cert: Pem, sign: "Callable[[bytes], Union[DerSignature, RawSignature]]"
    ) -> "Crypto":
        """Creates a member of `msp` whose ECDSA key stays outside of the process, for example in an HSM.

        `cert` is its PEM certificate. sign(digest) signs a 32-byte digest without hashing it again, and returns a
        DerSignature or a RawSignature. S may be high. It is called once here, to check that key and certificate belong
        together, and later on the library's threads, several at the same time; it may block. Its exceptions go into the
        error.
        """

        organisation = handle_of(msp, Msp)

        def with_number(number: int) -> int:
            return make("gossip_crypto_new_signer", organisation, *as_data(cert), _on_sign_digest, number, on_free)

        return wrap(cls, make_with({"sign_digest": function(sign, "sign")}, with_number))

    @classmethod
    def of_callbacks(
        cls,
        identity: bytes,
        msp: Optional[Msp] = None,
        *,
        sign: Callable[[bytes], bytes],
        verify: Optional[Callable[[bytes, bytes, bytes], bool]] = None,
        verify_by_channel: Optional[Callable[[bytes, bytes, bytes, bytes], bool]] = None,
        pki_id: Optional[Callable[[bytes], Optional[bytes]]] = None,
        validate_identity: Optional[Callable[[bytes], bool]] = None,
        expiration: "Optional[Callable[[bytes], Union[datetime.datetime, float, None]]]" = None,
        org: Optional[Callable[[bytes], Optional[str]]] = None,
    ) -> "Crypto":
        """Creates an identity with cryptography implemented by the host, such as a key in an HSM.

        `msp` provides the functions that are left out. `identity` is ours as it is sent to peers
        (`serialized_identity`). The functions are called on the library's threads, several at the same time, and may
        block.

        sign(message) receives the message, not its digest, and returns the signature: for X.509 identities ECDSA over
        the message's SHA-256 in ASN.1 DER, with any S (the library normalises it). `of_signer` is for keys that sign
        digests. verify(identity, signature, message), verify_by_channel(channel, identity, signature, message) and
        validate_identity(identity) must return True to accept; any other result rejects. pki_id(identity) returns
        bytes, org(identity) an MSP id, each None if there is none. expiration(identity) returns an aware datetime or
        seconds since 1970; None means never. An exception is a failure, and goes into the error.
        """
        given = {
            "sign": (sign, _on_sign),
            "verify": (verify, _on_verify),
            "verify_by_channel": (verify_by_channel, _on_verify_by_channel),
            "pki_id": (pki_id, _on_pki_id),
            "validate_identity": (validate_identity, _on_validate_identity),
            "expiration": (expiration, _on_expiration),
            "org": (org, _on_org),
        }
        callbacks = c.CryptoCallbacks(size=ctypes.sizeof(c.CryptoCallbacks), free=on_free)
        function(sign, "sign")
        for name, (callback, trampoline) in given.items():
            if callback is not None:
                function(callback, name)
                setattr(callbacks, name, trampoline)

        def with_number(number: int) -> int:
            callbacks.user = number
            handle = None if msp is None else handle_of(msp, Msp)
            return make("gossip_crypto_new_callbacks", *as_data(identity), byref(callbacks), handle)

        return wrap(cls, make_with({name: callback for name, (callback, _) in given.items()}, with_number))

    def _brief(self) -> str:
        return self.pki_id.hex()

    @property
    def identity(self) -> bytes:
        """Our identity as it is sent to peers."""
        return self._bytes("gossip_crypto_identity")

    @property
    def pki_id(self) -> bytes:
        """Our PKI-ID: our short name in the whole network."""
        return self._bytes("gossip_crypto_pki_id")

    def trust(self, msp: Msp) -> None:
        """Trusts the members of a further organisation."""
        call("gossip_crypto_trust", self._h, handle_of(msp, Msp))

    def distrust(self, mspid: str) -> None:
        """Stops trusting an organisation's members. Connected members stay connected until `Node.suspect_peers` is
        called."""
        call("gossip_crypto_distrust", self._h, as_text(mspid))

    def set_channel(self, channel: str, msps: Iterable[Msp], readers: Optional[Iterable[str]] = None) -> None:
        """Sets the organisations of a channel, and the MSP ids whose members may read it; None means no policies."""
        handles = [handle_of(msp, Msp) for msp in msps]
        pointers = (c.HANDLE * len(handles))(*[handle._as_parameter_ for handle in handles])
        names = None if readers is None else [as_text(reader) for reader in readers]
        # An empty list of readers is not NULL: it means that no one may read.
        texts = None if names is None else (c.TEXT * max(len(names), 1))(*names)
        count = 0 if names is None else len(names)
        call("gossip_crypto_set_channel", self._h, as_text(channel), pointers, len(handles), texts, count)

    def remove_channel(self, channel: str) -> None:
        """Removes a channel's organisations."""
        call("gossip_crypto_remove_channel", self._h, as_text(channel))

    def sign(self, data: bytes) -> bytes:
        """Signs `data`, the message and not its digest, with our own key. ECDSA signatures are DER with low S."""
        return take_buffer("gossip_crypto_sign", self._h, *as_data(data))

    def verify(self, identity: bytes, signature: bytes, data: bytes) -> None:
        """Verifies a signature under the key of `identity`, which must be valid; raises if it is not accepted."""
        call("gossip_crypto_verify", self._h, *as_data(identity), *as_data(signature), *as_data(data))


class Tls(Owner):
    """Checked certificates in use by any number of comms and nodes; can be replaced while they run."""

    _free = "gossip_tls_free"

    def __init__(
        self,
        pair: "Optional[tuple[Pem, Pem]]" = None,
        roots: Iterable[Pem] = (),
        *,
        client_pair: "Optional[tuple[Pem, Pem]]" = None,
        verify_clients: Iterable[Pem] = (),
        server_name: Optional[str] = None,
    ) -> None:
        """Creates TLS certificates from PEM in memory.

        `pair` is the certificate and key presented in both directions; `roots` certify dialled servers. `client_pair`
        is presented instead when dialling. With `verify_clients`, peers that dial us must present a certificate that
        these roots certify. `server_name` is the name that servers' certificates are checked for instead of the one in
        the endpoint.
        """
        super().__init__(make("gossip_tls_new", _tls_config(pair, roots, client_pair, verify_clients, server_name)))

    @classmethod
    def load(cls, folder: Text) -> "Tls":
        """Loads from a folder in cryptogen's layout: `server.crt`, `server.key` and `ca.crt`."""
        return wrap(cls, make("gossip_tls_new", _tls_folder(folder)))

    def replace(
        self,
        pair: "Optional[tuple[Pem, Pem]]" = None,
        roots: Iterable[Pem] = (),
        *,
        client_pair: "Optional[tuple[Pem, Pem]]" = None,
        verify_clients: Iterable[Pem] = (),
        server_name: Optional[str] = None,
    ) -> None:
        """Replaces the certificates. Existing connections continue; new ones use the new certificates."""
        call("gossip_tls_replace", self._h, _tls_config(pair, roots, client_pair, verify_clients, server_name))

    def reload(self, folder: Text) -> None:
        """Replaces the certificates from a folder, like `load`."""
        call("gossip_tls_replace", self._h, _tls_folder(folder))

    @property
    def expires(self) -> Optional[int]:
        """The earliest expiration of a certificate that we present, in seconds since 1970; None if none is
        presented."""
        handle = self._h
        seconds = loaded().gossip_tls_expires(handle)
        return None if seconds == 2**63 - 1 else seconds


def _tls_folder(folder: Text) -> Handle:
    config = Handle(make("gossip_tls_config_new"), "gossip_tls_config_free")
    cert, key, roots = (as_text(os.path.join(folder, name)) for name in ("server.crt", "server.key", "ca.crt"))
    call("gossip_tls_config_set_pair_files", config, cert, key)
    call("gossip_tls_config_add_roots_file", config, roots)
    return config


def _tls_config(pair: Any, roots: Any, client_pair: Any, verify_clients: Any, server_name: Any) -> Handle:
    for pems in (roots, verify_clients):
        if isinstance(pems, (bytes, str)):
            raise TypeError("expected a list of PEM files, each as bytes")
    config = Handle(make("gossip_tls_config_new"), "gossip_tls_config_free")
    if pair is not None:
        call("gossip_tls_config_set_pair", config, *as_data(pair[0]), *as_data(pair[1]))
    if client_pair is not None:
        call("gossip_tls_config_set_client_pair", config, *as_data(client_pair[0]), *as_data(client_pair[1]))
    for pem in roots:
        call("gossip_tls_config_add_roots", config, *as_data(pem))
    for pem in verify_clients:
        call("gossip_tls_config_verify_clients", config, *as_data(pem))
    if server_name is not None:
        call("gossip_tls_config_set_server_name", config, as_text(server_name))
    return config


# Functions that the library calls for cryptography implemented by the host.


@c.SignCallback
def _on_sign(user: int, message: int, length: int, reply: int) -> bool:
    return answer(reply, "sign", lambda: KEPT[user]["sign"](string_at(message, length) if length else b""))


@c.SignDigestCallback
def _on_sign_digest(user: int, digest: int, length: int, reply: int) -> bool:
    def given() -> bool:
        signature = KEPT[user]["sign_digest"](string_at(digest, length))
        if isinstance(signature, DerSignature):
            loaded().gossip_reply_set_der(reply, *as_data(bytes(signature)))
        elif isinstance(signature, RawSignature):
            loaded().gossip_reply_set_raw(reply, *as_data(bytes(signature)))
        else:
            raise TypeError(f"expected a DerSignature or RawSignature, not {type(signature).__name__}")
        return True

    return judge(reply, "sign_digest", given)


@c.VerifyCallback
def _on_verify(user: int, identity: c.Bytes, signature: c.Bytes, message: c.Bytes, reply: int) -> bool:
    return judge(reply, "verify", lambda: KEPT[user]["verify"](bytes(identity), bytes(signature), bytes(message)))


@c.VerifyByChannelCallback
def _on_verify_by_channel(
    user: int, channel: c.Bytes, identity: c.Bytes, signature: c.Bytes, message: c.Bytes, reply: int
) -> bool:
    given = [bytes(part) for part in (channel, identity, signature, message)]
    return judge(reply, "verify_by_channel", lambda: KEPT[user]["verify_by_channel"](*given))


@c.IdentityCallback
def _on_pki_id(user: int, identity: c.Bytes, reply: int) -> bool:
    return answer(reply, "pki_id", lambda: KEPT[user]["pki_id"](bytes(identity)))


@c.IdentityCallback
def _on_validate_identity(user: int, identity: c.Bytes, reply: int) -> bool:
    return judge(reply, "validate_identity", lambda: KEPT[user]["validate_identity"](bytes(identity)))


@c.IdentityCallback
def _on_org(user: int, identity: c.Bytes, reply: int) -> bool:
    return answer(reply, "org", lambda: KEPT[user]["org"](bytes(identity)))


@c.ExpirationCallback
def _on_expiration(user: int, identity: c.Bytes, seconds: Any, reply: int) -> bool:
    def ask() -> bool:
        expires = KEPT[user]["expiration"](bytes(identity))
        if isinstance(expires, datetime.datetime):
            expires = expires.timestamp()
        seconds[0] = 2**63 - 1 if expires is None else int(expires)
        return True

    return judge(reply, "expiration", ask)
