//! The settings of this transport in addition to the limits of every transport.

use super::budget::Budget;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Limits;
use std::sync::Arc;
use std::time::Duration;

/// Longest time limit: a year. Times can be computed with it.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Settings of the HTTP/2 transport in addition to the [`Limits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Time for which a thread may poll before it sleeps: 200 µs; zero turns polling off. A reader polls its socket in a
    /// conversation (if something was sent on the stream since its last call of `recv`), a subscriber its queue, and a
    /// sender its acknowledgements. Waking a thread from an idle processor takes 20 to 50 µs, and a round trip has four
    /// such wake-ups. A thread gives its processor up between two looks, and stops polling when that does not pay off or
    /// another thread needs the processor. As many threads as there are processors poll at the same time.
    pub spin: Duration,
    /// Receive window of a stream, in bytes: 1 MiB. It bounds what a peer may send before the application takes it. A
    /// longer message widens the window when the application waits for it.
    pub stream_window: u32,
    /// Servers: maximum number of connections that have not opened a stream yet, in all: 1024. More are closed
    /// immediately.
    pub max_pending: usize,
    /// Servers: maximum number of connections from one address that have not opened a stream yet: 256.
    pub max_pending_per_address: usize,
    /// Servers: maximum number of connections: 16,384.
    pub max_connections: usize,
    /// Servers: number of too frequent pings of a client after which its connection is closed: 2.
    pub max_ping_strikes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            spin: Duration::from_micros(200),
            stream_window: 1 << 20,
            max_pending: 1024,
            max_pending_per_address: 256,
            max_connections: 16_384,
            max_ping_strikes: 2,
        }
    }
}

impl Options {
    /// Checks the options. Every function that takes options calls this.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.spin > Duration::from_millis(1) {
            return Err(invalid(format!("spin is {:?}; more than 1 ms only burns processor time", self.spin)));
        }
        if !(65_535..=1 << 30).contains(&self.stream_window) {
            let text = format!("stream_window is {}; it must be from 65,535 to 1 GiB", self.stream_window);
            return Err(invalid(text));
        }
        let positive = [
            ("max_pending", self.max_pending),
            ("max_pending_per_address", self.max_pending_per_address),
            ("max_connections", self.max_connections),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(invalid(format!("{name} is zero; it must be at least 1"))),
            None => Ok(()),
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message).with_step("options")
}

/// The settings from which a transport's connections are made.
pub(super) struct Settings {
    pub limits: Limits,
    pub options: Options,
    pub budget: Arc<Budget>,
}

impl Settings {
    /// Checks limits and options.
    pub fn new(mut limits: Limits, options: Options) -> Result<Settings> {
        limits.validate()?;
        options.validate()?;
        for time in [
            &mut limits.keepalive_time,
            &mut limits.keepalive_timeout,
            &mut limits.min_ping_interval,
            &mut limits.handshake_timeout,
            &mut limits.max_connection_idle,
        ] {
            *time = (*time).min(LONGEST);
        }
        let budget = Arc::new(Budget::new(limits.memory_quota));
        Ok(Settings { limits, options, budget })
    }
}
