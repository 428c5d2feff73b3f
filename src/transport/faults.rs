//! Fault injection: decorates any [`Transport`] with streams that delay, corrupt, stall and lose messages.
//!
//! The fault of each message follows from a seed, the number of the dial and the message's position in its stream, so
//! that a failed run can be repeated with the same faults. (Thread scheduling is not reproduced.)

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, SeededRandom};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::channel::{never, select, Receiver};
use crate::sync::Mutex;
use crate::transport::{code, Acceptor, Connection, Server, Status, Stream, StreamEnd, StreamInfo, Transport};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The system's error code for a process that may open no more file descriptors.
const EMFILE: i32 = 24;

/// The rate of each fault, in thousandths, and its severity.
#[derive(Clone, Debug, Default)]
pub struct FaultRates {
    /// Refused dials.
    pub refuse: u32,
    /// Messages delayed by up to [`longest_delay`](Self::longest_delay).
    pub delay: u32,
    /// Messages after which the stream stalls, until it ends or [`Faults::calm`] is called.
    pub stall: u32,
    /// Messages that arrive corrupted.
    pub corrupt: u32,
    /// Messages with which the connection is lost.
    pub cut: u32,
    /// Dials that fail for want of a file descriptor. With equal probability, the shortage is on the dialling or on the
    /// accepting side. On the dialling side, the dial fails immediately. On the accepting side, it waits: if the faults
    /// end within its time limit it continues, and otherwise it times out.
    pub starve: u32,
    /// Maximum delay; see [`delay`](Self::delay).
    pub longest_delay: Duration,
}

/// A source of faults. Clones share the same source.
#[derive(Clone)]
pub struct Faults(Arc<Source>);

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

struct Source {
    seed: u64,
    rates: FaultRates,
    clock: Arc<dyn Clock>,
    calm: Cancel,
    dials: AtomicU64,
    struck: [AtomicU64; 6],
}

#[derive(Clone, Copy)]
enum Fault {
    Refuse,
    Delay,
    Stall,
    Corrupt,
    Cut,
    Starve,
}

impl Faults {
    /// Creates a source of faults derived from `seed`. Delays use `clock`.
    pub fn new(seed: u64, rates: FaultRates, clock: Arc<dyn Clock>) -> Self {
        let (calm, dials, struck) = (Cancel::new(), AtomicU64::new(0), Default::default());
        Faults(Arc::new(Source { seed, rates, clock, calm, dials, struck }))
    }

    /// Wraps a transport so that its streams have these faults in both directions.
    pub fn on(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(FaultyTransport { transport, source: self.0.clone() })
    }

    /// Ends all faults. Stalled streams continue.
    pub fn calm(&self) {
        self.0.calm.cancel();
    }

    /// Returns the number of faults so far: refusals, delays, stalls, corrupted messages, cuts, dials without a
    /// descriptor.
    pub fn struck(&self) -> [u64; 6] {
        std::array::from_fn(|i| self.0.struck[i].load(Ordering::Relaxed))
    }
}

impl Source {
    fn count(&self, fault: Fault) {
        self.struck[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the other side accepts, which it does once the faults are over.
    fn await_accept(&self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        select! {
            recv(self.calm.signal()) -> _ => Ok(()),
            recv(cancel.signal()) -> _ => Err(Error::new(ErrorKind::Stopped, "cancelled")),
            recv(self.clock.after(timeout)) -> _ => {
                Err(Error::new(ErrorKind::Unreachable, format!("no connection within {timeout:?}")))
            }
        }
    }

    /// Returns the fault of the next message, as decided by these random numbers.
    fn message_fault(&self, random: &mut SeededRandom) -> Option<Fault> {
        let FaultRates { delay, stall, corrupt, cut, .. } = self.rates;
        let mut drawn = random.below(1000) as u32;
        if self.calm.is_cancelled() {
            return None;
        }
        for (rate, fault) in
            [(delay, Fault::Delay), (stall, Fault::Stall), (corrupt, Fault::Corrupt), (cut, Fault::Cut)]
        {
            if drawn < rate {
                self.count(fault);
                return Some(fault);
            }
            drawn -= rate;
        }
        None
    }
}

struct FaultyTransport {
    transport: Arc<dyn Transport>,
    source: Arc<Source>,
}

impl Transport for FaultyTransport {
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        let dial = self.source.dials.fetch_add(1, Ordering::Relaxed);
        let mut random = SeededRandom::new(self.source.seed ^ dial.wrapping_mul(0xd6e8_feb8_6659_fd93));
        if random.below(1000) < self.source.rates.refuse.into() && !self.source.calm.is_cancelled() {
            self.source.count(Fault::Refuse);
            return Err(Error::new(ErrorKind::Unreachable, "Connection refused"));
        }
        if random.below(1000) < self.source.rates.starve.into() && !self.source.calm.is_cancelled() {
            self.source.count(Fault::Starve);
            if random.below(2) == 0 {
                let error = std::io::Error::from_raw_os_error(EMFILE);
                return Err(Error::new(ErrorKind::Unreachable, error.to_string()).with_source(error));
            }
            self.source.await_accept(timeout, cancel)?;
        }
        let connection = self.transport.dial(endpoint, timeout, cancel)?;
        Ok(Box::new(FaultyConnection { connection, source: self.source.clone(), seed: random.next_u64() }))
    }

    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        self.transport.listen(address, acceptor)
    }

    fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }
}

