//! Runs other programs, reads files, and skips checks whose program this machine lacks.

use crate::Outcome;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns `argument` as an absolute path if it names a file or folder below `here`, and unchanged otherwise.
pub fn absolute(here: &Path, argument: String) -> String {
    match argument.contains('/') {
        true => here.join(&argument).to_string_lossy().into_owned(),
        false => argument,
    }
}

/// Reports a check that cannot run here: a line on standard output, or a failure with `STRICT=1`.
pub fn skip(check: &str, reason: &str) -> Outcome {
    skip_if(std::env::var_os("STRICT").is_some_and(|strict| strict == "1"), check, reason)
}

fn skip_if(strict: bool, check: &str, reason: &str) -> Outcome {
    if strict {
        return Err(format!("FAILED: {check}: {reason} (STRICT=1 does not allow to skip it)"));
    }
    println!("SKIPPED: {check}: {reason}");
    Ok(())
}

/// Returns the value of an environment variable, or `default` if it is unset or empty.
pub fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// Starts a command line of cargo.
pub fn cargo() -> Command {
    Command::new(variable("CARGO", "cargo"))
}

/// Returns whether a program can be started with `--version`.
pub fn has(program: &str) -> bool {
    let quiet = || Stdio::null();
    let mut command = Command::new(program);
    command.arg("--version").stdin(quiet()).stdout(quiet()).stderr(quiet()).status().is_ok_and(|s| s.success())
}

/// Returns whether the shell finds a program that does not know `--version`.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "command -v \"$1\"", "sh", program]).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command and fails unless it succeeds. Its output goes where ours goes.
pub fn run(command: &mut Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", line(command))),
        Err(e) => Err(format!("{}: {e}", line(command))),
    }
}

/// Runs a command that has to succeed and returns its standard output.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{}: {e}", line(command)))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{}: {}", line(command), output.status)),
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Returns the text of a file.
pub fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a file.
pub fn write(path: impl AsRef<Path>, text: &str) -> Outcome {
    let path = path.as_ref();
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Describes a failed operation on a path.
pub fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{}: {e}", path.display()))
}

/// Returns the files below these folders that have this extension, sorted. Folders that do not exist are passed over.
pub fn files(folders: &[&str], extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).filter(|folder| folder.exists()).collect();
    while let Some(folder) = open.pop() {
        for entry in at(&folder, std::fs::read_dir(&folder))? {
            let path = at(&folder, entry)?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Compares two texts line by line: `None` if they are equal, else the lines that differ.
pub fn difference(expected: &str, found: &str) -> Option<String> {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    if expected == found {
        return None;
    }
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let rest = expected.len().min(found.len()) - same;
    let tail = expected.iter().rev().zip(found.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut text = format!("from line {}:\n", same + 1);
    expected[same..expected.len() - tail].iter().for_each(|line| text += &format!("- {line}\n"));
    found[same..found.len() - tail].iter().for_each(|line| text += &format!("+ {line}\n"));
    Some(text)
}

/// A temporary folder, removed when it is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Creates an empty folder.
    pub fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xtask-{}-{count}", std::process::id()));
        at(&path, std::fs::create_dir(&path))?;
        Ok(Scratch(path))
    }

    /// Returns the path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_a_failure_only_when_strict() {
        assert_eq!(skip_if(false, "lints", "clippy is not installed"), Ok(()));
        let error = skip_if(true, "lints", "clippy is not installed").unwrap_err();
        assert!(error.contains("lints: clippy is not installed") && error.contains("STRICT=1"), "{error}");
    }

    #[test]
    fn a_difference_names_the_lines_between_the_common_ones() {
        assert_eq!(difference("a\nb\n", "a\nb"), None);
        assert_eq!(difference("a\nb\nc", "a\nx\ny\nc").unwrap(), "from line 2:\n- b\n+ x\n+ y\n");
        assert_eq!(difference("a\na", "a").unwrap(), "from line 2:\n- a\n");
        assert_eq!(difference("", "a").unwrap(), "from line 1:\n+ a\n");
    }

    #[test]
    fn only_arguments_with_a_slash_are_paths() {
        assert_eq!(absolute(Path::new("/work"), "--check".into()), "--check");
        assert_eq!(absolute(Path::new("/work"), "target/x.so".into()), "/work/target/x.so");
        assert_eq!(absolute(Path::new("/work"), "/x.so".into()), "/x.so");
    }

    #[test]
    fn a_scratch_folder_is_removed() {
        let scratch = Scratch::new().unwrap();
        write(scratch.join("file"), "text").unwrap();
        let path = scratch.0.clone();
        assert_eq!(read(path.join("file")).unwrap(), "text");
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_program_is_installed_if_the_shell_finds_it() {
        assert!(is_installed("sh") && !is_installed("no-such-program"));
    }

    #[test]
    fn a_failed_command_is_named() {
        let error = output(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.starts_with("sh -c exit 3: ") && error.contains('3'), "{error}");
        assert!(run(&mut Command::new("no-such-program")).unwrap_err().starts_with("no-such-program: "));
    }
}
