//! Compares the symbols of the C libraries with the functions of the header, and hides all others in the static one.

use crate::{paths, tool, Outcome};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Fails unless a shared library exports exactly the functions of the header.
pub fn check_exports(library: &str) -> Outcome {
    if !tool::has("nm") {
        return tool::skip("the comparison of exported symbols", "nm is not installed");
    }
    let exported = tool::output(Command::new("nm").args(["-D", "--defined-only", library]))?;
    let header = tool::read(paths::HEADER)?;
    let functions = functions(&header);
    same(&functions, &defined(&exported)).map_err(|e| format!("symbols: {library} {e}"))?;
    println!("symbols: the shared library exports the header's {} functions and nothing else", functions.len());
    Ok(())
}

/// Makes one object of a static library, in which every symbol but the functions of the header is local, and unneeded
/// code is left out. Without it the C core in the archive clashes with the host's gRPC, and Rust's symbols with
/// those of another Rust library.
pub fn hide(archive: &str, result: &str) -> Outcome {
    for (program, name) in [("ld", "GNU ld"), ("objcopy", "GNU objcopy")] {
        let version = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        if !version.starts_with(name.as_bytes()) {
            return tool::skip("hiding the static library's symbols", &format!("{name} is not installed"));
        }
    }
    let scratch = tool::Scratch::new()?;
    let [list, whole, local, unique, object] =
        ["functions", "whole.o", "local.o", "unique", "fabric_gossip.o"].map(|name| scratch.join(name));
    let header = tool::read(paths::HEADER)?;
    let functions = functions(&header);
    tool::write(&list, &functions.iter().map(|name| format!("{name}\n")).collect::<String>())?;

    // Groups are dissolved: the linker would take a section of a host for one of ours of the same name otherwise.
    let mut ld = Command::new("ld");
    ld.args(["-r", "--force-group-allocation", "--gc-sections"]);
    functions.iter().for_each(|name| _ = ld.args(["-u", name]));
    tool::run(ld.arg(archive).arg("-o").arg(&whole))?;
    // The bitcode in Rust's objects makes no sense in one file, and tools fail on it.
    let mut objcopy = Command::new("objcopy");
    objcopy.arg(format!("--keep-global-symbols={}", list.display()));
    objcopy.args(["--strip-unneeded", "--remove-section=.llvmbc", "--remove-section=.llvmcmd"]);
    tool::run(objcopy.arg(&whole).arg(&local))?;
    // Some C++ variables are unique in the process by their name, whatever is asked for: they get other names.
    let renamed: String = elf(&local)?
        .iter()
        .filter(|symbol| symbol.binding == "UNIQUE" && symbol.is_defined)
        .map(|symbol| format!("{0} fabric{0}\n", symbol.name))
        .collect();
    tool::write(&unique, &renamed)?;
    let redefine = format!("--redefine-syms={}", unique.display());
    tool::run(Command::new("objcopy").arg(redefine).arg(&local).arg(&object))?;
    let result = Path::new(result);
    let _ = std::fs::remove_file(result);
    tool::at(result, result.parent().map_or(Ok(()), std::fs::create_dir_all))?;
    tool::run(Command::new("ar").arg("rcs").arg(result).arg(&object))?;

    let symbols = elf(&object)?;
    let left = symbols.iter().filter(|symbol| symbol.is_defined && matches!(&*symbol.binding, "GLOBAL" | "WEAK"));
    let left: BTreeSet<_> = left.map(|symbol| symbol.name.as_str()).collect();
    same(&functions, &left).map_err(|e| format!("symbols: {} {e}", result.display()))?;
    let size = tool::at(result, std::fs::metadata(result))?.len() >> 20;
    println!("symbols: {} exports the header's {} functions, {size} MiB", result.display(), functions.len());
    Ok(())
}

