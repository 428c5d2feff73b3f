//! The folders and variables with which a page of the guide runs, and the comparison of its output.

use crate::book_page::{missing, Page, Way};
use crate::script::{self, Environment};
use crate::tool;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// An empty folder and an empty home folder, in which a page runs.
pub struct Place {
    pub scratch: tool::Scratch,
}

impl Place {
    /// Creates the folders.
    pub fn new() -> Result<Place, String> {
        let scratch = tool::Scratch::new()?;
        for folder in ["blocks", "home", "page"].map(|name| scratch.join(name)) {
            tool::at(&folder, std::fs::create_dir(&folder))?;
        }
        Ok(Place { scratch })
    }

    /// Returns the folder with the texts, programs and output of the blocks.
    pub fn blocks(&self) -> PathBuf {
        self.scratch.join("blocks")
    }

    /// Returns the path at which the pages expect a clone of the repository.
    pub fn repository(&self) -> PathBuf {
        self.scratch.join("page/fabric-gossip")
    }

    /// Returns the variables that each page needs: its folders, and `PATH` with this folder in front of ours.
    pub fn variables(&self, first: &str) -> Vec<(&'static str, OsString)> {
        let home = self.scratch.join("home");
        vec![
            ("BLOCKS", self.blocks().into()),
            ("HOME", home.clone().into()),
            ("PATH", before("PATH", self.scratch.join(first))),
            ("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup")),
            // `cargo install` must not write to the folder of the user who runs this check.
            ("CARGO_INSTALL_ROOT", home.join(".cargo").into()),
        ]
    }

    /// Runs the blocks of a page, compares what they print, and returns the number of those that are checked.
    pub fn run(&self, page: &Page, way: Way, seconds: u32, environment: Environment) -> Result<usize, String> {
        let blocks = self.blocks();
        for block in &page.blocks {
            tool::write(blocks.join(format!("{}.text", block.line)), &block.text)?;
        }
        tool::write(self.scratch.join("page.sh"), &format!("cd page\n{}", page.script(way)))?;
        let finished = script::run(&self.scratch, "page.sh", seconds, environment)?;
        let out = |line: usize| tool::read(blocks.join(format!("{line}.out"))).unwrap_or_default();
        if !finished.status.success() {
            let at = tool::read(blocks.join("at")).unwrap_or_default();
            let printed = at.trim().parse().map(out).unwrap_or_default();
            return Err(format!(
                "{}: the block ended with {}\n{printed}{}",
                at.trim(),
                finished.status,
                finished.errors
            ));
        }
        for (block, of) in page.printed(way) {
            if let Some(line) = missing(&block.text, &out(of)) {
                return Err(format!("{of}: the block did not print: {line}\n{}{}", out(of), finished.errors));
            }
        }
        Ok(page.blocks.iter().filter(|block| block.runs(way) || (way == Way::Built && block.compile)).count())
    }
}

/// Returns the value of a variable that lists folders, with one more in front.
pub fn before(name: &str, first: PathBuf) -> OsString {
    let mut list = OsString::from(first);
    if let Some(rest) = std::env::var_os(name).filter(|rest| !rest.is_empty()) {
        list.push(":");
        list.push(rest);
    }
    list
}

/// Returns the value of a variable that names a folder, or its default below our home folder.
pub fn home_of(name: &str, folder: &str) -> OsString {
    std::env::var_os(name)
        .unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(folder).into())
}
