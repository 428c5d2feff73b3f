//! The mutual authentication at the start of a stream: both sides send a signed connection message that names their
//! identity and binds it to the TLS certificate they presented, and check the other's. Fabric's `authenticateRemotePeer`.

use crate::comm::Inner;
use crate::connection::ConnectionInfo;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{self, Content, Envelope, SignedMessage};
use bytes::Bytes;
use tokio::time::timeout;
use tonic::Streaming;

/// Maximum size of a first message.
const MAX_CONN_MESSAGE: usize = 256 << 10;

/// The other side, proved.
pub(crate) struct Authenticated {
    pub info: ConnectionInfo,
    /// It only wants to identify us: the stream ends here.
    pub probe: bool,
}

/// Our connection message.
pub(crate) fn hello(comm: &Inner, probe: bool) -> Result<Envelope> {
    let conn = wire::conn(&comm.pki_id, &comm.identity, comm.tls.cert_hash(), probe);
    Ok(SignedMessage::sign(conn, |bytes| comm.crypto.sign(bytes))?.envelope().clone())
}

/// Receives and checks the other side's, within the connection timeout.
pub(crate) async fn authenticate(
    comm: &Inner,
    stream: &mut Streaming<Envelope>,
    remote_cert_hash: Option<&Bytes>,
    endpoint: &str,
) -> Result<Authenticated> {
    let presented = remote_cert_hash.ok_or_else(|| Error::new(ErrorKind::Refused, "no TLS certificate"))?;
    let first = timeout(comm.config.conn_timeout, stream.message()).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, format!("timed out waiting for connection message from {endpoint}"))
    })??;
    let ended = || Error::new(ErrorKind::Disconnected, "the stream ended during the handshake");
    let theirs = SignedMessage::decode(first.ok_or_else(ended)?)?;
    if theirs.wire_len() > MAX_CONN_MESSAGE {
        let text = format!("connection message of {} bytes; at most {MAX_CONN_MESSAGE}", theirs.wire_len());
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    let Some(Content::Conn(conn)) = theirs.content() else {
        return Err(Error::new(ErrorKind::Protocol, "wrong type"));
    };
    if conn.pki_id.is_empty() {
        return Err(Error::new(ErrorKind::Protocol, "no PKI-ID"));
    }
    let id = PkiId(conn.pki_id.clone());
    if comm.crypto.pki_id(&conn.identity).as_ref() != Some(&id) {
        return Err(Error::new(ErrorKind::Identity, "identity doesn't match the computed pkiID"));
    }
    comm.crypto.validate(&conn.identity)?;
    if *presented != conn.tls_cert_hash {
        let (expected, got) = (&presented[..], &conn.tls_cert_hash[..]);
        let text = format!("Expected {} in remote hash of TLS cert, but got {}", go_bytes(expected), go_bytes(got));
        return Err(Error::new(ErrorKind::Refused, text));
    }
    theirs.verify(|signature, signed| comm.crypto.verify(&conn.identity, signature, signed))?;
    let info = ConnectionInfo {
        id,
        identity: conn.identity.clone(),
        endpoint: endpoint.into(),
        signed_data: theirs.envelope().payload.clone(),
        signature: theirs.envelope().signature.clone(),
    };
    Ok(Authenticated { info, probe: conn.probe })
}

/// Formats as Go prints a byte slice, which Fabric's text contains.
fn go_bytes(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}
