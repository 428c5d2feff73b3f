//! `probe`: checks that a peer answers.

use crate::failure::{Failure, Result};
use crate::options::{IdentityArgs, TargetArg};
use crate::output::printable;
use crate::statistics::quantile;
use crate::tls_options::{Role, TlsArgs};
use crate::values::{duration, micros, short, timeout};
use crate::Context;
use clap::Args;
use fabric_gossip::transport::{Connection, Limits, Transport};
use fabric_gossip::{Error, ErrorKind};
use serde_json::json;
use std::time::{Duration, Instant};

/// Dial a peer and ping it: needs no identity, and no TLS certificate unless the peer requires one
#[derive(Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    target: TargetArg,
    /// Maximum time for the connection, and then for the answer
    #[arg(long, value_name = "D", default_value = "3s", value_parser = timeout)]
    timeout: Duration,
    /// Number of Pings; with more than one, the command succeeds if all are answered
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Time between Pings
    #[arg(long, value_name = "D", default_value = "1s", value_parser = duration)]
    interval: Duration,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &ProbeArgs) -> Result<()> {
    let endpoint = args.target.endpoint(&context.settings)?.to_string();
    let msps = args.identity.msps_for_tls(&context.settings)?;
    let files = args.tls.load(Role::Anonymous, &args.identity, &msps, &context.settings)?;
    let secured = if files.is_some() { "TLS" } else { "no TLS" };
    let transport = context.transport.create(files.map(|f| f.tls), Limits::default())?;
    if args.count > 1 {
        return Series { context, args, endpoint, transport: &*transport, connection: None }.run();
    }

    let begin = Instant::now();
    let mut connected = Duration::ZERO;
    let round_trip = transport.dial(&endpoint, args.timeout, &context.stop).and_then(|client| {
        // The first Ping is part of the dial; the second one is timed separately.
        client.ping(args.timeout)?;
        connected = begin.elapsed();
        let sent = Instant::now();
        client.ping(args.timeout).map(|()| sent.elapsed())
    });
    let failed = |why: &str| {
        context.out.line(
            || json!({"event": "probe", "endpoint": endpoint, "ok": false, "rtt_us": null, "error": why}),
            || match context.stop.is_cancelled() {
                true => format!("✘ {why}"),
                false => format!("✘ {why}\n  to check each step: fabric-gossip handshake {endpoint}"),
            },
        );
    };
    match round_trip {
        Ok(rtt) => {
            let (rtt_us, connect_us) = (micros(rtt), micros(connected));
            context.out.line(
                || json!({"event": "probe", "endpoint": endpoint, "ok": true, "rtt_us": rtt_us, "error": null, "connect_us": connect_us}),
                || format!("✔ {endpoint} answers: ping {}, connected in {} ({secured})", short(rtt), short(connected)),
            );
            Ok(())
        }
        Err(_) if context.stop.is_cancelled() => {
            failed(context.interrupted.reason());
            Err(Failure::Stopped)
        }
        Err(e) if e.kind() == ErrorKind::Config => Err(e.into()),
        Err(e) => {
            failed(&printable(&e.to_string()));
            Err(Failure::Reported)
        }
    }
}

/// Several Pings over one connection, which is dialled again after a loss.
struct Series<'a> {
    context: &'a Context,
    args: &'a ProbeArgs,
    endpoint: String,
    transport: &'a dyn Transport,
    connection: Option<Box<dyn Connection>>,
}

impl Series<'_> {
    fn run(mut self) -> Result<()> {
        let stop = &self.context.stop;
        let mut statistics = Statistics::default();
        let mut error = None;
        for number in 0..self.args.count {
            let result = self.ping();
            if stop.is_cancelled() {
                break;
            }
            match result {
                Err(e) if e.kind() == ErrorKind::Config => return Err(e.into()),
                Err(e) => {
                    self.connection = None;
                    let why = printable(&e.to_string());
                    statistics.lost += 1;
                    self.print(number, None, Some(&why));
                    error = Some(why);
                }
                Ok(round_trip) => {
                    statistics.answered.push(round_trip);
                    self.print(number, Some(round_trip), None);
                }
            }
            if number + 1 < self.args.count {
                let _ = stop.signal().recv_timeout(self.args.interval);
            }
        }
        let lost = statistics.lost;
        let error = match error.filter(|_| lost > 0) {
            _ if stop.is_cancelled() => Some(self.context.interrupted.reason().to_owned()),
            Some(last) => Some(format!("{lost} of {} Pings were lost; the last: {last}", self.args.count)),
            None => None,
        };
        self.summarize(statistics, error.as_deref());
        match error {
            None => Ok(()),
            Some(_) if stop.is_cancelled() => Err(Failure::Stopped),
            Some(_) => Err(Failure::Reported),
        }
    }

    fn ping(&mut self) -> Result<Duration, Error> {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => {
                let dialled = self.transport.dial(&self.endpoint, self.args.timeout, &self.context.stop)?;
                // The first Ping is part of the dial.
                dialled.ping(self.args.timeout)?;
                self.connection.insert(dialled)
            }
        };
        let sent = Instant::now();
        connection.ping(self.args.timeout)?;
        Ok(sent.elapsed())
    }

    fn print(&self, number: u32, round_trip: Option<Duration>, error: Option<&str>) {
        let rtt_us = round_trip.map(micros);
        self.context.out.line(
            || json!({"event": "ping", "number": number, "ok": error.is_none(), "rtt_us": rtt_us, "error": error}),
            || match (round_trip, error) {
                (Some(round_trip), _) => format!("✔ {:>4} {}", number + 1, short(round_trip)),
                (None, error) => format!("✘ {:>4} {}", number + 1, error.unwrap_or_default()),
            },
        );
    }

    fn summarize(&self, mut statistics: Statistics, error: Option<&str>) {
        statistics.answered.sort();
        let [min, median, p99] = [0, 50, 99].map(|percent| quantile(&statistics.answered, percent));
        let (answered, lost) = (statistics.answered.len(), statistics.lost);
        let us = |time: Option<Duration>| time.map(micros);
        self.context.out.line(
            || {
                json!({"event": "probe", "endpoint": self.endpoint, "ok": error.is_none(), "rtt_us": us(median),
                       "error": error, "count": answered + lost, "lost": lost, "min_us": us(min),
                       "median_us": us(median), "p99_us": us(p99)})
            },
            || {
                let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), short);
                format!(
                    "\n{}: {answered} of {} Pings answered, {lost} lost; min {}, median {}, p99 {}",
                    self.endpoint,
                    answered + lost,
                    time(min),
                    time(median),
                    time(p99)
                )
            },
        );
    }
}

/// The results of several Pings.
#[derive(Default)]
struct Statistics {
    answered: Vec<Duration>,
    lost: usize,
}
