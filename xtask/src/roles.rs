//! Follows the quick start page of each role as a reader does: in an empty folder with a fresh clone, an empty home folder
//! and no installed tool. The commands are those of the page in the clone, including the ones that install.
//!
//! The toolchain is that of `RUSTUP_HOME`. If `CARGO_HOME` is set, its downloads are used; rustup sets it. If
//! `CARGO_TARGET_DIR` is set, everything is built in its folder `roles`, which saves minutes in a second run but does not show
//! that an empty one suffices. Another folder than ours: a clone would replace our programs, and cargo would not notice.

use crate::book_page::{Page, Way};
use crate::place::Place;
use crate::script::{self, Environment};
use crate::{paths, tool, Outcome};
use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

/// The roles, named after their pages, and the programs that each needs beside those of a build of the tool.
const ROLES: &[(&str, &[&str])] =
    &[("operator", &[]), ("rust", &[]), ("c", &["make", "c++"]), ("python", &["python3"]), ("packager", &["make"])];
/// Seconds that a page may take. Most of them compile the library once or twice.
const LIMIT: u32 = 3600;

/// Follows the pages of all roles or of one.
pub fn run(only: Option<&str>) -> Outcome {
    let roles: Vec<_> = ROLES.iter().filter(|(role, _)| only.is_none_or(|only| only == *role)).collect();
    if roles.is_empty() {
        let names: Vec<&str> = ROLES.iter().map(|(role, _)| *role).collect();
        return Err(format!("roles: unknown role {}: expected {}", only.unwrap_or(""), names.join(", ")));
    }
    if let Some(folder) = installed() {
        return Err(format!(
            "roles: fabric-gossip is installed in {folder}: a page that does not install it would work; remove it from PATH"
        ));
    }
    for (role, programs) in roles {
        match lacks(programs) {
            Some(reason) => tool::skip(&format!("the role {role}"), &reason)?,
            None => follow(role).map_err(|e| format!("roles: {role}: {e}"))?,
        }
    }
    Ok(())
}

/// Returns the folder of `PATH` that has the tool.
fn installed() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let folder = std::env::split_paths(&path).find(|folder| folder.join(paths::TOOL).exists())?;
    Some(folder.display().to_string())
}

/// Returns why this machine cannot play a role.
fn lacks(programs: &[&str]) -> Option<String> {
    if let Some(reason) = script::lacks() {
        return Some(reason.into());
    }
    let missing: Vec<&str> =
        ["git"].iter().chain(programs).filter(|program| !tool::is_installed(program)).copied().collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}", missing.join(", ")));
    }
    let has = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if programs.contains(&"python3") && !has(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        return Some("Python's module venv is not installed".into());
    }
    // The requirements of every build.
    let check = Command::new("scripts/deps.sh").args(["--check", "http2"]).output();
    match check {
        Ok(check) if check.status.success() => None,
        Ok(check) => Some(String::from_utf8_lossy(&check.stdout).trim().to_owned()),
        Err(e) => Some(format!("scripts/deps.sh: {e}")),
    }
}

/// Follows the page of a role.
fn follow(role: &str) -> Outcome {
    let started = Instant::now();
    let place = Place::new()?;
    clone(&place)?;
    let name = format!("{}/{role}.md", paths::BOOK_PAGES);
    let page = Page::read(&tool::read(place.repository().join(&name))?).map_err(|e| format!("{name}:{e}"))?;
    let mut variables = place.variables("home/.cargo/bin");
    let ours: Vec<(String, OsString)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| is_kept(name))
        .collect();
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        variables.push(("CARGO_TARGET_DIR", paths::target().join("roles").into()));
    }
    // The ones of the place come last, and win.
    let mut all: Vec<(&str, OsString)> = ours.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    all.append(&mut variables);
    let count = place.run(&page, Way::Reader, LIMIT, Environment::Only(&all)).map_err(|e| format!("{name}:{e}"))?;
    println!("roles: {role}: {count} blocks of {name} run from a fresh clone in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Clones the commit that is checked out. What is not committed is not in it.
fn clone(place: &Place) -> Outcome {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(arguments);
        git
    };
    if !tool::output(&mut git(&["status", "--porcelain"]))?.is_empty() {
        println!("roles: the clone lacks the changes that are not committed");
    }
    let commit = tool::output(&mut git(&["rev-parse", "HEAD"]))?;
    let to = place.repository();
    tool::run(git(&["clone", "--quiet", "--no-checkout"]).arg(paths::root()).arg(&to))?;
    tool::run(git(&["-C"]).arg(&to).args(["checkout", "--quiet", "--detach", commit.trim()]))
}

/// Returns whether a reader's session has this variable of ours: the ones of a login, and those by which cargo, rustup and
/// pip reach the network and share their files. Cargo and make set others for us, which a reader does not have.
fn is_kept(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "LANG",
        "LOGNAME",
        "USER",
        "SHELL",
        "TERM",
        "TMPDIR",
        "CARGO_HOME",
        "CARGO_BUILD_JOBS",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
    ];
    const STARTS: &[&str] =
        &["LC_", "RUSTUP_", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_SOURCE_", "PIP_", "SSL_CERT_"];
    NAMES.contains(&name)
        || STARTS.iter().any(|start| name.starts_with(start))
        || name.to_ascii_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_a_page() {
        // The working directory of tests is the package's folder.
        for (role, _) in ROLES {
            let page = paths::root().join(paths::BOOK_PAGES).join(format!("{role}.md"));
            assert!(Page::read(&tool::read(page).unwrap()).unwrap().blocks.iter().any(|block| block.slow), "{role}");
        }
    }

    #[test]
    fn a_reader_has_the_network_and_no_variable_of_this_build() {
        for name in ["LANG", "CARGO_HOME", "https_proxy", "NO_PROXY", "RUSTUP_TOOLCHAIN", "PIP_INDEX_URL"] {
            assert!(is_kept(name), "{name}");
        }
        for name in ["CARGO", "CARGO_MANIFEST_DIR", "MAKEFLAGS", "PREFIX", "LD_LIBRARY_PATH", "CORE_PEER_LOCALMSPID"] {
            assert!(!is_kept(name), "{name}");
        }
    }

    #[test]
    fn an_unknown_role_is_refused_with_the_known_ones() {
        assert!(run(Some("judge")).unwrap_err().contains("judge: expected operator, rust"));
    }
}
