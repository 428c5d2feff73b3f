//! Membership service providers: X.509 organisations as Fabric has them, over OpenSSL's primitives.
//!
//! [`MspConfig`] is the configuration of an MSP (from a folder, or memory), [`Msp`] implements one organisation's
//! rules, [`Identity`] is a member as its MSP sees it, [`SigningIdentity`] is our own identity, and
//! [`MspCryptoService`] is gossip's crypto service over several MSPs.
//!
//! The validity of an identity must be decided exactly as in Fabric, or peers would disagree about the members of the
//! network. This module therefore parses certificates and builds chains itself; OpenSSL does the arithmetic. Only this
//! module and the transport's credentials refer to OpenSSL.

mod algorithm;
mod cache;
mod chain;
mod config;
mod config_yaml;
mod der;
mod email_address;
mod external;
mod folder;
mod identity;
mod key;
mod names;
mod ou;
mod own_key;
mod pem;
mod policy;
mod private_key;
mod provider;
mod serialized;
mod service;
mod setup;
mod uri;
#[cfg(test)]
mod wycheproof;
mod x509;

pub use algorithm::HashFamily;
pub use config::{MspConfig, MspVersion, NodeOus, OuIdentifier, PemFile};
pub use external::{Digest, Signature};
pub use identity::{Identity, SigningIdentity};
pub use ou::OrganizationalUnit;
pub use provider::{IdentifierHash, Msp};
pub use service::{Channel, MspCryptoService};

pub(crate) use identity::PROBE;
#[doc(hidden)]
pub use own_key::OwnKey;

use crate::crypto::PeerIdentity;
use crate::error::{Error, ErrorKind};

/// Returns the serialized identity of a PEM certificate. The text is used unchanged and unchecked.
pub fn serialized_identity(mspid: &str, cert_pem: &[u8]) -> PeerIdentity {
    serialized::SerializedIdentity::encode(mspid, cert_pem).into()
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Identity, text)
}

/// Prefixes an error with the failed operation, in Fabric's format.
fn context(what: impl std::fmt::Display) -> impl FnOnce(Error) -> Error {
    move |e| Error::new(e.kind(), format!("{what}: {}", e.message())).with_source(e)
}
