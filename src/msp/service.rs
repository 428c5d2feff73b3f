//! Gossip's crypto service over MSPs. Identities are validated by the local MSP first, then by channels.

use super::cache::Cache;
use super::identity::{Identity, SigningIdentity};
use super::pem;
use super::provider::{check_well_formed, Msp};
use super::serialized::SerializedIdentity;
use super::x509::{attribute, Certificate, Name};
use super::{context, invalid};
use crate::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::RwLock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Maximum number of cached valid identities.
const CACHED_IDENTITIES: usize = 8192;

/// The organisations of a channel, and those among them that may read it.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// The MSPs by their ids.
    msps: BTreeMap<String, Arc<Msp>>,
    /// The MSP ids whose members satisfy the channel's `Readers` policy; `None` if the channel has no policies.
    readers: Option<Vec<String>>,
}

impl Channel {
    /// Creates a channel of these organisations, which any member of one of the `readers` (MSP ids) may read. `None`
    /// means that the channel has no policy manager; signatures of other organisations' members are then rejected.
    pub fn new(msps: impl IntoIterator<Item = Arc<Msp>>, readers: Option<Vec<String>>) -> Self {
        let msps = msps.into_iter().map(|msp| (msp.id().to_owned(), msp)).collect();
        Channel { msps, readers }
    }

    /// Creates a channel of one organisation that all of its members may read.
    fn of(msp: Arc<Msp>) -> Self {
        let readers = Some(vec![msp.id().to_owned()]);
        Channel::new([msp], readers)
    }

    fn deserialize(&self, parsed: &SerializedIdentity, identity: &PeerIdentity) -> Result<(&Arc<Msp>, Identity)> {
        let msp = self.msps.get(&parsed.mspid);
        let msp = msp.ok_or_else(|| invalid(format!("MSP {} is unknown", parsed.mspid)))?;
        Ok((msp, msp.deserialize(identity)?))
    }

    /// Checks the channel's `Readers` policy: `member` is a valid member of one of the readers, and signed the message.
    fn check_readers(
        &self,
        name: &str,
        member: impl FnOnce() -> Option<Arc<Identity>>,
        signature: &[u8],
        message: &[u8],
    ) -> Result<()> {
        let Some(readers) = &self.readers else { return Err(no_policy_manager(name)) };
        let satisfied = member().is_some_and(|member| {
            readers.iter().any(|reader| reader == member.mspid()) && member.verify(signature, message).is_ok()
        });
        match satisfied {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Signature, "signature set did not satisfy policy")),
        }
    }

    fn valid_member(&self, identity: &PeerIdentity) -> Result<Identity> {
        let parsed = SerializedIdentity::parse(identity.as_bytes())?;
        let (msp, member) = self.deserialize(&parsed, identity)?;
        msp.validate(&member)?;
        Ok(member)
    }
}

/// The crypto service and security advisor of a peer whose identities are X.509 members of MSPs.
///
/// An identity of our own organisation is validated only by the local MSP. One of another organisation must be valid in
/// some channel: those with a name ([`set_channel`](Self::set_channel)), and one for each organisation that is trusted
/// without one ([`trust`](Self::trust)).
///
/// The configuration can be replaced during use; calls in progress continue with the previous one. Valid identities are
/// cached until then. No lock is held during computations.
pub struct MspCryptoService(RwLock<Arc<State>>);

struct State {
    local: Arc<Msp>,
    signer: Option<Arc<SigningIdentity>>,
    channels: BTreeMap<String, Arc<Channel>>,
    /// By MSP id; several for an organisation with several MSPs.
    trusted: BTreeMap<String, Vec<Arc<Channel>>>,
    valid: Cache<PeerIdentity, Arc<Valid>>,
    /// Valid members of named channels.
    channel_members: Cache<(String, PeerIdentity), Arc<Identity>>,
}

/// An identity found valid, and the MSP or channel that accepted it.
struct Valid {
    identity: Arc<Identity>,
    via: Via,
}

enum Via {
    Local,
    /// The name is that of the channel, or the MSP id of a trusted organisation.
    Channel(String, Arc<Channel>),
}

impl MspCryptoService {
    /// Creates a service with the local MSP, and our own identity. Without a signer, it can only validate and verify.
    pub fn new(local: Arc<Msp>, signer: Option<SigningIdentity>) -> Self {
        let signer = signer.map(Arc::new);
        let (channels, trusted) = Default::default();
        let (valid, channel_members) = (Cache::new(CACHED_IDENTITIES), Cache::new(CACHED_IDENTITIES));
        let state = State { local, signer, channels, trusted, valid, channel_members };
        MspCryptoService(RwLock::new(Arc::new(state)))
    }

