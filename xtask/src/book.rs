//! Checks the documentation site: its chapters, its links, and the programs and commands of its guide, which run in an
//! empty folder and home folder with the tool and the libraries of this build. [`book_page`](crate::book_page) describes
//! the marks of the blocks.

use crate::book_page::{Block, Page, Way};
use crate::markdown::{anchors, code, links, rows};
use crate::place::{before, home_of, Place};
use crate::script::{self, Environment};
use crate::{commands, paths, tool, Outcome};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The languages that use the C interface, and the programs that they need.
const BINDINGS: &[(&str, &[&str])] = &[
    ("c", &["cc", "pkg-config"]),
    ("cpp", &["c++", "pkg-config"]),
    ("python", &["python3"]),
    ("go", &["go", "cc", "pkg-config"]),
    ("java", &["java"]),
    ("js", &["node", "npm"]),
];
/// The first version of Java with the API for foreign functions.
const JAVA: u32 = 22;
/// The heading above the table of refusals.
const REFUSALS: &str = "## The refusals";
/// Seconds that the blocks of a page may take.
const LIMIT: u32 = 180;

/// Checks the site, and runs the pages of its guide or one of them without their slow blocks, which
/// [`roles`](crate::roles) runs.
pub fn run(only: Option<&str>) -> Outcome {
    let chapters = check_chapters()?;
    check_links()?;
    check_texts()?;
    commands::check()?;
    println!("book: {chapters} chapters are listed, and their links lead to files and headings");
    run_pages(only)?;
    build()
}

/// Compares the list of chapters with the pages, and returns their number.
fn check_chapters() -> Result<usize, String> {
    let summary = tool::read(paths::SUMMARY)?;
    let listed: BTreeSet<PathBuf> = links(&summary).iter().map(|(_, link)| Path::new(paths::BOOK).join(link)).collect();
    let pages: BTreeSet<PathBuf> = tool::files(&[paths::BOOK], "md")?.into_iter().collect();
    match pages.iter().find(|page| !listed.contains(*page) && page.as_path() != Path::new(paths::SUMMARY)) {
        Some(page) => Err(format!("book: {} does not list {}", paths::SUMMARY, page.display())),
        None => Ok(listed.len()),
    }
}

/// Checks that the library's sources have the texts in the first column of the table of refusals.
fn check_texts() -> Outcome {
    let mut sources = String::new();
    for file in tool::files(&[paths::LIBRARY], "rs")? {
        sources += &tool::read(file)?;
    }
    let table = rows(&tool::read(paths::REFUSALS)?, Some(REFUSALS));
    let texts: Vec<&str> = table.iter().flat_map(|row| row.cells.first()).flat_map(|cell| code(cell)).collect();
    match texts.iter().find(|text| !occurs(text, &sources)) {
        _ if texts.is_empty() => Err(format!("book: {} has no table below {REFUSALS:?}", paths::REFUSALS)),
        Some(text) => Err(format!("book: {}: the library has no text {text:?}", paths::REFUSALS)),
        None => Ok(()),
    }
}

/// Returns whether each part of a text between `…` is in the sources.
fn occurs(text: &str, sources: &str) -> bool {
    text.split('…').all(|part| sources.contains(part.trim_end()))
}

fn check_links() -> Outcome {
    let mut pages = tool::files(&[paths::BOOK], "md")?;
    pages.extend(paths::LINKED.iter().map(PathBuf::from));
    let mut faults = Vec::new();
    for page in &pages {
        for (line, target) in links(&tool::read(page)?) {
            if let Err(fault) = check_link(Path::new(paths::BOOK), page, &target) {
                faults.push(format!("book: {}:{line}: {fault}", page.display()));
            }
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("\n")),
    }
}

/// Checks a link. One from a page of the site must lead to a file of the site, because nothing else is published with it;
/// one from another document may lead to any file of the repository.
fn check_link(book: &Path, page: &Path, target: &str) -> Outcome {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = match file {
        "" => page.to_owned(),
        file => normal(&page.parent().unwrap_or(Path::new("")).join(file))
            .ok_or_else(|| format!("the link to {target} leaves the repository"))?,
    };
    if !path.exists() {
        return Err(format!("the link to {target} leads to no file"));
    }
    if page.starts_with(book) && !(path.starts_with(book) && path.is_file()) {
        return Err(format!("the link to {target} is broken on the site: name the file of the repository as `code`"));
    }
    match anchor {
        Some(anchor) if path.extension().is_some_and(|e| e == "md") => match anchors(&tool::read(&path)?) {
            anchors if anchors.iter().any(|found| found == anchor) => Ok(()),
            _ => Err(format!("the link to {target} leads to no heading")),
        },
        _ => Ok(()),
    }
}

