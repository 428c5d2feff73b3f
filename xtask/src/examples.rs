//! Runs programs and compares their output with the `text` block at their heads.

use crate::document::printed_text;
use crate::{paths, tool, Outcome};
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// Builds and runs the Rust examples.
pub fn run() -> Outcome {
    tool::run(tool::cargo().args(["build", "--release", "--examples"]).args(paths::ALL))?;
    let mut count = 0;
    for file in tool::files(&[paths::EXAMPLES], "rs")? {
        let name = file.file_stem().unwrap_or_default();
        let printed = tool::output(&mut Command::new(paths::release().join("examples").join(name)))?;
        compare(&file, &tool::read(&file)?, &printed)?;
        count += 1;
    }
    match count {
        0 => Err(format!("examples: {} has none", paths::EXAMPLES)),
        _ => Ok(()),
    }
}

/// Compares standard input with the output that the program in `file` states.
pub fn compare_input(file: &str) -> Outcome {
    let mut printed = String::new();
    std::io::stdin().read_to_string(&mut printed).map_err(|e| format!("standard input: {e}"))?;
    compare(Path::new(file), &tool::read(file)?, &printed)
}

fn compare(file: &Path, source: &str, printed: &str) -> Outcome {
    let file = file.strip_prefix(paths::root()).unwrap_or(file).display();
    let said = printed_text(source).ok_or_else(|| format!("examples: {file} states no output"))?;
    match tool::difference(said.trim_end(), printed.trim_end()) {
        None => {
            println!("examples: {file} prints the stated output");
            Ok(())
        }
        Some(lines) => Err(format!("examples: {file} does not print the stated output (- stated, + printed), {lines}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_has_to_be_what_is_said() {
        let source = "//! ```text\n//! one\n//! ```\n";
        assert_eq!(compare(Path::new("a.rs"), source, "one\n"), Ok(()));
        assert!(compare(Path::new("a.rs"), source, "two\n").unwrap_err().contains("- one\n+ two"));
        assert!(compare(Path::new("a.rs"), "", "one\n").is_err());
    }
}