/// Returns the functions that the header declares.
fn functions(header: &str) -> BTreeSet<&str> {
    let code = header.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words = code.flat_map(|line| {
        let ends = line.match_indices('(').map(|(at, _)| &line[..at]);
        ends.map(|before| before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
    });
    words.filter(|word| word.starts_with("gossip_")).collect()
}

/// Returns the names in the output of `nm --defined-only`.
fn defined(output: &str) -> BTreeSet<&str> {
    output.lines().filter_map(|line| line.split_whitespace().nth(2)).collect()
}

struct Symbol {
    name: String,
    binding: String,
    is_defined: bool,
}

fn elf(object: &Path) -> Result<Vec<Symbol>, String> {
    Ok(symbols(&tool::output(Command::new("readelf").args(["--syms", "--wide"]).arg(object))?))
}

/// Returns the symbols with names in the output of `readelf --syms --wide`, but for sections and files.
fn symbols(output: &str) -> Vec<Symbol> {
    let rows = output.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [number, _, _, kind, binding, _, section, name, ..] = fields.as_slice() else { return None };
        let is_symbol = number.strip_suffix(':')?.parse::<u32>().is_ok() && !matches!(*kind, "SECTION" | "FILE");
        let (name, binding) = ((*name).to_owned(), (*binding).to_owned());
        is_symbol.then_some(Symbol { name, binding, is_defined: *section != "UND" })
    });
    rows.collect()
}

fn same(functions: &BTreeSet<&str>, found: &BTreeSet<&str>) -> Outcome {
    if functions.is_empty() {
        return Err(format!("cannot be compared: {} declares no function", paths::HEADER));
    }
    let lines = |mark, names: Vec<&&str>| names.iter().map(|name| format!("\n{mark} {name}")).collect::<String>();
    let absent = lines('-', functions.difference(found).collect());
    let more = lines('+', found.difference(functions).collect());
    match absent.is_empty() && more.is_empty() {
        true => Ok(()),
        false => Err(format!("does not export exactly the header's functions (- header, + library):{absent}{more}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_declared_outside_of_comments() {
        let header =
            "// gossip_not(\nvoid gossip_a(int x);\nconst char *gossip_b(void (*f)(gossip_t x));\n  // gossip_no(\n\
                      typedef void (*gossip_callback)(int);\n  gossip_c (x)\nother(gossip_d);\n";
        assert_eq!(functions(header).into_iter().collect::<Vec<_>>(), ["gossip_a", "gossip_b"]);
    }

    #[test]
    fn defined_symbols_are_the_third_column() {
        let found = defined("0000000000001000 T gossip_a\n0000000000002000 B gossip_b\n\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["gossip_a", "gossip_b"]);
    }

    #[test]
    fn symbols_are_read_with_binding_and_section() {
        let output = "\nSymbol table '.symtab' contains 4 entries:\n   Num:    Value          Size Type    Bind   Vis      Ndx Name\n\
             \x20    1: 0000000000000000     0 SECTION LOCAL  DEFAULT    1 .text\n\
             \x20    2: 0000000000000010     4 OBJECT  UNIQUE DEFAULT    3 _ZN1a\n\
             \x20    3: 0000000000000000     0 NOTYPE  GLOBAL DEFAULT  UND malloc\n\
             \x20    4: 0000000000000020     9 FUNC    GLOBAL DEFAULT    1 gossip_a\n";
        let found = symbols(output);
        let texts = found.iter().map(|s| (s.name.as_str(), s.binding.as_str(), s.is_defined));
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [("_ZN1a", "UNIQUE", true), ("malloc", "GLOBAL", false), ("gossip_a", "GLOBAL", true)]
        );
    }

    #[test]
    fn a_difference_is_named_in_both_directions() {
        let [ab, bc] = [BTreeSet::from(["a", "b"]), BTreeSet::from(["b", "c"])];
        assert_eq!(same(&ab, &ab), Ok(()));
        let error = same(&ab, &bc).unwrap_err();
        assert!(error.ends_with(":\n- a\n+ c"), "{error}");
        assert!(same(&BTreeSet::new(), &BTreeSet::new()).is_err());
    }
}
