//! The communication layer on threads, over either transport, beside the same on an async runtime (`benches/async`), the
//! bare transports and plain TLS: in turn, several rounds, in one run. `make bench` runs it; docs/benchmark.md explains it.
//!
//! `cargo bench --bench side_by_side -- [--quick] [--rounds <n>] [--workloads <name>,…] [--recorded <file>]…`
//!
//! Writes `target/bench/results.json`, `table.md` and `plot.svg` (another folder: `--out <folder>`), and prints the table.
//! `--recorded` adds results of other systems to those of `benches/recorded`; `FABRIC_PEER` names a program that carries
//! out the orders on Fabric's own layer, in the same run. `--compare <results.json>` measures nothing: it compares the
//! results in the output folder with those of an earlier run.
//! Every variant is a process that takes orders; `--peer` makes this program one of the library, a bare transport or plain
//! TLS. Without `--bench`, which Cargo passes, it only tries whether everything works (`cargo test --release --bench
//! side_by_side`).

mod child;
mod compare;
mod machine;
mod members;
mod peer;
mod plain_tls;
mod plan;
mod plot;
mod results;
mod run;
mod statistics;
// The bench `comm` uses the rest.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;
mod table;
mod targets;

use plan::{Plan, Scale};
use results::{Recorded, Results};
use run::{minutes, Run, Variant};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use support::burner;
use support::machine::Usage;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let settings = match Settings::from(&args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("side_by_side: {error}");
            return ExitCode::from(2);
        }
    };
    if args.iter().any(|a| a == burner::FLAG) {
        burner::burn();
        return ExitCode::SUCCESS;
    }
    if let Some(arguments) = &settings.peer {
        peer::run(arguments);
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let outcome = match &settings.compare {
        Some(first) => compare(first, &settings.out).map(|()| Vec::new()),
        None => measure(&settings),
    };
    match outcome {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("side_by_side: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    scale: Scale,
    rounds: Option<u64>,
    workloads: Vec<String>,
    recorded: Vec<PathBuf>,
    out: PathBuf,
    compare: Option<PathBuf>,
    peer: Option<peer::Arguments>,
}

impl Settings {
    fn from(args: &[String]) -> Result<Settings, String> {
        let has = |flag: &str| args.iter().any(|a| a == flag);
        let scale = match (has("--bench") && !has("--test"), has("--quick")) {
            (false, _) => Scale::Test,
            (true, true) => Scale::Quick,
            (true, false) => Scale::Full,
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = root.join(if scale == Scale::Test { "target/bench/test" } else { "target/bench" });
        let recorded =
            ["fabric-go.json", "build-time.json"].map(|name| root.join("benches/recorded").join(name)).into();
        let mut settings =
            Settings { scale, rounds: None, workloads: Vec::new(), recorded, out, compare: None, peer: None };
        let mut child = peer::Arguments { variant: "http2".into(), from: PathBuf::new(), to: PathBuf::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--rounds" => settings.rounds = Some(value()?.parse().map_err(|_| "--rounds needs a number")?),
                "--workloads" => settings.workloads = value()?.split(',').map(str::to_owned).collect(),
                "--recorded" => settings.recorded.push(value()?.into()),
                "--out" => settings.out = value()?.into(),
                "--compare" => settings.compare = Some(value()?.into()),
                "--variant" => child.variant = value()?,
                "--from" => child.from = value()?.into(),
                "--to" => child.to = value()?.into(),
                "--bench" | "--test" | "--quick" | "--list" | "--peer" | burner::FLAG => {}
                // A test run passes flags of the test harness, and names of tests.
                _ if scale == Scale::Test => {}
                unknown => {
                    return Err(format!("unknown argument {unknown}; docs/benchmark.md describes the arguments"))
                }
            }
        }
        settings.peer = has("--peer").then_some(child);
        Ok(settings)
    }
}

/// Prints how the results in the output folder compare with those of an earlier run.
fn compare(first: &Path, out: &Path) -> Result<(), String> {
    let [first, second] = [first, &out.join("results.json")].map(Results::read);
    println!("{}", compare::text(&first?, &second?));
    Ok(())
}

fn measure(settings: &Settings) -> Result<Vec<String>, String> {
    let mut plan = Plan::new(settings.scale);
    if let Some(unknown) = plan.unknown(&settings.workloads) {
        return Err(format!("unknown workload {unknown}"));
    }
    plan.keep(&settings.workloads);
    plan.rounds = settings.rounds.unwrap_or(plan.rounds);
    let recorded: Vec<Recorded> =
        settings.recorded.iter().map(|file| Recorded::read(file)).collect::<Result<_, _>>()?;
    let io = |e: std::io::Error| format!("{}: {e}", settings.out.display());
    std::fs::create_dir_all(&settings.out).map_err(io)?;
    let members = members::Folders::new().map_err(|e| e.to_string())?;
    let ours = std::env::current_exe().map_err(io)?;
    let asynchronous = async_peer(settings.scale);
    let mut run = Run::new(variants(&ours, asynchronous.as_deref(), &members));
    run.results.0.extend(machine::binaries(&ours, asynchronous.as_deref(), &settings.out));

    let description = machine::describe();
    let (started, usage) = (Instant::now(), Usage::now());
    run.carry_out(&plan);
    let (took, others) = (minutes(started.elapsed()), usage.others());

    let failures = std::mem::take(&mut run.failures);
    let idle = plan.idle.last().map_or(2_000, |n| *n as u64);
    let mut text = format!("{description}\n\n");
    text += &format!(
        "{} of {} rounds, {took}; other processes used {others:.0} % of the machine meanwhile. Values are medians (lowest – \
         highest of the rounds); a ratio is the median of the ratios of each round.\n\n",
        run.rounds, plan.rounds
    );
    if settings.scale != Scale::Full || settings.rounds.is_some() || !settings.workloads.is_empty() {
        text += "**Not the whole benchmark**: fewer messages, rounds or workloads.\n\n";
    }
    if asynchronous.is_none() {
        text += &format!("SKIPPED: the async variant, {}.\n\n", not_built());
    }
    for failure in &failures {
        text += &format!("FAILED: {failure}\n\n");
    }
    text += &format!("## Targets\n\n{}\n", table::targets(&targets::all(&run.results, idle)));
    text += &format!("## Measured\n\n{}", table::measured(&run.results));
    text += &format!("## Recorded elsewhere\n\nNot in this run.\n\n{}", table::recorded(&recorded, &run.results));
    let write = |name: &str, text: &str| std::fs::write(settings.out.join(name), text).map_err(io);
    write("table.md", &text)?;
    write("results.json", &format!("{:#}\n", run.results.json()))?;
    write("plot.svg", &plot::svg(&run.results, &machine::hardware()))?;
    println!("{text}");
    eprintln!("Written to {}: table.md, results.json, plot.svg", settings.out.display());
    Ok(failures)
}

fn variants(ours: &Path, theirs: Option<&Path>, members: &members::Folders) -> Vec<Variant> {
    let both = ["--from".into(), members.from(), "--to".into(), members.to()];
    let child = |name: &'static str| {
        let args = ["--peer", "--variant", name].map(String::from);
        Variant { name, program: ours.into(), args: args.into_iter().chain(both.clone()).collect() }
    };
    let of_async = |name: &'static str, runtime: &str| {
        let mut args: Vec<String> = ["--variant", name, "--runtime", runtime].map(String::from).into();
        args.extend(both.clone());
        theirs.map(|program| Variant { name, program: program.into(), args })
    };
    let mut variants = vec![child("http2"), child("c-core")];
    variants.extend([of_async("async", "multi"), of_async("async-current", "current")].into_iter().flatten());
    // Not of this project: see `docs/benchmark.md`.
    let fabric = std::env::var_os("FABRIC_PEER").map(PathBuf::from);
    variants.extend(fabric.map(|program| Variant { name: "fabric-go", program, args: both.clone().into() }));
    variants.extend([child("bare-http2"), child("bare-c-core"), child("plain-tls")]);
    variants
}

fn not_built() -> &'static str {
    "benches/async is not built (`cargo build --release --manifest-path benches/async/Cargo.toml`)"
}

/// Returns the async variant's program, built if necessary. A test does not build it. `ASYNC_PEER` names another.
fn async_peer(scale: Scale) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ASYNC_PEER") {
        return Some(named.into());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/async");
    let program = folder.join("target/release/async-peer");
    if scale != Scale::Test {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "--bin", "async-peer", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(folder.join("target"))
            .status();
        if !built.is_ok_and(|status| status.success()) && program.exists() {
            eprintln!("benches/async cannot be built now; measuring the earlier build");
        }
    }
    if program.exists() {
        return Some(program);
    }
    fabric_gossip::testing::skip("the async variant", not_built());
    None
}
