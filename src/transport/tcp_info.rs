//! Access to the socket of a TCP connection, which the C core hides: the number of bytes received, and shutting it
//! down.
// Makes system calls on sockets; every block states why it is sound.
#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

use super::{limited, Stream, StreamEnd};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

const UNKNOWN: i32 = -1;

/// The socket of a connection, if it can be found. The core may close it at any moment, and its descriptor may then be
/// reused. The remote address is therefore checked before each use, and another socket is rejected.
pub(super) struct ConnectionSocket {
    remote: Option<SocketAddr>,
    descriptor: AtomicI32,
}

impl ConnectionSocket {
    /// Finds the connection from this address, `ip:port`.
    pub(super) fn from(remote: &str) -> Self {
        ConnectionSocket { remote: remote.parse().ok(), descriptor: UNKNOWN.into() }
    }

    /// Returns the number of bytes received so far, including TLS and framing. `None` if unknown: not TCP, not Linux,
    /// or already closed. The first call searches the descriptors of the process.
    pub(super) fn bytes_received(&self) -> Option<u64> {
        let remote = self.remote?;
        let mut descriptor = self.descriptor.load(Ordering::Relaxed);
        if descriptor == UNKNOWN || !system::is_from(descriptor, remote) {
            descriptor = system::descriptors().find(|&other| system::is_from(other, remote))?;
            self.descriptor.store(descriptor, Ordering::Relaxed);
        }
        system::bytes_received(descriptor)
    }

    /// Shuts the connection down and discards received data that was not read yet; the core then finds it closed.
    /// Returns `false` if that is not possible: not TCP, not Linux, or already closed. Searches the descriptors of the
    /// process.
    pub(super) fn shut_down(&self) -> bool {
        let shut_down = |remote| system::descriptors().any(|descriptor| system::shut_down(descriptor, remote));
        self.remote.is_some_and(shut_down)
    }
}

/// Interval at which the received bytes are counted.
const LOOK: Duration = Duration::from_millis(100);

/// Receives a message of at most `max` bytes on a stream that delivers a message only after all of it has arrived.
/// Gives up when more than twice `max`, including TLS and frames, has arrived on its connection meanwhile.
pub(super) fn recv_watched(
    stream: &dyn Stream,
    socket: &ConnectionSocket,
    timeout: Duration,
    max: usize,
) -> Result<Option<Bytes>, StreamEnd> {
    let mut left = timeout;
    let mut before = None;
    while !left.is_zero() {
        let look = left.min(LOOK);
        if let Some(message) = stream.recv(Some(look))? {
            return limited(Some(message), max);
        }
        left -= look;
        let Some(arrived) = socket.bytes_received() else { continue };
        if arrived > before.get_or_insert(arrived).saturating_add(2 * max as u64) {
            stream.cancel();
            return Err(StreamEnd::TooLarge(None));
        }
    }
    Ok(None)
}

