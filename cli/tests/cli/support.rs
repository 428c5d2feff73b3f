//! Real processes, and their output, line by line.

use crossbeam_channel::{unbounded, Receiver, RecvTimeoutError};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::X509;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long something may take that has to happen; only a failing test uses it up.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fabric-gossip"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CORE_PEER_") {
            command.env_remove(name);
        }
    }
    for name in ["RUST_LOG", "FABRIC_CFG_PATH", "FABRIC_LOGGING_SPEC"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Ended {
    end(tool().args(args).spawn().unwrap())
}

/// Runs it to its end with variables set.
pub fn run_with(args: &[&str], variables: &[(&str, &str)]) -> Ended {
    end(tool().args(args).envs(variables.iter().copied()).spawn().unwrap())
}

pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// stdout, every line of which has to be a JSON object.
    pub fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(parse).collect()
    }

    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("defect"), "{}", self.stderr);
        self
    }
}

fn end(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub fn parse(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
    assert!(value["event"].is_string() && is_time(value["time"].as_str().unwrap_or_default()), "{line}");
    static DOCUMENTED: OnceLock<BTreeMap<&str, Vec<&str>>> = OnceLock::new();
    let documented = DOCUMENTED.get_or_init(documented_events);
    let event = value["event"].as_str().unwrap();
    let fields = documented.get(event).unwrap_or_else(|| panic!("docs/json.md does not know {event}"));
    for field in value.as_object().unwrap().keys() {
        assert!(
            ["event", "time"].contains(&&**field) || fields.contains(&&**field),
            "docs/json.md: {event} has no {field}"
        );
    }
    value
}

/// The events of `docs/json.md` and their fields: a heading each, and a table.
pub fn documented_events() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut event = "";
    for line in include_str!("../../../docs/json.md").lines() {
        if let Some(name) = line.strip_prefix("## `") {
            event = name.trim_end_matches('`');
        } else if let Some(field) = line.strip_prefix("| `") {
            events.entry(event).or_default().push(field.split('`').next().unwrap());
        }
    }
    events
}

/// RFC 3339 in UTC, with microseconds: `2026-11-30T05:48:37.123456Z`.
pub fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(c, f)| if f == 'd' { c.is_ascii_digit() } else { c == f })
}

/// The shell's own `kill`: the program of that name is not everywhere.
pub fn send_signal(signal: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill {signal} {pid}")]).status().unwrap();
    assert!(status.success());
}

/// A process that runs beside the test, with `--json`; killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

pub fn start(args: &[&str]) -> Running {
    start_with(args, &[])
}

pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut child = tool().args(args).arg("--json").envs(variables.iter().copied()).spawn().unwrap();
    let (send, lines) = unbounded();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    Running { child, lines, seen: Vec::new() }
}

impl Running {
    /// The next event with this name, which has to come. Others before it are passed over.
    pub fn await_event(&mut self, name: &str) -> Value {
        self.await_that(name, |_| true)
    }

