//! Writes the software bill of materials of the distributed binaries: CycloneDX 1.5, JSON.

use crate::packages::{self, Bundled, Package};
use crate::{paths, tool, Outcome};
use serde_json::{json, Value};

/// Writes the bill of materials. The same sources give the same file: it has no time and no random identifier.
pub fn generate(file: &str) -> Outcome {
    let packages = packages::shipped()?;
    let text = serde_json::to_string_pretty(&render(&packages)).map_err(|e| format!("sbom: {e}"))?;
    tool::write(file, &format!("{text}\n"))?;
    println!("sbom: {} components in {file}", packages.len());
    Ok(())
}

fn render(packages: &[Package]) -> Value {
    let version = packages.iter().find(|package| package.is_ours()).map_or("", |package| &package.version);
    let mut components: Vec<Value> = packages.iter().map(component).collect();
    components.extend(packages.iter().flat_map(|package| package.bundled().map(|it| bundled(package, it))));
    let distributed = packages.iter().filter(|package| paths::DISTRIBUTED.contains(&package.name.as_str()));
    let distributed: Vec<_> = distributed.map(|package| purl(&package.name, &package.version)).collect();
    let mut dependencies = vec![json!({"ref": "fabric-gossip", "dependsOn": distributed})];
    let below = packages.iter().map(|package| {
        let uses = package.uses.iter().map(|(name, version)| purl(name, version));
        let uses: Vec<_> = uses.chain(package.bundled().map(|it| bundled_purl(package, it))).collect();
        json!({"ref": purl(&package.name, &package.version), "dependsOn": uses})
    });
    dependencies.extend(below);
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "fabric-gossip", "name": "fabric-gossip", "version": version},
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(package: &Package) -> Value {
    let purl = purl(&package.name, &package.version);
    let mut component = json!({
        "type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl,
        "licenses": [{"expression": package.licence}],
    });
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

fn bundled(package: &Package, bundled: &Bundled) -> Value {
    let purl = bundled_purl(package, bundled);
    let mut component = json!({
        "type": "library", "bom-ref": purl, "name": bundled.name, "purl": purl,
        "licenses": [{"expression": bundled.licence}],
    });
    if let Some(version) = bundled_version(package, bundled) {
        component["version"] = json!(version);
    }
    component
}

/// Returns the identifier of a crate: the `+` of its version is escaped.
fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn bundled_purl(package: &Package, bundled: &Bundled) -> String {
    let version = bundled_version(package, bundled).map(|version| format!("@{version}")).unwrap_or_default();
    format!("pkg:generic/{}{version}", bundled.name)
}

/// Returns the version of the project that a crate is made for, which follows the `+` in the version of the crate. Those of
/// further bundled projects are not recorded.
fn bundled_version<'a>(package: &'a Package, bundled: &Bundled) -> Option<&'a str> {
    let is_first = package.bundled().next().is_some_and(|first| first.name == bundled.name);
    let (_, version) = package.version.split_once('+').filter(|_| is_first)?;
    version.split('-').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn package(name: &str, version: &str, uses: &[(&str, &str)]) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            licence: "MIT".into(),
            repository: None,
            folder: "/".into(),
            checksum: (name != "ours").then(|| "ab".to_owned()),
            uses: uses.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect(),
        }
    }

    #[test]
    fn every_reference_is_a_component_and_no_component_occurs_twice() {
        let packages = [
            package("ours", "0.1.0", &[("libnghttp2-sys", "0.1.13+1.68.1"), ("grpcio-sys", "0.13.0+1.56.2-patched")]),
            package("libnghttp2-sys", "0.1.13+1.68.1", &[]),
            package("grpcio-sys", "0.13.0+1.56.2-patched", &[]),
        ];
        let bom = render(&packages);
        let refs: Vec<_> =
            bom["components"].as_array().unwrap().iter().map(|it| it["bom-ref"].as_str().unwrap()).collect();
        let unique: BTreeSet<_> = refs.iter().collect();
        assert_eq!(unique.len(), refs.len());
        for dependency in bom["dependencies"].as_array().unwrap() {
            for used in dependency["dependsOn"].as_array().unwrap() {
                assert!(refs.contains(&used.as_str().unwrap()), "{used}");
            }
        }
        for expected in
            ["pkg:cargo/libnghttp2-sys@0.1.13%2B1.68.1", "pkg:generic/nghttp2@1.68.1", "pkg:generic/grpc@1.56.2"]
        {
            assert!(refs.contains(&expected), "{expected} is not in {refs:?}");
        }
        assert_eq!(bom["metadata"]["component"]["version"], "0.1.0");
    }
}
