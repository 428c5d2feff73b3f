//! Checks and generators of this repository that are more than a few lines of shell: `cargo xtask <command>`.
//!
//! It uses the standard library and `serde_json` only, so that it builds in seconds and rebuilds nothing else.

mod book;
mod book_page;
mod commands;
mod conformance;
mod document;
mod examples;
mod header;
mod imports;
mod limits;
mod markdown;
mod notices;
mod packages;
mod paths;
mod place;
mod readme;
mod roles;
mod rules;
mod sbom;
mod script;
mod snippets;
mod source;
mod surface;
mod symbols;
mod tool;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  rules                      dependencies, unsafe code, and the direction of imports
  conformance                the tests against docs/conformance.md, weaknesses.md and c-core.md
  header [--check]           generate the C header, or fail if it is not what would be generated
  examples                   run the Rust examples and compare their output with their heads
  surface [--check]          list the public items of the library, or fail if docs/public-api.txt is another list
  prints FILE                compare standard input with the `text` block at the head of FILE
  readme                     compile the README's programs outside of the tree; run its block against a live peer
  book [PAGE]                check the documentation site, and run the programs of its guide or of one page of it
  block NAME                 print the commands of the site that have this name: docs, `by=NAME`
  roles [ROLE]               follow each quick start page, or one of them, from a fresh clone in an empty home (minutes)
  snippets FOLDER            compile and run the C blocks of the guide with the library in FOLDER
  symbols exported LIBRARY   compare the exports of a shared library with the C header
  symbols hide FROM TO       make every symbol of a static library local but the functions of the C header
  notices [--check]          generate THIRD-PARTY.txt, or fail if it is not what would be generated
  sbom FILE                  write the software bill of materials (CycloneDX)
  limits                     run the programs with too few threads and file descriptors

STRICT=1 in the environment turns every skipped check into a failure.";

/// The result of a check; the error is the text for standard error.
type Outcome = Result<(), String>;

fn run(arguments: &[&str]) -> Outcome {
    match arguments {
        ["rules"] => rules::run(),
        ["conformance"] => conformance::run(),
        ["header"] => header::generate(),
        ["header", "--check"] => header::check(),
        ["surface"] => surface::generate(),
        ["surface", "--check"] => surface::check(),
        ["examples"] => examples::run(),
        ["prints", file] => examples::compare_input(file),
        ["readme"] => readme::run(),
        ["book"] => book::run(None),
        ["book", page] => book::run(Some(page)),
        ["block", name] => commands::print(name),
        ["roles"] => roles::run(None),
        ["roles", role] => roles::run(Some(role)),
        ["snippets", folder] => snippets::run(folder),
        ["symbols", "exported", library] => symbols::check_exports(library),
        ["symbols", "hide", from, to] => symbols::hide(from, to),
        ["notices"] => notices::generate(),
        ["notices", "--check"] => notices::check(),
        ["sbom", file] => sbom::generate(file),
        ["limits"] => limits::run(),
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    if let Some(outcome) = surface::as_rustdoc() {
        return if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // All paths are relative to the root; those of the caller are made absolute before.
    let here = std::env::current_dir().unwrap_or_default();
    let arguments: Vec<String> = arguments.into_iter().map(|argument| tool::absolute(&here, argument)).collect();
    if let Err(e) = std::env::set_current_dir(paths::root()) {
        eprintln!("xtask: {}: {e}", paths::root().display());
        return ExitCode::FAILURE;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
