//! Reads the marked blocks of a page, turns those of a page of the guide into one script that runs them in their order, and
//! compares what they print.
//!
//! The marks behind a block's language decide what happens to it:
//!
//! | Block | Effect |
//! |---|---|
//! | `sh,run` | runs, in the same shell as the other blocks of the page |
//! | `sh,slow` | runs only for a [reader](Way::Reader): it installs or compiles something that takes long |
//! | `rust,compile` `rust,run` | is compiled against the library; `run` also runs it, in the page's folder |
//! | any language, `file=NAME` | is written to this file of the page's folder, for later blocks |
//! | `text,printed` | each line is printed, in this order, by the last block that ran; `…` stands for any text |
//! | `sh,make` | each line is a command of make, and make accepts its target: [`commands`](crate::commands) |
//! | any language, `by=NAME` | a script reads it by this name, and runs it: [`commands`](crate::commands) |
//!
//! A block in the language of a program or shell without a mark is an error.

use crate::markdown::{fences, Fence};
use std::fmt::Write;

/// Languages whose blocks need a mark.
const PROGRAMS: &[&str] = &["sh", "bash", "rust", "c", "cpp", "python", "go", "java", "js"];

/// A block, and what happens to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub line: usize,
    pub language: String,
    pub text: String,
    pub file: Option<String>,
    pub compile: bool,
    pub run: bool,
    pub slow: bool,
    pub make: bool,
    pub by: Option<String>,
    printed: bool,
}

/// The surroundings in which a page runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The tool, the libraries and the Rust programs of this build are in place.
    Built,
    /// Nothing is in place: a reader types every command of the page, and compiles its Rust programs by one of them.
    Reader,
}

impl Block {
    /// Returns whether the block runs by itself.
    pub fn runs(&self, way: Way) -> bool {
        self.run
            && match way {
                Way::Built => !self.slow,
                Way::Reader => !self.compile,
            }
    }

    fn read(fence: Fence) -> Result<Block, String> {
        let mut words = fence.info.split(',');
        let language = words.next().unwrap_or_default().to_owned();
        let mut block = Block { line: fence.line, language, text: fence.text, ..Block::default() };
        let (rust, shell) = (block.language == "rust", block.language == "sh");
        let mut marked = false;
        for mark in words {
            marked = true;
            match mark {
                "compile" if rust => block.compile = true,
                "run" if rust => (block.compile, block.run) = (true, true),
                "run" if shell => block.run = true,
                "slow" if shell => (block.run, block.slow) = (true, true),
                "printed" if block.language == "text" => block.printed = true,
                "make" if shell => block.make = true,
                _ => match mark.split_once('=') {
                    Some(("file", name)) if is_inside(name) => block.file = Some(name.to_owned()),
                    Some(("by", name)) if is_word(name) => block.by = Some(name.to_owned()),
                    _ => return Err(format!("{}: unknown mark {mark:?} of a block in {}", block.line, block.language)),
                },
            }
        }
        if !marked && PROGRAMS.contains(&block.language.as_str()) {
            return Err(format!("{}: a block in {} has no mark: nothing tests it", block.line, block.language));
        }
        Ok(block)
    }
}

/// A file that is written to the page's folder must not be elsewhere.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(|part| !part.is_empty() && part != "..")
}

/// A name that a script passes as one word.
fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// The blocks of a page.
pub struct Page {
    pub blocks: Vec<Block>,
}

impl Page {
    /// Reads the blocks; the error begins with the number of a line.
    pub fn read(document: &str) -> Result<Page, String> {
        let blocks = fences(document).into_iter().map(Block::read).collect::<Result<Vec<_>, _>>()?;
        let mut ran = false;
        for block in &blocks {
            if block.printed && !ran {
                return Err(format!("{}: no block before this one prints something", block.line));
            }
            ran |= block.run;
        }
        Ok(Page { blocks })
    }

    /// Returns whether a block is in one of these languages.
    pub fn has(&self, languages: &[&str]) -> bool {
        self.blocks.iter().any(|block| languages.contains(&block.language.as_str()))
    }

    /// Returns the script. It expects the texts and compiled programs of the blocks in the folder `$BLOCKS`, named after
    /// their lines, and puts there what each block prints and, in `at`, the line of the block that runs.
    pub fn script(&self, way: Way) -> String {
        let mut script = String::new();
        for block in &self.blocks {
            let line = block.line;
            if let Some(file) = &block.file {
                let _ = writeln!(script, "mkdir -p \"$(dirname '{file}')\" && cp \"$BLOCKS/{line}.text\" '{file}'");
            }
            if block.runs(way) {
                let _ = writeln!(script, "echo {line} >\"$BLOCKS/at\"\nexec >\"$BLOCKS/{line}.out\"");
                let _ = match block.compile {
                    true => writeln!(script, "\"$BLOCKS/{line}.program\""),
                    false => writeln!(script, "{}", block.text),
                };
            }
        }
        script
    }

