//! Certificates and revocation lists in forms that no sound authority gives them: the verdict is that of Go's X.509 library,
//! and so Fabric's.

use crate::issuer::{self, ec_key, Issuer};
#[allow(dead_code)]
use fabric_gossip::msp::{Msp, MspVersion};
use fabric_gossip::Result;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;

fn text<T>(result: Result<T>) -> String {
    result.err().expect("an error").message().to_owned()
}

/// As for Go, parameters of PKCS #1 algorithms do not matter, and SHA-1 is good for revocation lists only.
#[test]
fn rsa_authorities_may_leave_parameters_out_and_use_sha1_in_lists_only() {
    let issuer = Issuer::with_key(PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap());
    let rsa = |last: u8, parameters: &[u8]| {
        let oid = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
        issuer::der(0x30, &[&oid, parameters])
    };
    let (sha1, sha256) = (MessageDigest::sha1(), MessageDigest::sha256());
    let msp = issuer.msp(MspVersion::default(), &[]);
    let cert = issuer.issue(7, &ec_key(Nid::X9_62_PRIME256V1));
    let judge = |msp: &Msp, algorithm: &[u8], digest| {
        let cert = issuer.sign_by(&rsa(11, &[5, 0]), algorithm, digest, &cert);
        msp.validate(&msp.deserialize(&issuer::identity(&cert))?)
    };
    for parameters in [&[5, 0][..], &[], &[4, 1, 7], &[5, 0, 5, 0]] {
        judge(&msp, &rsa(11, parameters), sha256).expect("valid");
    }
    assert!(text(judge(&msp, &rsa(11, &[5]), sha256)).contains("x509: malformed"));
    assert!(text(judge(&msp, &rsa(5, &[5, 0]), sha1)).contains("insecure algorithm SHA1"));

    // MD5 is good for nothing, and so is a wrong signature.
    for (algorithm, digest, counts) in [
        (rsa(11, &[5, 0]), sha256, true),
        (rsa(11, &[]), sha256, true),
        (rsa(5, &[5, 0]), sha1, true),
        (rsa(5, &[]), sha1, true),
        (rsa(5, &[5, 0]), sha256, false),
        (rsa(4, &[5, 0]), MessageDigest::md5(), false),
    ] {
        let list = issuer.revoke_by(&algorithm, 7, |content| issuer.sign_over(digest, content));
        let verdict = judge(&issuer.msp(MspVersion::default(), &[list]), &rsa(11, &[5, 0]), sha256);
        match counts {
            true => assert!(text(verdict).contains("has been revoked"), "{algorithm:?}"),
            false => verdict.expect("a list that does not count"),
        }
    }
}

/// Superfluous and unusual parts of a certificate are judged as by Go.
#[test]
fn odd_certificates_are_read_as_go_reads_them() {
    let issuer = Issuer::new();
    let msp = issuer.msp(MspVersion::default(), &[]);
    let cert = issuer.issue(7, &ec_key(Nid::X9_62_PRIME256V1)).to_der().unwrap();
    let judge = |cert: &[u8]| msp.validate(&msp.deserialize(&issuer::identity(cert))?);
    judge(&cert).expect("valid");
    let algorithm = issuer::der(0x30, &[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let content = issuer::signed_content(&cert);
    let sign = |content: &[u8]| {
        let content = issuer::der(0x30, &[content]);
        (issuer.sign(&content), content)
    };
    let signed = |content: &[u8]| {
        let (signature, content) = sign(content);
        issuer::der(0x30, &[&content, &algorithm, &issuer::der(0x03, &[&[0], &signature])])
    };
    let replaced = |old: &[u8], new: &[u8]| {
        let at = content.windows(old.len()).position(|part| part == old).expect("it is there");
        [&content[..at], new, &content[at + old.len()..]].concat()
    };
    // Data after the extensions is ignored.
    judge(&signed(&[&content[..], &[0x25, 1, 7]].concat())).expect("valid");
    // The bits of a signature are a number: bits unused at the end are missing at the beginning.
    let (signature, part) = sign(&content);
    let shifted: Vec<u8> =
        (0..signature.len()).map(|i| signature[i] << 1 | signature.get(i + 1).map_or(0, |next| next >> 7)).collect();
    let bits = issuer::der(0x03, &[&[1], &shifted]);
    judge(&issuer::der(0x30, &[&part, &algorithm, &bits])).expect("valid");
    // A name has text in it and nothing else; its OIDs fit in 31 bits each.
    let refused = |content: &[u8], why: &str| {
        let text = text(judge(&signed(content)));
        assert!(text.contains(why), "{text}");
    };
    refused(&replaced(b"\x0c\x05peer7", b"\x04\x05peer7"), "x509: invalid RDNSequence");
    // No data follows the version in its element.
    refused(&[&[0xa0, 6, 2, 1, 2, 2, 1, 2], &content[5..]].concat(), "x509: invalid version");
}
