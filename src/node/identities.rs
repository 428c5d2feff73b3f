//! The node's view of identities, and the verification of messages.

use crate::crypto::{CryptoService, OrgId, PeerIdentity, PkiId};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::IdentityMapper;
use crate::message::{pki_id_text, Content, SignedMessage};
use crate::proto::gossip::{AliveMessage, PeerIdentity as IdentityMessage};

/// Maps a PKI-ID to its organisation. The node uses its [`IdentityMapper`]; a simulation has the data itself.
///
/// Called several times for every forwarded message: look up, do not compute, do not block.
pub trait Identities {
    /// Returns the organisation, or `None` if the identity is not known.
    fn org(&self, pki_id: &PkiId) -> Option<OrgId>;
}

impl Identities for IdentityMapper {
    fn org(&self, pki_id: &PkiId) -> Option<OrgId> {
        IdentityMapper::org(self, pki_id)
    }
}

impl<F: Fn(&PkiId) -> Option<OrgId>> Identities for F {
    fn org(&self, pki_id: &PkiId) -> Option<OrgId> {
        self(pki_id)
    }
}

/// Verifies a message whose signature is valid independently of its sender: an alive message, an identity, or state
/// information. A valid identity in it is stored in the mapper.
///
/// Calls the crypto service several times; may take milliseconds. Can be called from any thread.
///
/// # Errors
/// The identity's or the signature's error, or that this kind of message is not verified here.
pub fn verify(message: &SignedMessage, mapper: &IdentityMapper, crypto: &dyn CryptoService) -> Result<()> {
    match message.content() {
        Some(Content::AliveMsg(alive)) => verify_alive(message, alive, mapper),
        Some(Content::PeerIdentity(identity)) => {
            verify_identity(message, identity, mapper, crypto)?;
            mapper.put(&PkiId::new(identity.pki_id.clone()), &PeerIdentity::new(identity.cert.clone()))
        }
        Some(Content::StateInfo(info)) => verify_by(message, &PkiId::new(info.pki_id.clone()), mapper),
        _ => Err(Error::new(ErrorKind::Protocol, "not a message that is verified independently")),
    }
}

/// Verifies the envelope of an identity. Does not check its expiry, which the mapper does.
///
/// # Errors
/// As Fabric's `validateIdentityMsg`, with its texts.
pub fn verify_identity_message(
    message: &SignedMessage,
    mapper: &IdentityMapper,
    crypto: &dyn CryptoService,
) -> Result<()> {
    match message.content() {
        Some(Content::PeerIdentity(identity)) => verify_identity(message, identity, mapper, crypto),
        _ => Err(Error::new(ErrorKind::Protocol, format!("Identity empty: {}", message.envelope()))),
    }
}

fn verify_alive(message: &SignedMessage, alive: &AliveMessage, mapper: &IdentityMapper) -> Result<()> {
    let claimed = alive.membership.as_ref().map(|member| PkiId::new(member.pki_id.clone())).unwrap_or_default();
    if claimed.is_empty() || !message.is_signed() {
        return Err(Error::new(ErrorKind::Protocol, "invalid alive message"));
    }
    if !alive.identity.is_empty() {
        mapper.put(&claimed, &PeerIdentity::new(alive.identity.clone()))?;
    }
    verify_by(message, &claimed, mapper)
}

fn verify_identity(
    message: &SignedMessage,
    identity: &IdentityMessage,
    mapper: &IdentityMapper,
    crypto: &dyn CryptoService,
) -> Result<()> {
    let cert = PeerIdentity::new(identity.cert.clone());
    let claimed = Some(PkiId::new(identity.pki_id.clone())).filter(|id| !id.is_empty());
    let calculated = mapper.pki_id_of(&cert);
    if calculated != claimed {
        let [calculated, claimed] = [&calculated, &claimed].map(|id| pki_id_text(id.as_ref()));
        let text =
            format!("Calculated pkiID doesn't match identity: calculated: {calculated}, claimedPKI-ID: {claimed}");
        return Err(Error::new(ErrorKind::Identity, text));
    }
    message.verify(&cert, |identity, signature, payload| crypto.verify(identity, signature, payload)).map_err(|e| {
        let text = format!("Failed verifying message: {}", e.message());
        Error::new(e.kind(), text).with_source(e)
    })?;
    crypto.validate_identity(&cert)
}

/// Checks the signatures under the identity that the mapper has for this PKI-ID.
fn verify_by(message: &SignedMessage, pki_id: &PkiId, mapper: &IdentityMapper) -> Result<()> {
    let identity = mapper.get(pki_id)?;
    message.verify(&identity, |_, signature, payload| mapper.verify(pki_id, signature, payload))
}