    /// Returns the local MSP.
    pub fn local_msp(&self) -> Arc<Msp> {
        self.state().local.clone()
    }

    /// Returns our own identity.
    pub fn signer(&self) -> Option<Arc<SigningIdentity>> {
        self.state().signer.clone()
    }

    /// Replaces the local MSP and our own identity, for instance after a renewal.
    pub fn set_local(&self, local: Arc<Msp>, signer: Option<SigningIdentity>) {
        let signer = signer.map(Arc::new);
        self.update(|state| (state.local, state.signer) = (local, signer));
    }

    /// Trusts the members of another organisation without a channel. Replaces MSPs with the same id.
    pub fn trust(&self, msp: Arc<Msp>) {
        self.update(|state| {
            state.trusted.insert(msp.id().to_owned(), vec![Arc::new(Channel::of(msp))]);
        });
    }

    /// Trusts like [`trust`](Self::trust), but keeps MSPs with the same id: members of either are accepted, for use
    /// while the organisation's authority is being renewed.
    pub fn trust_also(&self, msp: Arc<Msp>) {
        self.update(|state| {
            state.trusted.entry(msp.id().to_owned()).or_default().push(Arc::new(Channel::of(msp)));
        });
    }

    /// Stops trusting an organisation that was trusted without a channel.
    pub fn distrust(&self, mspid: &str) {
        self.update(|state| {
            state.trusted.remove(mspid);
        });
    }

    /// Adopts the MSPs and channels of another service in one step, for instance of one made from renewed files. Our own
    /// identity stays. Identities found valid before are validated again when they are next used.
    pub fn replace_msps(&self, with: &MspCryptoService) {
        let with = with.state();
        self.update(|state| {
            state.local = with.local.clone();
            state.channels = with.channels.clone();
            state.trusted = with.trusted.clone();
        });
    }

    /// Adds or replaces a channel.
    pub fn set_channel(&self, name: impl Into<String>, channel: Channel) {
        let name = name.into();
        self.update(|state| {
            state.channels.insert(name, Arc::new(channel));
        });
    }

    /// Removes a channel.
    pub fn remove_channel(&self, name: &str) {
        self.update(|state| {
            state.channels.remove(name);
        });
    }

    fn state(&self) -> Arc<State> {
        self.0.read().clone()
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut current = self.0.write();
        // Identities found valid under the old state must be validated again.
        let mut next = State {
            local: current.local.clone(),
            signer: current.signer.clone(),
            channels: current.channels.clone(),
            trusted: current.trusted.clone(),
            valid: Cache::new(CACHED_IDENTITIES),
            channel_members: Cache::new(CACHED_IDENTITIES),
        };
        change(&mut next);
        let old = std::mem::replace(&mut *current, Arc::new(next));
        drop(current);
        drop(old);
    }
}

impl State {
    /// Returns all channels with their names, those of single organisations last.
    fn all_channels(&self) -> impl Iterator<Item = (&String, &Arc<Channel>)> {
        let trusted = self.trusted.iter().flat_map(|(mspid, all)| all.iter().map(move |channel| (mspid, channel)));
        self.channels.iter().chain(trusted)
    }

    /// Returns the identity, if the local MSP or a channel finds it valid.
    fn validated(&self, identity: &PeerIdentity) -> Result<Arc<Valid>> {
        if let Some(valid) = self.valid.get(identity) {
            return Ok(valid);
        }
        let valid = Arc::new(self.validate(identity)?);
        self.valid.insert(identity.clone(), valid.clone());
        Ok(valid)
    }

    fn validate(&self, identity: &PeerIdentity) -> Result<Valid> {
        const NOT_WELL_FORMED: &str = "identity is not well formed";
        if identity.is_empty() {
            return Err(invalid("Invalid Peer Identity. It must be different from nil."));
        }
        let parsed = SerializedIdentity::parse(identity.as_bytes());
        let parsed = parsed.map_err(context("error unmarshalling SerializedIdentity"))?;
        // Only the local MSP decides about members of our own organisation.
        if let Ok(member) = self.local.deserialize(identity) {
            check_well_formed(&parsed).map_err(context(NOT_WELL_FORMED))?;
            self.local.validate(&member)?;
            return Ok(Valid { identity: Arc::new(member), via: Via::Local });
        }
        for (name, channel) in self.all_channels() {
            let Ok((msp, member)) = channel.deserialize(&parsed, identity) else { continue };
            check_well_formed(&parsed)
                .map_err(|_| invalid(format!("{NOT_WELL_FORMED}: no MSP provider recognizes the identity")))?;
            if msp.validate(&member).is_ok() {
                let via = Via::Channel(name.clone(), channel.clone());
                return Ok(Valid { identity: Arc::new(member), via });
            }
        }
        let who = describe(&parsed, identity);
        Err(invalid(format!("Peer Identity {who} cannot be validated. No MSP found able to do that.")))
    }