/// A dual-stack socket reports IPv4 addresses as IPv6.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(target_os = "linux")]
mod system {
    use super::{same, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use crate::sync::descriptor;
    use std::mem::{size_of, MaybeUninit};
    use std::net::{Shutdown, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::ptr::null_mut;

    /// Number of bytes to discard per call.
    const DROPPED: usize = 1 << 20;

    /// Offset of `tcpi_bytes_received` in the kernel's `struct tcp_info`, since Linux 4.1.
    const BYTES_RECEIVED: usize = 128;

    pub(super) fn descriptors() -> impl Iterator<Item = i32> {
        let entries = descriptor("arrivals").and_then(|()| std::fs::read_dir("/proc/self/fd"));
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Returns whether this is a socket with that remote address.
    pub(super) fn is_from(descriptor: i32, remote: SocketAddr) -> bool {
        let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: the system checks the descriptor and writes at most `length` bytes; all-zero is a valid address, and
        // the family says which form it has.
        let at = unsafe {
            if libc::getpeername(descriptor, address.as_mut_ptr().cast(), &mut length) != 0 {
                return false;
            }
            let address = address.as_ptr();
            match i32::from((*address).ss_family) {
                libc::AF_INET => {
                    let v4 = &*address.cast::<libc::sockaddr_in>();
                    (IpAddr::from(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))), v4.sin_port)
                }
                libc::AF_INET6 => {
                    let v6 = &*address.cast::<libc::sockaddr_in6>();
                    (IpAddr::from(Ipv6Addr::from(v6.sin6_addr.s6_addr)), v6.sin6_port)
                }
                _ => return false,
            }
        };
        same(SocketAddr::new(at.0, u16::from_be(at.1)), remote)
    }

    /// Shuts down a socket, if it has that remote address.
    pub(super) fn shut_down(descriptor: i32, remote: SocketAddr) -> bool {
        if !is_from(descriptor, remote) {
            return false;
        }
        // SAFETY: the system checks the descriptor; the result is ours alone, or negative.
        let socket = unsafe {
            match libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) {
                ours if ours >= 0 => OwnedFd::from_raw_fd(ours),
                _ => return false,
            }
        };
        // Checked again: this descriptor stays the same until it is shut down.
        if !is_from(socket.as_raw_fd(), remote) {
            return false;
        }
        let socket = TcpStream::from(socket);
        let done = socket.shutdown(Shutdown::Both).is_ok();
        // Received data would be read before the end. No more data is added now.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: the descriptor is ours, and with this flag TCP bytes are discarded and written nowhere.
        while unsafe { libc::recv(socket.as_raw_fd(), null_mut(), DROPPED, flags) } > 0 {}
        done
    }

    pub(super) fn bytes_received(descriptor: i32) -> Option<u64> {
        let mut info = [0u8; 256];
        let mut length = info.len() as libc::socklen_t;
        // SAFETY: the system checks the descriptor and writes at most `length` bytes.
        let result = unsafe {
            let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
            libc::getsockopt(descriptor, level, option, info.as_mut_ptr().cast(), &mut length)
        };
        let field = info[..length as usize].get(BYTES_RECEIVED..BYTES_RECEIVED + 8)?;
        (result == 0).then(|| u64::from_ne_bytes(field.try_into().unwrap_or_default()))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::SocketAddr;

    pub(super) fn descriptors() -> impl Iterator<Item = i32> {
        std::iter::empty()
    }

    pub(super) fn is_from(_: i32, _: SocketAddr) -> bool {
        false
    }

    pub(super) fn bytes_received(_: i32) -> Option<u64> {
        None
    }

    pub(super) fn shut_down(_: i32, _: SocketAddr) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::ConnectionSocket;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_arrived_is_counted_for_the_connection_that_is_meant() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else { continue };
            let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let [mut one, other] = [connect(), connect()];
            let [mut accepted, _other] = [(); 2].map(|()| listener.accept().unwrap().0);
            let [from_one, from_other] =
                [&one, &other].map(|s| ConnectionSocket::from(&s.local_addr().unwrap().to_string()));
            assert_eq!((from_one.bytes_received(), from_other.bytes_received()), (Some(0), Some(0)));
            one.write_all(&[7; 1000]).unwrap();
            accepted.read_exact(&mut [0; 1000]).unwrap();
            assert_eq!((from_one.bytes_received(), from_other.bytes_received()), (Some(1000), Some(0)));
            drop(accepted);
            assert_eq!(from_one.bytes_received(), None, "it is gone");
        }
        assert_eq!(ConnectionSocket::from("unix:/socket").bytes_received(), None);
    }

    #[test]
    fn what_has_arrived_goes_with_the_connection_that_is_shut_down() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let [mut one, mut other] = [connect(), connect()];
        let [mut accepted, mut untouched] = [(); 2].map(|()| listener.accept().unwrap().0);
        one.write_all(&[7; 50_000]).unwrap();
        other.write_all(&[7]).unwrap();
        accepted.read_exact(&mut [0; 1]).unwrap();
        let socket = ConnectionSocket::from(&one.local_addr().unwrap().to_string());
        while socket.bytes_received() != Some(50_000) {
            std::thread::yield_now();
        }
        assert!(socket.shut_down());
        assert_eq!(accepted.read(&mut [0; 10]).unwrap(), 0);
        untouched.read_exact(&mut [0; 1]).unwrap();
        drop(accepted);
        assert!(!socket.shut_down(), "it is gone");
    }
}
