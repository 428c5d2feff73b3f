//! The input is a peer's first message. Its first byte determines how much of it is made up:
//!
//! | bits | |
//! |---|---|
//! | 0–1 | the whole envelope; the payload in a sound envelope; the identity in a sound message; the certificate in a sound identity |
//! | 2 | any signature counts |
//! | 3 | without TLS |
//! | 4 | without a certificate |

use crate::org;
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::{Comm, ReceivedMessage, Subscription};
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId};
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{self, Content, Envelope, SignedMessage};
use fabric_gossip::msp::{serialized_identity, MspCryptoService, SigningIdentity};
use fabric_gossip::transport::{Acceptor, Connection, Server, Status, Stream, StreamEnd, StreamInfo, Transport};
use fabric_gossip::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

/// Maximum size of a connection message.
const MAX: usize = 256 << 10;

const CERT: &[u8] = b"the certificate that TLS shows";

/// Whether it is let in.
pub fn run(data: &[u8]) -> bool {
    let Some((&mode, rest)) = data.split_first() else { return false };
    let (tls, with_cert, lenient) = (mode & 8 == 0, mode & 16 == 0, mode & 4 != 0);
    let cert = with_cert.then(|| Bytes::from_static(CERT));
    let first: Bytes = match mode & 3 {
        0 => Bytes::copy_from_slice(rest),
        1 => in_envelope(rest.to_vec()),
        2 => from_identity(PeerIdentity::from(rest), cert.as_ref()),
        _ => from_identity(serialized_identity("Org1MSP", rest), cert.as_ref()),
    };
    let local = if lenient { &*LENIENT } else { &*STRICT };
    let status = local.hear(&first, tls, cert.clone());
    assert_eq!(local.hear(&first, tls, cert.clone()), status, "the same verdict again");
    let refused = (status.code != 0).then_some(status.message);
    assert!(refused.as_ref().is_none_or(|text| !text.is_empty()), "refused without a word");
    let due = local.judge(&first, tls, cert.as_ref());
    assert_eq!(refused.is_none(), due.is_ok(), "refused because of {refused:?}, due was {due:?}");
    refused.is_none()
}

/// A sound envelope around a payload; the signature is none.
fn in_envelope(payload: Vec<u8>) -> Bytes {
    Envelope { payload: payload.into(), signature: Bytes::from_static(b"signature"), secret: None }.encode()
}

/// A sound connection message of this identity.
fn from_identity(identity: PeerIdentity, cert: Option<&Bytes>) -> Bytes {
    let id = PkiId::from(org::pki_id(identity.as_bytes()));
    let message = wire::conn(&id, &identity, cert.map(hash).unwrap_or_default(), false);
    let message = SignedMessage::sign(message, |_| Ok(b"signature".to_vec()));
    message.expect("a message").wire()
}

fn hash(cert: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(cert))
}

struct Local {
    comm: Comm,
    acceptor: Arc<dyn Acceptor>,
    inbox: Subscription<ReceivedMessage>,
    crypto: Arc<dyn CryptoService>,
}

static STRICT: LazyLock<Local> = LazyLock::new(|| Local::new(|crypto| crypto));
static LENIENT: LazyLock<Local> = LazyLock::new(|| Local::new(|crypto| Arc::new(Lenient(crypto))));

impl Local {
    fn new(wrap: impl FnOnce(Arc<dyn CryptoService>) -> Arc<dyn CryptoService>) -> Local {
        let msp = org::recorded("org1");
        let (_, cert, key) = org::member("peer0.org1");
        let signer = SigningIdentity::new(&msp, cert.as_bytes(), key.as_bytes(), SystemTime::now()).expect("a signer");
        let identity = signer.serialize();
        let service = Arc::new(MspCryptoService::new(msp, Some(signer)));
        service.trust(org::recorded("org3"));
        let crypto = wrap(service.clone());
        let comm =
            Comm::builder(identity, crypto.clone(), service).transport(Arc::new(Nowhere)).start().expect("a Comm");
        Local { acceptor: comm.acceptor(), inbox: comm.subscribe(|_| true), crypto, comm }
    }

