//! Checks the direction of imports between the library's modules against the tables in CONTRIBUTING.md.

use crate::markdown::{code, rows, Row};
use crate::source::{self, Token};
use crate::{paths, tool, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The heading above the table of levels.
const LEVELS: &str = "### Direction of imports";
/// The heading above the table of exceptions.
const EXCEPTIONS: &str = "### Exceptions to the direction of imports";
/// The one level whose modules may import each other.
const GROUND: &str = "ground";

/// Checks the library's sources.
pub fn check() -> Outcome {
    let document = tool::read(paths::CONTRIBUTING)?;
    let mut imports = Vec::new();
    let mut modules = BTreeSet::new();
    for file in tool::files(&[paths::LIBRARY], "rs")? {
        // Unit tests in a separate file are compiled for tests only.
        let is_tests = file.file_name().is_some_and(|name| name == "tests.rs");
        if is_tests || paths::NOT_THE_LIBRARY.iter().any(|other| file.starts_with(other)) {
            continue;
        }
        let place = Place::of(&file);
        let text = tool::read(&file)?;
        imports.extend(imports_of(&place, &file.display().to_string(), &text));
        modules.insert(place.module);
    }
    let table = Table::read(&rows(&document, Some(LEVELS)), &rows(&document, Some(EXCEPTIONS)))?;
    let faults = table.faults(&modules, &imports);
    if !faults.is_empty() {
        return Err(format!("imports: against the tables of {}:\n  {}", paths::CONTRIBUTING, faults.join("\n  ")));
    }
    let (count, exceptions) = (imports.len(), table.exceptions.len());
    println!("rules: {count} imports between {} modules point one way, {exceptions} exceptions", modules.len());
    Ok(())
}

/// Where a file is in the tree of modules.
struct Place {
    /// The module directly below the crate.
    module: String,
    /// How many `super` lead from the file to the crate.
    depth: usize,
}

impl Place {
    fn of(file: &Path) -> Self {
        let below = file.strip_prefix(paths::LIBRARY).unwrap_or(file).with_extension("");
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let depth = names.len() - usize::from(names.len() > 1 && names.last().is_some_and(|name| name == "mod"));
        Place { module: names.into_iter().next().unwrap_or_default(), depth }
    }
}

/// One module that names another one.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    from: String,
    to: String,
    place: String,
}

/// Returns the paths of a file that lead to other modules of the crate, outside of tests.
fn imports_of(place: &Place, file: &str, text: &str) -> Vec<Import> {
    let tokens = source::without_tests(&source::tokens(text));
    let mut imports = Vec::new();
    let mut at = 0;
    // Modules within the file are further from the crate: the braces at which each ends.
    let (mut braces, mut inner) = (0_usize, Vec::new());
    while at < tokens.len() {
        let rest = &tokens[at..];
        match rest[0].text {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                inner.retain(|depth| *depth <= braces);
            }
            "mod" if rest.get(2).is_some_and(|token| token.text == "{") => inner.push(braces + 1),
            _ => {}
        }
        let Some(length) = root_of_path(rest, place.depth + inner.len()) else {
            at += 1;
            continue;
        };
        for name in names(&rest[length..]) {
            if name.text != place.module {
                let place = format!("{file}:{}", name.line);
                imports.push(Import { from: String::new(), to: name.text.to_owned(), place });
            }
        }
        at += length;
    }
    imports.iter_mut().for_each(|import| import.from.clone_from(&place.module));
    imports
}

