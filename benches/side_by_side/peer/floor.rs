//! The foundations of the layer, measured by the same orders: a transport without it, and TLS without gRPC.

use super::{cpu, percentiles, rate, Figure, Order, Outcome};
use crate::plain_tls::PlainTls;
use crate::support::bare::Bare;
use crate::support::crypto::Certificates;
use crate::support::machine::Usage;
use crate::support::Kind;
use std::time::Duration;

pub fn measure(variant: &str, order: &Order) -> Outcome<Vec<Figure>> {
    let certificates = Certificates::new();
    let (size, count) = (order.number("size").unwrap_or(0), order.need("count")?);
    let bare = variant.strip_prefix("bare-").and_then(Kind::named);
    match (bare, order.name.as_str()) {
        (Some(kind), "throughput") => {
            let bare = Bare::apart(&certificates, kind);
            let figures = stream(count, || bare.stream(size, count));
            bare.end();
            Ok(figures)
        }
        (Some(kind), "round-trip") => {
            let bare = Bare::apart(&certificates, kind);
            let figures = round_trips(count, || bare.round_trips(size, count));
            bare.end();
            Ok(figures)
        }
        (Some(kind), "handshake") => {
            let bare = Bare::alone(&certificates, kind);
            let figures = handshakes(count, || bare.connect());
            bare.end();
            Ok(figures)
        }
        (None, "throughput") => {
            let mut plain = PlainTls::new(&certificates);
            Ok(stream(count, || plain.stream(size, count)))
        }
        (None, "round-trip") => {
            let mut plain = PlainTls::new(&certificates);
            Ok(round_trips(count, || plain.round_trips(size, count)))
        }
        (None, "handshake") => {
            let plain = PlainTls::new(&certificates);
            Ok(handshakes(count, || plain.connect()))
        }
        (_, order) => Err(format!("{variant} knows no {order}")),
    }
}

fn stream(count: usize, run: impl FnOnce() -> Duration) -> Vec<Figure> {
    let usage = Usage::now();
    let took = run();
    vec![rate(count, took), cpu(count, &usage)]
}

fn round_trips(count: usize, run: impl FnOnce() -> Vec<f64>) -> Vec<Figure> {
    let usage = Usage::now();
    let times = run();
    let spent = cpu(count, &usage);
    let mut figures = percentiles(times);
    figures.push(spent);
    figures
}

fn handshakes(count: usize, one: impl Fn() -> f64) -> Vec<Figure> {
    let usage = Usage::now();
    let times: Vec<f64> = (0..count).map(|_| one()).collect();
    let total: f64 = times.iter().sum();
    let spent = cpu(count, &usage);
    let mut figures = percentiles(times);
    figures.extend([("rate", "handshakes/s", count as f64 / total * 1e6), spent]);
    figures
}
