//! The transports alone, measured in turns within one run: HTTP/2 by nghttp2 against gRPC's C core, over mutual TLS.
//!
//! `cargo bench --bench transports` measures and prints tables; `-- --json` prints one JSON object per line instead.
//! Other arguments: `--rounds <n>` (7), `--idle <n>` connections (512; the processor time of idle connections is measured
//! with 2,000 if the limits on descriptors and threads allow it), `--spin <µs>`, and any of `idle`, `throughput`,
//! `round-trip`, `connect` to measure only that. Without `--bench`, which Cargo passes, it only tries whether everything
//! works.
//!
//! Figures are medians of the rounds. The result is the ratio of the two transports within a round. Both have a queue and
//! a thread each way, as the communication layer has. Settings are the defaults.

// This benchmark uses a part of it.
#[allow(dead_code)]
mod support;

use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::{Acceptor, Status, Stream};
use serde_json::json;
use std::io::{stdin, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::bare::Bare;
use support::burner::{self, Burner};
use support::crypto::{tls, Certificates};
use support::machine::{self, Usage};
use support::report::{percentile, Series, Table};
use support::{Kind, PATIENCE};

/// The transports, in the order of the columns.
const KINDS: [Kind; 2] = [Kind::Http2, Kind::CCore];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let _ = env_logger::try_init();
    let given = |flag: &str| args.iter().any(|arg| arg == flag);
    if given("--list") {
        return;
    }
    if given("--hold") {
        return hold();
    }
    if given(burner::FLAG) {
        return burner::burn();
    }
    let number = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1)?.parse::<usize>().ok()
    };
    if let Some(micros) = number("--spin") {
        support::SPIN.store(micros as u64, Ordering::Relaxed);
    }
    let measure = given("--bench") && !given("--test");
    let sections = ["idle", "throughput", "round-trip", "connect"];
    let named: Vec<&str> = sections.into_iter().filter(|section| given(section)).collect();
    Bench {
        measure,
        json: given("--json"),
        rounds: number("--rounds").unwrap_or(if measure { 7 } else { 1 }),
        idle: number("--idle").unwrap_or(if measure { 512 } else { 4 }),
        sections: if named.is_empty() { sections.to_vec() } else { named },
        certificates: Certificates::new(),
    }
    .run();
}

struct Bench {
    measure: bool,
    json: bool,
    rounds: usize,
    idle: usize,
    sections: Vec<&'static str>,
    certificates: Certificates,
}

/// The figures of both transports and their ratio, http2 to C core.
#[derive(Default)]
struct Pair {
    each: [Series; 2],
    ratio: Series,
}

impl Pair {
    fn add(&mut self, values: [f64; 2]) {
        self.each.iter_mut().zip(values).for_each(|(series, value)| series.add(value));
        self.ratio.add(values[0] / values[1]);
    }
}

impl Bench {
    fn run(&self) {
        let whole = Usage::now();
        self.say(&json!({ "machine": machine::describe(), "rounds": self.rounds }), machine::text);
        for section in &self.sections {
            match *section {
                "idle" => self.idle(),
                "throughput" => self.throughput(),
                "round-trip" => self.round_trip(),
                _ => self.connect(),
            }
        }
        let others = whole.others();
        self.say(&json!({ "others_cpu_percent": others, "load": machine::load() }), || {
            format!("Other processes used {others:.0} % of the machine meanwhile; load average {}.", machine::load())
        });
    }

    /// Runs both transports, either first as often as the other.
    fn in_turns<T>(&self, round: usize, mut run: impl FnMut(Kind) -> T) -> [T; 2] {
        let first = round % 2;
        let one = run(KINDS[first]);
        let other = run(KINDS[1 - first]);
        if first == 0 {
            [one, other]
        } else {
            [other, one]
        }
    }

