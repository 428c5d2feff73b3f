//! The communication layer as a whole, measured: two `Comm`s in one process over mutual TLS, from `send` through the
//! demultiplexer to a subscriber, and beside it, in the same run, the bare transport that it stands on.
//!
//! `cargo bench --bench comm` measures and prints tables; `-- --json` prints one JSON object per line instead. Other
//! arguments: `--rounds <n>` (7), `--sizes <bytes>,…` of the payloads, `--idle <n>` connections (512), `--poll <strategy>`
//! of the C core (`poll`; `epoll1`), `--spin <µs>` of receivers, `--only layer` or `--only bare` (throughput, for a
//! profiler), and any of `throughput`, `round-trip`, `conversations`, `handshake`, `idle`
//! to measure only that. Without `--bench`, which Cargo passes, it only tries whether everything works (`cargo test
//! --release --bench comm`). Cargo's bench profile is the release profile: the C core is not compiled again for it.
//!
//! Layer and bare transport take turns, so that disturbances of the machine affect both, and each turn has its own
//! connections and no others beside them: the C core's pollers disturb each other. Figures are medians of the rounds,
//! and their ratio is the result. **Layer**: a fresh signed data message per send (the signature itself is a constant:
//! signing is the caller's business), `send_timeout`, writer, TLS, reader, demultiplexer, a subscriber's thread.
//! **Bare**: a fresh buffer of as many bytes as the layer's payload through a queue of the same length to a thread that
//! writes to the same kind of stream, and a reader that counts.

// This benchmark uses a part of it.
#[allow(dead_code)]
mod support;

use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use support::bare::Bare;
use support::crypto::Certificates;
use support::layer::Layer;
use support::machine::{self, Usage};
use support::report::{percentile, Series, Table};
use support::{dialler, Kind, Plan};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let settings = Settings::from(&args);
    // Latched by the first call into the C core.
    std::env::set_var("GRPC_POLL_STRATEGY", &settings.poll);
    let _ = env_logger::try_init();
    if args.iter().any(|a| a == "--dial") {
        return dialler::run();
    }
    if args.iter().any(|a| a == "--list") {
        return;
    }
    let plan = if settings.measure { Plan::measure() } else { Plan::test() };
    let mut bench = Bench { plan, settings };
    bench.run();
}

struct Settings {
    measure: bool,
    json: bool,
    rounds: Option<usize>,
    idle: Option<usize>,
    sizes: Vec<usize>,
    poll: String,
    only: Option<String>,
    sections: Vec<String>,
}

impl Settings {
    fn from(args: &[String]) -> Settings {
        let mut settings = Settings {
            measure: args.iter().any(|a| a == "--bench") && !args.iter().any(|a| a == "--test"),
            json: args.iter().any(|a| a == "--json"),
            rounds: None,
            idle: None,
            sizes: Vec::new(),
            poll: "poll".into(),
            only: None,
            sections: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--rounds" => settings.rounds = args.next().and_then(|n| n.parse().ok()),
                "--idle" => settings.idle = args.next().and_then(|n| n.parse().ok()),
                "--spin" => {
                    let micros = args.next().and_then(|n| n.parse().ok());
                    support::SPIN.store(micros.unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                "--sizes" => {
                    let sizes = args.next().map(String::as_str).unwrap_or_default();
                    settings.sizes = sizes.split(',').filter_map(|size| size.parse().ok()).collect();
                }
                "--poll" => settings.poll = args.next().cloned().unwrap_or_default(),
                "--only" => settings.only = args.next().cloned(),
                // Other flags of a test harness are ignored.
                flag if flag.starts_with('-') => {}
                section => settings.sections.push(section.to_owned()),
            }
        }
        settings
    }

    fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|wanted| section.contains(wanted.as_str()))
    }
}

struct Bench {
    plan: Plan,
    settings: Settings,
}

