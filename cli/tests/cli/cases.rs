//! MSP folders that operators have, with the verdict of Fabric 0c423ac on each: the tool comes to the same one.
//!
//! `FABRIC_GOSSIP_CASES` names another file of the same form, see [`folders::Case`].

#[allow(dead_code)]
#[path = "../../../tests/cases/folders.rs"]
mod folders;

use folders::{assert_agreed, cases, Case, MSPID};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The tool says of the identity in `signcerts` whether its MSP accepts it. It needs no key for that, so a case that
/// fails for its key alone is judged by `handshake`, which must load one before it dials.
#[test]
fn the_tool_judges_every_folder_as_fabric_does() {
    let cases = cases();
    let judged = cases.iter().filter_map(|case| {
        let folder = case.folder();
        case.compare(judge(&folder.path, needs_key(case)))
    });
    assert_agreed(cases.len(), judged.collect());
}

/// Whether Fabric refused the folder because of its private key, or for a part that only its owner checks.
fn needs_key(case: &Case) -> bool {
    case.text.contains("KeyMaterial not found") || case.text.contains("signing certificate")
}

/// Returns the PKI-ID that the tool prints for the folder's own identity if it accepts it.
fn judge(dir: &Path, needs_key: bool) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fabric-gossip"));
    command.arg("--json").arg(if needs_key { "handshake" } else { "identity" });
    if needs_key {
        // Nothing answers there; the folder is read before.
        command.args(["localhost:1", "--no-tls", "--timeout", "2s"]);
    }
    command.arg("--msp").arg(dir).args(["--mspid", MSPID]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORE_")) {
        command.env_remove(name);
    }
    let output = command.output().expect("the tool starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines = out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let pki_id = lines.filter_map(|line| Some(line["pki_id"].as_str()?.to_owned())).next();
    match (output.status.code(), needs_key) {
        (Some(0), false) => Ok(pki_id.unwrap_or_default()),
        (Some(1 | 2), false) | (Some(2), true) => Err(format!("{out}{err}")),
        (Some(1), true) => Ok("(the key was accepted)".into()),
        other => panic!("the tool ended with {other:?}: {out}{err}"),
    }
}
