//! Sixteen nodes in four processes, two of which are killed, frozen and restarted again and again: whether the memory,
//! threads and descriptors of the other two stay within bounds.
//!
//! `make soak MINUTES=60`, or `cargo bench --bench soak -- [--minutes 60] [--seed 1]`. Writes target/soak/samples.csv and
//! plot.svg, and prints the slope of each series after the warm-up. Exits with 1 unless every slope is within its limit,
//! also where the run was too short to decide.
//!
//! Process 0 has the default allocator. Process 1 has glibc without thread caches: only there the number of allocated
//! bytes is exact, because glibc counts memory in thread caches as allocated, and only there resident memory has a
//! limit. See docs/memory.md.
//!
//! Restarted nodes keep their identities and endpoints. Dead members, identities and blocks are forgotten after a minute or
//! two, so that the tables that hold them are as full as they get when the warm-up is over.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/trend.rs"]
mod trend;

use fleet::{organisations, serve, Outcome, Pace, Serving};
use std::fmt::Write;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use trend::{Trend, Verdict};

/// Processes, of which the first two are left alone.
const PROCESSES: usize = 4;
const WATCHED: usize = 2;

/// Environment of each process: process 1 has the setting that bounds the memory that glibc keeps.
const ENVIRONMENT: [&[(&str, &str)]; PROCESSES] = [&[], &[("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")], &[], &[]];

/// Series of a process with four nodes.
const SERIES: [&str; 4] = ["allocated KiB", "resident KiB", "threads", "descriptors"];

/// The largest growth of each series in a minute, by process.
///
/// Some 65 connections of a process end in a minute. The limits are the growth that a leak of 250 bytes, of 1 KiB, and
/// of one thread or descriptor in 130 would cause.
const LIMITS: [[Option<f64>; SERIES.len()]; WATCHED] =
    [[None, None, Some(0.5), Some(0.5)], [ALLOCATED, Some(64.0), Some(0.5), Some(0.5)]];

/// The number of allocated bytes is known with glibc only.
const ALLOCATED: Option<f64> = if cfg!(all(target_os = "linux", target_env = "gnu")) { Some(16.0) } else { None };

/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(5);

/// The part of the run that counts as warm-up.
const WARM_UP: f64 = 1.0 / 3.0;

struct Sample {
    minutes: f64,
    /// For each watched process the values of `SERIES`.
    values: [[f64; SERIES.len()]; WATCHED],
    /// For each watched process how many connections have ended.
    ended: [usize; WATCHED],
}

