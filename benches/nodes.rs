//! Whole nodes in several processes on this machine, over mutual TLS: how soon they know each other, their cost once
//! they do, and the effects when a third of them is killed and comes back.
//!
//! `cargo bench --bench nodes -- [--processes 3] [--nodes 20] [--steady 30]`: two organisations with a channel, every
//! node with an external endpoint, so that all are to know all. Prints a table in Markdown. Intervals are Fabric's
//! defaults.

#[path = "support/fleet.rs"]
mod fleet;

use fleet::{await_alive, organisations, serve, Outcome, Pace, Serving, Usage};
use std::thread;
use std::time::{Duration, Instant};

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--serve") {
        return serve(&args[1..]);
    }
    let number = |name: &str, default: usize| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    if args.iter().any(|arg| arg == "--list") {
        return Ok(());
    }
    // Without `--bench`, which Cargo passes, it only tries whether it works.
    let tried = !args.iter().any(|arg| arg == "--bench");
    let (processes, nodes) = if tried { (2, 2) } else { (number("--processes", 3), number("--nodes", 20)) };
    let steady = Duration::from_secs(if tried { 1 } else { number("--steady", 30) as u64 });
    orchestrate(processes, nodes, steady)
}

fn orchestrate(processes: usize, nodes: usize, steady: Duration) -> Outcome<()> {
    let dir = organisations(processes * nodes)?;
    let total = processes * nodes;
    println!("{total} nodes in {processes} processes, two organisations, mutual TLS, Fabric's default intervals\n");
    println!("| | |\n|---|---|");
    let begin = Instant::now();
    let mut serving = vec![Serving::start(&dir.0, 0, nodes, &[], &[], Pace::Default, &[])?];
    let seeds: Vec<String> = serving[0].endpoints.iter().take(2).cloned().collect();
    for n in 1..processes {
        serving.push(Serving::start(&dir.0, n, nodes, &seeds, &[], Pace::Default, &[])?);
    }
    println!("| all started | {:.1} s |", begin.elapsed().as_secs_f64());
    await_alive(&mut serving, total - 1)?;
    println!("| all know all, since the first started | {:.1} s |", begin.elapsed().as_secs_f64());

    let before: Vec<Usage> = serving.iter().map(Serving::usage).collect();
    thread::sleep(steady);
    for (n, (serving, before)) in serving.iter().zip(&before).enumerate() {
        let after = serving.usage();
        let cpu = (after.cpu - before.cpu).as_secs_f64() / steady.as_secs_f64() * 100.0;
        println!(
            "| process {n}, steady for {} s | {cpu:.1} % of a core, {} MiB (was {} MiB), {} threads |",
            steady.as_secs(),
            after.memory >> 20,
            before.memory >> 20,
            after.threads
        );
    }

    let mut killed = serving.pop().ok_or("no process")?;
    let begin = Instant::now();
    killed.child.kill()?;
    killed.child.wait()?;
    await_alive(&mut serving, total - nodes - 1)?;
    println!("| {nodes} nodes killed: gone from every view | {:.1} s |", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    serving.push(Serving::start(&dir.0, processes - 1, nodes, &seeds, &killed.endpoints, Pace::Default, &[])?);
    await_alive(&mut serving, total - 1)?;
    println!("| the {nodes} restarted: all know all | {:.1} s |", begin.elapsed().as_secs_f64());
    Ok(())
}
