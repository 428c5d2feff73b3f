//! Compiles the README's Rust programs in a package of a user, runs its block against a live peer unchanged, and checks the
//! block's output.

use crate::markdown::{blocks, fences, section};
use crate::{paths, script, tool, Outcome};
use std::os::unix::fs::symlink;

const HEADING: &str = "## Against a live peer";
/// The text that the block has to print.
const PRINTED: &[&str] = &["Org1MSP", "peer0.org1.example.com", "alive"];
/// The text that its peer must log, and the meaning of its absence.
const LOGGED: &[(&str, &str)] = &[
    ("\"event\":\"membership\",\"alive\":[{", "peer0 never saw us join"),
    ("\"event\":\"stopped\"", "peer0 did not run until it was stopped"),
];

/// The manifest of a package outside of the repository. It selects the transport that compiles in a minute.
const MANIFEST: &str = r#"[package]
name = "program"
version = "0.0.0"
edition = "2021"

[dependencies]
fabric-gossip = { path = "@ROOT@", default-features = false, features = ["http2"] }
"#;

/// Compiles the programs, and runs the block in an empty folder.
pub fn run() -> Outcome {
    compile()?;
    if !paths::tool().exists() {
        return Err("readme: the tool is not built, type: make build".into());
    }
    if let Some(reason) = script::lacks() {
        return tool::skip("the README's block", reason);
    }
    let scratch = tool::Scratch::new()?;
    tool::write(scratch.join("block.sh"), &block(&tool::read(paths::README)?)?)?;
    tool::at(&paths::target(), symlink(paths::target(), scratch.join("target")))?;
    let finished = script::run(&scratch, "block.sh", 120, script::Environment::Ours(&[]))?;
    let verdict = match finished.status {
        status if !status.success() => Err(format!("the block ended with {status}")),
        _ => verdict(&finished.printed, &tool::read(scratch.join("try/peer0.log"))?),
    };
    verdict.map_err(|fault| format!("readme: {fault}\n{}{}", finished.printed, finished.errors))?;
    println!("readme: the block against a live peer runs as it stands");
    Ok(())
}

/// Compiles the Rust programs with the features that a user has, and not with those of this repository's tests.
fn compile() -> Outcome {
    let programs = programs(&tool::read(paths::README)?);
    if programs.is_empty() {
        return Err("readme: there is no Rust program".into());
    }
    let scratch = tool::Scratch::new()?;
    let sources = scratch.join("src/bin");
    tool::at(&sources, std::fs::create_dir_all(&sources))?;
    for (line, text) in &programs {
        tool::write(sources.join(format!("line{line}.rs")), text)?;
    }
    tool::write(scratch.join("Cargo.toml"), &MANIFEST.replace("@ROOT@", &paths::root().to_string_lossy()))?;
    // The versions of this repository; cargo removes the packages that the program does not use.
    let lock = scratch.join("Cargo.lock");
    tool::at(&lock, std::fs::copy(paths::root().join("Cargo.lock"), &lock))?;
    let mut check = tool::cargo();
    check.args(["check", "--quiet", "--release", "--manifest-path"]).arg(scratch.join("Cargo.toml"));
    tool::run(check.env("CARGO_TARGET_DIR", paths::target()))?;
    println!("readme: {} Rust programs compile outside of the repository", programs.len());
    Ok(())
}

/// Returns the blocks in Rust as whole programs, each with the number of its first line.
fn programs(readme: &str) -> Vec<(usize, String)> {
    let is_rust = |info: &str| info.split(',').next() == Some("rust");
    let complete = |text: String| match text.contains("fn main()") {
        true => text,
        false => format!("#![allow(dead_code)]\n{text}fn main() {{}}\n"),
    };
    let blocks = fences(readme).into_iter().filter(|fence| is_rust(&fence.info));
    blocks.map(|fence| (fence.line, complete(fence.text))).collect()
}

/// Returns the one shell block below the heading.
fn block(readme: &str) -> Result<String, String> {
    let section = section(readme, HEADING).ok_or_else(|| format!("readme: there is no heading {HEADING:?}"))?;
    let mut blocks = blocks(section, "bash");
    match blocks.len() {
        1 => Ok(blocks.remove(0).1),
        count => Err(format!("readme: {count} blocks instead of one below {HEADING:?}")),
    }
}

/// The last command met the peer, and no other peer replaced the connection or identity of peer0.
fn verdict(printed: &str, log: &str) -> Outcome {
    if let Some(absent) = PRINTED.iter().find(|text| !printed.contains(**text)) {
        return Err(format!("the block did not print: {absent}"));
    }
    match LOGGED.iter().find(|(text, _)| !log.contains(text)) {
        Some((_, fault)) => Err((*fault).into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_the_only_one_of_its_section() {
        let readme = |blocks: &str| format!("# A\n```bash\nno\n```\n{HEADING}\n{blocks}## B\n```bash\nno\n```\n");
        assert_eq!(block(&readme("```bash\nyes\n```\n")).unwrap(), "yes\n");
        assert!(block(&readme("")).is_err());
        assert!(block(&readme("```bash\na\n```\n```bash\nb\n```\n")).is_err());
        assert!(block("").is_err());
    }

    #[test]
    fn the_programs_are_the_blocks_in_rust() {
        let readme =
            "```rust,no_run\nfn main() {}\n```\n```sh\nfn main()\n```\n```rust\nfn f() {}\n```\n```rusty\n```\n";
        let whole = "#![allow(dead_code)]\nfn f() {}\nfn main() {}\n";
        assert_eq!(programs(readme), [(2, "fn main() {}\n".to_owned()), (8, whole.to_owned())]);
    }

    #[test]
    fn a_missing_line_is_named() {
        let printed = PRINTED.join("\n");
        let log = LOGGED.iter().map(|(text, _)| *text).collect::<String>();
        assert_eq!(verdict(&printed, &log), Ok(()));
        assert!(verdict("", &log).unwrap_err().contains("Org1MSP"));
        assert!(verdict(&printed, "").unwrap_err().contains("never saw us"));
    }
}