fn main() -> Outcome<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--serve") {
        serve(&args[1..])?;
    }
    if args.iter().any(|arg| arg == "--list") {
        return Ok(ExitCode::SUCCESS);
    }
    let number = |name: &str, default: f64| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    // Without `--bench`, which Cargo passes, it only tries whether it works.
    let tried = !args.iter().any(|arg| arg == "--bench");
    let (nodes, minutes) = if tried { (1, 0.1) } else { (4, number("--minutes", 60.0)) };
    let mut random = Random(number("--seed", 1.0) as u64);
    let (samples, alive) = soak(nodes, Duration::from_secs_f64(minutes * 60.0), &mut random)?;
    println!("in the end every node of the processes that were left alone sees {alive} members");
    if tried {
        return Ok(ExitCode::SUCCESS);
    }
    let dir = PathBuf::from("target/soak");
    fs::create_dir_all(&dir)?;
    write_samples(&dir.join("samples.csv"), &samples)?;
    fs::write(dir.join("plot.svg"), plot(&samples))?;
    println!("{} samples in {}\n", samples.len(), dir.display());
    Ok(if verdict(&samples) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Runs the nodes for this long. Returns the samples, and the number of members that all see once all are back.
fn soak(nodes: usize, time: Duration, random: &mut Random) -> Outcome<(Vec<Sample>, usize)> {
    let dir = organisations(PROCESSES * nodes)?;
    let mut fleet = vec![Watched::start(&dir.0, 0, nodes, &[], &[])?];
    let seeds: Vec<String> = fleet[0].serving.endpoints.iter().take(2).cloned().collect();
    for n in 1..PROCESSES {
        fleet.push(Watched::start(&dir.0, n, nodes, &seeds, &[])?);
    }
    println!("{} nodes in {PROCESSES} processes, {WATCHED} of which are left alone", PROCESSES * nodes);
    let begin = Instant::now();
    let mut samples = Vec::new();
    let mut due = begin + SAMPLE;
    let mut next = [begin + Duration::from_secs(10).min(time / 4); PROCESSES - WATCHED];
    let mut frozen = [false; PROCESSES - WATCHED];
    while begin.elapsed() < time {
        for (n, at) in next.iter_mut().enumerate() {
            if *at > Instant::now() {
                continue;
            }
            let process = WATCHED + n;
            *at += Duration::from_millis(random.below(15_000) + 2_000);
            if frozen[n] {
                fleet[process].signal("CONT")?;
                frozen[n] = false;
            } else if random.below(2) == 0 {
                fleet[process].signal("STOP")?;
                frozen[n] = true;
            } else {
                let endpoints = fleet[process].serving.endpoints.clone();
                fleet[process].kill()?;
                thread::sleep(Duration::from_millis(random.below(1_000)));
                fleet[process] = Watched::start(&dir.0, process, nodes, &seeds, &endpoints)?;
            }
        }
        if Instant::now() >= due {
            due += SAMPLE;
            if let Some(n) = (0..WATCHED).find(|&n| fleet[n].has_ended()) {
                return Err(format!("process {n}, which was left alone, has ended").into());
            }
            let values = [0, 1].map(|n| fleet[n].values());
            let ended = [0, 1].map(|n| fleet[n].last().ended);
            samples.push(Sample { minutes: begin.elapsed().as_secs_f64() / 60.0, values, ended });
        }
        thread::sleep(Duration::from_millis(50));
    }
    for (n, frozen) in frozen.into_iter().enumerate() {
        if frozen {
            fleet[WATCHED + n].signal("CONT")?;
        }
    }
    let wanted = PROCESSES * nodes - 1;
    let until = Instant::now() + Duration::from_secs(180);
    while fleet.iter().any(|process| process.alive() != (wanted, wanted)) {
        if Instant::now() > until {
            let seen: Vec<_> = fleet.iter().map(Watched::alive).collect();
            return Err(format!("not all nodes see {wanted} members again, but (fewest, most): {seen:?}").into());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok((samples, wanted))
}

/// A process with nodes, and the last line of its output.
struct Watched {
    serving: Serving,
    last: Arc<Mutex<Line>>,
}

/// A line of the output of a process: see [`serve`].
#[derive(Clone, Copy, Default)]
struct Line {
    /// The fewest and the most members that one of its nodes sees.
    alive: (usize, usize),
    allocated: usize,
    ended: usize,
}

impl Watched {
    fn start(dir: &Path, process: usize, nodes: usize, seeds: &[String], at: &[String]) -> Outcome<Watched> {
        let mut serving = Serving::start(dir, process, nodes, seeds, at, Pace::Brief, ENVIRONMENT[process])?;
        let last = Arc::new(Mutex::new(Line::default()));
        let lines = serving.lines.take().ok_or("its output is read already")?;
        let read = last.clone();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let numbers: Vec<usize> = line.split(' ').map_while(|number| number.parse().ok()).collect();
                if let [fewest, most, allocated, ended] = numbers[..] {
                    *read.lock().unwrap() = Line { alive: (fewest, most), allocated, ended };
                }
            }
        });
        Ok(Watched { serving, last })
    }

    fn last(&self) -> Line {
        *self.last.lock().unwrap()
    }

    fn alive(&self) -> (usize, usize) {
        self.last().alive
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.serving.child.try_wait(), Ok(None))
    }

    fn values(&self) -> [f64; SERIES.len()] {
        let usage = self.serving.usage();
        let kib = |bytes: usize| bytes as f64 / 1024.0;
        [kib(self.last().allocated), kib(usage.memory), usage.threads as f64, usage.descriptors as f64]
    }

    fn signal(&self, name: &str) -> Outcome<()> {
        // The shell's own: there is not always a program of that name.
        let done = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.serving.child.id())]).status()?;
        done.success().then_some(()).ok_or_else(|| format!("cannot send SIG{name}").into())
    }

    fn kill(&mut self) -> Outcome<()> {
        self.serving.child.kill()?;
        self.serving.child.wait()?;
        Ok(())
    }
}