    fn channel_member(&self, name: &str, channel: &Channel, identity: &PeerIdentity) -> Option<Arc<Identity>> {
        let key = (name.to_owned(), identity.clone());
        if let Some(member) = self.channel_members.get(&key) {
            return Some(member);
        }
        let member = Arc::new(channel.valid_member(identity).ok()?);
        self.channel_members.insert(key, member.clone());
        Some(member)
    }

    fn organization(&self, identity: &PeerIdentity) -> Option<OrgId> {
        if identity.is_empty() {
            return None;
        }
        if let Some(valid) = self.valid.get(identity) {
            return Some(OrgId::new(valid.identity.mspid()));
        }
        let parsed = SerializedIdentity::parse(identity.as_bytes()).ok()?;
        let known = self.local.deserialize(identity).is_ok()
            || self.all_channels().any(|(_, channel)| channel.deserialize(&parsed, identity).is_ok());
        known.then(|| OrgId::new(parsed.mspid))
    }
}

impl CryptoService for MspCryptoService {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        if identity.is_empty() {
            return None;
        }
        SerializedIdentity::parse(identity.as_bytes()).ok().map(|parsed| parsed.pki_id())
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        self.state().validated(identity).map(|_| ())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signer = self.signer();
        signer.ok_or_else(|| Error::new(ErrorKind::Config, "there is no signing identity"))?.sign(message)
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        let valid = self.state().validated(identity)?;
        match &valid.via {
            Via::Local => valid.identity.verify(signature, message),
            Via::Channel(name, channel) => {
                channel.check_readers(name, || Some(valid.identity.clone()), signature, message)
            }
        }
    }

    fn verify_by_channel(
        &self,
        channel: &[u8],
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<()> {
        if identity.is_empty() {
            return Err(invalid("Invalid Peer Identity. It must be different from nil."));
        }
        let name = String::from_utf8_lossy(channel);
        let state = self.state();
        let channel = state.channels.get(&*name).ok_or_else(|| no_policy_manager(&name))?;
        channel.check_readers(&name, || state.channel_member(&name, channel, identity), signature, message)
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        let valid = self.state().validated(identity);
        let valid = valid.map_err(context("Unable to extract msp.Identity from peer Identity"))?;
        Ok(Some(valid.identity.not_after()))
    }
}

impl SecurityAdvisor for MspCryptoService {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        self.state().organization(identity)
    }
}

/// Shows the local MSP's id, the channels and the trusted organisations.
impl fmt::Debug for MspCryptoService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (channels, trusted) = (state.channels.keys(), state.trusted.keys());
        write!(f, "MspCryptoService({}, channels ", state.local.id())?;
        f.debug_list().entries(channels).finish()?;
        f.write_str(", trusted ")?;
        f.debug_list().entries(trusted).finish()?;
        f.write_str(")")
    }
}

fn no_policy_manager(channel: &str) -> Error {
    invalid(format!("Could not acquire policy manager for channel {channel}"))
}

/// Describes a rejected identity in the wording of Fabric's refusal.
fn describe(parsed: &SerializedIdentity, identity: &PeerIdentity) -> String {
    let Some(block) = pem::decode(&parsed.id_bytes) else {
        return format!("non PEM encoded identity: {}", pem::base64_encode(identity.as_bytes()));
    };
    let Ok(certificate) = Certificate::parse(&block.bytes) else {
        return format!("non x509 identity: {}", pem::base64_encode(identity.as_bytes()));
    };
    let (subject, issuer) = (&certificate.subject, &certificate.issuer);
    let place = |name: &Name| {
        let values = [attribute::LOCALITY, attribute::PROVINCE, attribute::COUNTRY];
        json_string(&values.map(|a| format!("[{}]", name.values(a).join(" "))).join("-"))
    };
    let ous = |name: &Name| match name.values(attribute::ORGANIZATIONAL_UNIT) {
        ous if ous.is_empty() => "null".to_owned(),
        ous => format!("[{}]", ous.into_iter().map(json_string).collect::<Vec<_>>().join(",")),
    };
    format!(
        r#"{{"CN":{},"Issuer-CN":{},"Issuer-L-ST-C":{},"Issuer-OU":{},"L-ST-C":{},"MSP":{},"OU":{}}}"#,
        json_string(subject.common_name()),
        json_string(issuer.common_name()),
        place(issuer),
        ous(issuer),
        place(subject),
        json_string(&parsed.mspid),
        ous(subject),
    )
}

/// Formats a JSON string with the escapes of Go's encoder.
fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
