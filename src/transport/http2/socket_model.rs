//! The interface of `socket` in memory, for the model checker: its scheduler decides when a waiting thread goes on, how
//! much of the bytes a call moves, and when a time limit passes.

use crate::sync::counted::locks_held;
use crate::sync::{model, thread, Condvar, Mutex};
use shuttle::rand::{thread_rng, Rng};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Time after which a blocking [`Socket::recv`] returns without data.
pub(super) const SLICE: Duration = Duration::from_millis(20);

/// The longest time limit that passes in the model. A wait with a longer one is a wait for an event: if that does not
/// come, it is a deadlock, which the model checker reports.
const PATIENCE: Duration = Duration::from_millis(100);

/// Maximum number of turns that other threads get before a time limit passes.
const TURNS: u32 = 3;

/// Sizes in bytes of a socket's buffer. One of them holds during an execution.
const BUFFERS: [usize; 3] = [3000, 40_000, 1 << 20];

shuttle::lazy_static! {
    /// One per execution.
    static ref SYSTEM: System = System::new();
}

struct System {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    next: RawFd,
    buffer: usize,
    listeners: BTreeMap<RawFd, Backlog>,
    ends: BTreeMap<RawFd, End>,
    epolls: BTreeMap<RawFd, Watched>,
}

struct Backlog {
    address: SocketAddr,
    waiting: VecDeque<RawFd>,
}

/// One end of a connection.
struct End {
    peer: RawFd,
    remote: SocketAddr,
    incoming: VecDeque<u8>,
    /// Whether the peer sends nothing more.
    finished: bool,
    /// Whether the connection is lost.
    reset: bool,
    /// Whether this end sends nothing more.
    shut: bool,
    /// Whether this end receives nothing more.
    deaf: bool,
}

#[derive(Default)]
struct Watched {
    woken: bool,
    registered: BTreeMap<RawFd, Registration>,
}

struct Registration {
    token: u64,
    interest: Interest,
    armed: bool,
    lasting: bool,
}

/// The operations for which a socket can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub read: bool,
    pub write: bool,
}

/// Asserts that a system call is made with at most this many locks held.
fn entering_system_call(most: usize) {
    let held = locks_held();
    assert!(held <= most || std::thread::panicking(), "a system call is made with {held} locks held");
}

impl System {
    fn new() -> System {
        let buffer = BUFFERS[thread_rng().gen_range(0..BUFFERS.len())];
        let (listeners, ends, epolls) = Default::default();
        System { state: Mutex::new(State { next: 3, buffer, listeners, ends, epolls }), changed: Condvar::new() }
    }

    /// Calls `f` with the state, which it may change.
    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.state.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `attempt` returns something, or the time limit passes.
    fn wait<R>(&self, limit: Option<Duration>, mut attempt: impl FnMut(&mut State) -> Option<R>) -> Option<R> {
        let passing = limit.filter(|limit| *limit <= PATIENCE);
        let mut turns = match passing {
            Some(Duration::ZERO) => 0,
            _ => thread_rng().gen_range(1..=TURNS),
        };
        let mut state = self.state.lock();
        loop {
            if let Some(result) = attempt(&mut state) {
                drop(state);
                self.changed.notify_all();
                return Some(result);
            }
            let Some(limit) = passing else {
                self.changed.wait(&mut state);
                continue;
            };
            drop(state);
            if turns == 0 {
                model::pass(limit);
                return None;
            }
            turns -= 1;
            thread::yield_now();
            state = self.state.lock();
        }
    }
}

impl State {
    fn descriptor(&mut self) -> RawFd {
        self.next += 1;
        self.next
    }

    /// Returns the number of bytes that the peer of this end still has room for.
    fn room(&self, end: &End) -> usize {
        self.ends.get(&end.peer).map_or(0, |peer| self.buffer.saturating_sub(peer.incoming.len()))
    }

