//! `bench`: the speed of the library on this machine, with both ends of the connection in this process.

use crate::failure::{Failure, Result};
use crate::output::printable;
use crate::statistics::quantile;
use crate::transport::TransportKind;
use crate::values::{grouped, micros, short, timeout};
use crate::Context;
use bytes::Bytes;
use clap::Args;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::{Comm, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::message::{self, Content, GossipMessage, SignedMessage};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Limits, Pem, Tls, TlsConfig};
use fabric_gossip::ErrorKind;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for operations that normally take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Interval for checking the stop switch.
const TICK: Duration = Duration::from_millis(50);

/// Number of intervals without a message after which the expected ones count as lost: ten seconds.
const MAX_SILENT_TICKS: u32 = 200;

/// Maximum number of handshakes or round trips in one measurement, which keeps the time of each.
const MAX_TIMES: usize = 1_000_000;

const CHANNEL: &[u8] = b"bench";

/// Measure the speed of the library on this machine: two peers in this process over mutual TLS
///
/// Both ends share the processors, and no network is between them, so compare the values only with others of this
/// command. In a clone of the repository, `make bench` compares the library with other implementations.
#[derive(Args)]
pub struct BenchArgs {
    /// Time for each measurement, such as 500ms or 5s, after a warm-up of a tenth of it
    #[arg(long, value_name = "D", default_value = "1s", value_parser = timeout)]
    duration: Duration,
    /// Size of the data in each message; repeatable. Round trips are measured with the first one
    #[arg(long, value_name = "BYTES", default_values_t = [100, 1 << 10, 64 << 10, 1 << 20],
          value_parser = clap::value_parser!(u32).range(..=100_000_000))]
    size: Vec<u32>,
}

pub fn run(context: &Context, args: &BenchArgs) -> Result<()> {
    let begin = Instant::now();
    let out = &context.out;
    let mut bench = Bench { context, time: args.duration, messages: 0 };
    let result = bench.run(&args.size.iter().map(|size| *size as usize).collect::<Vec<_>>());
    let (elapsed, messages) = (begin.elapsed(), bench.messages);
    let error = result.as_ref().err().map(|failure| match failure.text() {
        Some(text) => printable(text),
        None => context.interrupted.reason().to_owned(),
    });
    out.line(
        || {
            json!({"event": "bench", "ok": error.is_none(), "transport": context.transport.name(),
                   "messages": messages, "elapsed_us": micros(elapsed), "error": error})
        },
        || match &error {
            None => format!("\nAll {} messages were received, in order; {}.", grouped(messages), short(elapsed)),
            Some(error) => format!("\n✘ {error}"),
        },
    );
    match result {
        Err(Failure::Peer(_)) => Err(Failure::Reported),
        result => result,
    }
}

struct Bench<'a> {
    context: &'a Context,
    time: Duration,
    /// Number of messages sent and received in completed measurements.
    messages: u64,
}

/// The result of one measurement.
struct Measured {
    workload: &'static str,
    size: Option<usize>,
    count: u64,
    elapsed: Duration,
    /// The time of each operation, sorted; empty if operations overlap.
    times: Vec<Duration>,
}

impl Bench<'_> {
    fn run(&mut self, sizes: &[usize]) -> Result<()> {
        let context = self.context;
        let pair = Pair::start(context.transport, &context.stop)?;
        let warm_up = self.time / 10;
        context.out.note(|| {
            format!(
                "Two peers in this process, over mutual TLS on loopback (transport {}); each measurement takes {}, after \
                 a warm-up of {}.\n\n{}",
                context.transport,
                short(self.time),
                short(warm_up),
                row(["MEASUREMENT", "SIZE", "PER SECOND", "MB/S", "P50", "P99"].map(str::to_owned))
            )
        });
        let steps = 2 + sizes.len() as u64;
        let progress = context.out.progress("measurements", steps);
        let first = sizes.first().copied().unwrap_or_default();
        for step in 0..steps {
            let measure = |time| match step {
                0 => pair.handshakes(time),
                1 => pair.round_trips(first, time),
                _ => pair.stream(sizes[step as usize - 2], time),
            };
            measure(warm_up)?;
            let measured = measure(self.time)?;
            self.messages += measured.size.map_or(0, |_| measured.count);
            self.print(&measured);
            progress.set(step + 1);
        }
        Ok(())
    }

    fn print(&self, measured: &Measured) {
        let Measured { workload, size, count, elapsed, times } = measured;
        let rate = *count as f64 / elapsed.as_secs_f64().max(1e-9);
        let throughput = size.filter(|_| times.is_empty()).map(|size| rate * size as f64 / 1e6);
        let [p50, p99] = [50, 99].map(|percent| quantile(times, percent));
        let out = &self.context.out;
        if !out.is_json() {
            let size = size.map_or_else(String::new, bytes);
            let throughput = throughput.map_or_else(String::new, |rate| format!("{rate:.1}"));
            let time = |time: Option<Duration>| time.map_or_else(String::new, short);
            let name = workload.replace('_', " ");
            out.note(|| row([name, size, grouped(rate.round() as u64), throughput, time(p50), time(p99)]));
            return;
        }
        let us = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e6);
        let unit = if *workload == "handshake" { "handshakes/s" } else { "messages/s" };
        let values = [
            ("rate", unit, Some(rate)),
            ("throughput", "MB/s", throughput),
            ("p50", "us", us(p50)),
            ("p99", "us", us(p99)),
        ];
        for (metric, unit, value) in values.into_iter().filter_map(|(metric, unit, value)| Some((metric, unit, value?)))
        {
            let value = (value * 10.0).round() / 10.0;
            let line = || {
                json!({"event": "measurement", "workload": workload, "size": size, "metric": metric, "value": value,
                       "unit": unit, "count": count, "elapsed_us": micros(*elapsed)})
            };
            out.line(line, String::new);
        }
    }
}

