//! Figures to compare, not assertions: `cargo test --release --test rpc speed -- --ignored --nocapture`.

use crate::certs::Authority;
use crate::support::*;
use bytes::Bytes;
use crossbeam_channel::bounded;
use fabric_gossip::comm::stream::Status;
use fabric_gossip::rpc::Options;
use std::time::{Duration, Instant};

#[test]
#[ignore = "a measurement"]
fn speed() {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let (done, counted) = bounded(1);
    let sink = serve(move |stream| {
        let (mut count, mut start) = (0, Instant::now());
        while let Ok(Some(message)) = stream.recv(None) {
            match message.len() {
                1 if count == 0 => start = Instant::now(),
                1 => done.send((count, start.elapsed())).unwrap(),
                2 => stream.send(message, false).unwrap(),
                _ => count += 1,
            }
        }
        Status::ok()
    });
    let server = start(Some(&tls), &Options::default(), sink);
    for (size, n) in [(100, 1_000_000), (1 << 10, 500_000), (64 << 10, 20_000), (1 << 20, 1_000)] {
        for hint in [true, false] {
            let stream = open(Some(&tls), server.local_addr());
            stream.send(Bytes::from_static(b"1"), false).unwrap();
            let (queue, queued) = bounded::<Bytes>(20);
            let writer = {
                let stream = stream.clone();
                std::thread::spawn(move || {
                    while let Ok(message) = queued.recv() {
                        stream.send(message, hint && !queued.is_empty()).unwrap();
                    }
                })
            };
            let message = Bytes::from(vec![7; size]);
            (0..n).for_each(|_| queue.send(message.clone()).unwrap());
            drop(queue);
            writer.join().unwrap();
            stream.send(Bytes::from_static(b"1"), false).unwrap();
            let (count, time): (usize, Duration) = counted.recv().unwrap();
            assert_eq!(count, n);
            println!("{size:>8} B  hint {hint:<5}  {:>8.0} messages/s", n as f64 / time.as_secs_f64());
        }
    }
    for spin in [50, 0] {
        let mut options = Options::default();
        options.spin = Duration::from_micros(spin);
        let server = start(Some(&tls), &options, echo());
        let stream = open_with(Some(&tls), &options, server.local_addr());
        round_trips(&format!("spin {spin:>2} us, one thread        "), 20_000, || {
            stream.send(Bytes::from_static(&[2; 100]), false).unwrap();
            next(&stream);
        });
        // As in a connection: one thread writes, another reads and tells a third.
        let (told, tell) = bounded(1);
        let (queue, queued) = bounded::<Bytes>(20);
        let reader = {
            let stream = stream.clone();
            std::thread::spawn(move || {
                while let Ok(Some(m)) = stream.recv(None) {
                    let _ = told.send(m);
                }
            })
        };
        let writer = {
            let stream = stream.clone();
            std::thread::spawn(move || {
                while let Ok(m) = queued.recv() {
                    stream.send(m, !queued.is_empty()).unwrap();
                }
            })
        };
        round_trips(&format!("spin {spin:>2} us, writer and reader"), 20_000, || {
            queue.send(Bytes::from_static(&[2; 100])).unwrap();
            tell.recv().unwrap();
        });
        drop(queue);
        writer.join().unwrap();
        stream.cancel();
        reader.join().unwrap();
    }
}

fn round_trips(what: &str, n: usize, f: impl Fn()) {
    let mut times: Vec<_> = (0..n)
        .map(|_| {
            let before = Instant::now();
            f();
            before.elapsed()
        })
        .collect();
    times.sort();
    println!("round trip, {what}  p50 {:?}  p99 {:?}", times[n / 2], times[n * 99 / 100]);
}
