//! The bytes of a connection: TLS over buffers in memory, or plain text.

use super::grpc::reset;
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslStream};
use std::io::{self, Read, Write};

/// Size in bytes of a decrypted piece: a TLS record.
pub(super) const PIECE: usize = 16 << 10;

/// Maximum number of bytes that TLS itself may want to send: answers to handshake messages.
const MAX_ANSWERS: usize = 256 << 10;

/// Encrypts and decrypts. Does no I/O.
pub(super) enum Wire {
    Plain(Buffers),
    Tls { stream: Box<SslStream<Buffers>>, established: bool },
}

/// Buffers that OpenSSL reads from and writes to.
#[derive(Default)]
pub(super) struct Buffers {
    incoming: Vec<u8>,
    /// The part of `incoming` that was received and not read yet.
    unread: std::ops::Range<usize>,
    outgoing: Vec<u8>,
}

impl Buffers {
    /// Takes the first `length` bytes of `buffer`, and usually the buffer with them, in exchange for another one.
    fn receive(&mut self, buffer: &mut Vec<u8>, length: usize) {
        if self.unread.is_empty() {
            std::mem::swap(&mut self.incoming, buffer);
            self.unread = 0..length;
        } else {
            self.incoming.truncate(self.unread.end);
            self.incoming.extend_from_slice(&buffer[..length]);
            self.unread.end += length;
        }
    }

    fn release(&mut self) {
        if self.unread.is_empty() {
            self.incoming = Vec::new();
        }
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }
}

impl Read for Buffers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.incoming[self.unread.clone()];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.unread.start += count;
        Ok(count)
    }
}

impl Write for Buffers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The connection cannot go on.
#[derive(Debug)]
pub(super) enum WireError {
    /// The handshake failed, or TLS found an error later; with OpenSSL's reasons.
    Tls(String),
    /// The peer closed the encrypted connection.
    Closed,
}

impl Wire {
    pub fn plain() -> Wire {
        Wire::Plain(Buffers::default())
    }

    /// Takes a new TLS connection, in connecting or accepting state.
    pub fn tls(ssl: Ssl) -> Result<Wire, ErrorStack> {
        let stream = Box::new(SslStream::new(ssl, Buffers::default())?);
        Ok(Wire::Tls { stream, established: false })
    }

    /// Returns whether bytes can be sent.
    pub fn is_established(&self) -> bool {
        match self {
            Wire::Plain(_) => true,
            Wire::Tls { established, .. } => *established,
        }
    }

    /// Returns the TLS connection.
    pub fn ssl(&self) -> Option<&openssl::ssl::SslRef> {
        match self {
            Wire::Plain(_) => None,
            Wire::Tls { stream, .. } => Some(stream.ssl()),
        }
    }

    fn buffers(&self) -> &Buffers {
        match self {
            Wire::Plain(buffers) => buffers,
            Wire::Tls { stream, .. } => stream.get_ref(),
        }
    }

    fn buffers_mut(&mut self) -> &mut Buffers {
        match self {
            Wire::Plain(buffers) => buffers,
            Wire::Tls { stream, .. } => stream.get_mut(),
        }
    }

    /// Takes the first `length` bytes of `buffer` as received. The content of `buffer` is arbitrary afterwards.
    pub fn receive(&mut self, buffer: &mut Vec<u8>, length: usize) {
        self.buffers_mut().receive(buffer, length);
    }

    /// Continues the handshake with what was received. Returns whether it is complete.
    pub fn handshake(&mut self) -> Result<bool, WireError> {
        let Wire::Tls { stream, established } = self else { return Ok(true) };
        if *established {
            return Ok(true);
        }
        match stream.do_handshake() {
            Ok(()) => {
                *established = true;
                Ok(true)
            }
            Err(e) if e.code() == ErrorCode::WANT_READ => Ok(false),
            Err(e) => {
                let verified = stream.ssl().verify_result();
                let mut text = reasons(&e);
                if text.contains("certificate verify failed") {
                    text = format!("{text}: {verified}");
                }
                Err(WireError::Tls(text))
            }
        }
    }

    /// Decrypts the next piece of what was received into `piece`; 0 if there is none.
    pub fn decrypt(&mut self, piece: &mut [u8]) -> Result<usize, WireError> {
        match self {
            // An error means that nothing is left.
            Wire::Plain(buffers) => Ok(buffers.read(piece).unwrap_or(0)),
            Wire::Tls { stream, .. } => {
                let read = stream.ssl_read(piece);
                if stream.get_ref().outgoing.len() > MAX_ANSWERS {
                    return Err(WireError::Tls("too many handshake messages".into()));
                }
                match read {
                    Ok(count) => Ok(count),
                    Err(e) if e.code() == ErrorCode::WANT_READ => Ok(0),
                    Err(e) if e.code() == ErrorCode::ZERO_RETURN => Err(WireError::Closed),
                    Err(e) => Err(WireError::Tls(reasons(&e))),
                }
            }
        }
    }

    /// Encrypts bytes and empties them.
    pub fn encrypt(&mut self, bytes: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Wire::Plain(buffers) if buffers.outgoing.is_empty() => std::mem::swap(&mut buffers.outgoing, bytes),
            Wire::Plain(buffers) => buffers.outgoing.append(bytes),
            Wire::Tls { stream, .. } => {
                let buffers = stream.get_mut();
                if buffers.outgoing.capacity() == 0 {
                    // A record has at most 22 more bytes than its content.
                    buffers.outgoing.reserve(bytes.len() + (bytes.len() / PIECE + 1) * 22);
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let written = stream.ssl_write(rest).map_err(|e| WireError::Tls(reasons(&e)))?;
                    rest = &rest[written..];
                }
                bytes.clear();
            }
        }
        Ok(())
    }

    /// Tells the peer that nothing more follows.
    pub fn close(&mut self) {
        if let Wire::Tls { stream, established: true } = self {
            // Writes an alert; the peer's is not waited for.
            let _ = stream.shutdown();
        }
    }

    /// Returns whether there are bytes to send.
    pub fn has_outgoing(&self) -> bool {
        !self.buffers().outgoing.is_empty()
    }

    /// Exchanges the bytes to send for an empty buffer.
    pub fn take_outgoing(&mut self, buffer: &mut Vec<u8>) {
        std::mem::swap(&mut self.buffers_mut().outgoing, buffer);
    }

    /// Releases the memory of empty buffers.
    pub fn release(&mut self) {
        self.buffers_mut().release();
    }
}

/// Returns OpenSSL's reasons for an error.
fn reasons(error: &openssl::ssl::Error) -> String {
    let reasons: Vec<String> = match error.ssl_error() {
        Some(stack) => stack.errors().iter().filter_map(|e| e.reason().map(str::to_owned)).collect(),
        None => Vec::new(),
    };
    match (reasons.is_empty(), error.io_error()) {
        (false, _) => reasons.join("; "),
        (true, Some(e)) => e.to_string(),
        (true, None) => "the peer broke the connection off".into(),
    }
}

/// Returns the code of a GOAWAY frame for a violation, by the text of this transport or of nghttp2.
pub(super) fn goaway_code(violation: &str) -> u32 {
    let limits = ["too large", "queued", "Flooding", "Too many", "too many"];
    match limits.iter().any(|limit| violation.contains(limit)) {
        true => reset::ENHANCE_YOUR_CALM,
        false => reset::PROTOCOL_ERROR,
    }
}
