//! The foundations of the layer, measured by the same orders: the C core without it, and TLS without gRPC.

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
    match (variant, order.name.as_str()) {
        ("bare", "throughput") => {
            let bare = Bare::apart(&certificates, Kind::CCore);
            let figures = stream(count, || bare.stream(size, count));
            bare.end();
            Ok(figures)
        }
        ("bare", "round-trip") => {
            let bare = Bare::apart(&certificates, Kind::CCore);
            let figures = round_trips(count, || bare.round_trips(size, count));
            bare.end();
            Ok(figures)
        }
        ("bare", "handshake") => {
            let bare = Bare::alone(&certificates, Kind::CCore);
            let figures = handshakes(count, || bare.connect());
            bare.end();
            Ok(figures)
        }
        ("plain-tls", "throughput") => {
            let mut plain = PlainTls::new(&certificates);
            Ok(stream(count, || plain.stream(size, count)))
        }
        ("plain-tls", "round-trip") => {
            let mut plain = PlainTls::new(&certificates);
            Ok(round_trips(count, || plain.round_trips(size, count)))
        }
        ("plain-tls", "handshake") => {
            let plain = PlainTls::new(&certificates);
            Ok(handshakes(count, || plain.connect()))
        }
        (variant, order) => Err(format!("{variant} knows no {order}")),
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
