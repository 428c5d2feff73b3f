//! The third-party packages in the binaries that are distributed: the tool and the C libraries, with both transports.

use crate::{paths, tool};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The platform of the distributed binaries.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// A crate that is linked into a binary.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Its licence as an SPDX expression.
    pub licence: String,
    pub repository: Option<String>,
    /// The folder of its sources.
    pub folder: PathBuf,
    /// SHA-256 of its archive, in hexadecimal; `None` for a package of this repository.
    pub checksum: Option<String>,
    /// Names and versions of the packages it uses.
    pub uses: BTreeSet<(String, String)>,
}

impl Package {
    /// Returns whether the package is part of this repository.
    pub fn is_ours(&self) -> bool {
        self.checksum.is_none()
    }

    /// Returns the packages of other projects that this one contains and compiles.
    pub fn bundled(&self) -> impl Iterator<Item = &'static Bundled> + use<'_> {
        BUNDLED.iter().filter(|it| it.of == self.name)
    }
}

/// C or C++ code of another project, in the archive of a crate that compiles it.
pub struct Bundled {
    /// The crate.
    pub of: &'static str,
    pub name: &'static str,
    /// Its licence as an SPDX expression.
    pub licence: &'static str,
    /// Files with its licence and notices, in the crate's folder.
    pub texts: &'static [&'static str],
}

const BUNDLED: &[Bundled] = &[
    Bundled { of: "libnghttp2-sys", name: "nghttp2", licence: "MIT", texts: &["nghttp2/COPYING"] },
    Bundled { of: "grpcio-sys", name: "grpc", licence: "Apache-2.0", texts: &["grpc/LICENSE", "grpc/NOTICE.txt"] },
    Bundled {
        of: "grpcio-sys",
        name: "abseil-cpp",
        licence: "Apache-2.0",
        texts: &["grpc/third_party/abseil-cpp/LICENSE"],
    },
    Bundled {
        of: "grpcio-sys",
        name: "address_sorting",
        licence: "BSD-3-Clause",
        texts: &["grpc/third_party/address_sorting/LICENSE"],
    },
    Bundled { of: "grpcio-sys", name: "c-ares", licence: "MIT", texts: &["grpc/third_party/cares/cares/LICENSE.md"] },
    Bundled { of: "grpcio-sys", name: "re2", licence: "BSD-3-Clause", texts: &["grpc/third_party/re2/LICENSE"] },
    Bundled { of: "grpcio-sys", name: "upb", licence: "BSD-3-Clause", texts: &["grpc/third_party/upb/LICENSE"] },
    Bundled { of: "grpcio-sys", name: "utf8_range", licence: "MIT", texts: &["grpc/third_party/utf8_range/LICENSE"] },
    Bundled { of: "grpcio-sys", name: "xds", licence: "Apache-2.0", texts: &["grpc/third_party/xds/LICENSE"] },
    Bundled { of: "grpcio-sys", name: "xxhash", licence: "BSD-2-Clause", texts: &["grpc/third_party/xxhash/LICENSE"] },
    Bundled { of: "libz-sys", name: "zlib", licence: "Zlib", texts: &["src/zlib/LICENSE"] },
];

/// Returns the packages in the binaries, sorted by name, those of this repository included.
pub fn shipped() -> Result<Vec<Package>, String> {
    let mut metadata = tool::cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM]);
    let metadata: Value = serde_json::from_str(&tool::output(&mut metadata)?).map_err(|e| format!("metadata: {e}"))?;
    linked(&metadata, &checksums(&tool::read("Cargo.lock")?))
}

