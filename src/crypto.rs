//! Identities as gossip uses them, and the two services that a host can replace.

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// A peer's PKI-ID: its short name, unique in the network. With an MSP, it is the SHA-256 of MSP id and certificate (32
/// bytes), but the library does not depend on that.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PkiId(Bytes);

/// A peer's identity in serialized form: with an MSP, a `msp.SerializedIdentity`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct PeerIdentity(Bytes);

/// The organisation of a peer: with an MSP, the MSP id. Clones share the string.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrgId(Arc<str>);

macro_rules! bytes_newtype {
    ($name:ident) => {
        impl $name {
            /// Creates it from its bytes.
            pub fn new(bytes: impl Into<Bytes>) -> Self {
                $name(bytes.into())
            }

            /// Returns its bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Returns its bytes, shared and not copied.
            pub fn to_bytes(&self) -> Bytes {
                self.0.clone()
            }

            /// Returns whether it has no bytes, which on the wire is the same as absent.
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

/// Shows the whole ID in lower-case hex.
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
    /// Creates it from the MSP id.
    pub fn new(id: impl Into<String>) -> Self {
        OrgId(id.into().into())
    }

    /// Returns the MSP id.
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

/// Fabric's message crypto service: all operations with keys and identities. Implement it to keep keys elsewhere (an
/// HSM) or to use identities other than X.509.
///
/// Called from any of the library's threads, concurrently, and never with a library lock held. A call may block; this
/// delays only the connection or caller that it serves.
pub trait CryptoService: Send + Sync {
    /// Returns the PKI-ID of an identity, or `None` if it has none (empty, or cannot be parsed).
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId>;

    /// Checks that the identity belongs to a known organisation and satisfies its rules.
    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()>;

    /// Signs a message with our own key.
    ///
    /// `message` is the whole message, not its digest. For X.509 identities, Fabric peers accept ECDSA over the
    /// message's SHA-256 (SHA3-256 if the MSP's hash family says so) for any curve, encoded as an ASN.1 DER SEQUENCE of
    /// the INTEGERs r and s; or, if the MSP's version allows it, Ed25519 over the message itself.
    ///
    /// Peers reject an S above half the curve's order. The library replaces such an S by n − s before sending, so an
    /// ordinary DER signature is sufficient. Any other signature than a DER ECDSA signature for our certificate's curve
    /// is sent unchanged.
    ///
    /// [`CommBuilder::start`](crate::comm::CommBuilder::start) requests a first signature and passes it to
    /// [`verify`](Self::verify). For a key behind a function (PKCS #11, a key service),
    /// [`SigningIdentity::with_signer`](crate::msp::SigningIdentity::with_signer) handles hashing and encoding.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;

    /// Verifies `signature` over `message` under the key of `identity`.
    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()>;

    /// Verifies a signature and that its signer is a reader of the channel.
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

    /// Returns when the identity expires; `None` for never.
    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>>;
}

/// Fabric's security advisor: maps an identity to its organisation.
pub trait SecurityAdvisor: Send + Sync {
    /// Returns the organisation, or `None` if no known organisation recognizes the identity.
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId>;
}