/// Resolves `..` in a relative path; `None` if it leads out of the root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            component => normal.push(component),
        }
    }
    Some(normal)
}

fn run_pages(only: Option<&str>) -> Outcome {
    if !paths::tool().exists() {
        return Err("book: the tool is not built, type: make build".into());
    }
    if let Some(reason) = script::lacks() {
        return tool::skip("the programs of the guide", reason);
    }
    let mut library = None;
    let mut pages = tool::files(&[paths::BOOK_PAGES], "md")?;
    pages.retain(|page| only.is_none_or(|only| page.file_stem().is_some_and(|name| name == only)));
    if pages.is_empty() {
        return Err(format!("book: {} has no page {}", paths::BOOK_PAGES, only.unwrap_or("")));
    }
    for path in pages {
        let name = path.display().to_string();
        let page = Page::read(&tool::read(&path)?).map_err(|e| format!("book: {name}:{e}"))?;
        if let Some(reason) = lacks(&page) {
            tool::skip(&format!("the programs of {name}"), &reason)?;
            continue;
        }
        if library.is_none() && page.blocks.iter().any(|block| block.compile) {
            library = Some(Library::find()?);
        }
        run_page(&name, &page, library.as_ref()).map_err(|e| format!("book: {name}:{e}"))?;
    }
    Ok(())
}

/// Returns why this machine cannot run a page.
fn lacks(page: &Page) -> Option<String> {
    let used: Vec<_> = BINDINGS.iter().filter(|(language, _)| page.has(&[language])).collect();
    let mut programs = used.iter().flat_map(|(_, programs)| *programs);
    if let Some(program) = programs.find(|program| !tool::is_installed(program)) {
        return Some(format!("{program} is not installed"));
    }
    if page.has(&["java"]) {
        let version = tool::output(Command::new(java()).arg("--version")).ok().and_then(|text| java_version(&text));
        if version.is_none_or(|version| version < JAVA) {
            let found = version.map_or("unknown".into(), |version| version.to_string());
            return Some(format!(
                "Java {JAVA} is needed, and the version of java is {found} (JAVA_HOME names another one)"
            ));
        }
    }
    if page.has(&["js"]) && !reaches_registry() {
        return Some("npm does not reach its registry".into());
    }
    if page.blocks.iter().any(|block| block.text.contains("openssl")) && !tool::is_installed("openssl") {
        return Some("the command openssl is not installed".into());
    }
    (!used.is_empty() && !paths::shared_library().exists())
        .then(|| format!("{} is not built (make capi)", paths::shared_library().display()))
}

/// Returns the path of the program `java` in `JAVA_HOME`, or its name.
fn java() -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => "java".into(),
    }
}

