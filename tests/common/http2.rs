//! HTTP/2 over TLS by hand, for a client with behaviour that gRPC's core does not allow.

use bytes::Bytes;
use fabric_gossip::testing::cryptogen::Member;
use openssl::pkey::PKey;
use openssl::ssl::{select_next_proto, AlpnError, SslAcceptor, SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// Maximum size of a frame, and the initial size of a window, until the other side changes them.
const FRAME: usize = 16 << 10;
const WINDOW: i64 = 65_535;

/// The code of a stream that its client does not want any more.
const CANCEL: u32 = 8;

/// The fields at the start of a gossip stream.
const FIELDS: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/gossip.Gossip/GossipStream"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection. Incoming data is read only in [`read`](Self::read), and while a window is full.
pub struct Http2 {
    tls: SslStream<TcpStream>,
    read: Vec<u8>,
    next: u32,
    initial: i64,
    window: i64,
    windows: HashMap<u32, i64>,
    /// Streams that the other side has ended.
    pub ended: Vec<u32>,
    /// Streams that the other side has reset, and the codes.
    pub resets: Vec<(u32, u32)>,
    /// The code with which the other side ends the connection.
    pub goaway: Option<u32>,
    /// Whether the other side gets window updates for its data, so that it may send more.
    pub takes: bool,
}

/// TLS with this member's certificate, or without one.
pub fn tls(endpoint: &str, member: Option<&Member>) -> Result<SslStream<TcpStream>> {
    tls_offering(endpoint, member, b"\x02h2")
}

/// The same with another offer of protocols in TLS's notation; empty: none.
pub fn tls_offering(endpoint: &str, member: Option<&Member>, protocols: &[u8]) -> Result<SslStream<TcpStream>> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    if !protocols.is_empty() {
        connector.set_alpn_protos(protocols)?;
    }
    if let Some(member) = member {
        connector.set_certificate(&*X509::from_pem(member.tls_cert.as_bytes())?)?;
        connector.set_private_key(&*PKey::private_key_from_pem(member.tls_key.as_bytes())?)?;
    }
    let socket = TcpStream::connect(endpoint)?;
    socket.set_nodelay(true)?;
    connector.build().connect("localhost", socket).map_err(Error::other)
}

/// Accepts one connection after the other with this member's certificate, sets HTTP/2 up, and answers no call.
pub fn serve_silently(listener: TcpListener, member: &Member) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&X509::from_pem(member.tls_cert.as_bytes()).unwrap()).unwrap();
    acceptor.set_private_key(&PKey::private_key_from_pem(member.tls_key.as_bytes()).unwrap()).unwrap();
    acceptor.set_alpn_select_callback(|_, offered| select_next_proto(b"\x02h2", offered).ok_or(AlpnError::NOACK));
    let acceptor = acceptor.build();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let acceptor = acceptor.clone();
            thread::spawn(move || acceptor.accept(socket).map(|tls| answer_settings(tls).ok()).ok());
        }
    });
}

fn answer_settings(mut tls: SslStream<TcpStream>) -> Result<()> {
    let mut preface = [0; PREFACE.len()];
    tls.read_exact(&mut preface)?;
    let mut settings = Vec::new();
    add_frame(&mut settings, SETTINGS, 0, 0, &[]);
    add_frame(&mut settings, SETTINGS, ACK, 0, &[]);
    tls.write_all(&settings)?;
    std::io::copy(&mut tls, &mut std::io::sink()).map(drop)
}

impl Http2 {
    pub fn connect(endpoint: &str, member: Option<&Member>) -> Result<Self> {
        let mut tls = tls(endpoint, member)?;
        tls.write_all(PREFACE)?;
        let mut connection = Http2 {
            tls,
            read: Vec::new(),
            next: 1,
            initial: WINDOW,
            window: WINDOW,
            windows: HashMap::new(),
            ended: Vec::new(),
            resets: Vec::new(),
            goaway: None,
            takes: true,
        };
        connection.frame(SETTINGS, 0, 0, &[])?;
        Ok(connection)
    }

    pub fn socket(&self) -> &TcpStream {
        self.tls.get_ref()
    }

    /// Opens a gossip stream.
    pub fn open(&mut self) -> Result<u32> {
        // Without indexing (RFC 7541, 6.2.2).
        self.open_with(&literal(0))
    }

    /// Opens a stream with these header fields.
    pub fn open_with(&mut self, headers: &[u8]) -> Result<u32> {
        let stream = self.number_of_next();
        self.windows.insert(stream, 0);
        self.frame(HEADERS, END_HEADERS, stream, headers)?;
        Ok(stream)
    }

