//! Identities as gossip sees them, and the two services that a host can replace.

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// A peer's PKI-ID: the short name that it has in the whole network. With an MSP it is the SHA-256 of MSP id and
/// certificate (32 bytes), but nothing depends on that.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PkiId(Bytes);

/// A peer's identity as it travels: with an MSP, a serialized `msp.SerializedIdentity`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct PeerIdentity(Bytes);

/// The organisation of a peer: with an MSP, the MSP id. Clones share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrgId(Arc<str>);

macro_rules! bytes_newtype {
    ($name:ident) => {
        impl $name {
            /// From its bytes.
            pub fn new(bytes: impl Into<Bytes>) -> Self {
                $name(bytes.into())
            }

            /// Its bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Its bytes, shared and not copied.
            pub fn to_bytes(&self) -> Bytes {
                self.0.clone()
            }

            /// Whether there are no bytes, which on the wire is the same as absent.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                $name(Bytes::copy_from_slice(bytes))
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                $name(bytes.into())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

bytes_newtype!(PkiId);
bytes_newtype!(PeerIdentity);

/// Lower-case hex, whole.
impl fmt::Display for PkiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PkiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PkiId({self})")
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({} bytes)", self.0.len())
    }
}

impl OrgId {
    /// From the MSP id.
    pub fn new(id: impl Into<String>) -> Self {
        OrgId(id.into().into())
    }

    /// The MSP id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrgId({})", self.0)
    }
}

/// Fabric's message crypto service: everything gossip does with keys. Replace it to keep keys elsewhere (an HSM) or to
/// use other identities than X.509.
///
/// Called from any of the library's threads, several at a time, and never with a lock of the library held. A call may
/// block, and what waits for it then is the connection or caller it serves.
pub trait CryptoService: Send + Sync {
    /// The PKI-ID of an identity, or `None` if it has none (empty, or cannot be parsed).
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId>;

    /// Whether the identity belongs to an organisation we know and satisfies its rules.
    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()>;

    /// Signs a message with our own key.
    ///
    /// `message` is the whole message, not its digest. What Fabric peers verify for X.509 identities is ECDSA over the
    /// message's SHA-256 (SHA3-256 where the MSP's hash family says so), whatever the curve, encoded as an ASN.1 DER
    /// SEQUENCE of the INTEGERs r and s; or, where the MSP's version allows it, Ed25519 over the message itself.
    ///
    /// Peers refuse an S above half the curve's order. The library replaces such an S by n − s before a signature leaves,
    /// so an ordinary DER signature is enough. What is not a DER ECDSA signature of our certificate's curve leaves
    /// unchanged.
    ///
    /// [`CommBuilder::start`](crate::comm::CommBuilder::start) asks for a first signature and passes it to
    /// [`verify`](Self::verify). For a key that is behind a function (PKCS #11, a key service),
    /// [`SigningIdentity::with_signer`](crate::msp::SigningIdentity::with_signer) does the hashing and the encoding.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;

    /// Checks `signature` over `message` under the key of `identity`.
    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()>;

    /// Checks a signature against the readers of one channel.
    fn verify_by_channel(
        &self,
        channel: &[u8],
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<()> {
        let _ = (identity, signature, message);
        let channel = String::from_utf8_lossy(channel);
        Err(Error::new(ErrorKind::Identity, format!("Could not acquire policy manager for channel {channel}")))
    }

    /// When the identity expires; `None` for never.
    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>>;
}

/// Fabric's security advisor: which organisation an identity belongs to.
pub trait SecurityAdvisor: Send + Sync {
    /// The organisation, or `None` if no known one accounts for the identity.
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId>;
}