    /// Returns what a descriptor is ready for, and whether its connection is gone.
    fn ready(&self, descriptor: RawFd) -> (Interest, bool) {
        if let Some(backlog) = self.listeners.get(&descriptor) {
            return (Interest { read: !backlog.waiting.is_empty(), write: false }, false);
        }
        let Some(end) = self.ends.get(&descriptor) else { return (Interest { read: false, write: false }, false) };
        let gone = end.reset || (end.finished && end.shut);
        let read = !end.incoming.is_empty() || end.finished || end.deaf;
        let write = self.room(end) > 0 || end.shut;
        (Interest { read: gone || read, write: gone || write }, gone)
    }

    fn receive(&mut self, descriptor: RawFd, buffer: &mut [u8]) -> Result<usize> {
        let Some(end) = self.ends.get_mut(&descriptor) else { return Err(ErrorKind::NotConnected.into()) };
        if end.incoming.is_empty() {
            return match () {
                () if end.reset => Err(ErrorKind::ConnectionReset.into()),
                () if end.finished || end.deaf => Ok(0),
                () => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let count = part(end.incoming.len().min(buffer.len()));
        end.incoming.read(&mut buffer[..count])
    }

    fn send(&mut self, descriptor: RawFd, bytes: &[u8]) -> Result<usize> {
        let Some(end) = self.ends.get(&descriptor) else { return Err(ErrorKind::NotConnected.into()) };
        if end.shut || end.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let (peer, room) = (end.peer, self.room(end));
        match self.ends.get_mut(&peer) {
            Some(peer) if !peer.deaf && room == 0 => Err(ErrorKind::WouldBlock.into()),
            Some(peer) if !peer.deaf => {
                let count = part(room.min(bytes.len()));
                peer.incoming.extend(&bytes[..count]);
                Ok(count)
            }
            _ => {
                self.lose(descriptor);
                Err(ErrorKind::ConnectionReset.into())
            }
        }
    }

    /// Makes this end find the connection lost, with or without what has arrived.
    fn lose(&mut self, descriptor: RawFd) {
        if let Some(end) = self.ends.get_mut(&descriptor) {
            end.reset = true;
            if thread_rng().gen() {
                end.incoming.clear();
            }
        }
    }

    fn shut(&mut self, descriptor: RawFd) -> Option<&mut End> {
        let end = self.ends.get_mut(&descriptor)?;
        end.shut = true;
        let peer = end.peer;
        if let Some(peer) = self.ends.get_mut(&peer) {
            peer.finished = true;
        }
        self.ends.get_mut(&descriptor)
    }

    fn close(&mut self, descriptor: RawFd) {
        let backlog = self.listeners.remove(&descriptor).map(|backlog| backlog.waiting);
        backlog.into_iter().flatten().for_each(|end| self.close(end));
        self.epolls.remove(&descriptor);
        self.epolls.values_mut().for_each(|epoll| drop(epoll.registered.remove(&descriptor)));
        self.shut(descriptor);
        // The peer cannot know what was read of its bytes.
        if let Some(end) = self.ends.remove(&descriptor).filter(|end| !end.incoming.is_empty()) {
            self.lose(end.peer);
        }
    }
}

/// Returns a number of bytes that a call moves if it could move this many.
fn part(most: usize) -> usize {
    match thread_rng().gen_range(0..4) {
        0 if most > 1 => thread_rng().gen_range(1..=most),
        _ => most,
    }
}

/// A descriptor, closed when it is dropped.
struct Descriptor(RawFd);

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            SYSTEM.change(|state| state.close(self.0));
        }
    }
}

/// A connected socket.
pub(super) struct TcpStream(Descriptor);

impl TcpStream {
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let remote = SYSTEM.state.lock().ends.get(&self.0 .0).map(|end| end.remote);
        remote.ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

/// A listening socket.
pub(super) struct TcpListener(Descriptor);

impl TcpListener {
    pub fn bind(addresses: &[SocketAddr]) -> Result<TcpListener> {
        SYSTEM.change(|state| {
            let descriptor = state.descriptor();
            let mut address = *addresses.first().ok_or(ErrorKind::InvalidInput)?;
            if address.port() == 0 {
                address.set_port(descriptor as u16);
            }
            state.listeners.insert(descriptor, Backlog { address, waiting: VecDeque::new() });
            Ok(TcpListener(Descriptor(descriptor)))
        })
    }