    /// Returns how the Comm ends a stream with this first message. An accepted peer is heard.
    fn hear(&self, first: &Bytes, tls: bool, cert: Option<Bytes>) -> Status {
        let info = StreamInfo { remote_addr: "127.0.0.1:7051".into(), remote_cert: cert, local_cert: None, tls };
        let second = SignedMessage::noop_sign(message::data(7, "channel", 1, "data")).expect("a message").wire();
        let said = vec![first.clone(), second.clone()];
        let stream = Arc::new(Said { info, said, next: AtomicU32::new(0), sent: AtomicU32::new(0) });
        let status = self.acceptor.gossip_stream(stream.clone());
        let (read, sent) = (stream.next.load(Ordering::Relaxed), stream.sent.load(Ordering::Relaxed));
        assert!(sent <= 1, "{sent} connection messages were sent");
        match self.inbox.try_recv().expect("it is open") {
            Some(received) => {
                assert_eq!((status.code, sent, received.message().wire()), (0, 1, second));
                let (info, theirs) = (received.connection_info(), Envelope::decode(first).expect("it was let in"));
                assert_eq!((&info.auth.signed_data, &info.auth.signature), (&theirs.payload, &theirs.signature));
            }
            // Refused, or a probe: nothing is read behind the first message.
            None => assert!(read <= 1, "{read} messages were read"),
        }
        assert_eq!(self.comm.connection_count(), 0, "connections remain");
        status
    }

    /// The rules of the handshake once more, in the plainest words.
    fn judge(&self, first: &Bytes, tls: bool, cert: Option<&Bytes>) -> Result<()> {
        let no = |text: &str| Err(Error::new(ErrorKind::Refused, text));
        if tls && cert.is_none() {
            return no("no TLS certificate");
        }
        if first.len() > MAX {
            return no("too large");
        }
        let message = SignedMessage::decode(first.clone())?;
        let Some(Content::Conn(conn)) = message.content() else { return no("wrong type") };
        let identity = PeerIdentity::new(conn.identity.clone());
        self.crypto.validate_identity(&identity)?;
        if self.crypto.expiration(&identity)?.is_some_and(|at| at < SystemTime::now()) {
            return no("expired");
        }
        if conn.pki_id != org::pki_id(identity.as_bytes()) {
            return no("another PKI-ID");
        }
        if tls && cert.map(hash).as_ref() != Some(&conn.tls_cert_hash) {
            return no("another TLS certificate");
        }
        message.verify(&identity, |id: &PeerIdentity, signature: &[u8], signed: &[u8]| {
            self.crypto.verify(id, signature, signed)
        })
    }
}

/// The same, but every signature counts.
struct Lenient(Arc<dyn CryptoService>);

impl CryptoService for Lenient {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        self.0.pki_id(identity)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        self.0.validate_identity(identity)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(message)
    }

    fn verify(&self, _: &PeerIdentity, _: &[u8], _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        self.0.expiration(identity)
    }
}

/// A stream on which everything is said already.
struct Said {
    info: StreamInfo,
    said: Vec<Bytes>,
    next: AtomicU32,
    sent: AtomicU32,
}

impl Stream for Said {
    fn start_send(&self, _: Bytes) -> Result<(), StreamEnd> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn wait_sent(&self, _: Option<Duration>) -> Result<bool, StreamEnd> {
        Ok(true)
    }

    fn recv(&self, _: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        self.said.get(next).cloned().map(Some).ok_or(StreamEnd::Remote(Status::ok()))
    }

    fn finish(&self, _: &Status) -> Result<(), StreamEnd> {
        Ok(())
    }

    fn cancel(&self) {}

    fn info(&self) -> &StreamInfo {
        &self.info
    }
}

/// No endpoint can be dialled.
struct Nowhere;

impl Transport for Nowhere {
    fn dial(&self, _: &str, _: Duration, _: &Cancel) -> Result<Box<dyn Connection>> {
        Err(Error::new(ErrorKind::Unreachable, "nowhere"))
    }

    fn listen(&self, _: &str, _: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        Err(Error::new(ErrorKind::Unreachable, "nowhere"))
    }
}
