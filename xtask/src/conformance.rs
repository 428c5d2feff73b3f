//! Compares the tests with the documents that name them.

use crate::markdown::{code, rows};
use crate::{paths, source, tool, Outcome};
use std::collections::BTreeSet;

/// Checks every row of docs/conformance.md, and that the tests named in other documents exist.
pub fn run() -> Outcome {
    let sources: Vec<String> = tool::files(paths::TESTS, "rs")?.iter().map(tool::read).collect::<Result<_, _>>()?;
    let tokens: Vec<_> = sources.iter().map(|source| source::tokens(source)).collect();
    let tests: BTreeSet<&str> = tokens.iter().flat_map(|tokens| source::tests(tokens)).collect();
    let mut verdict = Verdict::default();
    verdict.check_rows(&tool::read(paths::CONFORMANCE)?, &tests);
    for document in paths::CLAIMS {
        verdict.check_claims(document, &tool::read(document)?, &tests);
    }
    verdict.report()
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Verdict {
    rows: usize,
    claims: usize,
    open: Vec<String>,
    /// Marked open although a test holds them.
    closed: Vec<String>,
    missing: Vec<String>,
}

impl Verdict {
    /// A row has a test named after it, or names the test that covers it, or is marked open.
    fn check_rows(&mut self, document: &str, tests: &BTreeSet<&str>) {
        for row in rows(document, None) {
            let [name, _, by] = row.cells.as_slice() else { continue };
            if !is_row(name) {
                continue;
            }
            self.rows += 1;
            let has_test = tests.iter().any(|test| is_named_after(test, &name.to_lowercase()));
            match by.as_str() {
                "open" if has_test => self.closed.push(name.clone()),
                "open" => self.open.push(name.clone()),
                "" if has_test => {}
                "" => self.missing.push(name.clone()),
                // A named test has to exist, even if another one is named after the row.
                _ => {
                    let absent = code(by).into_iter().filter(|test| !tests.contains(test));
                    self.missing.extend(absent.map(|test| format!("{name}: {test}")));
                    if code(by).is_empty() {
                        self.missing.push(format!("{name}: {by:?} is not the name of a test"));
                    }
                }
            }
        }
    }

    /// A claim names the tests that show it in its last column.
    fn check_claims(&mut self, path: &str, document: &str, tests: &BTreeSet<&str>) {
        for row in rows(document, None) {
            self.claims += 1;
            let named = code(row.cells.last().map_or("", String::as_str));
            let place = format!("{path}:{}", row.line);
            if named.is_empty() {
                self.missing.push(format!("{place}: no test is named"));
            }
            let absent = named.into_iter().filter(|test| !tests.contains(test));
            self.missing.extend(absent.map(|test| format!("{place}: {test}")));
        }
    }

    fn report(&self) -> Outcome {
        if self.rows == 0 || self.claims == 0 {
            return Err(format!("conformance: {} rows and {} claims were found", self.rows, self.claims));
        }
        if !self.missing.is_empty() {
            return Err(format!("conformance: no test for:\n  {}", self.missing.join("\n  ")));
        }
        if !self.closed.is_empty() {
            return Err(format!(
                "conformance: marked open in {} although a test is named after them: {}",
                paths::CONFORMANCE,
                self.closed.join(" ")
            ));
        }
        let open = if self.open.is_empty() { String::new() } else { format!(", open: {}", self.open.join(" ")) };
        println!("conformance: {} rows{open}, {} claims", self.rows, self.claims);
        Ok(())
    }
}

/// A row's name is a capital letter and a number.
fn is_row(name: &str) -> bool {
    let digits = name.strip_prefix(|c: char| c.is_ascii_uppercase());
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The name of a test holds the row as one of its words, and other words behind it.
fn is_named_after(test: &str, row: &str) -> bool {
    let mut words = test.split('_');
    words.any(|word| word == row) && words.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(document: &str, tests: &[&str]) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.check_rows(document, &tests.iter().copied().collect());
        verdict
    }

    #[test]
    fn a_row_needs_a_test_named_after_it_or_the_name_of_one() {
        let document = "| Row | What holds | Checked by |\n|---|---|---|\n| W1 | a | |\n| W2 | b | `replayed` |\n| W3 | c | open |\n";
        let found = rows_of(document, &["w1_holds", "replayed"]);
        assert_eq!((found.rows, found.open, found.missing, found.closed), (3, vec!["W3".into()], vec![], vec![]));
        let found = rows_of(document, &["w11_holds", "w3_holds"]);
        assert_eq!(
            (found.missing, found.closed),
            (vec!["W1".to_owned(), "W2: replayed".into()], vec!["W3".to_owned()])
        );
    }

    #[test]
    fn a_cell_without_a_test_or_open_is_refused() {
        let found = rows_of("| W1 | a | later |\n", &["w1_holds"]);
        assert_eq!(found.missing, [r#"W1: "later" is not the name of a test"#]);
    }

    #[test]
    fn a_test_is_named_after_a_row_as_a_word_of_its_name() {
        assert!(is_named_after("w1_holds", "w1") && is_named_after("m3_m7_hold", "m7"));
        assert!(!is_named_after("w11_holds", "w1") && !is_named_after("w1", "w1") && !is_named_after("xw1_a", "w1"));
    }

    #[test]
    fn every_claim_names_tests_that_exist() {
        let mut verdict = Verdict::default();
        let document = "| What | Shown by |\n|---|---|\n| a | `x` `y` |\n| b | nothing |\n";
        verdict.check_claims("d.md", document, &BTreeSet::from(["x"]));
        assert_eq!((verdict.claims, verdict.missing), (2, vec!["d.md:3: y".into(), "d.md:4: no test is named".into()]));
    }

    #[test]
    fn documents_without_rows_do_not_pass() {
        assert!(Verdict::default().report().is_err());
        let verdict = |closed: &[&str]| Verdict {
            rows: 1,
            claims: 1,
            closed: closed.iter().map(|row| row.to_string()).collect(),
            ..Verdict::default()
        };
        assert!(verdict(&[]).report().is_ok() && verdict(&["W1"]).report().unwrap_err().contains("W1"));
    }
}
