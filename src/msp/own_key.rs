//! The public key of our identity, used to normalise our signatures and to explain wrong ones.

use super::key::PublicKey;
use super::pem;
use super::serialized::SerializedIdentity;
use super::x509::Certificate;
use crate::crypto::PeerIdentity;

/// The key in our own certificate; `None` if our identity is not an X.509 identity.
pub struct OwnKey(Option<PublicKey>);

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnKey").finish_non_exhaustive()
    }
}

impl OwnKey {
    /// Reads the key from a serialized identity. Identities of other kinds have none.
    pub fn of(identity: &PeerIdentity) -> OwnKey {
        let key = || {
            let parsed = SerializedIdentity::parse(identity.as_bytes()).ok()?;
            let block = pem::decode(&parsed.id_bytes)?;
            Certificate::parse(&block.bytes).ok().map(|certificate| certificate.public_key)
        };
        OwnKey(key())
    }

    /// Replaces a high S by n − s: an equivalent signature in the only form that Fabric accepts. Anything but a DER
    /// ECDSA signature for this key's curve is returned unchanged.
    pub fn low_s(&self, signature: Vec<u8>) -> Vec<u8> {
        self.0.as_ref().and_then(|key| key.low_s_from_der(&signature)).unwrap_or(signature)
    }

    /// Explains, as far as possible, why a signature over `message` does not fit the key.
    pub fn explain(&self, signature: &[u8], message: &[u8]) -> &'static str {
        const OTHER_KEY: &str = "the signer's key does not match our certificate, or it signs data other than the \
            message it gets: give the certificate and the key of one pair";
        let Some(key) = &self.0 else { return "the identity and the signer's key must belong together" };
        match key.signed_otherwise(signature, message) {
            Some(remedy) => remedy,
            None => OTHER_KEY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_without_certificate_changes_no_signature() {
        let own = OwnKey::of(&PeerIdentity::from(&b"red/alice"[..]));
        for signature in [&b""[..], b"anything", &[0x30, 6, 2, 1, 1, 2, 1, 1]] {
            assert_eq!(own.low_s(signature.to_vec()), signature);
        }
    }
}