/// Returns the packages that the distributed members of the workspace link, in the output of `cargo metadata`. Procedural
/// macros, build scripts and what these use are not part of a binary.
fn linked(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Vec<Package>, String> {
    let by_id = |list: &Value| -> BTreeMap<String, Value> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| Some((item["id"].as_str()?.to_owned(), item.clone()))).collect()
    };
    let (packages, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = |id: &String| packages.get(id).map(|package| (text(&package["name"]), text(&package["version"])));
    let is_macro = |id: &String| packages.get(id).is_some_and(|it| it["targets"].to_string().contains("proc-macro"));
    let members = metadata["workspace_members"].as_array().into_iter().flatten().map(text);
    let mut open: Vec<String> =
        members.filter(|id| key(id).is_some_and(|(name, _)| paths::DISTRIBUTED.contains(&name.as_str()))).collect();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let (package, node) = packages.get(&id).zip(nodes.get(&id)).ok_or(format!("metadata: {id} is missing"))?;
        let uses = node["deps"].as_array().into_iter().flatten();
        let is_linked = |dep: &&Value| dep["dep_kinds"].as_array().into_iter().flatten().any(|it| it["kind"].is_null());
        let uses: Vec<String> =
            uses.filter(is_linked).map(|dep| text(&dep["pkg"])).filter(|id| !is_macro(id)).collect();
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        found.push(Package {
            // An older spelling of OR.
            licence: text(&package["license"]).replace('/', " OR "),
            repository: package["repository"].as_str().map(ToOwned::to_owned),
            folder: Path::new(&text(&package["manifest_path"])).parent().map(Path::to_owned).unwrap_or_default(),
            checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
            uses: uses.iter().filter_map(key).collect(),
            name,
            version,
        });
        open.extend(uses);
    }
    found.sort();
    match found.is_empty() {
        true => Err("metadata: no distributed package was found".into()),
        false => Ok(found),
    }
}

/// Returns the checksums in a lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |entry: &str, name: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let entries = lock.split("[[package]]");
    entries
        .filter_map(|entry| Some(((field(entry, "name")?, field(entry, "version")?), field(entry, "checksum")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn packages_are_those_that_are_linked() {
        let package = |id: &str, kind: &str| {
            json!({"id": id, "name": id, "version": "1", "license": "MIT/Apache-2.0", "repository": null,
                   "manifest_path": format!("/{id}/Cargo.toml"), "targets": [{"kind": [kind]}]})
        };
        let node = |id: &str, deps: &[(&str, Value)]| {
            let deps: Vec<_> =
                deps.iter().map(|(id, kind)| json!({"pkg": id, "dep_kinds": [{"kind": kind}]})).collect();
            json!({"id": id, "deps": deps})
        };
        let tool = paths::DISTRIBUTED[0];
        let metadata = json!({
            "workspace_members": [tool, "xtask"],
            "packages": [package(tool, "bin"), package("xtask", "bin"), package("log", "lib"), package("derive", "proc-macro"),
                         package("syn", "lib"), package("cc", "lib"), package("serde_json", "lib")],
            "resolve": {"nodes": [
                node(tool, &[("log", Value::Null), ("derive", Value::Null), ("cc", json!("build"))]),
                node("xtask", &[("serde_json", Value::Null)]),
                node("log", &[]), node("derive", &[("syn", Value::Null)]), node("syn", &[]), node("cc", &[]), node("serde_json", &[]),
            ]},
        });
        let checksums = BTreeMap::from([(("log".to_owned(), "1".to_owned()), "ab".to_owned())]);
        let found = linked(&metadata, &checksums).unwrap();
        let names: Vec<_> = found.iter().map(|package| (package.name.as_str(), package.is_ours())).collect();
        assert_eq!(names, [(tool, true), ("log", false)]);
        assert_eq!(found[0].uses, BTreeSet::from([("log".to_owned(), "1".to_owned())]));
        assert_eq!((&*found[1].licence, &*found[1].folder), ("MIT OR Apache-2.0", Path::new("/log")));
        assert!(linked(&json!({}), &checksums).is_err());
    }

    #[test]
    fn checksums_are_read_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0\"\nchecksum = \"ff\"\n\n[[package]]\nname = \"b\"\nversion = \"2\"\n";
        let found = checksums(lock);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(("a".to_owned(), "1.0".to_owned()), "ff".to_owned())]);
    }
}