    fn throughput(&self) {
        let mut table = Table::new(
            "Throughput, messages per second: median (lowest – highest of the rounds)",
            &["payload", "http2", "c-core", "http2 / c-core", "CPU per message, http2", "c-core"],
        );
        let sizes = match self.measure {
            true => [(100, 300_000), (1 << 10, 150_000), (64 << 10, 8_000), (1 << 20, 600)],
            false => [(100, 1_000), (1 << 10, 1_000), (64 << 10, 100), (1 << 20, 10)],
        };
        for (size, count) in sizes {
            let (mut rates, mut cpu) = (Pair::default(), Pair::default());
            for round in 0..self.rounds {
                let measured = self.in_turns(round, |kind| {
                    let bare = Bare::apart(&self.certificates, kind);
                    let usage = Usage::now();
                    let took = bare.stream(size, count);
                    let spent = usage.cpu().as_secs_f64() * 1e6 / count as f64;
                    bare.end();
                    (count as f64 / took.as_secs_f64(), spent)
                });
                rates.add(measured.map(|(rate, _)| rate));
                cpu.add(measured.map(|(_, spent)| spent));
            }
            self.row(&mut table, "throughput", &bytes(size), &rates, Series::thousands, &[&cpu]);
        }
        self.print(&table, "CPU (µs) is that of both ends together, which share this process.");
    }

    fn round_trip(&self) {
        let mut table = Table::new(
            "Round trip of 100 B, p50 in µs: median (lowest – highest of the rounds)",
            &["", "http2", "c-core", "http2 / c-core", "p99, http2", "c-core"],
        );
        let count = if self.measure { 8_000 } else { 50 };
        let ways: [(&str, bool, bool); 4] = [
            ("one thread sends and receives", false, false),
            ("sender and reader apart", true, false),
            ("one thread, a third process is busy", false, true),
            ("apart, a third process is busy", true, true),
        ];
        for (name, apart, busy) in ways {
            let (mut p50, mut p99) = (Pair::default(), Pair::default());
            for round in 0..self.rounds {
                let measured = self.in_turns(round, |kind| {
                    let burner = busy.then(Burner::start);
                    let bare = match apart {
                        true => Bare::apart(&self.certificates, kind),
                        false => Bare::alone(&self.certificates, kind),
                    };
                    let mut times = bare.round_trips(100, count);
                    bare.end();
                    drop(burner);
                    (percentile(&mut times, 50), percentile(&mut times, 99))
                });
                p50.add(measured.map(|(p50, _)| p50));
                p99.add(measured.map(|(_, p99)| p99));
            }
            self.row(&mut table, "round_trip", name, &p50, Series::one_decimal, &[&p99]);
        }
        self.print(&table, "The busy process computes without end, so three processes or threads want two processors.");
    }

    fn connect(&self) {
        let mut table = Table::new(
            "Connecting, a new connection each time, p50 in µs: median (lowest – highest of the rounds)",
            &["", "http2", "c-core", "http2 / c-core"],
        );
        let count = if self.measure { 100 } else { 3 };
        for name in ["dial, mutual TLS, Ping", "the same, and a message each way"] {
            let once = if name.starts_with("dial") { Bare::dial } else { Bare::connect };
            let mut p50 = Pair::default();
            for round in 0..self.rounds {
                p50.add(self.in_turns(round, |kind| {
                    let bare = Bare::alone(&self.certificates, kind);
                    let mut times: Vec<f64> = (0..count).map(|_| once(&bare)).collect();
                    bare.end();
                    percentile(&mut times, 50)
                }));
            }
            self.row(&mut table, "connect", name, &p50, Series::one_decimal, &[]);
        }
        self.print(&table, "");
    }

