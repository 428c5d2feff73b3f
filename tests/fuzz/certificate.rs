//! The input is a certificate: DER, which is signed by an authority before it is judged, or PEM as it stands.

use crate::org::AUTHORITY;
use fabric_gossip::msp::{serialized_identity, Identity, Msp};
use fabric_gossip::Result;

const MSPID: &str = "FuzzMSP";

/// Whether it is a valid member's.
pub fn run(data: &[u8]) -> bool {
    match data.first() {
        Some(0x30) => judge(&pem(data)) | AUTHORITY.sign(data).is_some_and(|signed| judge(&pem(&signed))),
        _ => judge(data),
    }
}

/// Returns the verdict of an MSP on a certificate in PEM, and checks that it is consistent.
fn judge(pem: &[u8]) -> bool {
    let msp = &AUTHORITY.msp;
    let identity = serialized_identity(MSPID, pem);
    let _ = msp.check_well_formed(&identity);
    let member = msp.deserialize(&identity);
    assert_eq!(text(&member), text(&msp.deserialize(&identity)), "the same verdict again");
    let Ok(member) = member else { return false };

    let verdict = msp.validate(&member);
    // The form in which it is kept is a fixed point: read again it is the same, and well formed.
    let kept = member.serialize();
    let again = msp.deserialize(&kept).expect("its own form");
    assert_eq!(again.serialize(), kept);
    msp.check_well_formed(&kept).expect("its own form");
    assert_eq!(text(&msp.validate(&again)), text(&verdict), "in its own form");
    if verdict.is_ok() {
        check_member(msp, &again);
    }
    let _ = (member.subject(), member.issuer(), member.serial(), member.not_before(), member.not_after());
    let _ = (member.verify(pem, pem), format!("{member:?}"));
    verdict.is_ok()
}

/// Checks that a valid member has exactly one role, and is not the revoked one.
fn check_member(msp: &Msp, member: &Identity) {
    let roles = ["client", "peer", "admin", "orderer"];
    let ous = msp.organizational_units(member);
    assert_eq!(ous.iter().filter(|ou| roles.contains(&ou.name.as_str())).count(), 1, "{ous:?}");
    assert_eq!(ous.into_iter().map(|ou| ou.name).collect::<Vec<_>>(), member.ous());
    assert_eq!(member.issuer(), "CN=ca");
    assert_ne!(member.serial(), "42", "it was revoked");
}

fn text<T>(result: &Result<T>) -> Option<String> {
    result.as_ref().err().map(|e| e.to_string())
}

fn pem(der: &[u8]) -> Vec<u8> {
    let text = openssl::base64::encode_block(der);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(64).collect();
    [b"-----BEGIN CERTIFICATE-----\n", &lines.join(&b'\n')[..], b"\n-----END CERTIFICATE-----\n"].concat()
}