/// Returns the first number in the first line that `java --version` prints.
fn java_version(printed: &str) -> Option<u32> {
    let word = printed.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Returns whether npm can download packages.
fn reaches_registry() -> bool {
    let mut npm = Command::new("npm");
    npm.args(["ping", "--fetch-retries=0", "--fetch-timeout=10000"]);
    npm.output().is_ok_and(|output| output.status.success())
}

fn run_page(name: &str, page: &Page, library: Option<&Library>) -> Outcome {
    if !page.blocks.iter().any(|block| block.compile || block.runs(Way::Built)) {
        return Ok(());
    }
    let place = Place::new()?;
    if let Some(library) = library {
        for block in page.blocks.iter().filter(|block| block.compile) {
            library.compile(block, &place.blocks())?;
        }
    }
    let bin = place.scratch.join("bin");
    tool::at(&bin, std::fs::create_dir(&bin))?;
    let link = |from: PathBuf, to: PathBuf| tool::at(&to, symlink(from, &to));
    link(paths::tool(), bin.join("fabric-gossip"))?;
    if java().is_absolute() {
        link(java(), bin.join("java"))?;
    }
    // The clone that a reader has.
    link(paths::root(), place.repository())?;
    let variables = environment(&place)?;
    let count = place.run(page, Way::Built, LIMIT, Environment::Ours(&variables))?;
    println!("book: {name}: {count} blocks run as they stand");
    Ok(())
}

/// Returns the environment of a user who has installed the tool and the libraries in an own prefix.
fn environment(place: &Place) -> Result<Vec<(&'static str, OsString)>, String> {
    let scratch = &place.scratch;
    let mut variables = place.variables("bin");
    // Go compiles its standard library once, and not once for each run.
    variables.push(("GOCACHE", paths::target().join("go").into()));
    variables.extend([("CARGO_HOME", home_of("CARGO_HOME", ".cargo")), ("CARGO_TARGET_DIR", paths::target().into())]);
    if paths::shared_library().exists() {
        let library = scratch.join("lib");
        tool::at(&library, std::fs::create_dir(&library))?;
        // With its SONAME, which the library has if `make install` built it.
        for name in ["libfabric_gossip.so".to_owned(), format!("libfabric_gossip.so.{}", abi()?)] {
            tool::at(&library, symlink(paths::shared_library(), library.join(name)))?;
        }
        let include = paths::root().join(paths::INCLUDE);
        let file = tool::read(paths::root().join(paths::PKG_CONFIG))?
            .replace("${prefix}/include", &include.to_string_lossy())
            .replace("@LIBDIR@", &library.to_string_lossy())
            .replace("@PREFIX@", &scratch.0.to_string_lossy())
            .replace("@VERSION@", "0")
            .replace("@PRIVATE@", "");
        tool::write(scratch.join("fabric-gossip.pc"), &file)?;
        variables.extend([
            ("PKG_CONFIG_PATH", before("PKG_CONFIG_PATH", scratch.0.clone())),
            ("LD_LIBRARY_PATH", before("LD_LIBRARY_PATH", library)),
            ("PYTHONPATH", before("PYTHONPATH", paths::root().join(paths::PYTHON))),
            ("FABRIC_GOSSIP_LIBRARY", paths::shared_library().into()),
        ]);
    }
    Ok(variables)
}

/// Returns the part of the version that is in the SONAME.
fn abi() -> Result<String, String> {
    let mut script = Command::new("sh");
    script.args(["-c", ". scripts/version.sh && printf %s \"$abi\""]).current_dir(paths::root());
    tool::output(&mut script)
}

/// The Rust library, as the build of the tool compiled it.
struct Library {
    file: String,
}

impl Library {
    /// Builds the tool, which is built already, and reads which file the library is.
    fn find() -> Result<Library, String> {
        let mut build = tool::cargo();
        build.args(["build", "--release", "--message-format=json"]).args(paths::TOOL_ALONE);
        let file = library_in(&tool::output(&mut build)?).ok_or("the tool's build names no library")?;
        Ok(Library { file })
    }

    /// Compiles a block as a reader's program.
    fn compile(&self, block: &Block, blocks: &Path) -> Outcome {
        let file = |ending: &str| blocks.join(format!("{}.{ending}", block.line));
        tool::write(file("text"), &block.text)?;
        // The tool's build enables a feature that a reader does not have.
        if block.text.contains("fabric_gossip::testing") {
            return Err(format!("{}: a program of the guide uses the feature testing", block.line));
        }
        let mut compiler = Command::new(tool::variable("RUSTC", "rustc"));
        compiler.args(["--edition", "2021", "--crate-type", "bin", "--crate-name", "program", "-Dwarnings"]);
        compiler.arg("--extern").arg(format!("fabric_gossip={}", self.file));
        compiler.arg("-L").arg(format!("dependency={}", paths::release().join("deps").display()));
        compiler.arg("-o").arg(file("program")).arg(file("text"));
        tool::run(&mut compiler).map_err(|e| format!("{}: the program does not compile: {e}", block.line))
    }
}

/// Finds the library's file in cargo's messages.
fn library_in(messages: &str) -> Option<String> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut libraries = messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "fabric_gossip");
    let files = libraries.next()?["filenames"].as_array()?.clone();
    files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".rlib")).map(str::to_owned)
}

