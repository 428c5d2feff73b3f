"""A peer whose P-256 key stays in a PKCS #11 module: an HSM, a smart card, or SoftHSM as here.

The library passes the SHA-256 digest of the data; the module signs that digest with CKM_ECDSA, which does not hash, and
returns r followed by s: a `RawSignature`. Only ctypes is needed.

    fabric-gossip crypto DIR
    export PKCS11_MODULE=/usr/lib/softhsm/libsofthsm2.so PKCS11_PIN=1234 PKCS11_LABEL=peer0
    softhsm2-util --init-token --free --label fabric --pin 1234 --so-pin 1234
    softhsm2-util --token fabric --pin 1234 --label peer0 --id 01 \
        --import DIR/peerOrganizations/org1.example.com/peers/peer0.org1.example.com/msp/keystore/priv_sk
    python3 hsm.py DIR

prints:

```text
the peer has no key, and is accepted as a member of Org1MSP
  delivered b'signed elsewhere' to 1
the module goes away
  SIGNATURE: the host's sign_digest callback failed: ConnectionError: the module is closed
```
"""

import ctypes
import os
import sys
import threading
from ctypes import Structure, byref, c_ubyte, c_ulong, c_void_p
from pathlib import Path

import fabric_gossip as gossip

# Names and numbers of the PKCS #11 standard.
CKF_SERIAL_SESSION, CKU_USER, CKR_USER_ALREADY_LOGGED_IN = 4, 1, 0x100
CKA_CLASS, CKA_LABEL, CKO_PRIVATE_KEY, CKM_ECDSA = 0, 3, 3, 0x1041


class Attribute(Structure):
    _fields_ = [("type", c_ulong), ("value", c_void_p), ("length", c_ulong)]


class Mechanism(Structure):
    _fields_ = [("mechanism", c_ulong), ("parameter", c_void_p), ("length", c_ulong)]


class Hsm:
    """A session with the private key of this label, in any slot that has it."""

    def __init__(self, module: str, pin: str, label: str) -> None:
        self.library = ctypes.CDLL(module)
        # A session signs one digest at a time, and the library may call on several threads.
        self.lock = threading.Lock()
        self.session = None
        self.call("C_Initialize", None)
        count = c_ulong()
        self.call("C_GetSlotList", c_ubyte(1), None, byref(count))
        slots = (c_ulong * count.value)()
        self.call("C_GetSlotList", c_ubyte(1), slots, byref(count))
        for slot in slots:
            session = c_ulong()
            self.call("C_OpenSession", c_ulong(slot), c_ulong(CKF_SERIAL_SESSION), None, None, byref(session))
            try:
                self.call("C_Login", session, c_ulong(CKU_USER), pin.encode(), c_ulong(len(pin)))
                self.key = self.find(session, label)
            except LookupError:
                self.call("C_CloseSession", session)
                continue
            self.session = session
            return
        raise LookupError(f"no slot of {module} has the private key {label!r} behind this PIN")

    def call(self, name: str, *arguments: object) -> None:
        result = self.library[name](*arguments)
        if name == "C_Login" and result != CKR_USER_ALREADY_LOGGED_IN and result != 0:
            raise LookupError(f"{name}: 0x{result:x}")
        if result not in (0, CKR_USER_ALREADY_LOGGED_IN):
            raise OSError(f"{name}: PKCS #11 error 0x{result:x}")

    def find(self, session: c_ulong, label: str) -> c_ulong:
        kind, name = c_ulong(CKO_PRIVATE_KEY), ctypes.create_string_buffer(label.encode(), len(label.encode()))
        template = (Attribute * 2)(
            Attribute(CKA_CLASS, ctypes.cast(byref(kind), c_void_p), ctypes.sizeof(kind)),
            Attribute(CKA_LABEL, ctypes.cast(name, c_void_p), len(name)),
        )
        key, found = c_ulong(), c_ulong()
        self.call("C_FindObjectsInit", session, template, c_ulong(2))
        self.call("C_FindObjects", session, byref(key), c_ulong(1), byref(found))
        self.call("C_FindObjectsFinal", session)
        if found.value == 0:
            raise LookupError(label)
        return key

    def sign(self, digest: bytes) -> gossip.RawSignature:
        signature, length = (c_ubyte * 256)(), c_ulong(256)
        with self.lock:
            if self.session is None:
                raise ConnectionError("the module is closed")
            self.call("C_SignInit", self.session, byref(Mechanism(CKM_ECDSA, None, 0)), self.key)
            self.call("C_Sign", self.session, digest, c_ulong(len(digest)), signature, byref(length))
        return gossip.RawSignature(signature[: length.value])

    def close(self) -> None:
        with self.lock:
            self.session = None
            self.call("C_Finalize", None)


def main(folder: Path, hsm: Hsm) -> None:
    org = folder / "peerOrganizations/org1.example.com"
    home, other = org / "peers/peer0.org1.example.com", org / "peers/peer1.org1.example.com"
    name = "Org1MSP"
    (cert,) = (home / "msp/signcerts").iterdir()
    # The organisation's folder, which has no keys.
    crypto = gossip.Crypto.of_signer(gossip.Msp.load(org / "msp", name), cert.read_bytes(), hsm.sign)

    listening = gossip.Config(listen="127.0.0.1:0", tls=gossip.Tls.load(other / "tls"))
    with gossip.Comm(gossip.Crypto.load(other / "msp", name), listening) as peer1:
        inbox = peer1.accept()
        inbox.set_callback(lambda event: event.ack())
        with gossip.Comm(crypto, gossip.Config(tls=gossip.Tls.load(home / "tls"))) as peer0:
            events = peer1.events()
            peer0.connect(peer1.local_addr, timeout=10)
            connected = next(event for event in events if event.kind == gossip.EventKind.CONNECTED)
            print(f"the peer has no key, and is accepted as a member of {peer1.org(connected.pki_id)}")
            data = b"signed elsewhere"
            acks = peer0.send_with_ack(gossip.Message.block("mychannel", 1, data), peer1.local_addr, timeout=10)
            print(f"  delivered {data!r} to {acks}")

    hsm.close()
    print("the module goes away")
    try:
        crypto.sign(b"anything")
    except gossip.Error as error:
        print(f"  {error.code.name}: {error.reason}")


if __name__ == "__main__":
    environment = os.environ
    main(Path(sys.argv[1]), Hsm(environment["PKCS11_MODULE"], environment["PKCS11_PIN"], environment["PKCS11_LABEL"]))
