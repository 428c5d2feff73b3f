//! Faults on the way: a decorator of any [`Transport`], whose streams delay, corrupt, stall and lose what they carry.
//!
//! What happens to which message follows from a seed, the number of the dial and the message's place in its stream, so
//! that a run that failed can be repeated with the same faults. (Which thread is quicker is not part of it.)

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

/// The system's error for a process that may open no further descriptors.
const EMFILE: i32 = 24;

/// How often each fault strikes, in thousandths, and how hard.
#[derive(Clone, Debug, Default)]
pub struct FaultRates {
    /// Dials that are refused.
    pub refuse: u32,
    /// Messages that take up to [`longest_delay`](Self::longest_delay).
    pub delay: u32,
    /// Messages that nothing follows for as long as the stream lives, or until [`Faults::calm`].
    pub stall: u32,
    /// Messages that arrive as something else.
    pub corrupt: u32,
    /// Messages with which the connection is lost.
    pub cut: u32,
    /// Dials for which a descriptor is lacking: half of them here, where they fail, half at the other side, which accepts them
    /// only once there is one: when the faults are over, or not before the limit of the dial.
    pub starve: u32,
    /// See [`delay`](Self::delay).
    pub longest_delay: Duration,
}

/// A source of faults. Clones are the same source.
#[derive(Clone)]
pub struct Faults(Arc<Source>);

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
    /// Faults that follow from `seed`; delays go by `clock`.
    pub fn new(seed: u64, rates: FaultRates, clock: Arc<dyn Clock>) -> Self {
        let (calm, dials, struck) = (Cancel::new(), AtomicU64::new(0), Default::default());
        Faults(Arc::new(Source { seed, rates, clock, calm, dials, struck }))
    }

    /// A transport whose streams have these faults, in both directions.
    pub fn on(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(FaultyTransport { transport, source: self.0.clone() })
    }

    /// From now on there are no faults, and what stalled goes on.
    pub fn calm(&self) {
        self.0.calm.cancel();
    }

    /// How many faults there were: refusals, delays, stalls, corrupted messages, cuts, dials without a descriptor.
    pub fn struck(&self) -> [u64; 6] {
        std::array::from_fn(|i| self.0.struck[i].load(Ordering::Relaxed))
    }
}

impl Source {
    fn count(&self, fault: Fault) {
        self.struck[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the other side to accept, which it does once the faults are over.
    fn await_accept(&self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        select! {
            recv(self.calm.signal()) -> _ => Ok(()),
            recv(cancel.signal()) -> _ => Err(Error::new(ErrorKind::Stopped, "cancelled")),
            recv(self.clock.after(timeout)) -> _ => {
                Err(Error::new(ErrorKind::Unreachable, format!("no connection within {timeout:?}")))
            }
        }
    }

    /// What happens to the next message that these random numbers decide on.
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
                return Err(Error::new(ErrorKind::Unreachable, error.to_string()).source(error));
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

/// A dialled stream; what its other end sends comes back through it too.
struct FaultyStream {
    stream: Arc<dyn Stream>,
    source: Arc<Source>,
    out: Mutex<Way>,
    back: Mutex<Way>,
    /// The connection was lost by a fault, which to the stream below looks like a cancellation.
    cut: AtomicBool,
    /// Nothing more is coming: ends what is stalled.
    over: Cancel,
}

/// One direction.
struct Way {
    random: SeededRandom,
    held: Option<Held>,
}

/// A message that is on its way, and when it goes on.
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

    /// How the stream ended, as it looks from above.
    fn end(&self, end: StreamEnd) -> StreamEnd {
        match end {
            StreamEnd::Local if self.cut.load(Ordering::SeqCst) => {
                StreamEnd::Lost(Status::new(code::UNAVAILABLE, "Socket closed"))
            }
            end => end,
        }
    }

    /// Waits until a held message goes on. `false`: not in time.
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
            // Its end comes next, and what was on its way is gone.
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

/// Something else of the same length or shorter: some bytes changed, or the end missing.
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
