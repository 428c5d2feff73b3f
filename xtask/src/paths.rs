//! Where things are in this repository. All are relative to its root, the working directory of every command.

use std::path::{Path, PathBuf};

/// The library's sources.
pub const LIBRARY: &str = "src";
/// Sources below [`LIBRARY`] that are outside of the library's modules.
pub const NOT_THE_LIBRARY: &[&str] = &["src/lib.rs"];
/// Rust sources that may contain `unsafe`.
pub const UNSAFE: &[&str] = &["src/transport", "capi/src", "capi/benches"];
/// Rust sources that must not contain `unsafe` outside of [`UNSAFE`]. Folders that do not exist are passed over.
pub const SAFE: &[&str] = &["src", "cli", "capi", "xtask"];
/// Sources with tests that documents name. Folders that do not exist are passed over.
pub const TESTS: &[&str] = &["tests", "src", "cli", "capi"];
/// Describes the house rules and has the table of imports.
pub const CONTRIBUTING: &str = "CONTRIBUTING.md";
pub const README: &str = "README.md";
/// One row for each behaviour of a Fabric peer.
pub const CONFORMANCE: &str = "docs/conformance.md";
/// Documents whose tables name tests in their last column.
pub const CLAIMS: &[&str] = &["docs/weaknesses.md", "docs/c-core.md"];
/// The public items of the library.
pub const PUBLIC_API: &str = "docs/public-api.txt";
/// The Rust examples.
pub const EXAMPLES: &str = "examples";

/// The C header, the sources it is generated from, and how.
pub const HEADER: &str = "capi/include/fabric_gossip.h";
pub const HEADER_SOURCE: &str = "capi/src/lib.rs";
pub const CBINDGEN: &str = "capi/cbindgen.toml";
/// The folder that C programs include from.
pub const INCLUDE: &str = "capi/include";
/// The guide to the C interface.
pub const GUIDE: &str = "docs/c-interface.md";
/// The documentation site: its sources, its list of chapters, and the pages whose programs and commands are run.
pub const BOOK: &str = "docs";
pub const SUMMARY: &str = "docs/SUMMARY.md";
pub const BOOK_PAGES: &str = "docs/guide";
/// Programs that build, install and measure; some run commands of the site.
pub const SCRIPTS: &str = "scripts";
/// The page with the table of refusals.
pub const REFUSALS: &str = "docs/guide/refused.md";
/// Documents outside of [`BOOK`] whose links are checked.
pub const LINKED: &[&str] = &["README.md", "CONTRIBUTING.md", "SECURITY.md", "bindings/python/README.md"];
/// The template of the file for pkg-config.
pub const PKG_CONFIG: &str = "packaging/pkgconfig/fabric-gossip.pc.in";
/// The Python package.
pub const PYTHON: &str = "bindings/python";
/// Declarations that the guide's snippets may use.
pub const PRELUDE: &str = "xtask/src/prelude.h";

/// Selects for cargo the packages and features of the test run. Another selection would compile the library again.
pub const ALL: &[&str] = &["--workspace", "--features", "host-server,fabric-gossip-cli/c-core"];
/// Selects for cargo the packages and features of the library, the tool and the C interface, without `host-server`.
pub const SHIPPED: &[&str] = &["--workspace", "--features", "fabric-gossip-cli/c-core"];
/// Selects for cargo the tool as users build it, without the C core.
pub const TOOL_ALONE: &[&str] = &["-p", "fabric-gossip-cli"];
/// The selections of packages with the C core that are built from one target folder.
pub const SELECTIONS: &[&[&str]] = &[
    &[],
    &["-p", "fabric-gossip-cli", "--features", "fabric-gossip-cli/c-core"],
    &["-p", "fabric-gossip-capi"],
    SHIPPED,
    ALL,
];
/// Selects for `cargo metadata`, which knows no packages, the features of [`ALL`].
pub const ALL_FEATURES: &[&str] = &["--features", "host-server"];
/// The packages whose binaries are distributed.
pub const DISTRIBUTED: &[&str] = &["fabric-gossip-cli", "fabric-gossip-capi"];
/// The licences of the code of others in these binaries.
pub const NOTICES: &str = "THIRD-PARTY.txt";
/// The configuration of cargo-deny.
pub const DENY: &str = "deny.toml";
/// The command-line tool, below the release folder.
pub const TOOL: &str = "fabric-gossip";

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    // Set by cargo; the fallback is the folder that this was compiled from.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(manifest).parent().map(Path::to_owned).unwrap_or_default()
}

/// Returns cargo's target folder, absolute.
pub fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::env::current_dir().unwrap_or_default().join(set)
}

/// Returns the folder of the release profile's output.
pub fn release() -> PathBuf {
    target().join("release")
}

/// Returns the path of the shared library of the C interface, which may not be built.
pub fn shared_library() -> PathBuf {
    release().join("libfabric_gossip.so")
}

/// Returns the path of the command-line tool.
pub fn tool() -> PathBuf {
    release().join(TOOL)
}
