//! Identities: a member as its MSP sees it, and our own with its key.

use super::config::{config_error, PemFile};
use super::external::{Digest, ExternalKey, Signature};
use super::folder::read_folder;
use super::key::{HashFamily, KeyAlgorithm, PrivateKey};
use super::provider::Msp;
use super::serialized::SerializedIdentity;
use super::x509::{attribute, Certificate};
use super::{context, pem};
use crate::crypto::PeerIdentity;
use crate::error::Result;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A member of an organisation: MSP id and certificate. Clones share the certificate.
#[derive(Clone)]
pub struct Identity {
    mspid: String,
    certificate: Arc<Certificate>,
    hash_family: HashFamily,
}

impl Identity {
    pub(super) fn new(mspid: String, certificate: Arc<Certificate>, hash_family: HashFamily) -> Self {
        Identity { mspid, certificate, hash_family }
    }

    pub(super) fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// The MSP id.
    pub fn mspid(&self) -> &str {
        &self.mspid
    }

    /// The subject, from the most specific attribute on: `CN=peer0.org1.example.com,OU=peer,…`.
    pub fn subject(&self) -> String {
        self.certificate.subject.to_string()
    }

    /// The issuer, written as the subject.
    pub fn issuer(&self) -> String {
        self.certificate.issuer.to_string()
    }

    /// The OUs of the subject, in order. Nothing says that an authority vouches for them, see
    /// [`Msp::organizational_units`].
    pub fn ous(&self) -> Vec<String> {
        self.certificate.subject.values(attribute::ORGANIZATIONAL_UNIT).into_iter().map(String::from).collect()
    }

    /// The serial number in lower-case hex.
    pub fn serial(&self) -> String {
        self.certificate.serial_hex()
    }

    /// From when on it is valid.
    pub fn not_before(&self) -> SystemTime {
        system_time(self.certificate.not_before)
    }

    /// When it expires.
    pub fn not_after(&self) -> SystemTime {
        system_time(self.certificate.not_after)
    }

    /// Checks a signature over a message. ECDSA signatures must have low S.
    pub fn verify(&self, signature: &[u8], message: &[u8]) -> Result<()> {
        self.certificate.public_key.verify_message(self.hash_family, signature, message)
    }

    /// The form in which it travels. It may differ from the bytes that it was read from, and so may the PKI-ID: the
    /// certificate's own signature has low S here.
    pub fn serialize(&self) -> PeerIdentity {
        super::serialized_identity(&self.mspid, self.cert_pem().as_bytes())
    }

    /// The certificate as PEM.
    pub fn cert_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate.raw)
    }
}

/// Who it is.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.mspid, self.certificate.subject)
    }
}

/// Our own identity with its private key. The key is never shown.
pub struct SigningIdentity {
    identity: Identity,
    key: Key,
}

/// Our private key, or a function that signs with it.
enum Key {
    Local(PrivateKey),
    External(ExternalKey),
}

impl SigningIdentity {
    /// From certificate and unencrypted private key, both PEM. `now` decides whether the certificate has expired.
    ///
    /// Fails if the MSP does not accept the certificate as one of its own, if it has expired, or if the key is not its
    /// other half.
    pub fn new(msp: &Msp, cert_pem: &[u8], key_pem: &[u8], now: SystemTime) -> Result<SigningIdentity> {
        let identity = msp.identity_from_pem(cert_pem).map_err(context("the signing certificate"))?;
        check_not_expired(&identity, now)?;
        let key = PrivateKey::from_pem(key_pem)?;
        if !key.fits(&identity.certificate.public_key) {
            return Err(config_error("the private key does not fit the signing certificate"));
        }
        Ok(SigningIdentity { identity, key: Key::Local(key) })
    }

