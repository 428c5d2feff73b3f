//! Checks the commands on the pages of the site that are outside of the guide, and prints them for the scripts that run them.

use crate::book_page::{Block, Page};
use crate::{paths, tool, Outcome};
use std::process::Command;

/// Checks that every program and command of these pages is run: make accepts the ones for it, and a script reads the others.
pub fn check() -> Outcome {
    let mut scripts = String::new();
    for file in tool::files(&[paths::SCRIPTS], "sh")? {
        scripts += &tool::read(file)?;
    }
    for (place, block) in blocks()? {
        match &block.by {
            Some(name) if !reads(&scripts, name) => {
                return Err(format!(
                    "{place}: no script in {}/ has the command: cargo xtask block {name}",
                    paths::SCRIPTS
                ))
            }
            Some(_) => {}
            None if block.make => check_make(&place, &block)?,
            None if block.run || block.compile || block.file.is_some() => {
                return Err(format!("{place}: a block outside of {} is marked make or by=NAME", paths::BOOK_PAGES))
            }
            None => {}
        }
    }
    Ok(())
}

/// Prints the block with the mark `by=NAME`, without comments behind commands.
pub fn print(name: &str) -> Outcome {
    let mut named = blocks()?.into_iter().filter(|(_, block)| block.by.as_deref() == Some(name));
    match (named.next(), named.next()) {
        (Some((_, block)), None) => {
            block.text.lines().for_each(|line| println!("{}", command(line)));
            Ok(())
        }
        (None, _) => Err(format!("block: no page of {} has a block with the mark by={name}", paths::BOOK)),
        (Some((one, _)), Some((other, _))) => Err(format!("block: {one} and {other} have the same mark by={name}")),
    }
}

/// Returns the blocks of these pages, each with its file and line. Others check the guide and the page on the C interface.
fn blocks() -> Result<Vec<(String, Block)>, String> {
    let mut blocks = Vec::new();
    for path in tool::files(&[paths::BOOK], "md")? {
        if path.starts_with(paths::BOOK_PAGES) || path.as_os_str() == paths::GUIDE {
            continue;
        }
        let name = path.display();
        let page = Page::read(&tool::read(&path)?).map_err(|e| format!("{name}:{e}"))?;
        blocks.extend(page.blocks.into_iter().map(|block| (format!("{name}:{}", block.line), block)));
    }
    Ok(blocks)
}

/// Returns whether a script has the command that prints this block.
fn reads(scripts: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    scripts.split("xtask block ").skip(1).any(|rest| rest.strip_prefix(name).is_some_and(ends))
}

/// Returns a line without the comment behind its command.
fn command(line: &str) -> &str {
    line.split_once(" #").map_or(line, |(command, _)| command).trim_end()
}

/// Lets make print what it would run.
fn check_make(place: &str, block: &Block) -> Outcome {
    if !tool::is_installed("make") {
        return tool::skip(&format!("the commands of {place}"), "make is not installed");
    }
    for line in block.text.lines().map(command) {
        let Some(arguments) = line.strip_prefix("make ") else {
            return Err(format!("{place}: not a command of make: {line}"));
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("make --dry-run {arguments}")]).current_dir(paths::root());
        tool::output(&mut shell).map_err(|e| format!("{place}: make refuses this command: {e}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_a_block_by_its_whole_name() {
        let script = "a \"$($cargo xtask block deb)\"\neval \"$(cargo xtask block pip --x)\"";
        assert!(reads(script, "deb") && reads(script, "pip"));
        assert!(!reads(script, "de") && !reads(script, "x") && !reads("xtask block deb-install", "deb"));
    }

    #[test]
    fn a_comment_is_no_part_of_a_command() {
        assert_eq!(command("make bench   # all"), "make bench");
        assert_eq!(command("echo a#b"), "echo a#b");
    }

    #[test]
    fn make_must_know_the_target() {
        let check = |text: &str| {
            let page = Page::read(&format!("```sh,make\n{text}\n```\n")).unwrap();
            check_make("a.md:1", &page.blocks[0])
        };
        assert_eq!(check("make help\nmake bench BENCH=\"--quick\"   # all"), Ok(()));
        assert!(check("make no-such-target").unwrap_err().contains("make refuses"));
        assert!(check("sh x").unwrap_err().contains("not a command of make"));
    }
}
