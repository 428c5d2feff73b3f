//! Without TLS a connection message can be replayed by anyone who saw it: a warning says so where TLS is off.
//!
//! The logger is one for the whole process, so that the test has one to itself.
#![cfg(any(feature = "c-core", feature = "http2"))]

use crate::common::{sockets, Form, Memory};
use fabric_gossip::transport::Tls;
use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Warnings;

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Starts and stops a node and returns its warnings.
fn warnings(net: &Memory, tls: Option<Tls>) -> Vec<String> {
    let mut builder = net.builder("node").listen("127.0.0.1:0");
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    builder.start().unwrap().stop();
    std::mem::take(&mut *WARNINGS.lock())
}

#[test]
fn weakness_27_without_tls_there_is_a_warning_and_with_it_there_is_none() {
    in_own_process!();
    log::set_logger(&Warnings).unwrap();
    log::set_max_level(LevelFilter::Warn);
    // Only the builder is used, which makes the default transport.
    let net = Memory::new();
    let off = warnings(&net, None);
    assert!(off.iter().any(|warning| warning.starts_with("TLS is off") && warning.contains("replayed")), "{off:?}");
    assert!(warnings(&net, Some(sockets::tls("node"))).is_empty());
}