/// Prints the slope of every series. Returns whether all are within their limits.
fn verdict(samples: &[Sample]) -> bool {
    let warm = samples.last().map_or(0.0, |last| last.minutes * WARM_UP);
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.minutes >= warm).collect();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return false };
    println!("after {warm:.1} minutes of warm-up:\n");
    println!("| process | series | first | last | a minute | at most | verdict |\n|---|---|---|---|---|---|---|");
    let mut all = true;
    for (process, limits) in LIMITS.iter().enumerate() {
        for (n, name) in SERIES.iter().enumerate() {
            let points: Vec<_> = samples.iter().map(|s| (s.minutes, s.values[process][n])).collect();
            let trend = Trend::of(&points);
            let (limit, verdict) = match limits[n] {
                None => (String::new(), "no limit"),
                Some(limit) => {
                    let verdict = trend.verdict(limit);
                    all &= verdict == Verdict::Within;
                    let text = match verdict {
                        Verdict::Within => "within",
                        Verdict::Above => "ABOVE",
                        Verdict::Undecided => "UNDECIDED, the run is too short",
                    };
                    (limit.to_string(), text)
                }
            };
            println!(
                "| {process} | {name} | {:.0} | {:.0} | {:.2} ± {:.2} | {limit} | {verdict} |",
                first.values[process][n],
                last.values[process][n],
                trend.slope,
                2.0 * trend.error,
            );
        }
    }
    let minutes = last.minutes - first.minutes;
    let ended = [0, 1].map(|n| (last.ended[n] - first.ended[n]) as f64 / minutes);
    println!("\nconnections that ended in a minute: {:.0} of process 0, {:.0} of process 1", ended[0], ended[1]);
    all
}

fn write_samples(path: &Path, samples: &[Sample]) -> Outcome<()> {
    let names: Vec<String> = SERIES.iter().map(|name| name.replace(' ', "_")).collect();
    let mut text = format!("minutes,process,{},connections_ended\n", names.join(","));
    for sample in samples {
        for (process, values) in sample.values.iter().enumerate() {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            writeln!(text, "{:.3},{process},{},{}", sample.minutes, values.join(","), sample.ended[process])?;
        }
    }
    Ok(fs::write(path, text)?)
}

/// Draws every series over time, each with its own scale.
fn plot(samples: &[Sample]) -> String {
    const WIDTH: f64 = 1000.0;
    const HEIGHT: f64 = 220.0;
    let minutes = samples.last().map_or(1.0, |last| last.minutes).max(f64::MIN_POSITIVE);
    let height = HEIGHT * SERIES.len() as f64;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>"##
    );
    for (n, name) in SERIES.iter().enumerate() {
        let all = || samples.iter().flat_map(|s| s.values.iter().map(|v| v[n]));
        let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max).max(1.0));
        let top = HEIGHT * n as f64 + 30.0;
        let y = |value: f64| top + (HEIGHT - 50.0) * (high - value) / (high - low).max(1.0);
        let _ = write!(
            svg,
            r##"<text x="10" y="{}">{name}: {low:.0} to {high:.0}, over {minutes:.0} minutes</text>"##,
            top - 10.0
        );
        for (process, colour) in ["#1f77b4", "#ff7f0e"].iter().enumerate() {
            let point = |s: &Sample| {
                format!("{:.1},{:.1} ", 10.0 + (WIDTH - 20.0) * s.minutes / minutes, y(s.values[process][n]))
            };
            let points: String = samples.iter().map(point).collect();
            let _ = write!(svg, r##"<polyline points="{points}" fill="none" stroke="{colour}"/>"##);
        }
    }
    svg + "</svg>\n"
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
