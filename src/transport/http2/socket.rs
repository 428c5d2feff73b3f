//! System calls on sockets that the standard library lacks: single calls that do not block, polling, `epoll`.
// Makes system calls; every block states why it is sound.
#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

use std::io::{self, Error, ErrorKind, Read, Result};
use std::mem::size_of;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub(super) use std::net::{TcpListener, TcpStream};

/// Time after which a blocking [`Socket::recv`] returns without data.
pub(super) const SLICE: Duration = Duration::from_millis(20);

/// A TCP connection. Calls block only where they say so.
pub(super) struct Socket(TcpStream);

/// The operations for which a socket can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub read: bool,
    pub write: bool,
}

fn check(result: i32) -> Result<i32> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(result)
}

impl Socket {
    /// Takes a connected socket. Sends without delay, and loses the connection if the peer acknowledges nothing for
    /// `user_timeout`.
    pub fn new(stream: TcpStream, user_timeout: Duration) -> Result<Socket> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SLICE))?;
        let socket = Socket(stream);
        let millis = i32::try_from(user_timeout.as_millis()).unwrap_or(i32::MAX);
        #[cfg(target_os = "linux")]
        socket.set(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis)?;
        let _ = millis;
        Ok(socket)
    }

    fn set(&self, level: i32, option: i32, value: i32) -> Result<()> {
        let length = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the value has the length that is passed.
        let result = unsafe { libc::setsockopt(self.raw(), level, option, (&raw const value).cast(), length) };
        check(result).map(drop)
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Receives bytes; 0 means the end. If none are there, waits up to [`SLICE`] for them with `wait`, and then returns
    /// [`ErrorKind::WouldBlock`].
    pub fn recv(&self, buffer: &mut [u8], wait: bool) -> Result<usize> {
        loop {
            let received = if wait { (&self.0).read(buffer) } else { self.recv_now(buffer) };
            match received {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::TimedOut => return Err(ErrorKind::WouldBlock.into()),
                received => return received,
            }
        }
    }

    fn recv_now(&self, buffer: &mut [u8]) -> Result<usize> {
        // SAFETY: the system writes at most the length of the buffer.
        let received = unsafe { libc::recv(self.raw(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        usize::try_from(received).map_err(|_| Error::last_os_error())
    }

    /// Sends bytes and returns their number, or [`ErrorKind::WouldBlock`] if there is no room.
    pub fn send(&self, bytes: &[u8]) -> Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            // SAFETY: the system reads at most the length of the bytes.
            let sent = unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), flags) };
            match usize::try_from(sent) {
                Ok(sent) => return Ok(sent),
                Err(_) => match Error::last_os_error() {
                    e if e.kind() == ErrorKind::Interrupted => {}
                    e => return Err(e),
                },
            }
        }
    }

    /// Waits until the socket is ready, for at most `timeout`. Returns whether it is.
    pub fn poll(&self, interest: Interest, timeout: Duration) -> Result<bool> {
        poll(self.raw(), interest, timeout)
    }

    /// Tells the peer that nothing more will be sent.
    pub fn shut_down_write(&self) {
        // An error means that the connection is gone.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Ends the connection in both directions. A thread that waits for it continues.
    pub fn shut_down(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn poll(descriptor: RawFd, interest: Interest, timeout: Duration) -> Result<bool> {
    let mut events = 0;
    events |= if interest.read { libc::POLLIN } else { 0 };
    events |= if interest.write { libc::POLLOUT } else { 0 };
    let mut entry = libc::pollfd { fd: descriptor, events, revents: 0 };
    // SAFETY: one entry, valid during the call.
    let ready = unsafe { libc::poll(&mut entry, 1, millis(timeout)) };
    match check(ready) {
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(false),
        ready => ready.map(|count| count > 0),
    }
}

/// Returns whole milliseconds, rounded up.
fn millis(timeout: Duration) -> i32 {
    timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX)
}

/// A connection that is being made.
pub(super) struct Connecting(OwnedFd);

impl Connecting {
    /// Starts to connect.
    pub fn start(address: SocketAddr) -> Result<Connecting> {
        crate::sync::descriptor("dial")?;
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: numbers; the descriptor is new and ours.
        let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
        // SAFETY: the address has the form of its family and the length that is passed.
        let result = unsafe {
            match address {
                SocketAddr::V4(v4) => {
                    let mut raw: libc::sockaddr_in = std::mem::zeroed();
                    raw.sin_family = libc::AF_INET as libc::sa_family_t;
                    raw.sin_port = v4.port().to_be();
                    raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                    libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t)
                }
                SocketAddr::V6(v6) => {
                    let mut raw: libc::sockaddr_in6 = std::mem::zeroed();
                    raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    raw.sin6_port = v6.port().to_be();
                    raw.sin6_addr.s6_addr = v6.ip().octets();
                    raw.sin6_scope_id = v6.scope_id();
                    libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t)
                }
            }
        };
        match check(result) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
            _ => Ok(Connecting(socket)),
        }
    }

    /// Waits until the attempt has succeeded or failed, for at most `timeout`. Returns `false` if it is under way.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        if !poll(self.0.as_raw_fd(), Interest { read: false, write: true }, timeout)? {
            return Ok(false);
        }
        let mut error = 0i32;
        let mut length = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the system writes at most `length` bytes.
        check(unsafe {
            let (level, option) = (libc::SOL_SOCKET, libc::SO_ERROR);
            libc::getsockopt(self.0.as_raw_fd(), level, option, (&raw mut error).cast(), &mut length)
        })?;
        match error {
            0 => Ok(true),
            error => Err(Error::from_raw_os_error(error)),
        }
    }

    /// Returns the socket of a connection that was made.
    pub fn into_stream(self) -> TcpStream {
        self.0.into()
    }
}

