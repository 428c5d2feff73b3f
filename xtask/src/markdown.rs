//! Reads the tables and code blocks of Markdown documents.

/// Returns the cells of a table's row, or `None` if the line is none. A `|` in code or behind a backslash ends no cell.
pub fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let (mut cells, mut code, mut escaped) = (vec![String::new()], false, false);
    for c in inner.chars() {
        match c {
            '|' if !code && !escaped => cells.push(String::new()),
            _ => {
                code ^= c == '`';
                cells.last_mut()?.push(c);
            }
        }
        escaped = c == '\\';
    }
    Some(cells.into_iter().map(|cell| cell.trim().to_owned()).collect())
}

/// A row of a table, and the number of its line.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub line: usize,
    pub cells: Vec<String>,
}

/// Returns the rows of all tables below the heading `heading`, up to the next heading. Without a heading: of the whole
/// document. The heads of the tables are left out.
pub fn rows(document: &str, heading: Option<&str>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut inside = heading.is_none();
    for (number, line) in (1..).zip(document.lines()) {
        if line.starts_with('#') {
            inside = heading.is_none_or(|heading| line == heading);
        }
        let Some(cells) = cells(line).filter(|_| inside) else { continue };
        if cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':'))) {
            rows.pop();
        } else {
            rows.push(Row { line: number, cells });
        }
    }
    rows
}

/// Returns the texts between backquotes.
pub fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A fenced block: the number of its first line, the text behind the fence, and its lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fence {
    pub line: usize,
    pub info: String,
    pub text: String,
}

/// Returns the closed fenced blocks of a document.
pub fn fences(document: &str) -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut open: Option<Fence> = None;
    for (number, line) in (1..).zip(document.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Fence { line: number + 1, info: info.trim().to_owned(), text: String::new() })
            }
            (Some(_), Some(_)) => fences.extend(open.take()),
            (Some(fence), None) => {
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            (None, None) => {}
        }
    }
    fences
}

/// Returns the contents of the code blocks in this language, each with the number of its first line.
pub fn blocks(document: &str, language: &str) -> Vec<(usize, String)> {
    let wanted = fences(document).into_iter().filter(|fence| fence.info == language);
    wanted.map(|fence| (fence.line, fence.text)).collect()
}

/// Returns the targets of the inline links outside of code, each with the number of its line.
pub fn links(document: &str) -> Vec<(usize, String)> {
    let (mut links, mut code) = (Vec::new(), false);
    for (number, line) in (1..).zip(document.lines()) {
        if line.starts_with("```") {
            code = !code;
        } else if !code {
            let prose: String = line.split('`').step_by(2).collect();
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| (number, target.to_owned())));
        }
    }
    links
}

/// Returns the anchors of a document's headings, as mdBook and the forges form them.
pub fn anchors(document: &str) -> Vec<String> {
    let (mut anchors, mut code) = (Vec::new(), false);
    for line in document.lines() {
        code ^= line.starts_with("```");
        if !code && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            anchors.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    anchors
}

/// Returns the part of a document from this heading to the next one of the same or a higher level.
pub fn section<'a>(document: &'a str, heading: &str) -> Option<&'a str> {
    let level = |line: &str| line.len() - line.trim_start_matches('#').len();
    let mut start = None;
    let (mut at, mut code) = (0, false);
    for line in document.split_inclusive('\n') {
        code ^= line.starts_with("```");
        match start {
            None if line.trim_end() == heading => start = Some(at),
            Some(start) if !code && line.starts_with('#') && level(line) <= level(heading) => {
                return Some(&document[start..at]);
            }
            _ => {}
        }
        at += line.len();
    }
    start.map(|start| &document[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_split_outside_of_code() {
        assert_eq!(cells("| a | `b|c` | |").unwrap(), ["a", "`b|c`", ""]);
        assert_eq!(cells(r"| a \| b |").unwrap(), [r"a \| b"]);
        assert_eq!(cells("no row"), None);
        assert_eq!(cells("|"), None);
    }

    #[test]
    fn rows_are_those_of_a_section_without_the_head() {
        let document = "# A\n| h |\n|---|\n| x |\n# B\n| h |\n|:-:|\n| y |\n| z |\n";
        let found: Vec<_> =
            rows(document, Some("# B")).into_iter().map(|row| (row.line, row.cells.join(","))).collect();
        assert_eq!(found, [(8, "y".into()), (9, "z".into())]);
        assert_eq!(rows(document, None).len(), 3);
        assert_eq!(rows(document, Some("# C")), []);
    }

    #[test]
    fn code_is_what_backquotes_enclose() {
        assert_eq!(code("`a` b `c`"), ["a", "c"]);
        assert_eq!(code("nothing"), [""; 0]);
    }

    #[test]
    fn blocks_are_those_of_their_language() {
        let document = "```c\nint a;\n```\ntext\n```\n```c\n```\n```c\n\nb\n```";
        // The third fence has no language; the fourth line in it closes it.
        assert_eq!(blocks(document, "c"), [(2, "int a;\n".into())]);
        assert_eq!(blocks("```bash\nx\n```\n```sh\ny\n```\n", "sh"), [(5, "y\n".into())]);
        assert_eq!(blocks("```c\nnot closed", "c"), []);
    }

    #[test]
    fn a_fence_has_its_line_and_the_text_behind_it() {
        let fence = Fence { line: 3, info: "sh,run".into(), text: "a\n".into() };
        assert_eq!(fences("text\n```sh,run\na\n```\n```open\n"), [fence]);
    }

    #[test]
    fn links_are_those_outside_of_code() {
        let document = "[a](x.md) and [b](y.md#z)\n`[c](no.md)`\n```\n[d](no.md)\n```\n[`e`](f)\n";
        let found: Vec<_> = links(document).into_iter().map(|(line, target)| format!("{line} {target}")).collect();
        assert_eq!(found, ["1 x.md", "1 y.md#z", "6 f"]);
    }

    #[test]
    fn an_anchor_is_the_heading_in_lower_case_with_hyphens() {
        assert_eq!(anchors("# A `b`, C-d\n```\n# no\n```\n## Version 1.0\n"), ["a-b-c-d", "version-10"]);
    }

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_level() {
        let document = "# A\n## B\nb\n```sh\n# no heading\n```\n### C\nc\n## D\n";
        assert_eq!(section(document, "## B"), Some("## B\nb\n```sh\n# no heading\n```\n### C\nc\n"));
        assert_eq!(section(document, "## D"), Some("## D\n"));
        assert_eq!(section(document, "## E"), None);
    }
}