struct FaultyConnection {
    connection: Box<dyn Connection>,
    source: Arc<Source>,
    seed: u64,
}

impl Connection for FaultyConnection {
    fn ping(&self, timeout: Duration) -> Result<()> {
        self.connection.ping(timeout)
    }

    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
        Ok(Arc::new(FaultyStream {
            stream: self.connection.open(limit)?,
            source: self.source.clone(),
            out: Mutex::new(Way { random: SeededRandom::new(self.seed), held: None }),
            back: Mutex::new(Way { random: SeededRandom::new(!self.seed), held: None }),
            cut: AtomicBool::new(false),
            over: Cancel::new(),
        }))
    }
}

/// A dialled stream. Messages from its other end pass through it too.
struct FaultyStream {
    stream: Arc<dyn Stream>,
    source: Arc<Source>,
    out: Mutex<Way>,
    back: Mutex<Way>,
    /// Set when a fault has lost the connection, which the underlying stream sees as a cancellation.
    cut: AtomicBool,
    /// Set when nothing more will arrive; ends stalls.
    over: Cancel,
}

/// State of one direction.
struct Way {
    random: SeededRandom,
    held: Option<Held>,
}

/// A message under way, and the time at which it continues.
#[derive(Clone)]
struct Held {
    message: Bytes,
    goes_on: Receiver<Instant>,
}

enum Fate {
    Passes(Bytes),
    IsHeld(Held),
    Lost(StreamEnd),
}

impl FaultyStream {
    fn fate(&self, way: &mut Way, message: Bytes) -> Fate {
        let goes_on = match self.source.message_fault(&mut way.random) {
            Some(Fault::Delay) => {
                let longest = self.source.rates.longest_delay.as_micros() as u64;
                self.source.clock.after(Duration::from_micros(way.random.below(longest.max(1))))
            }
            Some(Fault::Stall) => never(),
            Some(Fault::Corrupt) => return Fate::Passes(corrupted(&message, &mut way.random)),
            Some(Fault::Cut) => {
                self.cut.store(true, Ordering::SeqCst);
                self.cancel();
                return Fate::Lost(self.end(StreamEnd::Local));
            }
            Some(Fault::Refuse | Fault::Starve) | None => return Fate::Passes(message),
        };
        Fate::IsHeld(Held { message, goes_on })
    }

    /// Translates the end of the stream to the end that the user of this stream sees.
    fn end(&self, end: StreamEnd) -> StreamEnd {
        match end {
            StreamEnd::Local if self.cut.load(Ordering::SeqCst) => {
                StreamEnd::Lost(Status::new(code::UNAVAILABLE, "Socket closed"))
            }
            end => end,
        }
    }

    /// Waits until a held message may continue. Returns `false` if that is not in time.
    fn wait(&self, held: &Held, timeout: Option<Duration>) -> bool {
        let timer = timeout.map_or_else(never, |timeout| self.source.clock.after(timeout));
        select! {
            recv(held.goes_on) -> _ => true,
            recv(self.source.calm.signal()) -> _ => true,
            recv(self.over.signal()) -> _ => true,
            recv(timer) -> _ => false,
        }
    }
}

impl Stream for FaultyStream {
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd> {
        let mut way = self.out.lock();
        match self.fate(&mut way, message) {
            Fate::Passes(message) => self.stream.start_send(message).map_err(|e| self.end(e)),
            Fate::IsHeld(held) => {
                way.held = Some(held);
                Ok(())
            }
            Fate::Lost(end) => Err(end),
        }
    }

    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        let held = self.out.lock().held.clone();
        if let Some(held) = held {
            if !self.wait(&held, timeout) {
                return Ok(false);
            }
            self.out.lock().held = None;
            self.stream.start_send(held.message).map_err(|e| self.end(e))?;
        }
        self.stream.wait_sent(timeout).map_err(|e| self.end(e))
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        let held = self.back.lock().held.clone();
        let held = match held {
            Some(held) => held,
            None => {
                let message = match self.stream.recv(timeout) {
                    Ok(Some(message)) => message,
                    Ok(None) => return Ok(None),
                    Err(end) => {
                        self.over.cancel();
                        return Err(self.end(end));
                    }
                };
                let mut way = self.back.lock();
                match self.fate(&mut way, message) {
                    Fate::Passes(message) => return Ok(Some(message)),
                    Fate::Lost(end) => return Err(end),
                    Fate::IsHeld(held) => {
                        way.held = Some(held.clone());
                        held
                    }
                }
            }
        };
        if !self.wait(&held, timeout) {
            return Ok(None);
        }
        self.back.lock().held = None;
        match self.over.is_cancelled() {
            // The end of the stream comes next; messages under way are lost.
            true => self.stream.recv(timeout).map_err(|e| self.end(e)),
            false => Ok(Some(held.message)),
        }
    }

    fn finish(&self, status: &Status) -> Result<(), StreamEnd> {
        self.stream.finish(status).map_err(|e| self.end(e))
    }

    fn cancel(&self) {
        self.stream.cancel();
        self.over.cancel();
    }

    fn info(&self) -> &StreamInfo {
        self.stream.info()
    }
}

/// Returns a corrupted message of the same length or shorter: some bytes changed, or the end missing.
fn corrupted(message: &[u8], random: &mut SeededRandom) -> Bytes {
    let mut bytes = message.to_vec();
    if random.below(2) == 0 {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    if !bytes.is_empty() {
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 + random.below(255) as u8;
        }
    }
    bytes.into()
}
