//! Runs the tool and an embedding program with too few threads and file descriptors, up to enough of them: each has to
//! work, or to end with exit code 1 or 2 and a message that names the limit. None may hang, end by a signal, or spin.
//!
//! `LIMITS_FROM` names a folder with other builds of the two programs; `VERBOSE` prints every verdict.

use crate::{paths, tool, Outcome};
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

// The demonstration goes on after a failed step, until each has reached its time limit, so that it has fewer values.
const THREADS: &[u32] = &[4, 8, 10, 12, 13, 14, 15, 16, 17, 18, 20, 22, 24, 32, 64];
const THREADS_OF_DEMO: &[u32] = &[8, 13, 16, 64];
const DESCRIPTORS: &[u32] = &[5, 6, 8, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 64];
const DESCRIPTORS_OF_DEMO: &[u32] = &[6, 12, 64];
const PROGRAMS: &[Program] = &[Program::Peer, Program::Listen, Program::Send, Program::TwoPeers];
/// The first of the user ids for the runs with few threads, one for each, because the system counts threads by user.
const FIRST_USER: usize = 60_000;
/// Seconds after which a command that does not end by itself gets SIGTERM.
const RUN: &str = "2";
/// Seconds that none may take longer than.
const LONG: &str = "60";
/// Seconds of processor time that none may use.
const BUSY: u32 = 8;
/// How many run at the same time: most of them wait.
const AT_A_TIME: usize = 8;
/// A message about a limit has one of these texts.
const NAMES_OF_LIMITS: &[&str] = &["ulimit", "RLIMIT", "Too many open files", "cannot start a thread"];

const SIGXCPU: i32 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Demo,
    Peer,
    Listen,
    Send,
    TwoPeers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Threads,
    Descriptors,
}

impl Limit {
    /// Returns the option of the shell's `ulimit`.
    fn option(self) -> &'static str {
        match self {
            Limit::Threads => "-u",
            Limit::Descriptors => "-n",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Run {
    number: usize,
    program: Program,
    limit: Limit,
    value: u32,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} under ulimit {} {}", self.program, self.limit.option(), self.value)
    }
}

/// Runs all of them.
pub fn run() -> Outcome {
    let with_threads = can_be_other_users();
    if !with_threads {
        tool::skip("limits of threads", "they need other users (run as root, with setpriv)")?;
    }
    let runs = runs(with_threads);
    let stage = Stage::set(runs.len())?;
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = stage.judge(run);
                    verdicts.lock().unwrap_or_else(|e| e.into_inner()).push((*run, verdict));
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap_or_else(|e| e.into_inner());
    stage.check_listener()?;
    report(&verdicts)
}

fn report(verdicts: &[(Run, Result<bool, String>)]) -> Outcome {
    let failed: Vec<_> =
        verdicts.iter().filter_map(|(run, verdict)| Some(format!("{run}: {}", verdict.as_ref().err()?))).collect();
    if std::env::var_os("VERBOSE").is_some() {
        verdicts.iter().for_each(|(run, verdict)| println!("{run}: {verdict:?}"));
    }
    if !failed.is_empty() {
        return Err(format!("limits: {} of {} runs failed:\n{}", failed.len(), verdicts.len(), failed.join("\n")));
    }
    let working = verdicts.iter().filter(|(_, verdict)| *verdict == Ok(true)).count();
    println!("limits: {} runs: {working} work, the others name the limit that stops them", verdicts.len());
    Ok(())
}

/// Returns the runs, the longest first.
fn runs(with_threads: bool) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut add = |program, limit, values: &[u32]| {
        for &value in values {
            runs.push(Run { number: runs.len(), program, limit, value });
        }
    };
    add(Program::Demo, Limit::Descriptors, DESCRIPTORS_OF_DEMO);
    if with_threads {
        add(Program::Demo, Limit::Threads, THREADS_OF_DEMO);
    }
    for &program in PROGRAMS {
        add(program, Limit::Descriptors, DESCRIPTORS);
        if with_threads {
            add(program, Limit::Threads, THREADS);
        }
    }
    runs
}

/// The limit of threads counts those of a user, and does not hold for root.
fn as_user(command: &mut Command, user: usize) -> &mut Command {
    command.args(["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"])
}

