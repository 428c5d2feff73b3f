//! Generates THIRD-PARTY.txt: the licences of all code of others in the distributed binaries.

use crate::packages::{self, Package};
use crate::{paths, tool, Outcome};
use std::collections::BTreeMap;
use std::path::Path;

const HEAD: &str = "\
THIRD-PARTY SOFTWARE

The tool fabric-gossip and the C libraries contain the following software of others. A build with the transport http2 alone
contains neither grpcio-sys and its bundled code nor libz-sys and zlib. OpenSSL and the C library are not part of the binaries:
they are linked from the system. `cargo xtask notices` generates this file.

";

/// Writes the file.
pub fn generate() -> Outcome {
    tool::write(paths::NOTICES, &render()?)
}

/// Fails if the file is not what would be generated, or if a licence is not among those that deny.toml allows.
pub fn check() -> Outcome {
    let fresh = render()?;
    match tool::difference(&tool::read(paths::NOTICES)?, &fresh) {
        None => {
            println!("notices: {} has {} lines", paths::NOTICES, fresh.lines().count());
            Ok(())
        }
        Some(lines) => Err(format!("notices: {} is out of date, run cargo xtask notices: {lines}", paths::NOTICES)),
    }
}

fn render() -> Result<String, String> {
    let allowed = tool::read(paths::DENY)?;
    let allowed = allowed_licences(&allowed);
    let mut list = String::from(HEAD);
    // By text: the components that it applies to.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages::shipped()?.iter().filter(|package| !package.is_ours()) {
        let Package { name, version, licence, repository, folder, .. } = package;
        if !is_allowed(licence, &allowed) {
            return Err(format!("notices: {name} {version} has the licence {licence}, which {} lacks", paths::DENY));
        }
        list += &format!("{name} {version}: {licence}, {}\n", repository.as_deref().unwrap_or("no repository"));
        let mut add = |component: &str, file: &Path| -> Outcome {
            let text = tool::read(file)?;
            texts.entry(trimmed(&text)).or_default().push(component.to_owned());
            Ok(())
        };
        let files = tool::at(folder, std::fs::read_dir(folder))?;
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
        for file in licence_files(names, licence) {
            add(name, &folder.join(file))?;
        }
        for bundled in package.bundled() {
            list += &format!("  with {}: {}\n", bundled.name, bundled.licence);
            for file in bundled.texts {
                add(&format!("{} (in {name})", bundled.name), &folder.join(file))?;
            }
        }
        if !texts
            .values()
            .flatten()
            .any(|component| component.split(' ').any(|word| word.trim_end_matches(')') == name))
        {
            return Err(format!("notices: {name} {version} has no file with its licence: {}", folder.display()));
        }
    }
    let mut texts: Vec<_> = texts.into_iter().map(|(text, components)| (components, text)).collect();
    texts.sort();
    for (components, text) in texts {
        let rule = "=".repeat(80);
        list += &format!("\n{rule}\n{}\n{rule}\n\n{text}", components.join(", "));
    }
    Ok(list)
}

/// Returns a text without spaces at the ends of lines and without empty lines at its ends.
fn trimmed(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim_matches('\n'))
}

/// Returns the files with the texts that apply: of a package with a choice of licences, the MIT one and further notices.
fn licence_files(mut names: Vec<String>, licence: &str) -> Vec<String> {
    names.retain(|name| {
        ["LICEN", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|it| name.to_uppercase().starts_with(it))
    });
    names.sort();
    if licence.contains(" OR ") && names.iter().any(|name| name == "LICENSE-MIT") {
        names.retain(|name| !["APACHE", "UNLICENSE", "COPYING"].iter().any(|it| name.to_uppercase().contains(it)));
    }
    names
}

/// Returns the licences that deny.toml allows.
fn allowed_licences(deny: &str) -> Vec<&str> {
    let section = deny.split("[licenses]").nth(1).unwrap_or_default();
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
    list.split('"').skip(1).step_by(2).collect()
}

/// Returns whether an expression of alternatives has one that is allowed. (No dependency combines licences with AND.)
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    licence.split(" OR ").any(|one| allowed.contains(&one.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_alternatives_must_be_allowed() {
        let deny = "[advisories]\nversion = 2\n[licenses]\n# Why.\nallow = [\n    \"MIT\",\n    \"Zlib\",\n]\n";
        let allowed = allowed_licences(deny);
        assert_eq!(allowed, ["MIT", "Zlib"]);
        assert!(is_allowed("GPL-3.0 OR MIT", &allowed) && is_allowed("Zlib", &allowed));
        assert!(
            !is_allowed("GPL-3.0", &allowed) && !is_allowed("", &allowed) && !is_allowed("MIT AND GPL-3.0", &allowed)
        );
    }

    #[test]
    fn a_choice_of_licences_is_made_for_mit() {
        let files =
            |names: &[&str], licence| licence_files(names.iter().map(|name| name.to_string()).collect(), licence);
        let all = ["src", "LICENSE-MIT", "LICENSE-APACHE", "LICENSE-THIRD-PARTY", "Cargo.toml"];
        assert_eq!(files(&all, "MIT OR Apache-2.0"), ["LICENSE-MIT", "LICENSE-THIRD-PARTY"]);
        assert_eq!(files(&["LICENSE", "LICENSE-APACHE"], "Apache-2.0"), ["LICENSE", "LICENSE-APACHE"]);
        assert_eq!(files(&["COPYING", "UNLICENSE", "LICENSE-MIT"], "Unlicense OR MIT"), ["LICENSE-MIT"]);
    }

    #[test]
    fn texts_that_differ_in_spaces_are_the_same() {
        assert_eq!(trimmed("\na  \r\n\nb\n\n"), "a\n\nb\n");
    }
}