/// Waits for many descriptors. A registration is reported once and must then be renewed.
pub(super) struct Epoll {
    epoll: OwnedFd,
    /// Wakes a waiting thread.
    wake: OwnedFd,
}

/// The token of a wake-up; no registration may have it.
pub(super) const WAKE: u64 = u64::MAX;

/// Something that happened to a registered descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub token: u64,
    pub read: bool,
    pub write: bool,
}

impl Epoll {
    pub fn new() -> Result<Epoll> {
        crate::sync::descriptor("epoll")?;
        // SAFETY: numbers; the descriptors are new and ours.
        let (epoll, wake) = unsafe {
            let epoll = OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?);
            (epoll, OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?))
        };
        let epoll = Epoll { epoll, wake };
        epoll.control(libc::EPOLL_CTL_ADD, epoll.wake.as_raw_fd(), libc::EPOLLIN as u32, WAKE)?;
        Ok(epoll)
    }

    fn control(&self, operation: i32, descriptor: RawFd, events: u32, token: u64) -> Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: the event is valid during the call and copied.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &mut event) }).map(drop)
    }

    /// Registers a descriptor, for the next event only.
    pub fn add(&self, descriptor: RawFd, interest: Interest, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, flags(interest), token)
    }

    /// Registers a descriptor for every event of readiness to read, until it is removed.
    pub fn add_lasting(&self, descriptor: RawFd, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, libc::EPOLLIN as u32, token)
    }

    /// Renews a registration.
    pub fn renew(&self, descriptor: RawFd, interest: Interest, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, descriptor, flags(interest), token)
    }

    /// Removes a registration.
    pub fn remove(&self, descriptor: RawFd) {
        // An error means that it is not registered.
        let _ = self.control(libc::EPOLL_CTL_DEL, descriptor, 0, 0);
    }

    /// Waits for events, for at most `timeout` (`None`: without limit), and appends them.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<()> {
        const EVENTS: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let timeout = timeout.map_or(-1, millis);
        // SAFETY: the system writes at most this many events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, timeout) };
        let count = match check(count) {
            Err(e) if e.kind() == ErrorKind::Interrupted => 0,
            count => count? as usize,
        };
        for event in &events[..count] {
            let (events, token) = (event.events, event.u64);
            if token == WAKE {
                let mut count = [0u8; 8];
                // SAFETY: the system writes at most eight bytes.
                unsafe { libc::read(self.wake.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
                continue;
            }
            let has = |flags: i32| events & flags as u32 != 0;
            let gone = has(libc::EPOLLERR | libc::EPOLLHUP);
            ready.push(Ready { token, read: gone || has(libc::EPOLLIN), write: gone || has(libc::EPOLLOUT) });
        }
        Ok(())
    }

    /// Lets a waiting thread, or the next one to wait, return.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the system reads eight bytes. The call fails only if the thread is already to be woken.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

fn flags(interest: Interest) -> u32 {
    let mut flags = libc::EPOLLONESHOT as u32;
    flags |= if interest.read { libc::EPOLLIN as u32 } else { 0 };
    flags |= if interest.write { libc::EPOLLOUT as u32 } else { 0 };
    flags
}

/// Returns whether an error means that the system lacks descriptors or memory.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Returns the text of this system error, with the limit and the remedy if descriptors are exhausted.
pub(super) fn explain(error: &io::Error) -> String {
    if !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        return error.to_string();
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to `limit` only.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    let value = if known { format!(" is {}", limit.rlim_cur) } else { String::new() };
    format!("{error}; RLIMIT_NOFILE{value}: raise it (ulimit -n), or close what is not needed")
}