    pub fn set_nonblocking(&self, _: bool) -> Result<()> {
        Ok(())
    }

    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(SYSTEM.state.lock().listeners[&self.0 .0].address)
    }

    pub fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        SYSTEM.change(|state| {
            let backlog = state.listeners.get_mut(&self.0 .0).expect("open");
            let accepted = backlog.waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
            let remote = state.ends[&accepted].remote;
            Ok((TcpStream(Descriptor(accepted)), remote))
        })
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.0 .0
    }
}

/// A TCP connection. Calls block only where they say so.
pub(super) struct Socket(TcpStream);

impl Socket {
    pub fn new(stream: TcpStream, _: Duration) -> Result<Socket> {
        Ok(Socket(stream))
    }

    pub fn raw(&self) -> RawFd {
        self.0 .0 .0
    }

    /// Receives bytes; 0 means the end. If none are there, waits up to [`SLICE`] for them with `wait`, and then returns
    /// [`ErrorKind::WouldBlock`].
    pub fn recv(&self, buffer: &mut [u8], wait: bool) -> Result<usize> {
        entering_system_call(0);
        let limit = if wait { SLICE } else { Duration::ZERO };
        let received = SYSTEM.wait(Some(limit), |state| match state.receive(self.raw(), buffer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => None,
            received => Some(received),
        });
        received.unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))
    }

    /// Sends bytes and returns their number, or [`ErrorKind::WouldBlock`] if there is no room.
    pub fn send(&self, bytes: &[u8]) -> Result<usize> {
        // The write turn.
        entering_system_call(1);
        SYSTEM.change(|state| state.send(self.raw(), bytes))
    }

    /// Waits until the socket is ready, for at most `timeout`. Returns whether it is.
    pub fn poll(&self, interest: Interest, timeout: Duration) -> Result<bool> {
        entering_system_call(1);
        let ready = |state: &mut State| {
            let (ready, gone) = state.ready(self.raw());
            (gone || (interest.read && ready.read) || (interest.write && ready.write)).then_some(true)
        };
        Ok(SYSTEM.wait(Some(timeout), ready).unwrap_or(false))
    }

    /// Tells the peer that nothing more will be sent.
    pub fn shut_down_write(&self) {
        SYSTEM.change(|state| drop(state.shut(self.raw())));
    }

    /// Ends the connection in both directions. A thread that waits for it continues.
    pub fn shut_down(&self) {
        SYSTEM.change(|state| {
            if let Some(end) = state.shut(self.raw()) {
                end.deaf = true;
            }
        });
    }
}

/// A connection that is being made.
pub(super) struct Connecting(Descriptor);

impl Connecting {
    /// Starts to connect.
    pub fn start(address: SocketAddr) -> Result<Connecting> {
        SYSTEM.change(|state| {
            let found = state.listeners.iter().find(|(_, backlog)| backlog.address == address);
            let listener = *found.ok_or(ErrorKind::ConnectionRefused)?.0;
            let (dialled, accepted) = (state.descriptor(), state.descriptor());
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, dialled as u16));
            let end = |peer, remote| End {
                peer,
                remote,
                incoming: VecDeque::new(),
                finished: false,
                reset: false,
                shut: false,
                deaf: false,
            };
            state.ends.insert(dialled, end(accepted, address));
            state.ends.insert(accepted, end(dialled, local));
            if let Some(backlog) = state.listeners.get_mut(&listener) {
                backlog.waiting.push_back(accepted);
            }
            Ok(Connecting(Descriptor(dialled)))
        })
    }

    /// Waits until the attempt has succeeded or failed.
    pub fn wait(&self, _: Duration) -> Result<bool> {
        Ok(true)
    }

    /// Returns the socket of a connection that was made.
    pub fn into_stream(self) -> TcpStream {
        TcpStream(self.0)
    }
}

