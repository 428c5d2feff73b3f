//! The parts that benchmarks share.

pub mod bare;
pub mod burner;
pub mod crypto;
pub mod dialler;
pub mod layer;
pub mod machine;
pub mod report;

use fabric_gossip::transport::c_core::{CoreTransport, Options};
use fabric_gossip::transport::http2::{self, Http2Transport};
use fabric_gossip::transport::{Limits, Tls, Transport};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// How long a receiver spins, in microseconds; the library's default if it is not set.
pub static SPIN: AtomicU64 = AtomicU64::new(u64::MAX);

/// Options used by both layer and bare transport.
pub fn options() -> Options {
    let mut options = Options::default();
    if let micros @ 0..=1000 = SPIN.load(Ordering::Relaxed) {
        options.spin = Duration::from_micros(micros);
    }
    options
}

/// The C core with these options and this TLS.
pub fn transport_with(tls: Tls, options: Options) -> CoreTransport {
    CoreTransport::new(Some(tls), Limits::default(), options).expect("a transport")
}

/// The C core with the benchmark's options.
pub fn transport(tls: Tls) -> CoreTransport {
    transport_with(tls, options())
}

/// The transports over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CCore,
    Http2,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::CCore => "c-core",
            Kind::Http2 => "http2",
        }
    }

    /// Returns the transport of this name.
    pub fn named(name: &str) -> Option<Kind> {
        [Kind::CCore, Kind::Http2].into_iter().find(|kind| kind.name() == name)
    }

    /// Creates a transport with the benchmark's options.
    pub fn transport(self, tls: Tls) -> Arc<dyn Transport> {
        match self {
            Kind::CCore => Arc::new(transport(tls)),
            Kind::Http2 => {
                let mut options = http2::Options::default();
                if let micros @ 0..=1000 = SPIN.load(Ordering::Relaxed) {
                    options.spin = Duration::from_micros(micros);
                }
                Arc::new(Http2Transport::new(Some(tls), Limits::default(), options).expect("a transport"))
            }
        }
    }
}

/// The longest that anything here waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How much is measured.
pub struct Plan {
    pub rounds: usize,
    /// Payload and number of messages.
    pub sizes: Vec<(usize, usize)>,
    pub round_trips: (usize, usize),
    /// Numbers of simultaneous connections that talk.
    pub conversations: Vec<usize>,
    pub handshakes: usize,
    /// Idle connections.
    pub idle: usize,
    /// Time to wait before memory is measured.
    pub settle: Duration,
    /// How long processor time is watched.
    pub idle_time: Duration,
}

impl Plan {
    pub fn measure() -> Plan {
        Plan {
            rounds: 7,
            sizes: vec![(100, 200_000), (1 << 10, 150_000), (64 << 10, 8_000), (1 << 20, 600)],
            round_trips: (100, 8_000),
            conversations: vec![1, 4, 64],
            handshakes: 200,
            idle: 512,
            settle: Duration::from_secs(1),
            idle_time: Duration::from_secs(5),
        }
    }

    /// Enough to see that it works.
    pub fn test() -> Plan {
        Plan {
            rounds: 1,
            sizes: vec![(100, 1_000), (1 << 10, 1_000), (64 << 10, 100), (1 << 20, 10)],
            round_trips: (100, 100),
            conversations: vec![2],
            handshakes: 3,
            idle: 8,
            settle: Duration::ZERO,
            idle_time: Duration::from_millis(100),
        }
    }
}
