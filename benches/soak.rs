//! Sixteen nodes in four processes, two of which are killed, frozen and restarted again and again: whether the memory,
//! threads and descriptors of the other two stay within bounds.
//!
//! `make soak MINUTES=60`, or `cargo bench --bench soak -- [--minutes 60] [--seed 1]`. Writes target/soak/samples.csv and
//! plot.svg, prints the slope of each series after the warm-up, by least squares, and ends with exit code 1 if one is above
//! its limit by more than its uncertainty. Dead members, identities and blocks are forgotten after a minute, so that the
//! tables that hold them are as full as they get when the warm-up is over.

#[path = "support/fleet.rs"]
mod fleet;

use fleet::{organisations, serve, Outcome, Pace, Serving};
use std::fmt::Write;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Processes, of which the first two are left alone.
const PROCESSES: usize = 4;
const WATCHED: usize = 2;

/// What is watched in a process with four nodes, and by how much it may grow in a minute. Within the first quarter of an hour
/// resident memory grows faster than this, with every allocator that was tried; the limit is meant for an hour and more.
const SERIES: [(&str, f64); 3] = [("resident KiB", 48.0), ("threads", 0.1), ("descriptors", 0.1)];

/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(5);

/// The part of the run that counts as warm-up.
const WARM_UP: f64 = 1.0 / 3.0;

struct Sample {
    minutes: f64,
    /// For each watched process the values of `SERIES`.
    values: [[f64; SERIES.len()]; WATCHED],
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
    let mut due = begin;
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
            samples.push(Sample { minutes: begin.elapsed().as_secs_f64() / 60.0, values });
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

/// A process with nodes, and what it last said.
struct Watched {
    serving: Serving,
    said: Arc<Mutex<(usize, usize)>>,
}

impl Watched {
    fn start(dir: &Path, process: usize, nodes: usize, seeds: &[String], at: &[String]) -> Outcome<Watched> {
        let mut serving = Serving::start(dir, process, nodes, seeds, at, Pace::Brief)?;
        let said = Arc::new(Mutex::new((0, 0)));
        let last = said.clone();
        let lines = serving.lines.take().ok_or("its output is read already")?;
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some((Ok(fewest), Ok(most))) = line.split_once(' ').map(|(a, b)| (a.parse(), b.parse())) {
                    *last.lock().unwrap() = (fewest, most);
                }
            }
        });
        Ok(Watched { serving, said })
    }

    /// The fewest and the most members that one of its nodes sees.
    fn alive(&self) -> (usize, usize) {
        *self.said.lock().unwrap()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.serving.child.try_wait(), Ok(None))
    }

    fn values(&self) -> [f64; SERIES.len()] {
        let usage = self.serving.usage();
        [usage.memory as f64 / 1024.0, usage.threads as f64, usage.descriptors as f64]
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

/// The slope of the line through these points, by least squares, and its standard error.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|p| (p.1 - y - slope * (p.0 - x)).powi(2)).sum();
    (slope, (rest / (count - 2.0).max(1.0) / spread).sqrt())
}

/// Prints the slope of every series. Returns whether all are within their limits.
fn verdict(samples: &[Sample]) -> bool {
    let warm = samples.last().map_or(0.0, |last| last.minutes * WARM_UP);
    println!("after {warm:.1} minutes of warm-up:\n");
    println!("| process | series | first | last | a minute | at most | verdict |\n|---|---|---|---|---|---|---|");
    let mut all = true;
    for process in 0..WATCHED {
        for (n, (name, limit)) in SERIES.iter().enumerate() {
            let points: Vec<_> =
                samples.iter().filter(|s| s.minutes >= warm).map(|s| (s.minutes, s.values[process][n])).collect();
            let (slope, error) = slope(&points);
            // Not a number fails, too.
            let within = slope - 2.0 * error <= *limit;
            all &= within;
            let at = |point: Option<&(f64, f64)>| point.map_or(0.0, |p| p.1);
            println!(
                "| {process} | {name} | {:.0} | {:.0} | {slope:.2} ± {error:.2} | {limit} | {} |",
                at(points.first()),
                at(points.last()),
                if within { "within" } else { "ABOVE" }
            );
        }
    }
    all
}

fn write_samples(path: &Path, samples: &[Sample]) -> Outcome<()> {
    let names: Vec<String> = SERIES.iter().map(|(name, _)| name.replace(' ', "_")).collect();
    let mut text = format!("minutes,process,{}\n", names.join(","));
    for sample in samples {
        for (process, values) in sample.values.iter().enumerate() {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            writeln!(text, "{:.3},{process},{}", sample.minutes, values.join(","))?;
        }
    }
    Ok(fs::write(path, text)?)
}

/// Draws every series over time, each with a scale of its own.
fn plot(samples: &[Sample]) -> String {
    const WIDTH: f64 = 1000.0;
    const HEIGHT: f64 = 220.0;
    let minutes = samples.last().map_or(1.0, |last| last.minutes).max(f64::MIN_POSITIVE);
    let height = HEIGHT * SERIES.len() as f64;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>"##
    );
    for (n, (name, _)) in SERIES.iter().enumerate() {
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