    /// Returns the blocks that state what is printed, each with the line of the block that prints it.
    pub fn printed(&self, way: Way) -> Vec<(&Block, usize)> {
        let (mut printed, mut last) = (Vec::new(), None);
        for block in &self.blocks {
            match last {
                Some(line) if block.printed => printed.push((block, line)),
                _ if block.run => last = block.runs(way).then_some(block.line),
                _ => {}
            }
        }
        printed
    }
}

/// Returns the first of the stated lines that was not printed after those before it.
pub fn missing<'a>(stated: &'a str, printed: &str) -> Option<&'a str> {
    let mut lines = printed.lines();
    stated.lines().find(|stated| !lines.any(|line| matches(stated, line)))
}

/// Returns whether the parts of `stated` between `…` occur in `line` in this order, the first at its start and the last
/// at its end.
fn matches(stated: &str, line: &str) -> bool {
    let line = line.trim_end();
    let Some((first, rest)) = stated.trim_end().split_once('…') else { return stated.trim_end() == line };
    let Some(mut line) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('…').collect();
    for (n, part) in parts.iter().enumerate() {
        if n + 1 == parts.len() {
            return line.ends_with(part);
        }
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "```sh,run\na\n```\n```text,printed\nb\n```\n```rust,run,file=src/main.rs\nfn main() {}\n```\n\
        ```sh,slow\nc\n```\n```text,printed\nd\n```\n```yaml\ne: f\n```\n";

    fn error(document: &str) -> String {
        Page::read(document).err().unwrap_or_default()
    }

    #[test]
    fn a_program_without_a_mark_is_refused() {
        assert!(error("```sh\na\n```\n").starts_with("2: a block in sh has no mark"));
        assert!(error("```rust\n```\n").contains("no mark") && error("```text\n```\n").is_empty());
    }

    #[test]
    fn an_unknown_mark_is_refused() {
        for block in [
            "sh,rnu",
            "c,run",
            "yaml,printed",
            "sh,file=../x",
            "sh,file=/x",
            "sh,file=",
            "rust,slow",
            "c,make",
            "sh,by=",
            "sh,by=A b",
        ] {
            assert!(error(&format!("```{block}\n```\n")).contains("unknown mark"), "{block}");
        }
    }

    #[test]
    fn an_output_without_a_program_is_refused() {
        assert!(error("```text,printed\na\n```\n```sh,run\na\n```\n").starts_with("2: no block before"));
    }

    #[test]
    fn blocks_run_in_their_order_and_slow_ones_for_a_reader() {
        let page = Page::read(PAGE).unwrap();
        let script = page.script(Way::Built);
        let at = |text| script.find(text).unwrap_or_else(|| panic!("{text} is not in {script}"));
        assert!(at("\na\n") < at("cp \"$BLOCKS/8.text\" 'src/main.rs'") && at("cp ") < at("\"$BLOCKS/8.program\""));
        assert!(!script.contains("\nc\n") && page.script(Way::Reader).contains("\nc\n"));
    }

    #[test]
    fn a_reader_writes_a_rust_program_and_compiles_it_by_a_command_of_the_page() {
        let script = Page::read(PAGE).unwrap().script(Way::Reader);
        assert!(script.contains("cp \"$BLOCKS/8.text\" 'src/main.rs'") && !script.contains("8.program"), "{script}");
    }

    #[test]
    fn an_output_belongs_to_the_block_that_ran_before_it() {
        let page = Page::read(PAGE).unwrap();
        let lines = |way| page.printed(way).iter().map(|(block, of)| (block.line, *of)).collect::<Vec<_>>();
        assert_eq!(lines(Way::Reader), [(5, 2), (14, 11)]);
        // The second one states what a block prints that does not run.
        assert_eq!(lines(Way::Built), [(5, 2)]);
    }

    #[test]
    fn stated_lines_are_printed_in_their_order() {
        assert_eq!(missing("a\nc\n", "a\nb\nc\n"), None);
        assert_eq!(missing("c\na\n", "a\nb\nc\n"), Some("a"));
        assert_eq!(missing("a …, …c\n", "a 1, bc\n"), None);
        assert_eq!(missing("a …x\n", "a 1\n"), Some("a …x"));
        assert_eq!(missing("…\n", ""), Some("…"));
    }
}