/// Builds the site where mdBook is installed. The chapters and links are checked without it.
fn build() -> Outcome {
    if !tool::has("mdbook") {
        println!("book: the site is not built: mdbook is not installed (cargo install mdbook --locked)");
        return Ok(());
    }
    let site = paths::target().join("book");
    tool::run(Command::new("mdbook").arg("build").arg(paths::BOOK).arg("--dest-dir").arg(&site))?;
    println!("book: the site is in {}", site.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_file_and_a_heading() {
        // The working directory of tests is the package's folder.
        let check_link = |page: &Path, target: &str| check_link(Path::new("elsewhere"), page, target);
        let page = Path::new("src/book.rs");
        assert_eq!(check_link(page, "markdown.rs"), Ok(()));
        assert_eq!(check_link(page, "../Cargo.toml"), Ok(()));
        assert_eq!(check_link(page, "https://example.com/x"), Ok(()));
        assert!(check_link(page, "missing.md").unwrap_err().contains("no file"));
        assert!(check_link(page, "../../../x.md").unwrap_err().contains("leaves the repository"));
        let scratch = tool::Scratch::new().unwrap();
        tool::write(scratch.join("a.md"), "# One two\n").unwrap();
        assert_eq!(check_link(&scratch.join("a.md"), "#one-two"), Ok(()));
        assert_eq!(check_link(&scratch.join("b.md"), "a.md#one-two"), Ok(()));
        assert!(check_link(&scratch.join("b.md"), "a.md#two").unwrap_err().contains("no heading"));
    }

    #[test]
    fn a_page_of_the_site_links_to_files_of_the_site_only() {
        // The working directory of tests is the package's folder; its folder `src` stands for the site.
        let check_link = |page: &str, target: &str| check_link(Path::new("src"), Path::new(page), target);
        assert_eq!(check_link("src/book.rs", "markdown.rs"), Ok(()));
        assert_eq!(check_link("src/guide/page.md", "../book.rs"), Ok(()));
        assert_eq!(check_link("README.md", "src"), Ok(()));
        for target in ["../Cargo.toml", "../src", "."] {
            assert!(check_link("src/book.rs", target).unwrap_err().contains("broken on the site"), "{target}");
        }
    }

    #[test]
    fn a_text_occurs_if_each_of_its_parts_does() {
        let sources = r#"format!("Expected {a} in hash, but got {b}")"#;
        assert!(occurs("Expected … in hash, but got …", sources) && occurs("in hash", sources));
        assert!(!occurs("Expected … in hash, but had …", sources));
    }

    #[test]
    fn the_library_is_the_one_that_cargo_names() {
        let artifact = |name: &str, file: &str| {
            let target = format!(r#""target":{{"name":"{name}"}},"filenames":["/x/{file}.rmeta","/x/{file}.rlib"]"#);
            format!("{{\"reason\":\"compiler-artifact\",{target}}}\n")
        };
        let messages = artifact("bytes", "b") + "no JSON\n" + &artifact("fabric_gossip", "f");
        assert_eq!(library_in(&messages).as_deref(), Some("/x/f.rlib"));
        assert_eq!(library_in(&artifact("bytes", "b")), None);
    }

    #[test]
    fn the_version_of_java_is_the_first_number() {
        assert_eq!(java_version("openjdk 25.0.1 2025-10-21 LTS\nOpenJDK Runtime\n"), Some(25));
        assert_eq!(java_version("java 22 2024-03-19\n"), Some(22));
        assert_eq!(java_version("java\n"), None);
    }

    fn run_alone(document: &str) -> Outcome {
        run_page("page", &Page::read(document)?, None)
    }

    #[test]
    fn a_block_that_fails_or_prints_something_else_is_named_by_its_line() {
        assert_eq!(run_alone("```text,file=a/b\nx\n```\n```sh,run\ncat a/b\n```\n```text,printed\nx\n```\n"), Ok(()));
        let failed = run_alone("```sh,run\ntrue\n```\n```sh,run\necho why\nfalse\n```\n").unwrap_err();
        assert!(failed.starts_with("5: the block ended with") && failed.contains("why"), "{failed}");
        let other = run_alone("```sh,run\necho a\n```\n```text,printed\nb\n```\n").unwrap_err();
        assert!(other.starts_with("2: the block did not print: b\na\n"), "{other}");
        assert_eq!(
            run_alone("```sh,run\ntest \"$(ls -A ~)\" = \"\"\nexport A=b\n```\n```sh,run\ntest $A = b\n```\n"),
            Ok(())
        );
    }
}
