//! Identities: members as seen by their MSP, and our own identity with its key.

use super::algorithm::{HashFamily, KeyAlgorithm};
use super::config::{config_error, PemFile};
use super::external::{Digest, ExternalKey, Signature};
use super::folder::read_folder;
use super::private_key::PrivateKey;
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

    /// Returns the MSP id.
    pub fn mspid(&self) -> &str {
        &self.mspid
    }

    /// Returns the subject, most specific attribute first: `CN=peer0.org1.example.com,OU=peer,…`.
    pub fn subject(&self) -> String {
        self.certificate.subject.to_string()
    }

    /// Returns the issuer, in the same format as the subject.
    pub fn issuer(&self) -> String {
        self.certificate.issuer.to_string()
    }

    /// Returns the OUs of the subject, in order. They are not necessarily certified by an authority, see
    /// [`Msp::organizational_units`].
    pub fn ous(&self) -> Vec<String> {
        self.certificate.subject.values(attribute::ORGANIZATIONAL_UNIT).into_iter().map(String::from).collect()
    }

    /// Returns the serial number in lower-case hex.
    pub fn serial(&self) -> String {
        self.certificate.serial_hex()
    }

    /// Returns the start of its validity.
    pub fn not_before(&self) -> SystemTime {
        system_time(self.certificate.not_before)
    }

    /// Returns when it expires.
    pub fn not_after(&self) -> SystemTime {
        system_time(self.certificate.not_after)
    }

    /// Verifies a signature over a message. ECDSA signatures must have low S.
    pub fn verify(&self, signature: &[u8], message: &[u8]) -> Result<()> {
        self.certificate.public_key.verify_message(self.hash_family, signature, message)
    }

    /// Returns the serialized form. It may differ from the bytes that it was read from, and so may the PKI-ID: the
    /// certificate's own signature has low S here.
    pub fn serialize(&self) -> PeerIdentity {
        super::serialized_identity(&self.mspid, self.cert_pem().as_bytes())
    }

    /// Returns the certificate as PEM.
    pub fn cert_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate.raw)
    }
}

/// Shows MSP id and subject.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.mspid, self.certificate.subject)
    }
}

/// Our own identity with its private key. The key is never displayed.
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
    /// Creates an identity from certificate and unencrypted private key, both PEM. `now` is used to check whether the
    /// certificate has expired.
    ///
    /// Fails if the MSP does not accept the certificate as one of its own, if it has expired, or if the key does not
    /// match it.
    pub fn new(msp: &Msp, cert_pem: &[u8], key_pem: &[u8], now: SystemTime) -> Result<SigningIdentity> {
        let identity = msp.identity_from_pem(cert_pem).map_err(context("the signing certificate"))?;
        check_not_expired(&identity, now)?;
        let key = PrivateKey::from_pem(key_pem)?;
        if !key.fits(&identity.certificate.public_key) {
            return Err(config_error("the private key does not match the signing certificate"));
        }
        Ok(SigningIdentity { identity, key: Key::Local(key) })
    }

    /// Creates an identity whose key stays elsewhere, for instance in an HSM: `sign` gets the digest of each message
    /// and returns the signature, with an explicit [`Signature`] form. S may be high. `now` is used to check whether
    /// the certificate has expired.
    ///
    /// Fails if the MSP does not accept the certificate as one of its own, if it has expired, if its key is not ECDSA,
    /// or if a first signature, made here, fails or does not verify under the certificate.
    ///
    /// `sign` is called on any of the library's threads, concurrently, and may block.
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
                Some(_) => "it must sign the digest as it is, without hashing it again",
                None => "give the certificate that belongs to the key",
            };
            let text = "the signing function does not match the signing certificate";
            config_error(format!("{text}: {remedy} ({})", e.message())).with_source(e)
        })?;
        Ok(signer)
    }

    /// Loads the identity from a local MSP's folder: the certificate in `signcerts/` and the key in `keystore/` that
    /// matches it. Errors name the file.
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
        let configured =
            |e: crate::error::Error| config_error(format!("{}: {}", cert.name, e.message())).with_source(e);
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
        Err(config_error(format!("no private key in {keystore} matches {}{why}", cert.name)))
    }

    /// Returns the identity without the key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the serialized form of our identity.
    pub fn serialize(&self) -> PeerIdentity {
        self.identity.serialize()
    }

    /// Returns our PKI-ID, which is derived from MSP id and certificate.
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

/// Shows the identity, never the key.
impl fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signing{:?}", self.identity)
    }
}

/// Message signed to check that key and certificate match. It is not a protobuf message, so the signature cannot be
/// misused.
pub(crate) const PROBE: &[u8] = b"fabric-gossip: does this key belong to this certificate?";

fn check_not_expired(identity: &Identity, now: SystemTime) -> Result<()> {
    match now.duration_since(identity.not_after()) {
        Ok(since) => Err(config_error(format!("signing identity expired {} s ago", since.as_secs()))),
        Err(_) => Ok(()),
    }
}

/// Converts a certificate's time. Every such time is representable on the platforms that matter; on others the nearest
/// is used.
fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(UNIX_EPOCH)
}
