//! Reads recorded cases and keeps count of them.

use crate::record::Record;
use std::path::PathBuf;

/// The file `name` of the recorded cases: of this repository, or of the folder that `FABRIC_GOSSIP_VECTORS` names.
pub fn load(name: &str) -> Record {
    let own = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"));
    let path = std::env::var_os("FABRIC_GOSSIP_VECTORS").map_or_else(own, PathBuf::from).join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (file, meta) = (Record::from(value.clone()), Record::from(value["meta"].clone()));
    assert_eq!(meta["file"].as_str(), name.strip_suffix(".json"), "{}", path.display());
    assert_eq!(meta["binary"].as_str(), Some("hex"), "{}", path.display());
    let [commit, seed, at] = ["fabric_commit", "seed", "recorded_unix"].map(|name| &meta[name]);
    println!("{name}: recorded from Fabric {commit} with seed {seed} at {at}");
    assert_eq!(meta.unread(), [""; 0], "{}: fields of meta that no test reads", path.display());
    file
}

/// Every list of cases in the file has a test: a list that none of us knows would be skipped without a word.
pub fn check_sections(file: &Record, known: &[&str]) {
    let lists = file.as_object().expect("an object").iter().filter(|(_, value)| value.is_array());
    for (name, cases) in lists {
        assert!(known.contains(&name.as_str()), "no test runs the {} cases of {name}", cases.as_array().unwrap().len());
    }
    known.iter().for_each(|name| assert!(file[name].is_array(), "no list {name}"));
}

/// Runs `check` on every case of the list `section`. Each case that disagrees is printed, and the test fails at the
/// end, as it does for a case with a field that was not read; the number of cases is printed and is never zero.
pub fn each(file: &Record, section: &str, check: impl Fn(&Record) -> Result<(), String>) {
    let cases = file[section].as_array().unwrap_or_else(|| panic!("no list {section}"));
    assert!(!cases.is_empty(), "{section} is empty");
    let mut failed = 0;
    for case in cases {
        let (id, what) = (&case["id"], &case["what"]);
        let label = format!("{id} ({what})");
        let read = || match case.unread() {
            unread if unread.is_empty() => Ok(()),
            unread => Err(format!("no test reads {}", unread.join(", "))),
        };
        if let Err(why) = check(case).and_then(|()| read()) {
            failed += 1;
            println!("{section} {label}: {why}");
        }
    }
    println!("{section}: {} of {} cases agree", cases.len() - failed, cases.len());
    assert_eq!(failed, 0, "{section}: cases disagree");
}

/// Decodes bytes from hex; `None` for null and for a missing value.
pub fn hex(value: &Record) -> Option<Vec<u8>> {
    value.as_str().map(unhex)
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len() % 2 == 0, "odd hex {text}");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect(text)).collect()
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Ok if both are the same, else both of them.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, expected: T) -> Result<(), String> {
    if ours == expected {
        return Ok(());
    }
    Err(format!("{what} is {ours:?}, expected {expected:?}"))
}
