//! signatures.json: signatures of members over messages.

use crate::orgs::{identity, load_all, local_only, text};
use crate::support::{check_sections, hex, load};
use crate::tally::Tally;
use fabric_gossip::crypto::CryptoService;

#[test]
fn signatures_are_judged_as_recorded() {
    let msps = load_all(&load("msp.json"));
    let file = load("signatures.json");
    check_sections(&file, &["cases"]);
    let mut tally = Tally::default();
    for entry in file["cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let (msp, identity, expect) = (&msps[text(&entry["msp"])], identity(&entry["identity"]), &entry["expect"]);
        let (message, signature) = (hex(&entry["message"]).expect("hex"), hex(&entry["signature"]).expect("hex"));
        match msp.deserialize(&identity) {
            Ok(member) => case.verdict("verify", &member.verify(&signature, &message), expect),
            Err(e) => case.wrong(format!("does not deserialize: {e}")),
        }
        let service = local_only(msp);
        case.verdict("service", &service.verify(&identity, &signature, &message), &expect["mcs_verify"]);
    }
    tally.report("signatures");
}
