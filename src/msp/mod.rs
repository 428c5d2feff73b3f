//! Membership service providers: X.509 organisations as Fabric has them, over OpenSSL's primitives.
//!
//! [`MspConfig`] is what an MSP is made from (a folder, or memory), [`Msp`] knows one organisation's rules,
//! [`Identity`] is a member as an MSP sees it, [`SigningIdentity`] is our own, and [`MspCryptoService`] answers gossip's
//! questions from several MSPs.
//!
//! Whether an identity is valid has to come out here exactly as it does in Fabric, or peers would disagree about who
//! belongs to the network. So certificates are parsed and chains are built in this module, and OpenSSL does the
//! arithmetic. Nothing outside this module and the transport's credentials names OpenSSL.

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
mod provider;
mod serialized;
mod service;
mod setup;
mod uri;
#[cfg(test)]
mod wycheproof;
mod x509;

pub use config::{MspConfig, MspVersion, NodeOus, OuIdentifier, PemFile};
pub use external::{Digest, Signature};
pub use identity::{Identity, SigningIdentity};
pub use key::HashFamily;
pub use ou::OrganizationalUnit;
pub use provider::{IdentifierHash, Msp};
pub use service::{Channel, MspCryptoService};

pub(crate) use identity::PROBE;
#[doc(hidden)]
pub use own_key::OwnKey;

use crate::crypto::PeerIdentity;
use crate::error::{Error, ErrorKind};

/// The serialized identity of a certificate in PEM, as it stands.
pub fn serialized_identity(mspid: &str, cert_pem: &[u8]) -> PeerIdentity {
    serialized::SerializedIdentity::encode(mspid, cert_pem).into()
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Identity, text)
}

/// The same error with what was being done in front, as Fabric writes it.
fn context(what: impl std::fmt::Display) -> impl FnOnce(Error) -> Error {
    move |e| Error::new(e.kind(), format!("{what}: {}", e.message())).source(e)
}