    /// Returns an identity whose key stays elsewhere, in an HSM for instance: `sign` gets the digest of each message and
    /// returns the signature, with an explicit [`Signature`] form. S may be high. `now` decides whether the certificate has
    /// expired.
    ///
    /// Fails if the MSP does not accept the certificate as one of its own, if it has expired, if its key is not ECDSA, and
    /// if a first signature, made here, fails or does not verify under the certificate.
    ///
    /// `sign` is called on any of the library's threads, several at a time, and may block.
    pub fn with_signer(
        msp: &Msp,
        cert_pem: &[u8],
        now: SystemTime,
        sign: impl Fn(&Digest) -> Result<Signature> + Send + Sync + 'static,
    ) -> Result<SigningIdentity> {
        let identity = msp.identity_from_pem(cert_pem).map_err(context("the signing certificate"))?;
        check_not_expired(&identity, now)?;
        let algorithm = identity.certificate.public_key.algorithm();
        if algorithm != KeyAlgorithm::Ecdsa {
            let text = format!("the signing certificate has a key of kind {algorithm}; a signing function needs ECDSA");
            return Err(config_error(text));
        }
        let signer = SigningIdentity { identity, key: Key::External(ExternalKey::new(sign)) };
        let signature = signer.sign(PROBE).map_err(context("the first signature of the signing function"))?;
        signer.identity.verify(&signature, PROBE).map_err(|e| {
            let remedy = match signer.identity.certificate.public_key.signed_otherwise(&signature, PROBE) {
                Some(_) => "it has to sign the digest as it is, without hashing it again",
                None => "give the certificate that belongs to the key",
            };
            let text = "the signing function does not fit the signing certificate";
            config_error(format!("{text}: {remedy} ({})", e.message())).source(e)
        })?;
        Ok(signer)
    }

    /// From a local MSP's folder: the certificate in `signcerts/` and the key in `keystore/` that fits it. Errors name
    /// the file.
    pub fn load(msp: &Msp, dir: impl AsRef<Path>, now: SystemTime) -> Result<SigningIdentity> {
        let keystore = dir.as_ref().join("keystore");
        Self::load_with_keystore(msp, dir, keystore, now)
    }

    /// Loads like [`load`](Self::load), with the key from another folder: `peer.BCCSP.SW.FileKeyStore.KeyStore`.
    pub fn load_with_keystore(
        msp: &Msp,
        dir: impl AsRef<Path>,
        keystore: impl AsRef<Path>,
        now: SystemTime,
    ) -> Result<SigningIdentity> {
        let (signcerts, keystore) = (dir.as_ref().join("signcerts"), keystore.as_ref());
        let cert = PemFile::signing_certificate(&dir)?;
        let cert = cert.ok_or_else(|| config_error(format!("no certificate in {}", signcerts.display())))?;
        let configured = |e: crate::error::Error| config_error(format!("{}: {}", cert.name, e.message())).source(e);
        let identity = msp.identity_from_pem(&cert.pem).map_err(configured)?;
        check_not_expired(&identity, now).map_err(configured)?;

        let mut unusable = None;
        for file in read_folder(keystore)? {
            match PrivateKey::from_pem(&file.pem) {
                Ok(key) if key.fits(&identity.certificate.public_key) => {
                    return Ok(SigningIdentity { identity, key: Key::Local(key) });
                }
                Ok(_) => {}
                Err(e) => unusable = Some(format!(" ({}: {})", file.name, e.message())),
            }
        }
        let (keystore, why) = (keystore.display(), unusable.unwrap_or_default());
        Err(config_error(format!("no private key in {keystore} fits {}{why}", cert.name)))
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The form in which our identity travels.
    pub fn serialize(&self) -> PeerIdentity {
        self.identity.serialize()
    }

    /// Our MSP id and certificate, from which PKI-ID and organisation follow.
    pub fn pki_id(&self) -> crate::crypto::PkiId {
        let id_bytes = self.identity.cert_pem().into_bytes();
        SerializedIdentity { mspid: self.identity.mspid.clone(), id_bytes }.pki_id()
    }

    /// Signs a message, not its digest. ECDSA signatures are DER with low S.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let (family, public) = (self.identity.hash_family, &self.identity.certificate.public_key);
        match &self.key {
            Key::Local(key) => key.sign(family, message),
            Key::External(key) => key.sign(public, family, message),
        }
    }
}

/// Who it is; never the key.
impl fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signing{:?}", self.identity)
    }
}

/// Signed to find out whether key and certificate belong together. It is no protobuf message, so the signature is good for
/// nothing else.
pub(crate) const PROBE: &[u8] = b"fabric-gossip: does this key belong to this certificate?";

fn check_not_expired(identity: &Identity, now: SystemTime) -> Result<()> {
    match now.duration_since(identity.not_after()) {
        Ok(since) => Err(config_error(format!("signing identity expired {} s ago", since.as_secs()))),
        Err(_) => Ok(()),
    }
}

/// Every time that a certificate can express is a system time on the platforms that matter; others get the nearest.
fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(UNIX_EPOCH)
}