/// Formats a line of the table.
fn row([name, size, rate, throughput, p50, p99]: [String; 6]) -> String {
    format!("{name:<12} {size:>13} {rate:>11} {throughput:>9} {p50:>8} {p99:>8}").trim_end().to_owned()
}

/// Formats a size: `100 B`, `64 KiB`, `1 MiB`.
fn bytes(size: usize) -> String {
    let units = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| size >= *unit && size % unit == 0) {
        Some((unit, name)) => format!("{} {name}", size / unit),
        None => format!("{} B", grouped(size as u64)),
    }
}

/// Two peers of one organisation, the first of which dials the second.
struct Pair<'a> {
    from: Comm,
    peer: RemotePeer,
    inbox: Subscription<ReceivedMessage>,
    /// Runs until it is dropped.
    _to: Comm,
    stop: &'a Cancel,
}

impl<'a> Pair<'a> {
    fn start(transport: TransportKind, stop: &'a Cancel) -> Result<Pair<'a>> {
        let org = Org::new("Org1MSP", "org1.example.com")?;
        let builder = |name: &str| -> Result<_> {
            let member = org.peer(name)?;
            let crypto = org.crypto_service(&member, &[])?;
            let pem = |name: &str, text: &str| Pem::new(name, text);
            let tls = Tls::new(TlsConfig::new(
                pem("certificate", &member.tls_cert),
                pem("key", &member.tls_key),
                pem("authority", &member.tls_ca_cert),
            ))?;
            let transport = transport.create(Some(tls), Limits::default())?;
            Ok(Comm::builder(member.identity(), crypto.clone(), crypto).transport(transport))
        };
        let to = builder("peer0")?.listen("127.0.0.1:0").start()?;
        let from = builder("peer1")?.start()?;
        let peer = RemotePeer::with_id(to.local_addr().unwrap_or_default(), to.pki_id().clone());
        let inbox = to.subscribe_with(SubscriptionOptions::default().when_full(WhenFull::Wait(None)), |_| true);
        Ok(Pair { from, peer, inbox, _to: to, stop })
    }

    /// Authenticates on a new connection each time, one after the other.
    fn handshakes(&self, time: Duration) -> Result<Measured> {
        let begin = Instant::now();
        let mut times = Vec::new();
        while times.is_empty() || begin.elapsed() < time && times.len() < MAX_TIMES {
            if self.stop.is_cancelled() {
                return Err(Failure::Stopped);
            }
            let started = Instant::now();
            if !self.from.handshake(&self.peer)?.confirmed {
                return Err(Failure::Peer(format!("{}: a handshake was not confirmed", self.peer)));
            }
            times.push(started.elapsed());
        }
        let elapsed = begin.elapsed();
        times.sort();
        Ok(Measured { workload: "handshake", size: None, count: times.len() as u64, elapsed, times })
    }

    /// Sends messages one after the other, each when the one before is acknowledged.
    fn round_trips(&self, size: usize, time: Duration) -> Result<Measured> {
        let mut times = Vec::new();
        let send = |message| {
            let started = Instant::now();
            let result = self.from.send_with_ack(message, PATIENCE, 1, std::slice::from_ref(&self.peer));
            times.push(started.elapsed());
            match result.iter().find_map(|result| result.error.as_ref()) {
                None => Ok(times.len() < MAX_TIMES),
                Some(e) => Err(Failure::Peer(format!("a message was not acknowledged: {e}"))),
            }
        };
        let (count, elapsed) = self.exchange(size, time, true, send)?;
        times.sort();
        Ok(Measured { workload: "round_trip", size: Some(size), count, elapsed, times })
    }

    /// Sends messages without waiting for answers, as fast as the connection takes them.
    fn stream(&self, size: usize, time: Duration) -> Result<Measured> {
        let send = |message| {
            let message = SignedMessage::noop_sign(message)?;
            let begin = Instant::now();
            while let Err(mut failed) = self.from.send_timeout(&message, TICK, std::slice::from_ref(&self.peer)) {
                let error = failed.not_sent.swap_remove(0).error;
                if error.kind() != ErrorKind::Full || begin.elapsed() > PATIENCE {
                    return Err(error.into());
                }
                if self.stop.is_cancelled() {
                    return Err(Failure::Stopped);
                }
            }
            Ok(true)
        };
        let (count, elapsed) = self.exchange(size, time, false, send)?;
        Ok(Measured { workload: "messages", size: Some(size), count, elapsed, times: Vec::new() })
    }

    /// Sends messages for a time, or until `send` returns `false`, while another thread receives them. Returns their
    /// number, and the time until the last one was received.
    fn exchange(
        &self,
        size: usize,
        time: Duration,
        acknowledge: bool,
        mut send: impl FnMut(GossipMessage) -> Result<bool>,
    ) -> Result<(u64, Duration)> {
        let payload = Bytes::from(vec![0; size]);
        let expected = AtomicU64::new(u64::MAX);
        let mut sent = 0;
        let mut send_all = |begin: Instant| loop {
            if self.stop.is_cancelled() {
                return Err(Failure::Stopped);
            }
            let goes_on = send(message::data(0, CHANNEL, sent, payload.clone()))?;
            sent += 1;
            if !goes_on || begin.elapsed() >= time {
                return Ok(sent);
            }
        };
        thread::scope(|scope| {
            let receive = || self.receive(size, &expected, acknowledge);
            let receiver = thread::Builder::new().name("bench-receiver".into()).spawn_scoped(scope, receive);
            let receiver = receiver.map_err(|e| {
                Failure::Peer(format!("cannot start a thread for receiving: {e}; raise the limit (ulimit -u)"))
            })?;
            let begin = Instant::now();
            let sent = send_all(begin);
            // After an error, the receiver waits for nothing more.
            expected.store(*sent.as_ref().unwrap_or(&0), Ordering::Release);
            self.inbox.interrupt();
            let received = receiver.join().unwrap_or_else(|_| Err(Failure::Peer("the receiver failed".into())));
            let end = received?;
            Ok((sent?, end - begin))
        })
    }

    /// Receives and checks the expected number of messages. Returns the time of the last one.
    fn receive(&self, size: usize, expected: &AtomicU64, acknowledge: bool) -> Result<Instant> {
        let (mut received, mut silent) = (0, 0);
        let goes_on = |received| received < expected.load(Ordering::Acquire);
        while goes_on(received) {
            match self.inbox.recv_while(Some(TICK), || goes_on(received)) {
                Ok(message) => {
                    check(&message, received, size)?;
                    if acknowledge {
                        message.ack(None)?;
                    }
                    (received, silent) = (received + 1, 0);
                }
                Err(_) if self.stop.is_cancelled() => return Err(Failure::Stopped),
                Err(_) if silent < MAX_SILENT_TICKS => silent += 1,
                Err(_) => {
                    return Err(Failure::Peer(match expected.load(Ordering::Acquire) {
                        u64::MAX => format!("no message arrived for {}", short(PATIENCE)),
                        sent => format!("{} of {} messages were lost", grouped(sent - received), grouped(sent)),
                    }))
                }
            }
        }
        Ok(Instant::now())
    }
}

/// Checks that a message is the next one, and complete.
fn check(message: &ReceivedMessage, number: u64, size: usize) -> Result<()> {
    let payload = match message.message().content() {
        Some(Content::DataMsg(data)) => data.payload.as_ref(),
        _ => None,
    };
    match payload {
        Some(payload) if payload.seq_num == number && payload.data.len() == size => Ok(()),
        Some(payload) => Err(Failure::Peer(format!(
            "message {number} of {size} bytes was lost: number {} with {} bytes arrived in its place",
            payload.seq_num,
            payload.data.len()
        ))),
        None => Err(Failure::Peer("a message arrived that was not sent".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_missing_or_cut_off_is_a_loss() {
        let stop = Cancel::new();
        let pair = Pair::start(TransportKind::default(), &stop).unwrap();
        let receive = |number, length| {
            let message = message::data(0, CHANNEL, number, Bytes::from(vec![0; length]));
            let message = SignedMessage::noop_sign(message).unwrap();
            pair.from.send(&message, std::slice::from_ref(&pair.peer)).unwrap();
            pair.receive(10, &AtomicU64::new(1), false)
        };
        assert!(receive(0, 10).is_ok());
        for (number, length) in [(1, 10), (0, 9)] {
            let failure = receive(number, length).unwrap_err();
            assert!(failure.text().unwrap().contains("message 0 of 10 bytes was lost"), "{failure:?}");
        }
        // Does not wait for the lost ones once it is stopped.
        stop.cancel();
        assert!(matches!(pair.receive(10, &AtomicU64::new(1), false), Err(Failure::Stopped)));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
        assert_eq!(
            [0, 100, 1500, 1024, 65_536, 3 << 20].map(bytes),
            ["0 B", "100 B", "1,500 B", "1 KiB", "64 KiB", "3 MiB"]
        );
    }
}
