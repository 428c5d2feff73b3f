//! The house rules of CONTRIBUTING.md that no compiler checks.

use crate::source::{self, Token};
use crate::{imports, paths, tool, Outcome};
use std::collections::BTreeSet;

/// Packages that drive futures.
const RUNTIMES: &[&str] = &["tokio", "async-std", "smol", "async-executor", "futures-executor"];

/// Checks all rules, and reports every one that is broken.
pub fn run() -> Outcome {
    let broken: Vec<_> = [dependencies(), unsafe_code(), rust_version(), no_c_core(), one_c_core(), imports::check()]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(broken.join("\n")),
    }
}

/// No async runtime among the packages that the library and the tool are built from. (`host-server` brings grpcio's.)
fn dependencies() -> Outcome {
    let arguments = ["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let tree = tool::output(tool::cargo().args(arguments).args(paths::SHIPPED))?;
    let packages = packages(&tree);
    let found: Vec<_> = RUNTIMES.iter().copied().filter(|name| packages.contains(name)).collect();
    if !found.is_empty() {
        return Err(format!("rules: an async runtime is among the dependencies: {}", found.join(" ")));
    }
    println!("rules: no async runtime among {} packages", packages.len());
    Ok(())
}

/// Returns the names in the output of `cargo tree --format {p}`.
fn packages(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

/// Unsafe code stays where it is allowed. (The compiler denies it elsewhere; this finds an exception that was let in.)
fn unsafe_code() -> Outcome {
    let mut found = Vec::new();
    for file in tool::files(paths::SAFE, "rs")? {
        if !paths::UNSAFE.iter().any(|allowed| file.starts_with(allowed)) {
            let text = tool::read(&file)?;
            found.extend(unsafe_lines(&source::tokens(&text)).iter().map(|line| format!("{}:{line}", file.display())));
        }
    }
    let allowed = paths::UNSAFE.join(" and ");
    if !found.is_empty() {
        return Err(format!("rules: unsafe code outside of {allowed}:\n  {}", found.join("\n  ")));
    }
    println!("rules: unsafe code in {allowed} only");
    Ok(())
}

fn unsafe_lines(tokens: &[Token<'_>]) -> Vec<usize> {
    let is_unsafe =
        |at: usize| tokens[at].text == "unsafe" || source::starts_with(&tokens[at..], &["allow", "(", "unsafe_code"]);
    (0..tokens.len()).filter(|at| is_unsafe(*at)).map(|at| tokens[at].line).collect()
}

/// Every dependency builds with the Rust version that Cargo.toml promises. (Clippy checks our own code.)
fn rust_version() -> Outcome {
    let manifest = tool::read("Cargo.toml")?;
    let promised = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let promised = promised.map(|text| text.trim_matches('"')).ok_or("rules: Cargo.toml promises no Rust version")?;
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let metadata = tool::output(tool::cargo().args(arguments).args(paths::ALL_FEATURES))?;
    match rust_versions(&metadata).into_iter().max_by_key(|text| version(text)) {
        None => Err("rules: no dependency says which Rust version it needs".into()),
        Some(newest) if version(newest) > version(promised) => {
            Err(format!("rules: a dependency needs Rust {newest}, Cargo.toml promises {promised}"))
        }
        Some(_) => {
            println!("rules: all dependencies build with Rust {promised}");
            Ok(())
        }
    }
}

/// The bindings that compile the C core.
const CORE: &str = "grpcio-sys";

/// The tool as users build it needs neither CMake nor a C++ compiler.
fn no_c_core() -> Outcome {
    let arguments = ["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = tool::output(tool::cargo().args(arguments).args(paths::TOOL_ALONE))?;
    if let Some(found) = [CORE, "cmake"].into_iter().find(|name| packages(&tree).contains(name)) {
        return Err(format!("rules: {} compiles {found}", paths::TOOL_ALONE.join(" ")));
    }
    println!("rules: the tool compiles no C core by default");
    Ok(())
}

/// All selections of packages share one C core: Cargo compiles it once for each set of features of itself and of the
/// packages it depends on.
fn one_c_core() -> Outcome {
    let mut first: Option<BTreeSet<String>> = None;
    for selection in paths::SELECTIONS {
        let arguments = ["tree", "--edges", "normal,build", "--no-dedupe", "--prefix", "depth", "--format", " {p} {f}"];
        let tree = tool::output(tool::cargo().args(arguments).args(*selection))?;
        let below = subtree(&tree, CORE);
        if below.is_empty() {
            return Err(format!("rules: {} selects no {CORE}", selection.join(" ")));
        }
        match &first {
            None => first = Some(below),
            Some(first) if *first != below => {
                let other: Vec<_> = first.symmetric_difference(&below).map(String::as_str).collect();
                let selection = selection.join(" ");
                return Err(format!("rules: {CORE} is compiled again for {selection}: {}", other.join("; ")));
            }
            Some(_) => {}
        }
    }
    println!("rules: {} selections of packages share one C core", paths::SELECTIONS.len());
    Ok(())
}

/// Returns the packages with their features at and below `package`, in the output of `cargo tree --prefix depth`.
fn subtree(tree: &str, package: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut top = None;
    for line in tree.lines() {
        let Some((depth, rest)) = line.split_once(' ') else { continue };
        let depth: usize = depth.parse().unwrap_or(0);
        top = match top {
            Some(top) if depth > top => Some(top),
            _ if rest.split_whitespace().next() == Some(package) => Some(depth),
            _ => None,
        };
        if top.is_some() {
            found.insert(rest.to_owned());
        }
    }
    found
}

/// Returns the Rust versions in the output of `cargo metadata`.
fn rust_versions(metadata: &str) -> Vec<&str> {
    let after = metadata.split("\"rust_version\":\"").skip(1);
    after.filter_map(|rest| rest.split_once('"')).map(|(version, _)| version).collect()
}

/// Returns a version's numbers. One that is left out is 0.
fn version(text: &str) -> [u32; 3] {
    let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_the_first_words() {
        let found = packages("fabric-gossip v0.1.0 (/x)\nlog v0.4.1\nlog v0.4.1 (*)\n\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["fabric-gossip", "log"]);
    }

    #[test]
    fn unsafe_code_is_found_outside_of_comments_and_text() {
        let lines = |source| unsafe_lines(&source::tokens(source));
        assert_eq!(lines("unsafe fn f() {}\n// unsafe\n/* unsafe */ \"unsafe\"\nfn g() { unsafe { f() } }"), [1, 4]);
        assert_eq!(lines("#![deny(unsafe_code)]\n#[allow(unsafe_code)]"), [2]);
    }

    #[test]
    fn a_subtree_has_the_packages_below_with_their_features() {
        let tree = "0 a v1 x\n1 core v2 f,g\n2 libc v3 \n1 b v1 \n2 core v2 f,g\n3 libc v3 std\n1 c v1 ";
        let found: Vec<_> = subtree(tree, "core").into_iter().collect();
        assert_eq!(found, ["core v2 f,g", "libc v3 ", "libc v3 std"]);
    }

    #[test]
    fn versions_are_compared_by_number() {
        let metadata = r#"{"rust_version":"1.9"},{"rust_version":null},{"rust_version":"1.85.0"}"#;
        let found = rust_versions(metadata);
        assert_eq!(found, ["1.9", "1.85.0"]);
        assert_eq!(found.into_iter().max_by_key(|text| version(text)), Some("1.85.0"));
        assert_eq!(version("1.85"), version("1.85.0"));
        assert!(version("1.85.1") > version("1.85"));
    }
}
