//! Attempts of impostors, and their rejection.

use super::network::{Network, Peer};
use super::{Found, PATIENCE};
use crate::identity::{KeySource, Me};
use crate::settings::NamedPath;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId};
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::SignedMessage;
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Limits, Pem, StreamEnd, Tls, TlsConfig};
use openssl::sha::sha256;
use openssl::x509::X509;
use serde_json::json;

/// An outsider with a genuine TLS certificate, and an identity of an unknown organisation.
struct Outsider {
    me: Me,
    tls: Tls,
    tls_hash: Vec<u8>,
}

impl Outsider {
    fn new(network: &Network) -> Result<Outsider, String> {
        let text = |e: fabric_gossip::Error| e.to_string();
        let org = Org::new("Org3MSP", "org3.example.com").map_err(text)?;
        let member = org.member("peer0").tls_issued_by(&network.orgs[0]).issue().map_err(text)?;
        let msp = network.dir.path().join("outsider");
        member.write_msp(&msp).map_err(text)?;
        let me = Me::load(org.mspid(), &NamedPath::flag("--msp", &msp), &KeySource::default(), &[])
            .map_err(|e| e.text().unwrap_or_default().to_owned())?;
        let (cert, key) = (Pem::new("certificate", &*member.tls_cert), Pem::new("key", &*member.tls_key));
        let tls = Tls::new(TlsConfig::new(cert, key, network.tls_roots()?)).map_err(text)?;
        Ok(Outsider { me, tls, tls_hash: hash_of(member.tls_cert.as_bytes())? })
    }

    /// Connects to a peer with this connection message, and returns how the peer rejects it.
    fn knock(
        &self,
        at: &Peer,
        pki_id: &PkiId,
        identity: &PeerIdentity,
        hash: Vec<u8>,
        signer: &Me,
    ) -> Result<String, String> {
        let attempt = || {
            let greeting = wire::conn(pki_id, identity, hash.into(), true);
            let greeting = SignedMessage::sign(greeting, |bytes| signer.crypto.sign(bytes))?;
            let transport = at.transport.create(Some(self.tls.clone()), Limits::default())?;
            let client = transport.dial(&at.endpoint, PATIENCE, &Cancel::new())?;
            client.ping(PATIENCE)?;
            let stream = client.open(Some(PATIENCE))?;
            let _ = stream.send(greeting.wire());
            loop {
                if let Err(end) = stream.recv(None) {
                    return Ok(end);
                }
            }
        };
        match attempt().map_err(|e: fabric_gossip::Error| format!("the attempt failed before the handshake: {e}"))? {
            StreamEnd::Remote(status) if status.code != 0 => Ok(status.message),
            StreamEnd::Remote(_) => Err(format!("{} accepted an impostor", at.name)),
            end => Err(format!("{} neither accepted nor refused the impostor: {end}", at.name)),
        }
    }
}

/// Presents an identity of an unknown organisation with genuine certificates.
pub fn stranger(network: &Network) -> Found {
    let outsider = Outsider::new(network)?;
    let me = &outsider.me;
    let reason = outsider.knock(&network.peers[0], &me.pki_id, &me.identity, outsider.tls_hash.clone(), me)?;
    let text = "A stranger is refused: no organisation that the peer trusts issued its identity";
    refused(text, &reason, "cannot be validated")
}

/// Presents another peer's certificate without its key: certificates are public, keys are not.
pub fn thief(network: &Network) -> Found {
    let outsider = Outsider::new(network)?;
    let victim = &network.peers[1].me;
    let at = &network.peers[0];
    let reason = outsider.knock(at, &victim.pki_id, &victim.identity, outsider.tls_hash.clone(), &outsider.me)?;
    let text = format!(
        "A thief with the certificate of {} is refused: its signature was not made with that certificate's key",
        network.peers[1].name
    );
    refused(&text, &reason, "signature")
}

/// Replays a genuine connection message of another TLS connection, as a man in the middle could.
pub fn replay(network: &Network) -> Found {
    let outsider = Outsider::new(network)?;
    let victim = &network.peers[1];
    let home = network.org_dir(1).join("peers").join(&victim.name);
    let cert = std::fs::read(home.join("tls/server.crt")).map_err(|e| e.to_string())?;
    let reason =
        outsider.knock(&network.peers[0], &victim.me.pki_id, &victim.me.identity, hash_of(&cert)?, &victim.me)?;
    let text = format!("A genuine connection message of {}, relayed by a man in the middle, is refused: it belongs to another TLS connection", victim.name);
    refused(&text, &reason, "hash of TLS cert")
}

/// Checks that the refusal has the right reason, given in Fabric's words.
fn refused(text: &str, reason: &str, expected: &str) -> Found {
    match reason.contains(expected) {
        true => Ok((format!("{text}."), json!({"reason": reason}))),
        false => Err(format!("{text}. But the peer gave another reason: \"{reason}\"")),
    }
}

fn hash_of(pem: &[u8]) -> Result<Vec<u8>, String> {
    let der = X509::from_pem(pem).and_then(|cert| cert.to_der()).map_err(|e| e.to_string())?;
    Ok(sha256(&der).to_vec())
}