fn can_be_other_users() -> bool {
    let mut command = Command::new("env");
    as_user(&mut command, FIRST_USER).arg("true").stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The programs, their identities, and a peer to send to, in a folder that other users can read.
struct Stage {
    scratch: tool::Scratch,
    listener: Mutex<Child>,
    endpoint: String,
}

impl Stage {
    fn set(identities: usize) -> Result<Self, String> {
        let scratch = tool::Scratch::new()?;
        let from = std::env::var_os("LIMITS_FROM").map_or_else(paths::release, Into::into);
        for (program, path) in [(paths::TOOL, paths::TOOL), ("two_peers", "examples/two_peers")] {
            let path = from.join(path);
            tool::at(&path, std::fs::copy(&path, scratch.join(program)))?;
        }
        let mut crypto = Command::new(scratch.join(paths::TOOL));
        crypto.arg("crypto").arg(scratch.join("crypto")).args(["--peers", &(identities + 1).to_string()]);
        tool::output(&mut crypto)?;
        tool::run(Command::new("chmod").args(["-R", "a+rX"]).arg(&scratch.0))?;
        let temporary = scratch.join("tmp");
        tool::at(&temporary, std::fs::create_dir(&temporary))?;
        tool::at(&temporary, std::fs::set_permissions(&temporary, Permissions::from_mode(0o1777)))?;

        let mut command = Command::new(scratch.join(paths::TOOL));
        command.args(["listen", "--json", "--ack", "--listen", "127.0.0.1:0"]).args(identity(&scratch.0, identities));
        let mut listener = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("limits: the listener: {e}"))?;
        let output = BufReader::new(listener.stdout.take().ok_or("limits: the listener has no output")?);
        let mut lines = output.lines().map_while(Result::ok);
        let endpoint = lines.find_map(|line| endpoint(&line).map(str::to_owned));
        // The rest of the output must be read.
        std::thread::spawn(move || lines.for_each(drop));
        let endpoint = endpoint.ok_or_else(|| {
            let _ = listener.kill();
            "limits: the listener did not start".to_owned()
        })?;
        Ok(Stage { scratch, listener: Mutex::new(listener), endpoint })
    }

    /// Returns whether the program worked, or how it failed.
    fn judge(&self, run: &Run) -> Result<bool, String> {
        let path = |end: &str| self.scratch.join(format!("{}.{end}", run.number));
        let file = |end: &str| tool::at(&path(end), File::create(path(end)));
        let mut command = self.command(run);
        let status = command.stdin(Stdio::null()).stdout(file("out")?).stderr(file("err")?).status();
        let status = status.map_err(|e| format!("timeout: {e}"))?;
        let printed = tool::read(path("out"))? + &tool::read(path("err"))?;
        verdict(status, &printed)
    }

    fn command(&self, run: &Run) -> Command {
        let mut command = Command::new("timeout");
        command.env("TMPDIR", self.scratch.join("tmp"));
        // In the foreground: otherwise it signals its process group as well, and a program's second signal ends it
        // roughly.
        command.arg("--foreground");
        match run.program {
            Program::Peer | Program::Listen => command.args(["--preserve-status", "-k", LONG, RUN]),
            _ => command.args(["-k", "5", LONG]),
        };
        if run.limit == Limit::Threads {
            as_user(&mut command, FIRST_USER + run.number);
        }
        let script = format!("ulimit -t {BUSY}; ulimit {} {}; exec \"$0\" \"$@\"", run.limit.option(), run.value);
        // Few shells know the limit of threads.
        command.args(["bash", "-c", &script]);
        let of = |name: &str| self.scratch.join(name);
        match run.program {
            Program::TwoPeers => command.arg(of("two_peers")),
            Program::Demo => command.arg(of(paths::TOOL)).arg("demo"),
            Program::Send => command.arg(of(paths::TOOL)).args(["send", "--ack", &self.endpoint]),
            Program::Peer => command.arg(of(paths::TOOL)).args(["peer", "--listen", "127.0.0.1:0"]),
            Program::Listen => command.arg(of(paths::TOOL)).args(["listen", "--listen", "127.0.0.1:0"]),
        };
        if !matches!(run.program, Program::TwoPeers | Program::Demo) {
            command.args(identity(&self.scratch.0, run.number));
        }
        command
    }

    fn check_listener(&self) -> Outcome {
        let mut listener = self.listener.lock().unwrap_or_else(|e| e.into_inner());
        match listener.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("limits: the listener ended with {status}")),
            Err(e) => Err(format!("limits: the listener: {e}")),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let listener = self.listener.get_mut().unwrap_or_else(|e| e.into_inner());
        let _ = listener.kill();
        let _ = listener.wait();
    }
}

