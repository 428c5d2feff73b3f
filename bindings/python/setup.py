"""Builds a wheel with the shared library inside, and a source archive with the Rust sources that it is compiled from.

The metadata is in pyproject.toml; README.md lists the variables.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
LIBRARY = "libfabric_gossip.so"
#: The Rust sources in a source archive.
BUNDLED = HERE / "rust"
#: What the library is compiled from, relative to the root of the repository.
SOURCES = ["Cargo.lock", "LICENSE", "build.rs", "src", "proto", ".cargo", "capi/src", "capi/include"]
MANIFESTS = ["Cargo.toml", "capi/Cargo.toml"]


def compile_library() -> Path:
    """Runs cargo. Returns the path of the shared library."""
    given = os.environ.get("FABRIC_GOSSIP_LIBRARY")
    if given:
        return Path(given)
    transports = {"http2": "http2", "c-core": "http2,c-core"}.get(os.environ.get("FABRIC_GOSSIP_TRANSPORT", "http2"))
    if transports is None:
        raise SystemExit("FABRIC_GOSSIP_TRANSPORT: expected http2 or c-core")
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if cargo is None:
        raise SystemExit(
            "cargo was not found. The library is written in Rust: install Rust 1.85 or later (https://rustup.rs), or "
            f"set FABRIC_GOSSIP_LIBRARY to the path of a {LIBRARY} that is already built"
        )
    root = BUNDLED if BUNDLED.is_dir() else HERE.parents[1]
    # The lock file of a source archive has packages of the whole repository, which cargo removes.
    locked = [] if BUNDLED.is_dir() else ["--locked"]
    select = ["-p", "fabric-gossip-capi", "--no-default-features", "--features", transports]
    command = [cargo, "build", "--release", *locked, *select]
    try:
        subprocess.run(command, cwd=root, check=True)
    except subprocess.CalledProcessError:
        raise SystemExit(
            "the library does not compile; see above. It needs Rust 1.85, a C compiler, pkg-config and OpenSSL's "
            "headers (on Debian: apt-get install gcc pkg-config libssl-dev)"
        ) from None
    return Path(root, os.environ.get("CARGO_TARGET_DIR", "target"), "release", LIBRARY)


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        # An editable installation uses the sources of the module: there FABRIC_GOSSIP_LIBRARY names the library.
        if not self.editable_mode:
            folder = Path(self.build_lib, "fabric_gossip")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(compile_library(), folder / LIBRARY)


class BdistWheel(bdist_wheel):
    def get_tag(self) -> "tuple[str, str, str]":
        # Any Python 3 and any ABI of it: the module uses ctypes.
        return "py3", "none", super().get_tag()[2]


class Sdist(sdist):
    def make_release_tree(self, base_dir: str, files: "list[str]") -> None:
        super().make_release_tree(base_dir, files)
        target = Path(base_dir, "rust")
        root = BUNDLED if BUNDLED.is_dir() else HERE.parents[1]
        for name in SOURCES:
            source, copy = root / name, target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copy(source, copy)
        for name in MANIFESTS:
            (target / name).write_text(without_tests((root / name).read_text()))


def without_tests(manifest: str) -> str:
    """Returns a manifest without the targets and dependencies of tests, and with the C interface as the only member."""
    sections = re.split(r"(?m)^(?=\[)", manifest)
    dropped = ("[[bench]]", "[[test]]", "[[example]]", "[dev-dependencies]")
    kept = "".join(section for section in sections if not section.startswith(dropped))
    return re.sub(r"(?m)^members = .*$", 'members = ["capi"]', kept)


class BinaryDistribution(Distribution):
    """A distribution for one platform."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    distclass=BinaryDistribution,
    cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel, "sdist": Sdist},
)
