//! YAML is read as Go's libraries read it, within bounds of time and memory.

use fabric_gossip::internals::yaml::{Document, Node, ScalarKind, MAX_DEPTH, MAX_SIZE};
use std::time::{Duration, Instant};

fn document(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

fn refused(text: &str) -> String {
    let parsed = Document::parse(text.as_bytes()).and_then(|document| document.check());
    parsed.expect_err(text).to_string()
}

/// Returns the value of the key `a` at the root.
fn a(document: &Document) -> Node<'_> {
    document.root().unwrap().map().unwrap().unwrap().get("a").expect("the key a")
}

#[test]
fn plain_scalars_keep_their_text_where_text_is_wanted() {
    for text in "0123 0x1F 0o17 +12 -0 00 True TRUE 1_000 1.0 .inf y 2001-12-14 12:30:45 <<".split(' ') {
        assert_eq!(a(&document(&format!("a: {text}"))).text().unwrap(), Some(text));
    }
}

#[test]
fn null_in_all_its_forms_is_no_text() {
    for text in ["", "~", "null", "Null", "NULL", "!!null ~"] {
        assert_eq!(a(&document(&format!("a: {text}"))).text().unwrap(), None, "{text}");
    }
    for text in ["''", "\"null\"", "!!str ~", "nil", "nUll"] {
        assert!(a(&document(&format!("a: {text}"))).text().unwrap().is_some(), "{text}");
    }
    assert_eq!(a(&document("a: !!str")).text().unwrap(), Some(""));
}

#[test]
fn booleans_are_those_of_go() {
    for text in "true True TRUE y Y yes Yes YES on On ON \"yes\" 'on' !!bool true".split(' ').filter(|t| *t != "!!bool")
    {
        assert_eq!(a(&document(&format!("a: {text}"))).boolean().unwrap(), Some(true), "{text}");
    }
    for text in "false False FALSE n N no No NO off Off OFF \"no\"".split(' ') {
        assert_eq!(a(&document(&format!("a: {text}"))).boolean().unwrap(), Some(false), "{text}");
    }
    for text in ["\"true\"", "'true'", "tRue", "yEs", "1", "0", "[true]", "{}", "text", "!!str true"] {
        let document = document(&format!("x: 1\na: {text}"));
        let error = a(&document).boolean().expect_err(text).to_string();
        assert!(error.contains("line 2"), "{error}");
    }
    assert_eq!(a(&document("a: !!bool \"true\"")).boolean().unwrap(), Some(true));
    assert_eq!(a(&document("a: ~")).boolean().unwrap(), None);
}