    pub fn await_that(&mut self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.lines.recv_deadline(until) else {
                panic!("no event {name:?}, but {:#?}", self.seen.iter().rev().take(20).collect::<Vec<_>>());
            };
            let value = parse(&line);
            self.seen.push(line);
            if value["event"] == name && so(&value) {
                return value;
            }
        }
    }

    /// The next event; `None` if the process closes its stdout before.
    pub fn next_event(&mut self) -> Option<Value> {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("no event"),
        };
        self.seen.push(line);
        self.seen.last().map(|line| parse(line))
    }

    /// Returns the event with this name that satisfies `so`, also if it came before and was passed over.
    pub fn find_or_await(&mut self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        let found = self.seen.iter().map(|line| parse(line)).find(|value| value["event"] == name && so(value));
        found.unwrap_or_else(|| self.await_that(name, so))
    }

    /// Returns whether an event with this name came that satisfies `so`, among those that were read so far.
    pub fn has_seen(&self, name: &str, so: impl Fn(&Value) -> bool) -> bool {
        self.seen.iter().map(|line| parse(line)).any(|value| value["event"] == name && so(&value))
    }

    /// Returns the last line that was read, as it was printed.
    pub fn last_line(&self) -> &str {
        self.seen.last().map_or("", String::as_str)
    }

    pub fn signal(&self, signal: &str) {
        send_signal(signal, self.child.id());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end. Returns the status and the remaining output.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            std::thread::park_timeout(Duration::from_millis(2));
        };
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status, stderr)
    }

    /// Closes our end of its stdout.
    pub fn stop_reading(&mut self) {
        self.lines = unbounded().1;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Issues the certificate of a TLS server again, with the address 127.0.0.1 and a validity that ended on 2023-11-14. All
/// arguments are PEM.
pub fn expired(server: &str, key: &str, issuer_key: &[u8]) -> X509 {
    let sound = X509::from_pem(server.as_bytes()).unwrap();
    let mut b = X509::builder().unwrap();
    b.set_version(2).unwrap();
    b.set_subject_name(sound.subject_name()).unwrap();
    b.set_issuer_name(sound.issuer_name()).unwrap();
    b.set_pubkey(&PKey::private_key_from_pem(key.as_bytes()).unwrap()).unwrap();
    b.set_not_before(&Asn1Time::from_unix(1_600_000_000).unwrap()).unwrap();
    b.set_not_after(&Asn1Time::from_unix(1_700_000_000).unwrap()).unwrap();
    let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&b.x509v3_context(None, None)).unwrap();
    b.append_extension(names).unwrap();
    b.sign(&PKey::private_key_from_pem(issuer_key).unwrap(), MessageDigest::sha256()).unwrap();
    b.build()
}

/// A folder that goes with the test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fabric-gossip-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Copies a folder and everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Two organisations with three peers each, made once by `crypto`; removed when the last test that uses them has ended.
pub struct Crypto {
    dir: TempDir,
}

impl Crypto {
    pub fn get() -> &'static Crypto {
        static CRYPTO: OnceLock<Crypto> = OnceLock::new();
        CRYPTO.get_or_init(|| {
            // Nothing drops a static: the folder of an earlier run goes now.
            let dir = TempDir(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli-crypto"));
            let _ = std::fs::remove_dir_all(&dir.0);
            run(&["crypto", dir.0.to_str().unwrap(), "--peers", "3"]).assert_code(0);
            Crypto { dir }
        })
    }

    pub fn org(&self, org: u32) -> String {
        self.dir.join(format!("peerOrganizations/org{org}.example.com")).to_str().unwrap().to_owned()
    }

    pub fn peer(&self, org: u32, peer: u32) -> String {
        format!("{}/peers/peer{peer}.org{org}.example.com", self.org(org))
    }

    /// The flags with which a peer has its identity and trusts the other organisation.
    pub fn identity(&self, org: u32, peer: u32) -> Vec<String> {
        let mut flags = self.alone(org, peer);
        let other = 3 - org;
        flags.extend(["--trust-msp".into(), format!("Org{other}MSP={}/msp", self.org(other))]);
        flags
    }

    /// The same without trust in the other organisation, but for TLS.
    pub fn alone(&self, org: u32, peer: u32) -> Vec<String> {
        let mut flags = vec!["--msp".into(), format!("{}/msp", self.peer(org, peer))];
        flags.extend(["--mspid".into(), format!("Org{org}MSP")]);
        for org in [1, 2] {
            flags.extend(["--tls-ca".into(), self.tls_ca(org)]);
        }
        flags
    }

    pub fn tls_ca(&self, org: u32) -> String {
        format!("{0}/tlsca/tlsca.org{org}.example.com-cert.pem", self.org(org))
    }

    pub fn args<'a>(&self, command: &[&'a str], flags: &'a [String]) -> Vec<&'a str> {
        command.iter().copied().chain(flags.iter().map(String::as_str)).collect()
    }

    /// Starts `listen` as the first peer of the first organisation: it, where, and its PKI-ID.
    pub fn listen(&self, more: &[&str]) -> (Running, String, String) {
        let flags = self.identity(1, 0);
        let mut command = vec!["listen", "--listen", "127.0.0.1:0"];
        command.extend(more);
        let mut running = start(&self.args(&command, &flags));
        let line = running.await_event("listening");
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        assert_eq!(line["mspid"], "Org1MSP");
        (running, text("endpoint"), text("pki_id"))
    }
}
