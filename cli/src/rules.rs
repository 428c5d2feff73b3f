//! The rules that decide whether an identity is valid: maps a refusal to the broken rule and a suggestion.

use crate::identity::Described;
use fabric_gossip::crypto::{CryptoService, PeerIdentity};
use fabric_gossip::msp::Msp;
use std::sync::Arc;
use std::time::SystemTime;

/// A rule that an identity breaks.
pub struct Broken {
    /// The rule's name, for scripts.
    pub rule: &'static str,
    /// The MSP's error text.
    pub text: String,
    /// A suggestion.
    pub hint: &'static str,
}

/// Names of rules, a part of the text of their refusals, and suggestions. The first match counts, so more specific
/// entries come first.
const RULES: [(&str, &str, &str); 25] = [
    ("msp_id", "expected MSP ID", "the MSP id is different: compare it with the channel configuration"),
    ("identity_form", "SerializedIdentity", "this is not an identity, or it was damaged in transit"),
    ("pem", "PEM", "the certificate must be one PEM block"),
    ("pem", "trailing bytes", "remove what follows the certificate in its file"),
    ("pem", "pem type is", "the PEM block must be a CERTIFICATE"),
    ("canonical_signature", "non canonical signature", "the certificate must be reissued"),
    ("certificate_form", "parseCertificate", "the certificate is damaged or violates X.509"),
    ("key_algorithm", "public key algorithm", "use ECDSA; Ed25519 needs MSP version 3.0"),
    ("certificate_form", "public key", "Fabric does not support its type of key"),
    ("revocation_list", "Authority Key Identifier for crl", "a list in crls/ names no authority: replace it"),
    ("revoked", "has been revoked", "it is on a list in crls/: enroll it again"),
    ("authority_as_member", "Certificate Authority equals true", "this is an authority's certificate: use a member's"),
    ("single_chain", "single validation chain", "keep only one of the authorities with the same key in the MSP"),
    (
        "inner_authority",
        "leaf of the certification tree",
        "an authority with intermediate authorities below it may not issue members",
    ),
    ("chain_length", "length at least 2", "this is a root certificate"),
    ("extended_key_usage", "incompatible key usage", "an extended key usage must include serverAuth, or be omitted"),
    (
        "validity",
        "expired or is not yet valid",
        "its authority was not valid when it was issued, or its validity ends before it begins",
    ),
    ("critical_extension", "critical extension", "it has an unknown critical extension"),
    ("name_constraints", "name constraints", "its authority may not issue for this name"),
    ("name_constraints", "not authorized to sign for this name", "its authority may not issue for this name"),
    ("path_length", "path length", "its chain has more authorities than one of them allows"),
    ("certificate_policies", "invalid policies", "it lacks a certificate policy that its authority demands"),
    ("unknown_authority", "unknown authority", "its authority is not in cacerts/ or intermediatecerts/ of this MSP"),
    ("organizational_unit", "organizational unit", "it needs one of the OUs that config.yaml lists"),
    ("node_ou", "OU", "it needs exactly one of the OUs client, peer, admin, orderer (NodeOUs in config.yaml)"),
];

fn broken(text: &str) -> Broken {
    let found = RULES.iter().find(|(_, part, _)| text.contains(part));
    let (rule, hint) = found.map_or(("other", ""), |(rule, _, hint)| (*rule, *hint));
    Broken { rule, text: text.to_owned(), hint }
}

/// The verdict about an identity.
pub enum Verdict {
    Valid,
    Broken(Broken),
    /// No MSP is that of its organisation.
    UnknownOrganisation,
}

/// Judges an identity. `identity`, `handshake` and a running node share this verdict, because they use the same crypto
/// service. `msps` are those that it was created from; they determine which rule is broken.
pub fn judge(crypto: &dyn CryptoService, msps: &[Arc<Msp>], identity: &PeerIdentity) -> Verdict {
    let described = Described::new(identity);
    if let Err(e) = crypto.validate_identity(identity) {
        let own: Vec<_> = msps.iter().filter(|msp| Some(msp.id()) == described.mspid.as_deref()).collect();
        if own.is_empty() {
            return Verdict::UnknownOrganisation;
        }
        // With several folders of one organisation, the one that knows the authority gives the most precise reason.
        let (mut unreadable, mut invalid) = (None, None);
        for msp in own {
            match msp.deserialize(identity).map(|member| (msp.check_well_formed(identity), member)) {
                Err(e) => drop(unreadable.get_or_insert(e)),
                Ok((Err(e), _)) => drop(invalid.get_or_insert(e)),
                Ok((Ok(()), member)) => match msp.validate(&member) {
                    Err(e) if !e.message().contains("unknown authority") => drop(invalid.get_or_insert(e)),
                    Err(e) => drop(unreadable.get_or_insert(e)),
                    Ok(()) => {}
                },
            }
        }
        return Verdict::Broken(broken(invalid.or(unreadable).unwrap_or(e).message()));
    }
    let expires = crypto.expiration(identity).ok().flatten();
    match expires.is_some_and(|at| at < SystemTime::now()) {
        false => Verdict::Valid,
        true => {
            let until = described.expires().unwrap_or_default();
            let text = format!("the identity expired on {until}");
            Verdict::Broken(Broken { rule: "expired", text, hint: "enroll it again" })
        }
    }
}
