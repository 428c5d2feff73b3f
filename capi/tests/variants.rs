//! The enumerations of the Rust interface may grow, so the compiler does not notice a variant for which the C interface has
//! no number. These tests do, from the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the text of every file in the library's `src`.
fn sources(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![fs::read_to_string(&path).unwrap_or_default()],
    };
    entries.flat_map(read).collect()
}

/// Returns the variants of the only public enumeration of this name in a part of the library.
fn variants(part: &str, name: &str) -> Vec<String> {
    let head = format!("\npub enum {name} {{\n");
    let sources = sources(&root().join("src").join(part));
    let bodies: Vec<_> = sources.iter().filter_map(|text| text.split_once(&head)?.1.split_once("\n}")).collect();
    let [(body, _)] = bodies[..] else { panic!("{} enumerations {name}", bodies.len()) };
    let names = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = names.filter(|line| line.starts_with(char::is_uppercase));
    names.map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect()).collect()
}

/// Returns the part of a source of the C interface that follows `from`, as far as the end of a function.
fn code(file: &str, from: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{file} has no {from:?}"));
    rest.split("\n}\n").next().unwrap().to_owned()
}

#[test]
fn every_event_and_notice_has_its_kind() {
    for (part, name, from) in [
        ("comm", "Event", "impl From<comm::Event> for gossip_event"),
        ("discovery", "Notice", "impl From<Notice> for gossip_event"),
        ("discovery", "Change", "impl From<Notice> for gossip_event"),
    ] {
        let (variants, code) = (variants(part, name), code("event.rs", from));
        assert!(variants.len() > 3, "{variants:?}");
        for variant in variants.iter().filter(|variant| *variant != "Membership") {
            assert!(code.contains(&format!("{name}::{variant}")), "{name}::{variant} has no kind");
        }
    }
}

#[test]
fn every_content_has_the_number_of_its_field() {
    let proto = fs::read_to_string(root().join("proto/gossip.proto")).unwrap();
    let message = proto.split_once("message GossipMessage {").unwrap().1;
    let fields = message.split_once("oneof content {").unwrap().1.split_once('}').unwrap().0;
    let mut numbers: Vec<_> =
        fields.lines().filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("= ")).collect();
    numbers.sort_by_key(|(_, number)| number.parse::<u32>().unwrap());
    let declared = code("message.rs", "pub enum gossip_content {");
    let mut listed = declared.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    assert_eq!(listed.next(), Some(("GOSSIP_CONTENT_NONE", "0")));
    let listed: Vec<_> = listed.collect();
    assert_eq!(listed.iter().map(|(_, n)| *n).collect::<Vec<_>>(), numbers.iter().map(|(_, n)| *n).collect::<Vec<_>>());
    let mapped = code("message.rs", "fn content(");
    for (name, _) in listed {
        assert!(mapped.contains(&format!("=> {name},")), "no content is {name}");
    }
}
