//! Compares case by case and keeps count: every disagreement is listed, the number of cases is printed and never zero.

use crate::record::Record;
use fabric_gossip::Result;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Counts the comparisons, and keeps the disagreements.
#[derive(Default)]
pub struct Tally<'a> {
    cases: Vec<(String, &'a Record)>,
    wrong: BTreeMap<String, Vec<String>>,
    described: BTreeMap<String, Vec<String>>,
}

impl<'a> Tally<'a> {
    /// Begins a case, which is called by its `id` or `name`. All of its fields must have been read when the tally reports.
    pub fn case(&mut self, recorded: &'a Record) -> Case<'_, 'a> {
        let id = recorded.get("id").unwrap_or(&recorded["name"]).as_str().expect("an id");
        self.cases.push((id.to_owned(), recorded));
        Case { tally: self, id: id.to_owned() }
    }

    pub fn report(mut self, what: &str) {
        let about = |recorded: &Record| recorded.get("what").map(|what| format!(" ({what})")).unwrap_or_default();
        for (id, recorded) in &self.cases {
            let label = format!("{id}{}", about(recorded));
            let unread = recorded.unread();
            if !unread.is_empty() {
                self.wrong.entry(id.clone()).or_default().push(format!("no test reads {}", unread.join(", ")));
            }
            if let Some(mut wrong) = self.wrong.remove(id) {
                wrong.extend(self.described.remove(id).unwrap_or_default());
                self.wrong.insert(label, wrong);
            }
        }
        let cases = self.cases.len();
        println!("{what}: {} of {cases} cases agree", cases - self.wrong.len());
        for (id, wrong) in &self.wrong {
            wrong.iter().for_each(|w| println!("  {id}: {w}"));
        }
        assert!(cases > 0, "no case was run");
        assert!(self.wrong.is_empty(), "{what}: {} cases disagree", self.wrong.len());
    }
}

pub struct Case<'t, 'a> {
    tally: &'t mut Tally<'a>,
    pub id: String,
}

impl Case<'_, '_> {
    pub fn wrong(&mut self, text: String) {
        self.tally.wrong.entry(self.id.clone()).or_default().push(text);
    }

    pub fn same<T: PartialEq + Debug>(&mut self, what: &str, ours: T, recorded: T) {
        if ours != recorded {
            self.wrong(format!("{what}: ours {ours:?}, recorded {recorded:?}"));
        }
    }

    /// Reads fields that describe a step for people; they are listed if the case disagrees.
    pub fn describe(&mut self, step: &Record, names: &[&str]) {
        let fields = names.iter().filter_map(|name| Some(format!("{name} {}", step.get(name)?)));
        self.tally.described.entry(self.id.clone()).or_default().extend(fields);
    }

    /// Takes note of a comparison that was made elsewhere.
    pub fn agree(&mut self, compared: std::result::Result<(), String>) {
        if let Err(why) = compared {
            self.wrong(why);
        }
    }

    /// Compares the verdict, and the rule that it names.
    pub fn verdict<T>(&mut self, what: &str, ours: &Result<T>, recorded: &Record) {
        self.verdict_text(what, ours.as_ref().err().map(|e| e.message()), recorded);
    }

    /// As [`verdict`](Self::verdict), of a text or none.
    pub fn verdict_text(&mut self, what: &str, ours: Option<&str>, recorded: &Record) {
        if ours.is_none() != recorded["ok"].as_bool().expect("a verdict") {
            return self.wrong(format!("{what}: ours {ours:?}, recorded {recorded}"));
        }
        if let Some(ours) = ours {
            let recorded = recorded["error"].as_str().expect("a text");
            if !same_text(ours, recorded) {
                self.wrong(format!("{what}: our text {ours:?}, recorded {recorded:?}"));
            }
        }
    }
}

/// Whether both texts name the same rule. Where one of Go's libraries begins to speak, ours may use other words (about
/// certificates and ASN.1 it says so); its dumps of whole certificates are not specified either. Long recorded texts
/// are cut in the middle, and addresses are left out.
pub fn same_text(ours: &str, recorded: &str) -> bool {
    let foreign = ["asn1: ", "x509: ", "proto: "].iter().filter_map(|mark| Some((recorded.find(mark)?, mark))).min();
    if let Some((at, mark)) = foreign {
        let mark = if *mark == "proto: " { "" } else { mark };
        return match recorded[..at].split_once(CUT) {
            Some((begin, end)) => ours.starts_with(begin) && ours.contains(&format!("{end}{mark}")),
            None => ours.starts_with(&recorded[..at + mark.len()]),
        };
    }
    let recorded = recorded.split_once(" [[").map_or(recorded, |(before, _)| before);
    if let Some((before, _)) = recorded.split_once("<addr>") {
        return ours.starts_with(before);
    }
    match recorded.split_once(CUT) {
        Some((begin, end)) => ours.starts_with(begin) && ours.ends_with(end),
        None => ours.starts_with(recorded),
    }
}

/// The mark for the missing middle of a long text.
const CUT: &str = " …[cut]… ";

#[test]
fn texts_are_the_same_if_the_rule_is() {
    for (ours, recorded) in [
        ("wrong type", "wrong type"),
        (
            "timed out waiting for connection message from 10.0.0.1:7",
            "timed out waiting for connection message from <addr>",
        ),
        ("Failed: asn1: not a sequence", "Failed: asn1: structure error: tags don't match"),
        ("not valid: x509: unknown authority", "not valid: x509: certificate signed by unknown authority"),
        ("Failed unmarshalling: malformed", "Failed unmarshalling: proto: cannot parse invalid wire-format data"),
        ("identity ABCDEF has trailing bytes", "identity AB …[cut]… EF has trailing bytes"),
        ("identity ABCDEF: x509: expired", "identity AB …[cut]… EF: x509: certificate has expired"),
    ] {
        assert!(same_text(ours, recorded), "{ours} / {recorded}");
    }
    for (ours, recorded) in [
        ("wrong type", "no PKI-ID"),
        ("Failed: no numbers", "Failed: asn1: structure error"),
        ("identity ABCDEF", "identity AB …[cut]… EF has trailing bytes"),
        ("timed out", "timed out waiting for connection message from <addr>"),
    ] {
        assert!(!same_text(ours, recorded), "{ours} / {recorded}");
    }
}