impl Bench {
    fn run(&mut self) {
        self.plan.rounds = self.settings.rounds.unwrap_or(self.plan.rounds);
        self.plan.idle = self.settings.idle.unwrap_or(self.plan.idle);
        let wanted = |size: &usize| self.settings.sizes.is_empty() || self.settings.sizes.contains(size);
        self.plan.sizes.retain(|(size, _)| wanted(size));
        let sections = ["idle", "throughput", "round-trip", "conversations", "handshake"];
        if !sections.iter().any(|section| self.settings.wants(section)) {
            return;
        }
        self.say(
            &json!({ "machine": machine::describe(), "poll": self.settings.poll, "rounds": self.plan.rounds }),
            || format!("{}, poll strategy {}\n", machine::text(), self.settings.poll),
        );
        let whole = Usage::now();
        let certificates = Certificates::new();
        // Before anything else has grown this process.
        if self.settings.wants("idle") {
            self.idle(&certificates);
        }
        if self.settings.wants("throughput") {
            self.throughput(&certificates);
        }
        if self.settings.wants("round-trip") {
            self.round_trip(&certificates);
        }
        if self.settings.wants("conversations") {
            self.conversations(&certificates);
        }
        if self.settings.wants("handshake") {
            self.handshake(&certificates);
        }
        let others = whole.others();
        self.say(&json!({ "others_cpu_percent": others, "load": machine::load() }), || {
            format!("Other processes used {others:.0} % of the machine meanwhile; load average {}.", machine::load())
        });
    }

    fn throughput(&self, certificates: &Certificates) {
        let mut table = Table::new(
            "Throughput, messages per second: median (lowest – highest of the rounds)",
            &["payload", "layer", "bare", "layer / bare", "CPU per message, layer", "bare", "envelope"],
        );
        for &(size, count) in &self.plan.sizes {
            let (mut of_layer, mut of_bare) = (Series::default(), Series::default());
            let (mut cpu_layer, mut cpu_bare) = (Series::default(), Series::default());
            let (mut ratio, mut envelope) = (Series::default(), 0);
            for round in 0..self.plan.rounds {
                let mut rates = [0.0; 2];
                // Either goes first as often as the other.
                for turn in [round % 2, (round + 1) % 2] {
                    if self.settings.only.as_ref().is_some_and(|only| only != ["layer", "bare"][turn]) {
                        continue;
                    }
                    let (took, cpu) = if turn == 0 {
                        let layer = Layer::new(certificates);
                        let usage = Usage::now();
                        let (took, bytes) = layer.stream(size, count);
                        envelope = bytes;
                        (took, usage.cpu())
                    } else {
                        let bare = Bare::apart(certificates, Kind::CCore);
                        let usage = Usage::now();
                        let measured = (bare.stream(size, count), usage.cpu());
                        bare.end();
                        measured
                    };
                    rates[turn] = count as f64 / took.as_secs_f64();
                    let cpu = cpu.as_secs_f64() * 1e6 / count as f64;
                    [&mut of_layer, &mut of_bare][turn].add(rates[turn]);
                    [&mut cpu_layer, &mut cpu_bare][turn].add(cpu);
                }
                ratio.add(rates[0] / rates[1]);
            }
            self.say(
                &json!({
                    "throughput": { "bytes": size, "envelope_bytes": envelope, "messages": count,
                        "layer": of_layer.json(), "bare": of_bare.json(), "ratio": ratio.json(),
                        "layer_cpu_us": cpu_layer.json(), "bare_cpu_us": cpu_bare.json() }
                }),
                String::new,
            );
            table.row(vec![
                bytes(size),
                of_layer.thousands(),
                of_bare.thousands(),
                ratio.percent(),
                format!("{:.2} µs", cpu_layer.median()),
                format!("{:.2} µs", cpu_bare.median()),
                format!("{envelope} B"),
            ]);
        }
        self.print(&table, "CPU is that of both ends together, which share this process.");
    }

