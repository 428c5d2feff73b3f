//! A file descriptor that is readable while a subscription has something to receive.
//!
//! Implemented as a pair of sockets with at most one byte in flight. A thread that adds an item writes the byte unless
//! it is already there. A thread that finds nothing to receive reads the byte and must then look again: an item that
//! was added in between is found then, or its byte arrives afterwards.

use gossip::error::{Error, ErrorKind, Result};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Ready {
    reader: UnixStream,
    writer: UnixStream,
    set: AtomicBool,
}

impl Ready {
    pub fn new() -> Result<Ready> {
        let failed = |e: std::io::Error| {
            Error::new(ErrorKind::Internal, format!("cannot make a file descriptor to poll: {e}")).with_source(e)
        };
        let (reader, writer) = UnixStream::pair().map_err(failed)?;
        reader.set_nonblocking(true).and_then(|()| writer.set_nonblocking(true)).map_err(failed)?;
        Ok(Ready { reader, writer, set: AtomicBool::new(false) })
    }

    /// Marks the descriptor readable, because there is something to receive.
    pub fn set(&self) {
        if !self.set.swap(true, Ordering::SeqCst) {
            // The socket cannot be full: another byte is written only after the last one was read.
            let _ = (&self.writer).write(&[0]);
        }
    }

    /// Marks the descriptor not readable, because nothing was found. The caller looks again, and [sets](Self::set) it
    /// if there is something after all.
    pub fn clear(&self) {
        let mut bytes = [0; 16];
        let _ = (&self.reader).read(&mut bytes);
        self.set.store(false, Ordering::SeqCst);
    }

    pub fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(ready: &Ready) -> bool {
        let mut byte = [0];
        let read = (&ready.reader).read(&mut byte).unwrap_or(0);
        if read > 0 {
            (&ready.writer).write_all(&byte).unwrap();
        }
        read > 0
    }

    #[test]
    fn it_is_readable_from_the_first_item_until_nothing_is_found() {
        let ready = Ready::new().unwrap();
        assert!(!is_readable(&ready));
        ready.set();
        ready.set();
        assert!(is_readable(&ready));
        ready.clear();
        assert!(!is_readable(&ready));
        ready.set();
        assert!(is_readable(&ready));
    }
}
