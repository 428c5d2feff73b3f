//! One run: the variants take turns, so that disturbances of the machine affect all of them.

use crate::child::Child;
use crate::plan::{Apart, Plan, Step, What, LAYERS};
use crate::results::{Record, Results};
use crate::statistics::at;
use crate::support::burner::Burner;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How a variant's process is started.
pub struct Variant {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
}

/// Which of a variant's processes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Alone,
    Server,
    Client,
}

pub struct Run {
    variants: Vec<Variant>,
    children: HashMap<(&'static str, Role), Child>,
    pub results: Results,
    /// The failed measurements, and the reasons.
    pub failures: Vec<String>,
    /// How many rounds there were.
    pub rounds: u64,
}

impl Run {
    pub fn new(variants: Vec<Variant>) -> Run {
        Run { variants, children: HashMap::new(), results: Results::default(), failures: Vec::new(), rounds: 0 }
    }

    pub fn carry_out(&mut self, plan: &Plan) {
        let started = Instant::now();
        let names: Vec<&'static str> = self.variants.iter().map(|variant| variant.name).collect();
        // Memory is the same in every round.
        for name in names.iter().filter(|name| !plan.idle.is_empty() && LAYERS.contains(name)) {
            eprintln!("idle connections: {name}");
            if let Err(error) = self.idle(name, plan) {
                self.failures.push(format!("idle, {name}: {error}"));
            }
            self.end(name);
        }
        for round in 0..plan.rounds {
            let began = Instant::now();
            for step in &plan.steps {
                eprintln!("round {} of {}: {}, {} B", round + 1, plan.rounds, step.workload, step.size);
                let mut turns: Vec<&'static str> =
                    names.iter().copied().filter(|name| step.variants.contains(name)).collect();
                // Each goes first as often as the others.
                let first = round as usize % turns.len().max(1);
                turns.rotate_left(first);
                for name in turns {
                    if let Err(error) = self.step(name, step, round) {
                        self.failures.push(format!("{}, {name}, round {round}: {error}", step.workload));
                        self.end(name);
                    }
                }
            }
            self.rounds = round + 1;
            if started.elapsed() + began.elapsed() > plan.limit {
                break;
            }
        }
        self.children.clear();
    }

    fn step(&mut self, name: &'static str, step: &Step, round: u64) -> Result<(), String> {
        let _burner = step.busy.then(Burner::start);
        let figures = match &step.what {
            What::Alone(order) => figures(self.child(name, Role::Alone)?.measure(order)?),
            What::Apart(apart) => self.apart(name, apart)?,
            What::ColdStart(count) => self.cold_start(name, *count)?,
        };
        for (metric, unit, value) in figures {
            self.results.0.push(Record {
                workload: step.workload.into(),
                size: step.size as u64,
                connections: step.connections as u64,
                variant: name.into(),
                metric,
                unit,
                value,
                round,
            });
        }
        Ok(())
    }

    /// Measures from one process to another. Making connections is not counted in.
    fn apart(&mut self, name: &'static str, apart: &Apart) -> Result<Vec<Figure>, String> {
        let endpoint = self.serve(name, &apart.serve)?;
        let (order, count) = (format!("{} endpoint={endpoint}", apart.order), apart.messages);
        self.child(name, Role::Client)?.order(&format!("{} endpoint={endpoint}", apart.prepare))?;
        let before = self.cpu(name)?;
        let mut figures = figures(self.child(name, Role::Client)?.measure(&order)?);
        let spent = (self.cpu(name)? - before) / 1e3;
        if count > 0 {
            figures.push(figure("cpu", "us/message", spent / count as f64));
        }
        self.child(name, Role::Client)?.order("stop")?;
        self.child(name, Role::Server)?.order("stop")?;
        Ok(figures)
    }

    /// Measures the time from the start of a process until a message of it was received.
    fn cold_start(&mut self, name: &'static str, count: usize) -> Result<Vec<Figure>, String> {
        let endpoint = self.serve(name, "")?;
        let order = format!("round-trip-to size=100 count=1 endpoint={endpoint}");
        let mut times = Vec::new();
        for _ in 0..count {
            let started = Instant::now();
            let mut child = self.start(name)?;
            child.order(&order)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            child.order("stop")?;
        }
        self.child(name, Role::Server)?.order("stop")?;
        times.sort_by(f64::total_cmp);
        Ok(vec![figure("p50", "ms", at(&times, 500))])
    }

