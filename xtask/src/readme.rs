//! Runs the README's block against a live peer unchanged, and checks its output.

use crate::markdown::{blocks, section};
use crate::{paths, tool, Outcome};
use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const HEADING: &str = "## Against a live peer";
/// The text that the block has to print.
const PRINTED: &[&str] = &["Org1MSP", "peer0.org1.example.com", "alive"];
/// The text that its peer must log, and the meaning of its absence.
const LOGGED: &[(&str, &str)] = &[
    ("\"event\":\"membership\",\"alive\":[{", "peer0 never saw us join"),
    ("\"event\":\"stopped\"", "peer0 did not run until it was stopped"),
];

/// Runs the block in an empty folder.
pub fn run() -> Outcome {
    if !paths::tool().exists() {
        return Err("readme: the tool is not built, type: make build".into());
    }
    if !tool::has("timeout") {
        return tool::skip("the README's block", "timeout (coreutils) is not installed");
    }
    let scratch = tool::Scratch::new()?;
    tool::write(scratch.join("block.sh"), &block(&tool::read(paths::README)?)?)?;
    tool::at(&paths::target(), symlink(paths::target(), scratch.join("target")))?;
    let create = |name| {
        let path = scratch.join(name);
        tool::at(&path, File::create(&path))
    };
    let mut command = Command::new("timeout");
    command.args(["120", "bash", "-euo", "pipefail", "block.sh"]).current_dir(&scratch.0);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(create("out")?).stderr(create("err")?);
    // Processes that the block starts belong to its process group, and end with it.
    let mut child = command.process_group(0).spawn().map_err(|e| format!("readme: timeout: {e}"))?;
    let group = format!("-{}", child.id());
    let status = child.wait().map_err(|e| format!("readme: {e}"));
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let printed = tool::read(scratch.join("out"))?;
    let verdict = match status? {
        status if !status.success() => Err(format!("the block ended with {status}")),
        _ => verdict(&printed, &tool::read(scratch.join("try/peer0.log"))?),
    };
    let errors = tool::read(scratch.join("err"))?;
    verdict.map_err(|fault| format!("readme: {fault}\n{printed}{errors}"))?;
    println!("readme: the block against a live peer runs as it stands");
    Ok(())
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

/// The tool reads settings from these environment variables.
fn is_setting(name: &str) -> bool {
    name.starts_with("CORE_PEER_") || name == "FABRIC_CFG_PATH"
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
    fn a_missing_line_is_named() {
        let printed = PRINTED.join("\n");
        let log = LOGGED.iter().map(|(text, _)| *text).collect::<String>();
        assert_eq!(verdict(&printed, &log), Ok(()));
        assert!(verdict("", &log).unwrap_err().contains("Org1MSP"));
        assert!(verdict(&printed, "").unwrap_err().contains("never saw us"));
    }

    #[test]
    fn settings_of_the_tool_are_not_inherited() {
        assert!(is_setting("CORE_PEER_LOCALMSPID") && is_setting("FABRIC_CFG_PATH") && !is_setting("PATH"));
    }
}