    fn round_trip(&self, certificates: &Certificates) {
        let ways = ["layer", "bare, sender and reader apart", "bare, one thread sends and receives"];
        let mut p50 = [(); 3].map(|()| Series::default());
        let mut p99 = [(); 3].map(|()| Series::default());
        let mut cpu = [(); 3].map(|()| Series::default());
        let mut added = Series::default();
        let (size, count) = self.plan.round_trips;
        for round in 0..self.plan.rounds {
            for turn in 0..3 {
                let way = (turn + round) % 3;
                let (mut times, spent) = match way {
                    0 => {
                        let layer = Layer::new(certificates);
                        let usage = Usage::now();
                        (layer.round_trips(size, count), usage.cpu())
                    }
                    way => {
                        let bare = if way == 1 {
                            Bare::apart(certificates, Kind::CCore)
                        } else {
                            Bare::alone(certificates, Kind::CCore)
                        };
                        let usage = Usage::now();
                        let measured = (bare.round_trips(size, count), usage.cpu());
                        bare.end();
                        measured
                    }
                };
                cpu[way].add(spent.as_secs_f64() * 1e6 / count as f64);
                p50[way].add(percentile(&mut times, 50));
                p99[way].add(percentile(&mut times, 99));
            }
            added.add(p50[0].last() - p50[1].last());
        }
        let mut table = Table::new(
            &format!("Round trip of {}, acknowledged: µs, median (lowest – highest of the rounds)", bytes(size)),
            &["", "p50", "p99", "CPU per round trip"],
        );
        for (way, name) in ways.iter().enumerate() {
            table.row(vec![
                (*name).into(),
                p50[way].one_decimal(),
                p99[way].one_decimal(),
                format!("{:.1}", cpu[way].median()),
            ]);
            self.say(
                &json!({ "round_trip": { "way": name, "bytes": size, "count": count, "p50_us": p50[way].json(),
                    "p99_us": p99[way].json(), "cpu_us": cpu[way].json() } }),
                String::new,
            );
        }
        table.row(vec!["the layer adds to the first of the bare ones".into(), added.one_decimal()]);
        self.say(&json!({ "round_trip_added_us": added.json() }), String::new);
        self.print(
            &table,
            "Compared is with the bare transport whose two sides are split as the layer's must be, since both ends may send\n\
             at any time: the caller hands to a writing thread, a reading thread hands back. The echo is in the other\n\
             side's reader; the layer's acknowledgement comes from the subscriber's thread.",
        );
    }

    /// Acknowledged sends on many connections at the same time, with readers that may spin and with readers that may
    /// not.
    fn conversations(&self, certificates: &Certificates) {
        let (size, count) = self.plan.round_trips;
        let mut table = Table::new(
            &format!("Simultaneous conversations: acknowledged sends of {} per second, all together", bytes(size)),
            &["connections", "readers spin", "they do not", "spinning / not", "CPU per send", "not spinning"],
        );
        for &connections in &self.plan.conversations {
            let (mut rates, mut cpu) = ([(); 2].map(|()| Series::default()), [(); 2].map(|()| Series::default()));
            let mut ratio = Series::default();
            let each = (count / connections).max(1);
            for round in 0..self.plan.rounds {
                for turn in [round % 2, (round + 1) % 2] {
                    let mut options = support::options();
                    if turn == 1 {
                        options.spin = std::time::Duration::ZERO;
                    }
                    let layers: Vec<_> =
                        (0..connections).map(|_| Layer::with_options(certificates, &options)).collect();
                    layers.iter().for_each(|layer| drop(layer.round_trips(size, 1)));
                    let usage = Usage::now();
                    let started = std::time::Instant::now();
                    std::thread::scope(|scope| {
                        layers.iter().for_each(|layer| drop(scope.spawn(move || layer.round_trips(size, each))));
                    });
                    let sends = (each * connections) as f64;
                    rates[turn].add(sends / started.elapsed().as_secs_f64());
                    cpu[turn].add(usage.cpu().as_secs_f64() * 1e6 / sends);
                }
                ratio.add(rates[0].last() / rates[1].last());
            }
            self.say(
                &json!({ "conversations": { "connections": connections, "bytes": size, "spinning": rates[0].json(),
                    "blocking": rates[1].json(), "ratio": ratio.json() } }),
                String::new,
            );
            table.row(vec![
                connections.to_string(),
                rates[0].thousands(),
                rates[1].thousands(),
                ratio.percent(),
                format!("{:.1} µs", cpu[0].median()),
                format!("{:.1} µs", cpu[1].median()),
            ]);
        }
        self.print(&table, "");
    }