/// Returns the length of `crate ::`, or of as many `super ::` as lead to the crate from this depth.
fn root_of_path(tokens: &[Token<'_>], depth: usize) -> Option<usize> {
    if source::starts_with(tokens, &["crate", ":", ":"]) {
        return Some(3);
    }
    let supers = tokens.chunks(3).take_while(|chunk| source::starts_with(chunk, &["super", ":", ":"])).count();
    (supers == depth && depth > 0).then_some(3 * supers)
}

/// Returns the first names of a path or of each path in a group.
fn names<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let Some(first) = tokens.first() else { return Vec::new() };
    if first.text != "{" {
        return vec![*first];
    }
    let (mut names, mut depth, mut expected) = (Vec::new(), 0_usize, false);
    for token in tokens {
        match token.text {
            "{" => {
                depth += 1;
                expected = depth == 1;
            }
            "}" => depth -= 1,
            "," => expected = depth == 1,
            _ if expected => {
                names.push(*token);
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The rules of CONTRIBUTING.md.
#[derive(Debug)]
struct Table {
    /// The level of each module: its number from the ground, and its name.
    levels: BTreeMap<String, (usize, String)>,
    exceptions: BTreeSet<(String, String)>,
}

impl Table {
    fn read(levels: &[Row], exceptions: &[Row]) -> Result<Self, String> {
        let mut table = Table { levels: BTreeMap::new(), exceptions: BTreeSet::new() };
        for (number, row) in levels.iter().enumerate() {
            let [level, modules, ..] = row.cells.as_slice() else { return Err(bad(row, "a level and its modules")) };
            for module in code(modules) {
                if table.levels.insert(module.to_owned(), (number, level.clone())).is_some() {
                    return Err(bad(row, &format!("each module once, not `{module}` again")));
                }
            }
        }
        for row in exceptions {
            let [from, to, reason] = row.cells.as_slice() else { return Err(bad(row, "from, to and the reason")) };
            let (&[from], false) = (code(from).as_slice(), reason.is_empty()) else {
                return Err(bad(row, "one module that imports, and a reason"));
            };
            for to in code(to) {
                table.exceptions.insert((from.to_owned(), to.to_owned()));
            }
        }
        match table.levels.is_empty() {
            true => Err(format!("imports: {} has no table under {LEVELS:?}", paths::CONTRIBUTING)),
            false => Ok(table),
        }
    }

    fn faults(&self, modules: &BTreeSet<String>, imports: &[Import]) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(modules.iter().filter(|m| !self.levels.contains_key(*m)).map(|m| format!("`{m}` has no level")));
        let absent = self.levels.keys().filter(|m| !modules.contains(*m));
        faults.extend(absent.map(|m| format!("`{m}` has a level and does not exist")));
        let mut used = BTreeSet::new();
        for import in imports {
            let pair = (import.from.clone(), import.to.clone());
            if self.exceptions.contains(&pair) {
                used.insert(pair);
                continue;
            }
            let Some((from, level)) = self.levels.get(&import.from) else { continue };
            let fault = match self.levels.get(&import.to) {
                None => format!("`{}` is not a module: import it from where it is defined", import.to),
                Some((to, _)) if to < from || (to == from && level == GROUND) => continue,
                Some((_, above)) => format!("`{}` ({level}) imports `{}` ({above})", import.from, import.to),
            };
            faults.push(format!("{}: {fault}", import.place));
        }
        let unused = self.exceptions.iter().filter(|pair| !used.contains(*pair));
        faults.extend(unused.map(|(from, to)| format!("the exception for `{from}` to `{to}` is not used: remove it")));
        faults
    }
}

fn bad(row: &Row, expected: &str) -> String {
    format!("{}:{}: the table of imports needs {expected}", paths::CONTRIBUTING, row.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<(usize, String)> {
        let imports = imports_of(&Place::of(Path::new(file)), file, text);
        let line = |place: &str| place.rsplit(':').next().unwrap().parse().unwrap();
        imports.into_iter().map(|import| (line(&import.place), import.to)).collect()
    }

    fn names_in(file: &str, text: &str) -> String {
        found(file, text).into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_from_the_crate_are_imports() {
        let text = "use crate::error::Error;\nfn f() {\n crate::clock::now();\n}\nuse crate::comm::ack;";
        assert_eq!(found("src/comm/dial.rs", text), [(1, "error".into()), (3, "clock".into())]);
        assert_eq!(names_in("src/msp/mod.rs", "pub(crate) fn f() {} pub(in crate::msp) fn g() {}"), "");
        assert_eq!(names_in("src/a.rs", "$crate::sync::x!(); crate::Error"), "sync Error");
    }

    #[test]
    fn groups_count_with_every_first_name() {
        let text = "use crate::{\n error::{Error, Result},\n clock,\n sync::{a::{b, c}, d}, random::Random as R,\n};";
        assert_eq!(
            found("src/a.rs", text),
            [(2, "error".into()), (3, "clock".into()), (4, "sync".into()), (4, "random".into())]
        );
    }

    #[test]
    fn comments_text_and_tests_do_not_count() {
        let text =
            "//! [x](crate::node)\nconst A: &str = \"crate::node\";\n#[cfg(test)]\nmod tests { use crate::node::X; }";
        assert_eq!(found("src/a.rs", text), []);
    }

    #[test]
    fn super_counts_where_it_leads_to_the_crate() {
        assert_eq!(names_in("src/a.rs", "use super::node::X;"), "node");
        assert_eq!(names_in("src/comm/mod.rs", "use super::node::X;"), "node");
        assert_eq!(names_in("src/comm/ack.rs", "use super::demux::X; use super::super::node::Y;"), "node");
        assert_eq!(names_in("src/a.rs", "mod b { use super::c; mod d {} use super::super::e; } use super::f;"), "e f");
    }

    fn table(levels: &str, exceptions: &str) -> Result<Table, String> {
        Table::read(&rows(levels, None), &rows(exceptions, None))
    }

    const THREE: &str = "| ground | `error` `sync` |\n| base | `crypto` `proto` |\n| top | `node` |\n";

    fn faults(exceptions: &str, imports: &[(&str, &str)]) -> Vec<String> {
        let modules = ["error", "sync", "crypto", "proto", "node"].map(str::to_owned).into();
        let import = |(from, to): &(&str, &str)| Import { from: (*from).into(), to: (*to).into(), place: "f:1".into() };
        table(THREE, exceptions).unwrap().faults(&modules, &imports.iter().map(import).collect::<Vec<_>>())
    }

    #[test]
    fn imports_go_to_lower_levels_and_within_the_ground() {
        assert_eq!(
            faults("", &[("node", "crypto"), ("crypto", "error"), ("sync", "error"), ("error", "sync")]),
            [""; 0]
        );
        assert_eq!(faults("", &[("crypto", "node")]), ["f:1: `crypto` (base) imports `node` (top)"]);
        assert_eq!(faults("", &[("proto", "crypto")]), ["f:1: `proto` (base) imports `crypto` (base)"]);
        assert!(faults("", &[("node", "Error")])[0].contains("`Error` is not a module"));
    }

    #[test]
    fn exceptions_allow_one_import_and_have_to_be_used() {
        let exception = "| `crypto` | `node` | until it moves |\n";
        assert_eq!(faults(exception, &[("crypto", "node")]), [""; 0]);
        assert!(faults(exception, &[])[0].contains("not used"));
        assert!(table(THREE, "| `crypto` | `node` | |\n").is_err());
        assert!(table(THREE, "| `crypto` |\n").is_err());
    }

    #[test]
    fn every_module_has_one_level_and_exists() {
        let modules = BTreeSet::from(["error".to_owned(), "new".into()]);
        let found = table("| ground | `error` `old` |\n", "").unwrap().faults(&modules, &[]);
        assert_eq!(found, ["`new` has no level", "`old` has a level and does not exist"]);
        assert!(table("| ground | `error` |\n| base | `error` |\n", "").is_err());
        assert!(table("", "").is_err());
    }
}
