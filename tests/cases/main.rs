//! MSP folders that operators have, with the verdict of Fabric 0c423ac on each: loaded as the local MSP `Org1MSP` with its
//! own identity, the library and the tool come to the same one.
//!
//! `FABRIC_GOSSIP_CASES` names another file of the same form, see [`folders::Case`].

mod folders;

use fabric_gossip::msp::{Msp, SigningIdentity};
use folders::{cases, Case, Verdict, MSPID};
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

fn compare(case: &Case, came: Result<String, String>) -> Option<String> {
    let agreed = match (&case.verdict, &came) {
        (Verdict::Ok, Ok(pki_id)) => case.pki_id.as_deref() == Some(pki_id.as_str()),
        (Verdict::Refused | Verdict::Crash, Err(_)) => true,
        _ => false,
    };
    (!agreed).then(|| format!("{case}\n  here    {came:?}"))
}

fn assert_agreed(total: usize, differing: Vec<String>) {
    eprintln!("{} of {total} cases agree", total - differing.len());
    assert!(differing.is_empty(), "{} of {total} differ:\n{}", differing.len(), differing.join("\n"));
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
            true => compare(case, came),
            false => Some(format!("{case}\n  took    {took:?}")),
        }
    });
    assert_agreed(cases.len(), judged.collect());
}

/// The tool says of the identity in `signcerts` whether its MSP accepts it. It needs no key for that, so a case that fails
/// for its key alone is judged by `handshake`, which must load one before it dials.
#[cfg(feature = "cli")]
#[test]
fn the_tool_judges_every_folder_as_fabric_does() {
    let cases = cases();
    let judged = cases.iter().filter_map(|case| {
        let folder = case.folder();
        compare(case, folders::tool::judge(&folder.path, case.needs_key()))
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
