//! Lists the public items of the library, and compares the list with `docs/public-api.txt`.

use crate::{paths, tool, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

/// The versions of rustdoc's JSON format that this program reads. Others are skipped.
const FORMATS: std::ops::RangeInclusive<u64> = 45..=57;

/// The features of the listing: what docs.rs shows, without the support for tests.
const FEATURES: &str = "host-server";

/// Set where cargo runs this program in place of rustdoc.
const AS_RUSTDOC: &str = "XTASK_AS_RUSTDOC";

/// Runs rustdoc with the arguments of this program, if cargo started it for that.
///
/// The JSON output is unstable, so a stable toolchain writes it only with `RUSTC_BOOTSTRAP`. Set for cargo as a whole,
/// this variable would rebuild the packages whose build scripts look at it, and everything above them.
pub fn as_rustdoc() -> Option<Outcome> {
    std::env::var_os(AS_RUSTDOC)?;
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTDOC").env_remove(AS_RUSTDOC);
    Some(tool::run(&mut rustdoc))
}

/// Writes the list.
pub fn generate() -> Outcome {
    match list()? {
        Some(list) => tool::write(paths::PUBLIC_API, &list),
        None => Err("surface: this toolchain writes another format".into()),
    }
}

/// Fails if the list is not what would be generated.
pub fn check() -> Outcome {
    let Some(fresh) = list()? else {
        return tool::skip("the list of public items", "rustdoc of this toolchain writes another JSON format");
    };
    match tool::difference(&tool::read(paths::PUBLIC_API)?, &fresh) {
        None => {
            println!("surface: {}", fresh.lines().next().unwrap_or_default());
            Ok(())
        }
        Some(lines) => Err(format!("surface: {} is out of date, run cargo xtask surface: {lines}", paths::PUBLIC_API)),
    }
}

/// Returns the list; `None` if this toolchain writes a format that is not known here.
fn list() -> Result<Option<String>, String> {
    let mut rustdoc = tool::cargo();
    let this = std::env::current_exe().map_err(|e| format!("surface: {e}"))?;
    rustdoc.env("RUSTDOC", this).env(AS_RUSTDOC, "1");
    rustdoc.args(["rustdoc", "--quiet", "--release", "--lib", "--features", FEATURES, "--"]);
    rustdoc.args(["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]);
    tool::run(&mut rustdoc)?;
    let path = paths::target().join("doc/fabric_gossip.json");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if !json["format_version"].as_u64().is_some_and(|version| FORMATS.contains(&version)) {
        return Ok(None);
    }
    Ok(Some(render(&Crate::new(&json)?.surface())))
}

/// Renders the items by their paths, after a line that counts them.
fn render(items: &BTreeMap<String, String>) -> String {
    let is_part = |item: &&String| item.starts_with("field ") || item.starts_with("variant ");
    let count = items.values().filter(|item| !is_part(item)).count();
    let lines = items.iter().map(|(path, item)| format!("{path}: {item}\n"));
    format!("# {count} public items, without fields and variants\n{}", lines.collect::<String>())
}

struct Crate<'a> {
    root: &'a Value,
    index: &'a serde_json::Map<String, Value>,
    /// The sources, by path.
    sources: HashMap<&'a str, String>,
}

impl<'a> Crate<'a> {
    fn new(json: &'a Value) -> Result<Self, String> {
        let index = json["index"].as_object().ok_or("surface: the JSON has no index")?;
        let files: BTreeSet<&str> = index.values().filter_map(|item| item["span"]["filename"].as_str()).collect();
        let read = |file: &'a str| Some((file, std::fs::read_to_string(file).ok()?));
        Ok(Crate { root: &json["root"], index, sources: files.into_iter().filter_map(read).collect() })
    }

    fn item(&self, id: &Value) -> Option<&'a Value> {
        self.index.get(&id.to_string())
    }

    /// Returns the declarations of all public items, by path.
    fn surface(&self) -> BTreeMap<String, String> {
        let (mut items, mut seen) = (BTreeMap::new(), BTreeSet::new());
        self.visit(self.root, "", None, &mut items, &mut seen);
        items
    }

    fn visit(
        &self,
        id: &Value,
        path: &str,
        rename: Option<&str>,
        items: &mut BTreeMap<String, String>,
        seen: &mut BTreeSet<String>,
    ) {
        let Some(item) = self.item(id) else { return };
        let Some((kind, inner)) = item["inner"].as_object().and_then(|inner| inner.iter().next()) else { return };
        if is_hidden(item) {
            return;
        }
        if kind == "use" {
            return self.visit(&inner["id"], path, inner["name"].as_str(), items, seen);
        }
        // An item is listed under one path: re-exports come after modules.
        if !seen.insert(id.to_string()) {
            return;
        }
        let name = rename.or(item["name"].as_str()).unwrap_or_default();
        let path = if id == self.root { String::new() } else { format!("{path}::{name}") };
        let generated = item["span"]["filename"].as_str().is_some_and(|file| !file.starts_with("src"));
        if id != self.root && !generated {
            items.insert(path.trim_start_matches("::").to_owned(), self.declaration(kind, item));
        }
        if generated {
            return;
        }
        let empty = Vec::new();
        let ids = |value: &'a Value| value.as_array().unwrap_or(&empty).iter().collect::<Vec<_>>();
        let mut children = match kind.as_str() {
            "module" | "trait" => ids(&inner["items"]),
            "struct" => [ids(&inner["kind"]["plain"]["fields"]), self.methods(inner)].concat(),
            "enum" => [ids(&inner["variants"]), self.methods(inner)].concat(),
            "variant" => ids(&inner["kind"]["struct"]["fields"]),
            _ => Vec::new(),
        };
        children.sort_by_key(|id| self.item(id).is_some_and(|item| item["inner"]["use"].is_object()));
        for child in children {
            self.visit(child, &path, None, items, seen);
        }
    }

    /// Returns the public methods and constants of a type, without those of traits.
    fn methods(&self, of: &'a Value) -> Vec<&'a Value> {
        let impls = of["impls"].as_array().into_iter().flatten().filter_map(|id| self.item(id));
        let own = impls.map(|item| &item["inner"]["impl"]).filter(|item| item["trait"].is_null());
        let items = own.flat_map(|item| item["items"].as_array().into_iter().flatten());
        items.filter(|id| self.item(id).is_some_and(|item| item["visibility"] == "public")).collect()
    }

    /// Returns the kind of an item and its declaration as the source has it, on one line.
    fn declaration(&self, kind: &str, item: &Value) -> String {
        let kind = if kind == "struct_field" { "field" } else { kind };
        if !matches!(kind, "function" | "constant" | "type_alias" | "field") {
            return format!("{kind} {}", item["name"].as_str().unwrap_or_default());
        }
        let span = &item["span"];
        let file = span["filename"].as_str().unwrap_or_default();
        let line = span["begin"][0].as_u64().unwrap_or(1) as usize;
        let source = self.sources.get(file).map_or("", String::as_str);
        let text: String = source.lines().skip(line - 1).take(20).map(|line| format!("{} ", line.trim())).collect();
        format!("{kind} {}", head(&text))
    }
}

fn is_hidden(item: &Value) -> bool {
    item["attrs"].as_array().into_iter().flatten().any(|attribute| attribute.to_string().contains("doc(hidden)"))
}

/// Returns a declaration up to its body, its semicolon, or the comma after a field.
fn head(text: &str) -> String {
    let mut depth = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' => depth -= 1,
            '>' if !text[..at].ends_with(['-', '=']) => depth -= 1,
            '{' | ';' | ',' if depth == 0 => return Some(at),
            _ => {}
        }
        None
    });
    text[..end.unwrap_or(text.len())].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_ends_before_its_body_or_semicolon() {
        assert_eq!(head("pub fn f(a: [u8; 3]) -> Result<A, B> { x } "), "pub fn f(a: [u8; 3]) -> Result<A, B>");
        assert_eq!(head("const N: usize = 1; fn g() {} "), "const N: usize = 1");
        assert_eq!(head("pub a: HashMap<A, B>, pub b: u8, "), "pub a: HashMap<A, B>");
    }

    #[test]
    fn items_are_listed_by_path_and_counted_without_fields() {
        let items = [("a::B", "struct B"), ("a::B::c", "field pub c: u8"), ("a::f", "function pub fn f()")];
        let items = items.iter().map(|(path, item)| (path.to_string(), item.to_string())).collect();
        let expected = "# 2 public items, without fields and variants\n\
                        a::B: struct B\na::B::c: field pub c: u8\na::f: function pub fn f()\n";
        assert_eq!(render(&items), expected);
    }

    #[test]
    fn hidden_items_and_trait_methods_are_left_out() {
        let json = serde_json::json!({
            "root": 0,
            "index": {
                "0": {"name": "crate", "attrs": [], "span": {"filename": "src/lib.rs"},
                      "inner": {"module": {"items": [3, 1, 2]}}},
                "1": {"name": "A", "attrs": [], "span": {"filename": "src/lib.rs"},
                      "inner": {"enum": {"variants": [4], "impls": [5, 6]}}},
                "2": {"name": "B", "attrs": [{"other": "#[doc(hidden)]"}], "span": {"filename": "src/lib.rs"},
                      "inner": {"struct": {"kind": "unit", "impls": []}}},
                "3": {"name": null, "attrs": [], "span": {"filename": "src/lib.rs"},
                      "inner": {"use": {"name": "C", "id": 1}}},
                "4": {"name": "V", "attrs": [], "span": {"filename": "src/lib.rs"},
                      "inner": {"variant": {"kind": "plain"}}},
                "5": {"inner": {"impl": {"trait": {"path": "Debug"}, "items": [7]}}},
                "6": {"inner": {"impl": {"trait": null, "items": [7]}}},
                "7": {"name": "m", "attrs": [], "visibility": "crate", "span": {"filename": "src/lib.rs"},
                      "inner": {"function": {}}},
            }
        });
        let surface = Crate::new(&json).unwrap().surface();
        let paths: Vec<&str> = surface.keys().map(String::as_str).collect();
        assert_eq!(paths, ["A", "A::V"]);
    }
}
