//! Compiles every `c` block of the guide to the C interface, and runs those that are whole programs: built with the
//! guide's own `cc` lines, without `LD_LIBRARY_PATH`, once so that they work and once so that they fail and print the
//! library's error.

use crate::markdown::blocks;
use crate::{paths, tool, Outcome};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const WARNINGS: &[&str] = &["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
/// A snippet may declare variables for the reader to use.
const UNUSED: &[&str] = &["-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Wno-unused-function"];
/// The output of the guide's programs.
const PRINTED: &str = "received hello";

/// Compiles and runs the blocks with the shared library in `library`.
pub fn run(library: &str) -> Outcome {
    let compiler = tool::variable("CC", "cc");
    if !tool::has(&compiler) {
        return tool::skip("the snippets of the C guide", &format!("{compiler} is not installed"));
    }
    let guide = tool::read(paths::GUIDE)?;
    let links = links(&guide);
    if links.len() != 2 {
        return Err(format!("snippets: {} has {} ways to link instead of two", paths::GUIDE, links.len()));
    }
    let workshop = Workshop::new(compiler, Path::new(library))?;
    let (blocks, mut ran) = (blocks(&guide, "c"), 0);
    for (line, text) in &blocks {
        let place = format!("{}:{line}", paths::GUIDE);
        match Kind::of(text) {
            Kind::Program => {
                workshop.run(&place, text, &links)?;
                ran += 1;
            }
            kind => workshop.compile(&place, &kind.complete(text))?,
        }
    }
    if ran == 0 {
        return Err(format!("snippets: {} has no program", paths::GUIDE));
    }
    let count = blocks.len();
    println!(
        "snippets: {count} blocks of {} compile, {ran} ran, linked in both ways, and fail with the reason",
        paths::GUIDE
    );
    Ok(())
}

/// Returns the guide's command lines that compile and link `peer.c`, without their comments.
fn links(guide: &str) -> Vec<&str> {
    let lines = guide.lines().filter(|line| line.starts_with("cc ") && line.contains("peer.c"));
    lines.map(|line| line.split_once(" #").map_or(line, |(command, _)| command).trim_end()).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// It has a `main`.
    Program,
    /// It begins with `static`.
    Items,
    /// Statements, for a function's body.
    Statements,
}

impl Kind {
    fn of(text: &str) -> Self {
        match text {
            _ if text.lines().any(|line| line.starts_with("int main")) => Kind::Program,
            _ if text.starts_with("static") => Kind::Items,
            _ => Kind::Statements,
        }
    }

    /// Returns the text completed to a file that a compiler accepts.
    fn complete(&self, text: &str) -> String {
        match self {
            Kind::Program | Kind::Items => text.to_owned(),
            Kind::Statements => format!(
                "void snippet(gossip_error *error);\nvoid snippet(gossip_error *error) {{\n(void)error;\n{{\n{text}}}}}\n"
            ),
        }
    }
}

/// A folder in which the guide's commands see the folders that they name.
struct Workshop {
    compiler: String,
    scratch: tool::Scratch,
}

impl Workshop {
    fn new(compiler: String, library: &Path) -> Result<Self, String> {
        let scratch = tool::Scratch::new()?;
        let link = |from: &Path, to: &str| {
            let to = scratch.join(to);
            tool::at(&to, to.parent().map_or(Ok(()), std::fs::create_dir_all))?;
            tool::at(&to, symlink(from, &to))
        };
        link(&paths::root().join(paths::INCLUDE), paths::INCLUDE)?;
        link(library, "target/release")?;
        Ok(Workshop { compiler, scratch })
    }

    fn compiler(&self) -> Command {
        let mut command = Command::new(&self.compiler);
        command.args(WARNINGS).arg(format!("-I{}", paths::INCLUDE));
        command
    }

    /// Compiles a snippet behind the prelude.
    fn compile(&self, place: &str, text: &str) -> Outcome {
        let (source, object) = (self.scratch.join("block.c"), self.scratch.join("block.o"));
        tool::write(&source, text)?;
        let mut compiler = self.compiler();
        compiler.args(UNUSED).args(["-include", paths::PRELUDE, "-c"]).arg(source).arg("-o").arg(object);
        tool::run(&mut compiler).map_err(|e| format!("snippets: {place} does not compile: {e}\n{text}"))
    }

    /// Builds a program in each way, and runs it with an organization that exists and with one that does not.
    fn run(&self, place: &str, text: &str, links: &[&str]) -> Outcome {
        let fault = |e: String| format!("snippets: {place}: {e}");
        let source = self.scratch.join("peer.c");
        tool::write(&source, text)?;
        tool::run(self.compiler().arg("-fsyntax-only").arg(&source)).map_err(fault)?;
        let orgs = self.scratch.join("orgs");
        let _ = std::fs::remove_dir_all(&orgs);
        tool::output(Command::new(paths::tool()).arg("crypto").arg(&orgs).args(["--orgs", "1", "--peers", "2"]))?;
        let peers = orgs.join("peerOrganizations/org1.example.com/peers");
        let mut peers = tool::at(&peers, std::fs::read_dir(&peers))?
            .map(|peer| peer.map(|peer| peer.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| e.to_string())?;
        peers.sort();
        let nobody = self.scratch.join("nobody");
        for link in links {
            let _ = std::fs::remove_file(self.scratch.join("peer"));
            tool::run(Command::new("sh").args(["-c", link]).current_dir(&self.scratch.0)).map_err(fault)?;
            works(&self.program(&peers)?).map_err(fault)?;
            fails(&self.program(&[nobody.clone(), nobody.clone()])?, &nobody).map_err(fault)?;
        }
        Ok(())
    }

    fn program(&self, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command.arg("60").arg(self.scratch.join("peer")).args(arguments).env_remove("LD_LIBRARY_PATH");
        command.output().map_err(|e| format!("timeout: {e}"))
    }
}

fn works(output: &Output) -> Outcome {
    let printed = String::from_utf8_lossy(&output.stdout);
    match output.status.success() && printed.trim_end() == PRINTED {
        true => Ok(()),
        false => Err(format!("ended with {} and printed: {printed}", output.status)),
    }
}

/// The program ended with 1 and printed the library's error, which names the missing folder.
fn fails(output: &Output, missing: &Path) -> Outcome {
    let printed = [&output.stdout[..], &output.stderr[..]].concat();
    let printed = String::from_utf8_lossy(&printed);
    let names_it = printed.contains(&missing.join("msp").display().to_string());
    match output.status.code() == Some(1) && printed.starts_with("GOSSIP_CONFIG: ") && names_it {
        true => Ok(()),
        false => Err(format!("was expected to fail; it ended with {} and printed: {printed}", output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn the_ways_to_link_are_command_lines_without_comments() {
        let guide = "cc -o peer peer.c -lx   # shared\ncc -c other.c\ntext cc peer.c\ncc peer.c libx.a\n";
        assert_eq!(links(guide), ["cc -o peer peer.c -lx", "cc peer.c libx.a"]);
    }

    #[test]
    fn blocks_are_programs_items_or_statements() {
        assert_eq!(Kind::of("#include <x>\nint main(void) {}\n"), Kind::Program);
        assert_eq!(Kind::of("static int x;\n"), Kind::Items);
        assert_eq!(Kind::of("int x = f();\n"), Kind::Statements);
        assert_eq!(Kind::Items.complete("static int x;\n"), "static int x;\n");
        assert!(Kind::Statements.complete("f();\n").ends_with("{\nf();\n}}\n"));
    }

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_program_works_if_it_prints_the_message_and_nothing_else() {
        assert_eq!(works(&output(0, "received hello\n", "")), Ok(()));
        assert!(works(&output(0, "", "")).is_err() && works(&output(1, "received hello\n", "")).is_err());
    }

    #[test]
    fn a_program_fails_with_the_librarys_error() {
        let fails = |code, text| fails(&output(code, "", text), Path::new("/x"));
        assert_eq!(fails(1, "GOSSIP_CONFIG: /x/msp: no such folder\n"), Ok(()));
        assert!(fails(2, "GOSSIP_CONFIG: /x/msp").is_err() && fails(1, "/x/msp").is_err());
        assert!(fails(1, "GOSSIP_CONFIG: /y/msp").is_err());
    }
}
