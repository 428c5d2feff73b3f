//! MSP folders that operators have, with the verdict of Fabric 0c423ac on each: loaded as the local MSP `Org1MSP` with its
//! own identity, the library comes to the same one. (And the tool: `cli/tests/cli/cases.rs`.)
//!
//! `FABRIC_GOSSIP_CASES` names another file of the same form, see [`folders::Case`].

mod folders;

use fabric_gossip::msp::{Msp, SigningIdentity};
use folders::{assert_agreed, cases, MSPID};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Loads a folder as a node does and returns the PKI-ID of its own identity, or why there is none.
fn load(dir: &Path) -> Result<String, String> {
    let load = || {
        let msp = Msp::load(dir, MSPID)?;
        let signer = SigningIdentity::load(&msp, dir, SystemTime::now())?;
        let own = msp.deserialize(&signer.serialize())?;
        msp.validate(&own)?;
        Ok(signer.pki_id().to_string())
    };
    load().map_err(|e: fabric_gossip::Error| e.to_string())
}

#[test]
fn the_library_judges_every_folder_as_fabric_does() {
    let cases = cases();
    let judged = cases.iter().filter_map(|case| {
        let folder = case.folder();
        let start = Instant::now();
        let came = load(&folder.path);
        let took = start.elapsed();
        match took < Duration::from_secs(1) {
            true => case.compare(came),
            false => Some(format!("{case}\n  took    {took:?}")),
        }
    });
    assert_agreed(cases.len(), judged.collect());
}

#[test]
fn a_case_with_an_unknown_or_missing_field_is_refused() {
    let case =
        r#"{"id": "x", "what": "w", "files": {"a": {"text": "t"}}, "verdict": "ok", "pki_id": null, "text": "t"}"#;
    assert!(folders::parse(&format!("[{case}]")).is_ok());
    for (from, to) in [
        ("\"id\"", "\"name\""),
        ("\"id\": \"x\"", "\"id\": \"x\", \"more\": 1"),
        ("\"text\": \"t\"}}", "\"texts\": \"t\"}}"),
        ("\"text\": \"t\"}}", "\"text\": \"t\", \"dir\": true}}"),
        ("\"ok\"", "\"fine\""),
        (", \"pki_id\": null", ""),
    ] {
        let changed = case.replacen(from, to, 1);
        assert_ne!(changed, case);
        assert!(folders::parse(&format!("[{changed}]")).is_err(), "{changed}");
    }
}