    /// Returns the number of the next stream, which is used up.
    pub fn number_of_next(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Opens `count` gossip streams, and resets each, in as few bytes as possible, with one write. One more is opened
    /// before them, once for the connection, and stays.
    pub fn open_and_reset(&mut self, count: usize) -> Result<()> {
        if self.next == 1 {
            // With indexing (6.2.1): from here on each field is one byte, the last one number 62 (6.1, 2.3.3).
            self.open_with(&literal(0x40))?;
        }
        let indexed: [u8; FIELDS.len()] = std::array::from_fn(|i| 0x80 | (61 + FIELDS.len() - i) as u8);
        let mut out = Vec::new();
        for _ in 0..count {
            let stream = self.number_of_next();
            add_frame(&mut out, HEADERS, END_HEADERS, stream, &indexed);
            add_frame(&mut out, RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        }
        self.tls.write_all(&out)
    }

    /// Sends one message.
    pub fn message(&mut self, stream: u32, message: &[u8]) -> Result<()> {
        let mut framed = announcement(message.len() as u32).to_vec();
        framed.extend_from_slice(message);
        self.send(stream, &framed)
    }

    /// Sends a part of a message, as the windows allow.
    pub fn send(&mut self, stream: u32, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let used = self.windows.get(&stream).copied().ok_or(ErrorKind::NotConnected)?;
            let room = self.window.min(self.initial - used).min(FRAME as i64);
            if room <= 0 {
                self.read(None)?;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.frame(DATA, 0, stream, now)?;
            self.window -= now.len() as i64;
            *self.windows.entry(stream).or_default() += now.len() as i64;
            bytes = later;
        }
        Ok(())
    }

    /// Ends a stream immediately.
    pub fn reset(&mut self, stream: u32) -> Result<()> {
        self.windows.remove(&stream);
        self.frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
    }

    /// Waits until the other side has ended this stream.
    pub fn await_end(&mut self, stream: u32) -> Result<()> {
        while !self.ended.contains(&stream) {
            self.read(None)?;
        }
        self.ended.retain(|ended| *ended != stream);
        Ok(())
    }

    /// Waits until the other side closes the connection.
    pub fn await_close(&mut self) {
        while self.read(None).is_ok() {}
    }

    /// Reads incoming data, waiting for it at most `timeout` (`None`: without limit). An error means that the
    /// connection is over.
    pub fn read(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.socket().set_read_timeout(timeout)?;
        let mut buffer = [0; 64 << 10];
        match self.tls.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.read.extend_from_slice(&buffer[..length]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
        while let Some((kind, flags, stream, payload)) = self.take_frame() {
            self.take(kind, flags, stream, &payload)?;
        }
        Ok(())
    }

    fn take_frame(&mut self) -> Option<(u8, u8, u32, Bytes)> {
        let header: [u8; 9] = self.read.get(..9)?.try_into().ok()?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let payload = Bytes::copy_from_slice(self.read.get(9..9 + length)?);
        self.read.drain(..9 + length);
        Some((header[3], header[4], number(&header[5..9]), payload))
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW_SIZE {
                        self.initial = number(&setting[2..6]).into();
                    }
                }
                self.frame(SETTINGS, ACK, 0, &[])?;
            }
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(payload)),
            WINDOW_UPDATE => {
                self.windows.entry(stream).and_modify(|used| *used -= i64::from(number(payload)));
            }
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload)?,
            DATA if self.takes && !payload.is_empty() => {
                let taken = (payload.len() as u32).to_be_bytes();
                self.frame(WINDOW_UPDATE, 0, 0, &taken)?;
                self.frame(WINDOW_UPDATE, 0, stream, &taken)?;
            }
            GOAWAY => {
                self.goaway = payload.get(4..8).map(code);
                return Err(ErrorKind::ConnectionAborted.into());
            }
            RST_STREAM => self.resets.push((stream, code(payload))),
            _ => {}
        }
        if kind == RST_STREAM || (matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0) {
            self.ended.push(stream);
            self.windows.remove(&stream);
        }
        Ok(())
    }

    /// Writes bytes that may be anything.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.tls.write_all(bytes)
    }

    /// Writes one frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(9 + payload.len());
        add_frame(&mut out, kind, flags, stream, payload);
        self.tls.write_all(&out)
    }
}

/// Appends a frame.
pub fn add_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Returns a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + payload.len());
    add_frame(&mut out, kind, flags, stream, payload);
    out
}

/// Returns the header fields of a gossip stream, spelled out, each in this form.
pub fn literal(form: u8) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in FIELDS {
        headers.push(form);
        for text in [name, value] {
            headers.push(text.len() as u8);
            headers.extend_from_slice(text.as_bytes());
        }
    }
    headers
}

/// Returns a header field, spelled out and not indexed. The texts must be shorter than 127 bytes.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// Returns the prefix of a message of this length.
pub fn announcement(length: u32) -> [u8; 5] {
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

fn code(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte))
}

fn number(bytes: &[u8]) -> u32 {
    code(bytes) & 0x7fff_ffff
}