    fn idle(&self) {
        let mut table = Table::new(
            "Idle connections with a stream, each end with two threads: memory of each, and CPU of one core",
            &["", "accepting end", "dialling end", "CPU accepting", "CPU dialling", "with a keepalive"],
        );
        let crowd = if self.measure { 2_000 } else { 8 };
        for (kind, count) in KINDS.map(|kind| (kind, self.idle)).into_iter().chain([(Kind::Http2, crowd)]) {
            let Some(idle) = Idle::measure(&self.certificates, kind, count, self.measure) else {
                self.print_line(&format!("{count} connections over {} were not possible here.", kind.name()));
                continue;
            };
            let kib = |bytes: f64| format!("{:.0} KiB", bytes / 1024.0);
            let percent = |part: f64| format!("{part:.2} %");
            table.row(vec![
                format!("{}, {count}", kind.name()),
                kib(idle.memory[0]),
                kib(idle.memory[1]),
                percent(idle.cpu[0]),
                percent(idle.cpu[1]),
                format!("{}, {}", percent(idle.keepalive[0]), percent(idle.keepalive[1])),
            ]);
            self.say(
                &json!({ "idle": { "transport": kind.name(), "connections": count, "accepting_bytes": idle.memory[0],
                    "dialling_bytes": idle.memory[1], "accepting_cpu_percent": idle.cpu[0],
                    "dialling_cpu_percent": idle.cpu[1], "keepalive_cpu_percent": idle.keepalive } }),
                String::new,
            );
        }
        let note = "Each end is a separate process. The first connection is not counted. CPU is that of 20 s in which nothing \
                    is sent, then of 60 s in which each connection has a keepalive ping (accepting end, dialling end).";
        self.print(&table, note);
    }

    fn row(
        &self,
        table: &mut Table,
        section: &str,
        name: &str,
        main: &Pair,
        text: fn(&Series) -> String,
        others: &[&Pair],
    ) {
        let mut cells = vec![name.to_owned(), text(&main.each[0]), text(&main.each[1])];
        cells.push(format!("{:.2}", main.ratio.median()));
        cells.extend(others.iter().flat_map(|pair| pair.each.iter().map(|series| format!("{:.2}", series.median()))));
        table.row(cells);
        let others: Vec<_> = others.iter().map(|pair| json!([pair.each[0].json(), pair.each[1].json()])).collect();
        self.say(
            &json!({ section: { "what": name, "http2": main.each[0].json(), "c-core": main.each[1].json(),
                "ratio": main.ratio.json(), "others": others } }),
            String::new,
        );
    }

    fn say(&self, line: &serde_json::Value, text: impl FnOnce() -> String) {
        let text = if self.json { line.to_string() } else { text() };
        self.print_line(&text);
    }

    fn print_line(&self, text: &str) {
        if !text.is_empty() {
            println!("{text}");
        }
    }

    fn print(&self, table: &Table, note: &str) {
        if !self.json {
            println!("\n{table}{note}");
        }
    }
}

fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..0x10_0000 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

/// The cost of idle connections.
struct Idle {
    /// Memory per connection in bytes: accepting end, dialling end.
    memory: [f64; 2],
    /// Processor time of all of them while nothing is sent, in percent of a core.
    cpu: [f64; 2],
    /// The same while each connection has a keepalive ping.
    keepalive: [f64; 2],
}

/// The accepting end of idle connections: one thread reads, another one waits to write.
struct Sleeper {
    accepted: AtomicUsize,
}

impl Acceptor for Sleeper {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        let writer = Writer::start();
        self.accepted.fetch_add(1, Ordering::SeqCst);
        while stream.recv(None).is_ok() {}
        drop(writer);
        Status::ok()
    }
}

/// A thread that waits for messages to write.
struct Writer(Option<std::thread::JoinHandle<()>>, Option<crossbeam_channel::Sender<()>>);

impl Writer {
    fn start() -> Writer {
        let (keep, wait) = crossbeam_channel::bounded::<()>(1);
        let thread = std::thread::Builder::new().name("bare-write".into()).spawn(move || while wait.recv().is_ok() {});
        Writer(thread.ok(), Some(keep))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.1 = None;
        let _ = self.0.take().map(std::thread::JoinHandle::join);
    }
}

