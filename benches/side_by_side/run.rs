//! One run: the variants take turns, so that disturbances of the machine affect all of them.

use crate::child::Child;
use crate::plan::{Plan, Step, What};
use crate::results::{Record, Results};
use crate::statistics::at;
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
        for name in names.iter().filter(|name| !plan.idle.is_empty() && name_is_layer(name)) {
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
        let figures = match &step.what {
            What::Alone(order) => {
                let records = self.child(name, Role::Alone)?.measure(order)?;
                records.into_iter().map(|record| (record.metric, record.unit, record.value)).collect()
            }
            apart => {
                let figures = self.apart(name, step.size, apart);
                self.child(name, Role::Client)?.order("stop")?;
                self.child(name, Role::Server)?.order("stop")?;
                figures?
            }
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

    /// From one process to another.
    fn apart(&mut self, name: &'static str, size: usize, what: &What) -> Result<Vec<(String, String, f64)>, String> {
        let real = if matches!(what, What::Handshakes(_)) { "msp=1" } else { "" };
        let endpoint = self.serve(name, real)?;
        let client = self.child(name, Role::Client)?;
        match what {
            What::Stream(count) => {
                // So that connecting is not counted in.
                client.order(&format!("send endpoint={endpoint} size={size} count=2"))?;
                let before = self.cpu(name, Role::Client)? + self.cpu(name, Role::Server)?;
                let order = format!("send endpoint={endpoint} size={size} count={count}");
                let rate = self.child(name, Role::Client)?.number(&order)?;
                let after = self.cpu(name, Role::Client)? + self.cpu(name, Role::Server)?;
                let spent = (after - before) / 1e3 / *count as f64;
                Ok(vec![figure("rate", "messages/s", rate), figure("cpu", "us/message", spent)])
            }
            What::RoundTrips(count) => {
                client.order(&format!("round-trip-to endpoint={endpoint} size={size} count=20"))?;
                let order = format!("round-trip-to endpoint={endpoint} size={size} count={count}");
                let records = client.measure(&order)?;
                Ok(records.into_iter().map(|record| (record.metric, record.unit, record.value)).collect())
            }
            What::Handshakes(count) => {
                let order = format!("handshake-with endpoint={endpoint} msp=1");
                let times: Result<Vec<f64>, String> = (0..*count).map(|_| client.number(&order)).collect();
                let mut times = times?;
                times.sort_by(f64::total_cmp);
                Ok(vec![figure("p50", "us", at(&times, 500)), figure("p99", "us", at(&times, 990))])
            }
            What::Alone(_) => unreachable!("not by two processes"),
        }
    }

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
            let before: Vec<f64> = self.both(name, ends)?;
            std::thread::sleep(plan.idle_time);
            let after: Vec<f64> = self.both(name, ends)?;
            for ((end, _), (before, after)) in ends.iter().zip(before.iter().zip(&after)) {
                let percent = (after - before) / plan.idle_time.as_nanos() as f64 * 100.0;
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

    fn both(&mut self, name: &'static str, ends: [(&str, Role); 2]) -> Result<Vec<f64>, String> {
        ends.iter().map(|(_, role)| self.cpu(name, *role)).collect()
    }

    fn cpu(&mut self, name: &'static str, role: Role) -> Result<f64, String> {
        Ok(self.child(name, role)?.cpu())
    }

    /// Started when it is needed.
    fn child(&mut self, name: &'static str, role: Role) -> Result<&mut Child, String> {
        let child = match self.children.remove(&(name, role)) {
            Some(child) if child.is_alive() => child,
            _ => {
                let variant = self.variants.iter().find(|variant| variant.name == name).ok_or("an unknown variant")?;
                Child::start(&variant.program, &variant.args)?
            }
        };
        Ok(self.children.entry((name, role)).or_insert(child))
    }

    /// Ends the processes of a variant; the next measurement starts its own.
    fn end(&mut self, name: &'static str) {
        self.children.retain(|(variant, _), _| *variant != name);
    }
}

fn name_is_layer(name: &str) -> bool {
    !["fabric-go", "bare", "plain-tls"].contains(&name)
}

fn figure(metric: impl Into<String>, unit: &str, value: f64) -> (String, String, f64) {
    (metric.into(), unit.into(), value)
}

/// For people: minutes and seconds.
pub fn minutes(time: Duration) -> String {
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}