    fn handshake(&self, certificates: &Certificates) {
        let layer = Layer::with_msp(certificates);
        let bare = Bare::alone(certificates, Kind::CCore);
        let mut of_layer = Vec::new();
        let mut of_bare = Vec::new();
        for _ in 0..self.plan.handshakes {
            of_layer.push(layer.handshake());
            of_bare.push(bare.connect());
        }
        bare.end();
        let mut table = Table::new("Connecting, new connection each time: ms", &["", "p50", "p99"]);
        for (name, times) in [
            ("dial, TLS, Ping, gossip handshake with an MSP both ways", &mut of_layer),
            ("bare: dial, TLS, Ping, a message each way", &mut of_bare),
        ] {
            let (p50, p99) = (percentile(times, 50) / 1e3, percentile(times, 99) / 1e3);
            table.row(vec![name.into(), format!("{p50:.2}"), format!("{p99:.2}")]);
            self.say(
                &json!({ "handshake": { "what": name, "count": times.len(), "p50_ms": p50, "p99_ms": p99 } }),
                String::new,
            );
        }
        self.print(&table, "");
    }

    fn idle(&self, certificates: &Certificates) {
        let server = Layer::server(certificates);
        let mut dialler = Dialler::start(certificates, server.endpoint(), self.plan.idle);
        let mut ours = vec![machine::resident()];
        let mut theirs = vec![dialler.ask("resident")];
        for connections in [1, self.plan.idle] {
            dialler.ask(&format!("connect {connections}"));
            server.wait_for_connections(connections);
            std::thread::sleep(self.plan.settle);
            ours.push(machine::resident());
            theirs.push(dialler.ask("resident"));
        }
        let threads = machine::threads();
        let before = (machine::cpu_nanos(), dialler.ask("cpu"));
        std::thread::sleep(self.plan.idle_time);
        let spent = (machine::cpu_nanos() - before.0, dialler.ask("cpu") - before.1);
        let percent = |nanos: u64| nanos as f64 / self.plan.idle_time.as_nanos() as f64 * 100.0;
        let n = self.plan.idle;
        let rest = n.max(2) as i64 - 1;
        let mut table = Table::new(
            &format!("Idle connections, {n} identities to one server; each end in a separate process"),
            &["", "first", &format!("each up to {n}"), &format!("resident with {n}"), "CPU"],
        );
        let ends = [("accepting end", &ours, percent(spent.0)), ("dialling end", &theirs, percent(spent.1))];
        for (end, resident, cpu) in &ends {
            let (first, each) =
                (resident[1] as i64 - resident[0] as i64, (resident[2] as i64 - resident[1] as i64) / rest);
            table.row(vec![
                (*end).into(),
                format!("{} KiB", first / 1024),
                format!("{} KiB", each / 1024),
                format!("{} MiB", resident[2] >> 20),
                format!("{cpu:.2} %"),
            ]);
            self.say(
                &json!({ "idle": { "end": end, "connections": n, "first_bytes": first, "each_bytes": each,
                    "resident_bytes": resident, "cpu_percent": cpu } }),
                String::new,
            );
        }
        self.print(
            &table,
            &format!(
                "Memory is resident memory; the dialling end's {n} Comms were there before. CPU is of one core, over {:?}.\n\
                 The accepting process has {threads} threads.",
                self.plan.idle_time
            ),
        );
        dialler.end();
    }

    /// Either the JSON line or the text, if there is one.
    fn say(&self, line: &serde_json::Value, text: impl FnOnce() -> String) {
        if self.settings.json {
            println!("{line}");
        } else {
            let text = text();
            if !text.is_empty() {
                println!("{text}");
            }
        }
    }

    fn print(&self, table: &Table, note: &str) {
        if !self.settings.json {
            println!("{table}");
            if !note.is_empty() {
                println!("{note}");
            }
            println!();
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

/// The process with the dialling ends.
struct Dialler {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Dialler {
    fn start(certificates: &Certificates, endpoint: &str, connections: usize) -> Dialler {
        let mut process = Command::new(std::env::current_exe().expect("our own path"))
            .arg("--dial")
            .args(["--poll", &std::env::var("GRPC_POLL_STRATEGY").unwrap_or_default()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the dialling process");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut dialler = Dialler { process, input, output };
        dialler.ask(&dialler::order(certificates, endpoint, connections));
        dialler
    }

    fn ask(&mut self, line: &str) -> u64 {
        writeln!(self.input, "{line}").expect("the dialling process lives");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the dialling process lives");
        answer.trim().parse().expect("the dialling process answers with a number")
    }

    fn end(self) {
        let Dialler { mut process, input, .. } = self;
        drop(input);
        let _ = process.wait();
    }
}