    /// Returns the endpoints, separated by commas.
    fn serve(&mut self, name: &'static str, how: &str) -> Result<String, String> {
        let said = self.child(name, Role::Server)?.order(&format!("serve {how}"))?;
        let endpoint = said.iter().find_map(|line| line.strip_prefix("endpoint "));
        Ok(endpoint.ok_or("it printed no endpoint")?.to_owned())
    }

    /// Measures the cost of unused connections.
    fn idle(&mut self, name: &'static str, plan: &Plan) -> Result<(), String> {
        let endpoint = self.serve(name, "")?;
        let most = plan.idle.last().copied().unwrap_or(1);
        self.child(name, Role::Client)?.order(&format!("create connections={most}"))?;
        let ends = [("accepting", Role::Server), ("dialling", Role::Client)];
        let mut first = HashMap::new();
        let mut dialled = 0;
        for connections in [1].into_iter().chain(plan.idle.iter().copied()) {
            let started = Instant::now();
            self.child(name, Role::Client)?.order(&format!("dial endpoint={endpoint} connections={connections}"))?;
            let reached = self.child(name, Role::Server)?.number(&format!("connected connections={connections}"))?;
            let rate = (connections - dialled) as f64 / started.elapsed().as_secs_f64();
            dialled = connections;
            std::thread::sleep(plan.settle);
            let mut figures =
                vec![figure("connect", "connections/s", rate), figure("connected", "connections", reached)];
            for (end, role) in ends {
                let child = self.child(name, role)?;
                let now = (child.number("resident")?, child.number("threads")?);
                let (memory, threads) = *first.entry(end).or_insert(now);
                let each = |now: f64, first: f64| (now - first) / (connections.max(2) - 1) as f64;
                figures.push(figure(format!("memory-{end}"), "bytes/connection", each(now.0, memory)));
                figures.push(figure(format!("threads-{end}"), "threads/connection", each(now.1, threads)));
            }
            if connections == most {
                std::thread::sleep(plan.rest);
            }
            let mut cpu = || ends.map(|(_, role)| self.child(name, role).map(|child| child.idle_cpu()));
            let before = cpu();
            std::thread::sleep(plan.idle_time);
            for ((end, _), (before, after)) in ends.iter().zip(before.into_iter().zip(cpu())) {
                let percent = (after? - before?) / plan.idle_time.as_nanos() as f64 * 100.0;
                figures.push(figure(format!("cpu-{end}"), "%", percent));
            }
            // The first is the reference for the others.
            for (metric, unit, value) in figures.into_iter().filter(|_| connections > 1) {
                let (workload, variant) = ("idle".into(), name.into());
                let connections = connections as u64;
                self.results.0.push(Record { workload, size: 0, connections, variant, metric, unit, value, round: 0 });
            }
        }
        Ok(())
    }

    /// Returns the processor time of both processes together.
    fn cpu(&mut self, name: &'static str) -> Result<f64, String> {
        Ok(self.child(name, Role::Client)?.cpu() + self.child(name, Role::Server)?.cpu())
    }

    /// Started when it is needed.
    fn child(&mut self, name: &'static str, role: Role) -> Result<&mut Child, String> {
        let child = match self.children.remove(&(name, role)) {
            Some(child) if child.is_alive() => child,
            _ => self.start(name)?,
        };
        Ok(self.children.entry((name, role)).or_insert(child))
    }

    fn start(&self, name: &'static str) -> Result<Child, String> {
        let variant = self.variants.iter().find(|variant| variant.name == name).ok_or("an unknown variant")?;
        Child::start(&variant.program, &variant.args)
    }

    /// Ends the processes of a variant; the next measurement starts its own.
    fn end(&mut self, name: &'static str) {
        self.children.retain(|(variant, _), _| *variant != name);
    }
}

/// Metric, unit and value.
type Figure = (String, String, f64);

fn figures(records: Vec<Record>) -> Vec<Figure> {
    records.into_iter().map(|record| (record.metric, record.unit, record.value)).collect()
}

fn figure(metric: impl Into<String>, unit: &str, value: f64) -> Figure {
    (metric.into(), unit.into(), value)
}

/// For people: minutes and seconds.
pub fn minutes(time: Duration) -> String {
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}