impl Idle {
    /// Returns `None` if this machine does not permit that many connections.
    fn measure(certificates: &Certificates, kind: Kind, count: usize, settle: bool) -> Option<Idle> {
        let mut accepting = Holder::start(&order(certificates, kind, None));
        let endpoint = accepting.line()?;
        let mut dialling = Holder::start(&order(certificates, kind, Some(&endpoint)));
        dialling.line()?;
        let mut resident = [Vec::new(), Vec::new()];
        for connections in [1, count] {
            if dialling.ask(&format!("connect {connections}"))? != connections as u64 {
                return None;
            }
            let until = Instant::now() + PATIENCE;
            while accepting.ask("accepted")? < connections as u64 {
                if Instant::now() > until {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            // Buffers of the set-up are released after a moment.
            std::thread::sleep(if settle { Duration::from_secs(2) } else { Duration::ZERO });
            resident[0].push(accepting.ask("resident")? as f64);
            resident[1].push(dialling.ask("resident")? as f64);
        }
        let (quiet, long) = if settle { (20, 60) } else { (0, 0) };
        let mut watch = |watched: Duration| {
            let before = [accepting.ask("cpu")?, dialling.ask("cpu")?];
            std::thread::sleep(watched);
            let after = [accepting.ask("cpu")?, dialling.ask("cpu")?];
            Some([0, 1].map(|end| (after[end] - before[end]) as f64 / watched.as_nanos() as f64 * 100.0))
        };
        // The time limits of the set-up pass first, which are at most ten seconds.
        watch(Duration::from_millis(10) + Duration::from_secs(quiet / 2))?;
        let cpu = watch(Duration::from_millis(50) + Duration::from_secs(quiet))?;
        let keepalive = watch(Duration::from_millis(50) + Duration::from_secs(long))?;
        let each = |end: usize| (resident[end][1] - resident[end][0]) / (count.max(2) - 1) as f64;
        Some(Idle { memory: [each(0), each(1)], cpu, keepalive })
    }
}

fn order(certificates: &Certificates, kind: Kind, endpoint: Option<&str>) -> String {
    let member = &certificates.member;
    json!({ "transport": kind.name(), "endpoint": endpoint, "ca": member.tls_ca_cert, "cert": member.tls_cert,
        "key": member.tls_key })
    .to_string()
}

/// The process of one end.
struct Holder {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(order: &str) -> Holder {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        let mut process =
            command.arg("--hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let _ = writeln!(input, "{order}");
        Holder { process, input, output }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        Some(line.trim().to_owned()).filter(|line| !line.is_empty())
    }

    fn ask(&mut self, question: &str) -> Option<u64> {
        writeln!(self.input, "{question}").ok()?;
        self.line()?.parse().ok()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs one end: reads orders line by line and answers each with a number.
fn hold() {
    let mut orders = stdin().lines().map_while(Result::ok);
    let first: serde_json::Value = orders.next().and_then(|line| serde_json::from_str(&line).ok()).expect("an order");
    let text = |field: &str| first[field].as_str().unwrap_or_default();
    let kind = Kind::named(text("transport")).expect("a transport");
    let transport = kind.transport(tls(text("cert"), text("key"), text("ca")));
    let sleeper = Arc::new(Sleeper { accepted: AtomicUsize::new(0) });
    let server = match first["endpoint"].as_str() {
        None => Some(transport.listen("127.0.0.1:0", sleeper.clone()).expect("a server")),
        Some(_) => None,
    };
    println!("{}", server.as_ref().map_or("ready", |server| server.local_addr()));
    let mut held = Vec::new();
    for order in orders {
        let answer = match order.split_once(' ') {
            Some(("connect", count)) => {
                let count = count.parse().unwrap_or(0);
                while held.len() < count {
                    let Ok(client) = transport.dial(text("endpoint"), PATIENCE, &Cancel::new()) else { break };
                    let Ok(stream) = client.ping(PATIENCE).and_then(|()| client.open(None)) else { break };
                    let reader = stream.clone();
                    let thread = std::thread::Builder::new().name("bare-read".into());
                    let Ok(thread) = thread.spawn(move || while reader.recv(None).is_ok() {}) else { break };
                    held.push((stream, thread, Writer::start()));
                }
                held.len() as u64
            }
            _ if order == "cpu" => machine::process_nanos(),
            _ if order == "accepted" => sleeper.accepted.load(Ordering::SeqCst) as u64,
            _ => machine::resident(),
        };
        println!("{answer}");
    }
}
