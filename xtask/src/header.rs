//! Generates the C header from the sources of the C interface, or checks that it is up to date.

use crate::{paths, tool, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of cbindgen: its output changes from one to the next.
const CBINDGEN_VERSION: &str = "0.29.4";

/// Writes the header.
pub fn generate() -> Outcome {
    generate_into(&cbindgen()?, Path::new(paths::HEADER))
}

/// Fails if the header is out of date. Skipped if the generator cannot be installed.
pub fn check() -> Outcome {
    let cbindgen = match cbindgen() {
        Ok(cbindgen) => cbindgen,
        Err(e) => return tool::skip("the C header's check", &e),
    };
    let scratch = tool::Scratch::new()?;
    let fresh = scratch.join("header.h");
    generate_into(&cbindgen, &fresh)?;
    compare(&tool::read(paths::HEADER)?, &tool::read(&fresh)?)?;
    println!("header: {} is up to date with {}", paths::HEADER, paths::HEADER_SOURCE);
    Ok(())
}

fn compare(committed: &str, fresh: &str) -> Outcome {
    match tool::difference(committed, fresh) {
        None => Ok(()),
        Some(lines) => Err(format!("header: {} is out of date, run cargo xtask header: {lines}", paths::HEADER)),
    }
}

/// Returns the path of the generator, which is installed below the target folder if it is not there.
fn cbindgen() -> Result<PathBuf, String> {
    let root = paths::target().join("tools");
    let program = root.join("bin/cbindgen");
    let found = Command::new(&program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    if String::from_utf8_lossy(&found).trim() != format!("cbindgen {CBINDGEN_VERSION}") {
        // Without optimization: it is built for one short run.
        let arguments =
            ["install", "cbindgen", "--version", CBINDGEN_VERSION, "--locked", "--debug", "--quiet", "--root"];
        tool::run(tool::cargo().args(arguments).arg(&root))
            .map_err(|e| format!("cbindgen {CBINDGEN_VERSION} could not be installed ({e})"))?;
    }
    Ok(program)
}

fn generate_into(cbindgen: &Path, header: &Path) -> Outcome {
    let mut command = Command::new(cbindgen);
    // It reads the sources of the C interface only, whatever their dependencies and features.
    command.args(["--quiet", "--config", paths::CBINDGEN, "--output"]).arg(header).arg(paths::HEADER_SOURCE);
    tool::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_names_the_lines_and_the_command() {
        assert_eq!(compare("a\nb\n", "a\nb\n"), Ok(()));
        let error = compare("a\nb\n", "a\nc\n").unwrap_err();
        assert!(error.contains("cargo xtask header") && error.contains("- b\n+ c"), "{error}");
    }
}