/// Returns the tool's flags for the identity of this number.
fn identity(folder: &Path, number: usize) -> [String; 6] {
    let org = folder.join("crypto/peerOrganizations/org1.example.com");
    let msp = org.join(format!("peers/peer{number}.org1.example.com/msp"));
    let tls = org.join("tlsca/tlsca.org1.example.com-cert.pem");
    let path = |path: &Path| path.display().to_string();
    ["--msp".into(), path(&msp), "--mspid".into(), "Org1MSP".into(), "--tls-ca".into(), path(&tls)]
}

/// Returns the endpoint in the line of JSON that says that the tool listens.
fn endpoint(line: &str) -> Option<&str> {
    let rest = line.contains("\"listening\"").then(|| line.split_once("\"endpoint\":\""))??.1;
    rest.split_once('"').map(|(endpoint, _)| endpoint)
}

/// Returns whether it worked, or how it failed.
fn verdict(status: ExitStatus, printed: &str) -> Result<bool, String> {
    let fault = match status.code() {
        Some(0) => return Ok(true),
        Some(1 | 2) if NAMES_OF_LIMITS.iter().any(|name| printed.contains(name)) => return Ok(false),
        Some(1 | 2) => "no message names the limit".into(),
        Some(124 | 137) => "it hung".into(),
        _ if of_signal(status) == Some(SIGXCPU) => format!("it used more than {BUSY} s of processor time"),
        _ => "it crashed".to_owned(),
    };
    let end: Vec<_> = printed.lines().rev().take(6).map(|line| line.chars().take(400).collect::<String>()).collect();
    Err(format!("{fault} ({status})\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

/// Returns the signal that ended a program, also if a program around it reports it by its exit code.
fn of_signal(status: ExitStatus) -> Option<i32> {
    status.signal().or_else(|| status.code().filter(|code| *code > 128).map(|code| code - 128))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn a_program_works_or_names_the_limit() {
        assert_eq!(verdict(exit(0), ""), Ok(true));
        assert_eq!(verdict(exit(1), "raise it with ulimit -n"), Ok(false));
        assert!(verdict(exit(1), "it failed").unwrap_err().contains("no message names the limit"));
        assert!(verdict(exit(3), "ulimit").unwrap_err().contains("crashed"));
    }

    #[test]
    fn hanging_spinning_and_crashing_are_told_apart() {
        assert!(verdict(exit(124), "ulimit").unwrap_err().contains("hung"));
        assert!(verdict(exit(137), "ulimit").unwrap_err().contains("hung"));
        for busy in [ExitStatus::from_raw(SIGXCPU), exit(128 + SIGXCPU)] {
            assert!(verdict(busy, "ulimit").unwrap_err().contains("processor time"));
        }
        for crash in [ExitStatus::from_raw(11), exit(134)] {
            assert!(verdict(crash, "ulimit").unwrap_err().contains("crashed"));
        }
    }

    #[test]
    fn the_endpoint_is_read_from_the_line_about_listening() {
        assert_eq!(endpoint(r#"{"event":"listening","endpoint":"127.0.0.1:7051"}"#), Some("127.0.0.1:7051"));
        assert_eq!(endpoint(r#"{"event":"connected","endpoint":"127.0.0.1:7051"}"#), None);
        assert_eq!(endpoint(r#"{"event":"listening"}"#), None);
    }

    #[test]
    fn every_run_has_a_number_and_so_an_identity_and_a_user_of_its_own() {
        for with_threads in [false, true] {
            let runs = runs(with_threads);
            assert!(runs.iter().enumerate().all(|(at, run)| run.number == at));
            assert_eq!(runs.iter().any(|run| run.limit == Limit::Threads), with_threads);
        }
    }

    #[test]
    fn one_failure_fails_all() {
        let run = runs(false)[0];
        assert_eq!(report(&[(run, Ok(true)), (run, Ok(false))]), Ok(()));
        let error = report(&[(run, Ok(true)), (run, Err("it hung".into()))]).unwrap_err();
        assert!(error.contains("1 of 2") && error.contains("Demo under ulimit -n 6: it hung"), "{error}");
    }
}
