//! Runs shell scripts taken from documents, in a folder of their own, with a time limit, and ends what they started.

use crate::tool::{self, Scratch};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

/// The result of a script.
pub struct Finished {
    pub status: ExitStatus,
    /// Its standard output.
    pub printed: String,
    /// Its standard error.
    pub errors: String,
}

/// The environment of a script.
pub enum Environment<'a> {
    /// The one of this process without the tool's settings, and these variables in addition.
    Ours(&'a [(&'a str, OsString)]),
    /// These variables only.
    Only(&'a [(&'a str, OsString)]),
}

/// Returns the reason why no script can run on this machine, or `None` if one can.
pub fn lacks() -> Option<&'static str> {
    (!tool::has("timeout")).then_some("timeout (coreutils) is not installed")
}

/// Runs the script `name` of the folder with bash, which ends at the first command that fails.
pub fn run(folder: &Scratch, name: &str, seconds: u32, environment: Environment) -> Result<Finished, String> {
    let create = |name| {
        let path = folder.join(name);
        tool::at(&path, File::create(&path))
    };
    let mut command = Command::new("timeout");
    command.args([&seconds.to_string(), "bash", "-euo", "pipefail", name]).current_dir(&folder.0);
    let variables = match environment {
        Environment::Ours(added) => {
            for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
                command.env_remove(name);
            }
            added
        }
        Environment::Only(all) => {
            command.env_clear();
            all
        }
    };
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(create("out")?).stderr(create("err")?);
    // Processes that the script starts belong to its process group, and end with it.
    let mut child = command.process_group(0).spawn().map_err(|e| format!("timeout: {e}"))?;
    let group = format!("-{}", child.id());
    let status = child.wait().map_err(|e| format!("{name}: {e}"));
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let read = |name| tool::read(folder.join(name));
    Ok(Finished { status: status?, printed: read("out")?, errors: read("err")? })
}

/// The tool reads settings from these environment variables.
fn is_setting(name: &str) -> bool {
    name.starts_with("CORE_PEER_") || name == "FABRIC_CFG_PATH"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_ends_at_its_first_failure_and_leaves_no_process() {
        let folder = Scratch::new().unwrap();
        tool::write(folder.join("try.sh"), "sleep 1000 &\necho $! $word\necho late >&2\nfalse\necho no\n").unwrap();
        let finished = run(&folder, "try.sh", 60, Environment::Ours(&[("word", "a".into())])).unwrap();
        assert_eq!(finished.status.code(), Some(1));
        assert_eq!(finished.errors, "late\n");
        let (process, word) = finished.printed.trim().split_once(' ').unwrap();
        assert_eq!(word, "a");
        // The kill has been sent; the process ends soon after, and its parent may never collect it.
        let status = format!("/proc/{process}/stat");
        while std::fs::read_to_string(&status).is_ok_and(|state| !state.contains(") Z")) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_script_may_have_an_environment_that_is_not_ours() {
        let folder = Scratch::new().unwrap();
        tool::write(folder.join("try.sh"), "echo $word ${CARGO_MANIFEST_DIR:-unset}\n").unwrap();
        let variables = [("word", "a".into()), ("PATH", std::env::var_os("PATH").unwrap_or_default())];
        assert_eq!(run(&folder, "try.sh", 60, Environment::Only(&variables)).unwrap().printed, "a unset\n");
    }

    #[test]
    fn settings_of_the_tool_are_not_inherited() {
        assert!(is_setting("CORE_PEER_LOCALMSPID") && is_setting("FABRIC_CFG_PATH") && !is_setting("PATH"));
    }
}