/// Waits for many descriptors. A registration is reported once and must then be renewed.
pub(super) struct Epoll(Descriptor);

/// Something that happened to a registered descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub token: u64,
    pub read: bool,
    pub write: bool,
}

impl Epoll {
    pub fn new() -> Result<Epoll> {
        SYSTEM.change(|state| {
            let descriptor = state.descriptor();
            state.epolls.insert(descriptor, Watched::default());
            Ok(Epoll(Descriptor(descriptor)))
        })
    }

    fn control<R>(&self, f: impl FnOnce(&mut Watched) -> R) -> R {
        SYSTEM.change(|state| f(state.epolls.get_mut(&self.0 .0).expect("open")))
    }

    fn register(&self, descriptor: RawFd, registration: Registration) -> Result<()> {
        self.control(|epoll| match epoll.registered.insert(descriptor, registration) {
            None => Ok(()),
            Some(_) => Err(ErrorKind::AlreadyExists.into()),
        })
    }

    /// Registers a descriptor, for the next event only.
    pub fn add(&self, descriptor: RawFd, interest: Interest, token: u64) -> Result<()> {
        self.register(descriptor, Registration { token, interest, armed: true, lasting: false })
    }

    /// Registers a descriptor for every event of readiness to read, until it is removed.
    pub fn add_lasting(&self, descriptor: RawFd, token: u64) -> Result<()> {
        let interest = Interest { read: true, write: false };
        self.register(descriptor, Registration { token, interest, armed: true, lasting: true })
    }

    /// Renews a registration.
    pub fn renew(&self, descriptor: RawFd, interest: Interest, token: u64) -> Result<()> {
        self.control(|epoll| match epoll.registered.get_mut(&descriptor) {
            Some(registration) => {
                *registration = Registration { token, interest, armed: true, lasting: false };
                Ok(())
            }
            None => Err(ErrorKind::NotFound.into()),
        })
    }

    /// Removes a registration.
    pub fn remove(&self, descriptor: RawFd) {
        self.control(|epoll| drop(epoll.registered.remove(&descriptor)));
    }

    /// Waits for events, for at most `timeout` (`None`: without limit), and appends them.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<()> {
        entering_system_call(0);
        SYSTEM.wait(timeout, |state| {
            let epoll = &state.epolls[&self.0 .0];
            let events: Vec<(RawFd, Ready)> = epoll
                .registered
                .iter()
                .filter(|(_, registration)| registration.armed)
                .filter_map(|(descriptor, registration)| {
                    let (is, gone) = state.ready(*descriptor);
                    let read = gone || (registration.interest.read && is.read);
                    let write = gone || (registration.interest.write && is.write);
                    let event = Ready { token: registration.token, read, write };
                    (read || write).then_some((*descriptor, event))
                })
                .collect();
            let epoll = state.epolls.get_mut(&self.0 .0)?;
            for (descriptor, event) in &events {
                if let Some(registration) = epoll.registered.get_mut(descriptor) {
                    registration.armed = registration.lasting;
                }
                ready.push(*event);
            }
            (std::mem::take(&mut epoll.woken) || !events.is_empty()).then_some(())
        });
        Ok(())
    }

    /// Lets a waiting thread, or the next one to wait, return.
    pub fn wake(&self) {
        self.control(|epoll| epoll.woken = true);
    }
}

/// Returns whether an error means that the system lacks descriptors or memory.
pub(super) fn is_shortage(_: &io::Error) -> bool {
    false
}

/// Returns the text of a system error.
pub(super) fn explain(error: &io::Error) -> String {
    error.to_string()
}

/// Loses every connection of the execution.
pub fn sever() {
    SYSTEM.change(|state| {
        let ends: Vec<RawFd> = state.ends.keys().copied().collect();
        ends.into_iter().for_each(|end| state.lose(end));
    });
}

/// Returns the number of open descriptors of the execution.
pub fn descriptors() -> usize {
    let state = SYSTEM.state.lock();
    state.listeners.len() + state.ends.len() + state.epolls.len()
}