#[test]
fn numbers_have_the_value_that_go_gives_them() {
    let kind = |text: &str| a(&document(&format!("a: {text}"))).scalar().unwrap().unwrap().kind;
    let integers = [("0x1F", 31), ("0o17", 15), ("017", 15), ("+12", 12), ("1_000", 1000), ("0b11", 3), ("-0x10", -16)];
    for (text, value) in integers {
        assert_eq!(kind(text), ScalarKind::Int(value), "{text}");
    }
    assert_eq!(kind("18446744073709551615"), ScalarKind::Int(u64::MAX.into()));
    assert_eq!(kind("-9223372036854775808"), ScalarKind::Int(i64::MIN.into()));
    for (text, value) in
        [("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("08", 8.0), ("18446744073709551616", 2f64.powi(64))]
    {
        assert_eq!(kind(text), ScalarKind::Float(value), "{text}");
    }
    for text in ["0x", "1,000", "12:30:45", "+", "1e", "0x-1", "--1", "\"1\"", "infinity", "1.2.3"] {
        assert_eq!(kind(text), ScalarKind::Text, "{text}");
    }
}

#[test]
fn a_byte_order_mark_is_removed_and_utf_16_is_read() {
    let text = "a: grüße\n";
    let units = || text.encode_utf16();
    let with_mark = |mark: &[u8], rest: Vec<u8>| [mark, &rest].concat();
    for bytes in [
        with_mark(b"\xEF\xBB\xBF", text.into()),
        with_mark(b"\xFF\xFE", units().flat_map(u16::to_le_bytes).collect()),
        with_mark(b"\xFE\xFF", units().flat_map(u16::to_be_bytes).collect()),
    ] {
        assert_eq!(a(&Document::parse(&bytes).unwrap()).text().unwrap(), Some("grüße"));
    }
    for bytes in [&b"\xFF\xFEa"[..], b"\xFF\xFE\x00\xD8", b"a: \xFF", b"a: \xC3"] {
        assert!(Document::parse(bytes).unwrap_err().to_string().contains("is not UTF"), "{bytes:?}");
    }
}

#[test]
fn what_gos_parser_lets_pass_is_read() {
    for text in [
        "a:\tb",
        "a: b\t",
        "a: b\n...",
        "a: b\n...\ngarbage: [",
        "a: b\n---\n x: [\n",
        "%YAML 1.1\n---\na: b",
        "a: b\u{85}c: d",
        "a: b\u{2028}c: d",
        "a: b\r\nc: d\r\n",
        "1: 2\n~: 3\na: b",
        "? a\n: b",
        "\"a\": 'b'",
        "a: !foo b",
        "a: &x b\nc: *x",
    ] {
        assert_eq!(a(&document(text)).text().unwrap(), Some("b"), "{text:?}");
    }
    for text in ["", "# nothing", "---", "\u{FEFF}"] {
        let document = document(text);
        assert!(document.root().is_none_or(|root| root.is_null().unwrap()), "{text:?}");
    }
}

#[test]
fn what_gos_parser_refuses_is_refused() {
    for (text, named) in [
        ("a: \0", "line 1"),
        ("a: b\n# \u{7}\n", "line 2"),
        ("a: [", ""),
        ("a: @b", ""),
        ("a: `b", ""),
        ("\ta: b", "line 1"),
        ("a:\n\t\tb: c", "line 2"),
        ("a:\n-\tb: c", "line 2"),
        ("a: b\na: c", "line 2"),
        ("a: {b: 1, b: 2}", "\"b\""),
        ("a: *unknown", "unknown"),
        ("a: &x [*x]", "contains itself"),
        ("a: !!int b", "tag"),
        ("%YAML 1.2\n---\na: b", "%YAML"),
        ("{a: b}: c", "key"),
        ("a: 1\n: 2", "key"),
        ("<<: 1\na: b", "merge"),
        ("x: &x [1]\n<<: *x\na: b", "merge"),
    ] {
        let error = refused(text);
        assert!(error.contains(named) && !error.contains(char::is_control), "{text:?}: {error:?}");
    }
}

#[test]
fn merge_keys_supply_what_is_missing_and_the_first_one_wins() {
    for text in [
        "x: &x {a: b}\n<<: *x",
        "x: &x {a: b}\ny: &y {a: c}\n<<: [*x, *y]",
        "x: &x {a: c}\n<<: *x\na: b",
        "x: &x {a: b}\ny: &y {<<: *x, c: d}\n<<: *y",
        "x: &x {a: c}\ny: &y {<<: *x, a: b}\n<<: *y",
        "<<: {a: b}",
        "? !!merge m\n: {a: b}",
    ] {
        assert_eq!(a(&document(text)).text().unwrap(), Some("b"), "{text}");
    }
    // An own key counts even if it is null, and a quoted one is no merge key.
    assert_eq!(a(&document("x: &x {a: b}\n<<: *x\na:")).text().unwrap(), None);
    let quoted = document("x: &x {a: b}\n\"<<\": *x");
    assert!(quoted.root().unwrap().map().unwrap().unwrap().get("a").is_none());
}

#[test]
fn keys_are_found_in_any_case_unless_two_are_the_same_setting() {
    let document = document("Peer: {tLs: 1}\nb: 2\nB: 3");
    let root = document.root().unwrap().map().unwrap().unwrap();
    let peer = root.get_any_case("peer").unwrap().unwrap().map().unwrap().unwrap();
    assert_eq!(peer.get_any_case("TLS").unwrap().unwrap().text().unwrap(), Some("1"));
    assert!(root.get_any_case("absent").unwrap().is_none());
    let error = root.get_any_case("b").unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("same setting"), "{error}");
}

/// Reads a document and walks through all that a reader may ask of it.
pub fn cost(text: &str) -> Duration {
    let start = Instant::now();
    if let Ok(document) = Document::parse(text.as_bytes()) {
        let _ = document.check();
        if let Some(Ok(Some(root))) = document.root().map(|root| root.map()) {
            let _ = (root.get("NodeOUs"), root.get_any_case("peer"));
        }
    }
    start.elapsed()
}

/// Returns documents of the largest size that cost most to read, with their names.
pub fn largest_texts() -> Vec<(&'static str, String)> {
    let fill = |unit: &str| unit.repeat(MAX_SIZE / unit.len());
    let levels = |open: &str| open.repeat(MAX_DEPTH);
    let mut anchors: String = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".into();
    let mut merges: String = "a0: &a0 {b: c}\n".into();
    for i in 1..15_000 {
        let last = i - 1;
        anchors += &format!("a{i}: &a{i} [*a{last},*a{last},*a{last},*a{last}]\n");
        merges += &format!("a{i}: &a{i} {{<<: [*a{last},*a{last},*a{last}]}}\n");
    }
    let keys: String = (0..60_000).map(|i| format!("key{i}: v\n")).collect();
    let texts = [
        ("nested aliases", anchors),
        ("nested merges", merges),
        ("many keys", keys),
        ("lists", fill("[")),
        ("mappings", fill("{a: ")),
        ("empty lists", format!("[{}]", &fill("[],")[..MAX_SIZE - 8])),
        ("nested blocks", fill("- ")),
        ("keys in a line", fill("a: ")),
        ("deep and wide", levels("[") + &fill("a,")[..MAX_SIZE - MAX_DEPTH - 1]),
        ("questions", fill("? ")),
        ("anchors", fill("&a ")),
        ("aliases", format!("&a x: {}", &fill("\n- *a")[..MAX_SIZE - 10])),
        ("tags", fill("!!str ")),
        ("directives", fill("%TAG !a! b\n")),
        ("comments", fill("#\n")),
        ("quotes", fill("\"")),
        ("one scalar", fill("a")),
        ("blank lines", fill("\n")),
        ("literal", format!("a: |\n{}", &fill("\n b")[..MAX_SIZE - 10])),
        ("escapes", format!("\"{}\"", &fill("\\n")[..MAX_SIZE - 4])),
        ("documents", fill("---\n")),
        ("tabs", fill("\t")),
        ("blanks", format!("[{}]", &fill("a,   ")[..MAX_SIZE - 8])),
    ];
    let cut = |(what, mut text): (&'static str, String)| {
        text.truncate(MAX_SIZE);
        (what, text)
    };
    texts.into_iter().map(cut).collect()
}

#[test]
fn a_file_of_the_largest_size_is_read_within_a_second() {
    for (what, text) in largest_texts() {
        // The machine may be busy with something else now and then.
        let took = (0..3).map(|_| cost(&text)).find(|took| *took < Duration::from_secs(1));
        assert!(took.is_some(), "{what} takes more than a second");
    }
}

#[test]
fn a_file_beyond_the_largest_size_or_depth_is_refused() {
    let error = refused(&"#".repeat(MAX_SIZE + 1));
    assert!(error.contains("at most"), "{error}");
    refused(&"[".repeat(MAX_DEPTH + 1));
    document(&format!("{}{}", "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1)));
}
