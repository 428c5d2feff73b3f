"""Compares the declarations in fabric_gossip/_c.py and _codes.py with capi/include/fabric_gossip.h, type by type."""

import ctypes
import re
import unittest
from pathlib import Path

from fabric_gossip import _c as c
from fabric_gossip import _codes

HEADER = (Path(__file__).parents[3] / "capi" / "include" / "fabric_gossip.h").read_text()
# Without comments, and without the lines of the preprocessor.
CODE = re.sub(r"^#.*$", "", re.sub(r"//.*", "", HEADER), flags=re.MULTILINE)

PLAIN = {
    "void": None, "bool": c.BOOL, "int": c.INT, "double": c.F64, "size_t": c.SIZE, "uint16_t": c.U16, "uint32_t": c.U32,
    "uint64_t": c.U64, "int32_t": c.I32, "int64_t": c.I64, "gossip_duration": c.U64, "gossip_str": c.Str,
    "gossip_bytes": c.Bytes, "gossip_result": c.U32, "gossip_content": c.U32, "gossip_event_kind": c.U32,
    "gossip_log_level": c.U32,
}
CALLBACKS = {
    "gossip_log_callback": c.LogCallback, "gossip_free_callback": c.FreeCallback, "gossip_sign_callback": c.SignCallback,
    "gossip_verify_callback": c.VerifyCallback, "gossip_verify_by_channel_callback": c.VerifyByChannelCallback,
    "gossip_identity_callback": c.IdentityCallback, "gossip_expiration_callback": c.ExpirationCallback,
    "gossip_block_verifier": c.BlockVerifier, "gossip_event_callback": c.EventCallback, "gossip_predicate": c.Predicate,
    "gossip_identity_predicate": c.IdentityPredicate, "gossip_sign_digest_callback": c.SignDigestCallback,
}
STRUCTURES = {
    "gossip_str": c.Str, "gossip_bytes": c.Bytes, "gossip_peer": c.Peer, "gossip_member": c.Member,
    "gossip_channel_member": c.ChannelMember, "gossip_chaincode": c.Chaincode,
    "gossip_connection": c.Connection, "gossip_identity": c.Identity, "gossip_seed": c.Seed,
    "gossip_subscription_options": c.SubscriptionOptions, "gossip_crypto_callbacks": c.CryptoCallbacks,
}
ENUMERATIONS = {
    "gossip_result": (_codes.Code, "GOSSIP_"), "gossip_log_level": (_codes.LogLevel, "GOSSIP_LOG_"),
    "gossip_content": (_codes.Content, "GOSSIP_CONTENT_"), "gossip_event_kind": (_codes.EventKind, "GOSSIP_EVENT_"),
    "gossip_msp_part": (_codes.MspPart, "GOSSIP_MSP_"), "gossip_msp_role": (_codes.MspRole, "GOSSIP_MSP_"),
    "gossip_msp_version": (_codes.MspVersion, "GOSSIP_MSP_"), "gossip_when_full": (_codes.WhenFull, "GOSSIP_"),
}


def kind_of(declared: str, in_callback: bool) -> object:
    """Returns the ctypes type for a type of the header. `in_callback`: bytes are an input, and thus a pointer."""
    words = re.sub(r"\b(const|struct|enum)\b", "", declared)
    name, stars = re.sub(r"[*\s]", "", words), words.count("*")
    if stars == 0:
        return CALLBACKS.get(name) or STRUCTURES.get(name) or PLAIN[name]
    if name in ("char", "uint8_t") and not in_callback:
        return c.TEXT if stars == 1 else ctypes.POINTER(c.TEXT)
    if stars == 2:
        return c.OUT
    if name in STRUCTURES:
        return ctypes.POINTER(STRUCTURES[name])
    if name in PLAIN and name not in ("void",):
        return ctypes.POINTER(PLAIN[name])
    return c.HANDLE


def types(parameters: str, in_callback: bool = False) -> list:
    """Returns the parameters of a list, each with its name."""
    if parameters.strip() == "void":
        return []
    return [kind_of(re.sub(r"\w+\s*$", "", part), in_callback) for part in parameters.split(",")]


class Header(unittest.TestCase):
    def test_every_function_has_its_types(self) -> None:
        prototypes = CODE[CODE.index('extern "C" {'):]
        declared = {
            name: (kind_of(result, False), *types(parameters))
            for result, name, parameters in re.findall(r"([\w ]+?[ *]+)(gossip_\w+)\(([^)]*)\);", prototypes)
        }
        # No prototype was missed, regardless of layout.
        self.assertEqual(len(declared), prototypes.count(";"))
        self.assertEqual(set(declared), set(c.FUNCTIONS))
        for name, signature in declared.items():
            self.assertEqual(c.FUNCTIONS[name], signature, name)

    def test_every_callback_has_its_types(self) -> None:
        found = re.findall(r"typedef (\w+) \(\*(\w+)\)\(([^)]*)\);", CODE)
        declared = {name: (result, parameters) for result, name, parameters in found}
        self.assertEqual(set(declared), set(CALLBACKS))
        for name, (result, parameters) in declared.items():
            ours = CALLBACKS[name]
            self.assertEqual((ours._restype_, list(ours._argtypes_)), (PLAIN[result], types(parameters, True)), name)

    def test_every_structure_has_its_fields(self) -> None:
        declared = dict(re.findall(r"typedef struct (\w+) \{([^}]*)\}", CODE))
        self.assertEqual(set(declared), set(STRUCTURES))
        for name, body in declared.items():
            fields = [(re.search(r"(\w+)\s*$", field)[1], field) for field in body.split(";") if field.strip()]
            in_library = name in ("gossip_str", "gossip_bytes")
            expected = [(field, *types(declaration, in_library)) for field, declaration in fields]
            self.assertEqual(STRUCTURES[name]._fields_, expected, name)

    def test_every_number_has_its_name(self) -> None:
        declared = dict(re.findall(r"enum (\w+)\s*:?\s*\w*\s*\{([^}]*)\}", re.sub(r": uint32_t", "", CODE)))
        self.assertEqual(set(declared), set(ENUMERATIONS))
        for name, body in declared.items():
            ours, prefix = ENUMERATIONS[name]
            theirs = {key.removeprefix(prefix): int(value) for key, value in re.findall(r"(\w+) = (\d+)", body)}
            self.assertEqual({member.name: member.value for member in ours}, theirs, name)

    def test_the_version_is_the_headers(self) -> None:
        numbers = {name: int(number) for name, number in re.findall(r"#define GOSSIP_VERSION_(\w+) (\d+)", HEADER)}
        self.assertEqual((c.MAJOR, c.MINOR), (numbers["MAJOR"], numbers["MINOR"]))
        project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
        version = ".".join(str(numbers[name]) for name in ("MAJOR", "MINOR", "PATCH"))
        self.assertEqual(re.search(r'^version = "(.*)"$', project, flags=re.MULTILINE)[1], version)


if __name__ == "__main__":
    unittest.main()
