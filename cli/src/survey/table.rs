//! A report as text: a table of the peers, and the findings.

use super::{Finding, Peer, Report, Severity};
use crate::output::printable;
use crate::terminal::Tone;
use crate::values::{counted, short, since};
use std::time::Duration;

const HEADINGS: [&str; 9] = ["", "PEER", "ORGANISATION", "ENDPOINT", "PING", "ALIVE IN", "EXPIRES", "TLS", "UP"];

/// Headings of a narrow table.
const SHORT_HEADINGS: [&str; 9] = ["", "PEER", "ORG", "ENDPOINT", "PING", "ALIVE IN", "EXPIRES", "TLS", "UP"];

const PEER: usize = 1;
const ENDPOINT: usize = 3;

/// The columns that are cut to fit, the first of them first, and their smallest width.
const FLEXIBLE: [(usize, usize); 3] = [(PEER, 14), (ENDPOINT, 11), (2, 7)];

/// The columns that are left out where cutting is not enough, the first of them first.
const OMITTED: [usize; 6] = [8, 4, 2, 7, 6, 5];

/// Number of findings of one kind from which on only the first are printed, and the number of those.
pub const MANY: usize = 6;
const SHOWN: usize = 3;

/// Returns the lines of the table; with a width, no line is longer if that is possible. A narrow table has names without
/// PKI-IDs where names distinguish the peers, then cut names, and then fewer columns.
pub fn peers(report: &Report, limit: Option<usize>) -> Vec<(Tone, String)> {
    let rows = |headings: [&str; HEADINGS.len()], narrow| {
        let mut rows = vec![(Tone::Faint, headings.map(str::to_owned))];
        rows.extend(report.peers.iter().map(|peer| (tone(peer), cells(peer, report, narrow))));
        rows
    };
    let (mut table, mut columns) = (rows(HEADINGS, false), (0..HEADINGS.len()).collect::<Vec<_>>());
    let mut widths = widths(&table);
    if let Some(limit) = limit.filter(|limit| excess(&widths, &columns, *limit) > 0) {
        table = rows(SHORT_HEADINGS, true);
        widths = self::widths(&table);
        shrink(&mut widths, &columns, limit);
        for omitted in OMITTED {
            if excess(&widths, &columns, limit) > 0 {
                columns.retain(|column| *column != omitted);
            }
        }
    }
    let line = |cells: &[String; HEADINGS.len()]| {
        let cells = columns.iter().map(|column| fit(*column, &cells[*column], widths[*column]));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    table.iter().map(|(tone, cells)| (*tone, line(cells))).collect()
}

fn widths(rows: &[(Tone, [String; HEADINGS.len()])]) -> [usize; HEADINGS.len()] {
    let mut widths = [0; HEADINGS.len()];
    for (_, cells) in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(console::measure_text_width(cell));
        }
    }
    widths
}

/// Returns the lines of the findings of one severity and kind; the last line can stand for several.
pub fn findings(group: &[Finding]) -> Vec<(Tone, String)> {
    let shown = if group.len() < MANY { group.len() } else { SHOWN };
    let mut lines: Vec<(Tone, String)> = group.iter().take(shown).map(finding).collect();
    if let Some(first) = group.get(shown) {
        let (severity, kind, more) = (first.severity, first.kind, group.len() - shown);
        let text =
            format!("{:<8} … and {more} more of this kind; --json and --html list them  [{kind}]", severity.name());
        lines.push((self::severity(severity), text));
    }
    lines
}

/// Returns the line of a finding.
fn finding(finding: &Finding) -> (Tone, String) {
    (
        severity(finding.severity),
        format!("{:<8} {}  [{}]", finding.severity.name(), printable(&finding.detail), finding.kind),
    )
}

pub fn severity(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Warning,
        Severity::Info => Tone::Plain,
    }
}

/// Returns the last line.
pub fn summary(report: &Report) -> (Tone, String) {
    let count = |n: usize, what: &str| counted(n as u64, what);
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let tone = match (errors, warnings) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Warning,
        _ => Tone::Bad,
    };
    let text = format!(
        "{}, {} reachable; {} compared; {}, {}",
        count(report.peers.len(), "peer"),
        report.reachable(),
        count(report.views, "view"),
        count(errors, "error"),
        count(warnings, "warning")
    );
    (tone, text)
}

fn tone(peer: &Peer) -> Tone {
    match peer.reachable {
        _ if peer.is_dead() => Tone::Faint,
        Some(true) => Tone::Plain,
        Some(false) => Tone::Bad,
        None => Tone::Faint,
    }
}

fn cells(peer: &Peer, report: &Report, narrow: bool) -> [String; HEADINGS.len()] {
    let is_unique = || report.peers.iter().filter(|other| other.name == peer.name).count() == 1;
    let label = match narrow && !peer.name.is_empty() && is_unique() {
        true => peer.short_label(),
        false => peer.label(),
    };
    let days = |left: Option<i64>| match left {
        Some(left) if narrow && left >= 0 => format!("{left} d"),
        left => days(left),
    };
    let mark = match peer.reachable {
        Some(true) => "✔",
        Some(false) => "✘",
        None => "-",
    };
    [
        mark.to_owned(),
        printable(&label),
        peer.mspid.as_deref().map_or_else(|| "?".to_owned(), printable),
        printable(&peer.endpoint),
        peer.round_trip.map(short).unwrap_or_default(),
        listed(peer, report),
        days(peer.days_left(report.now)),
        days(peer.tls_days_left(report.now)),
        up(peer, report).unwrap_or_default(),
    ]
}

/// Returns in how many of the views a peer is alive, and dead: `2/3`, `1/3 dead 2`.
pub fn listed(peer: &Peer, report: &Report) -> String {
    match peer.dead_in {
        0 if peer.alive_in == 0 => String::new(),
        0 => format!("{}/{}", peer.alive_in, report.views),
        dead => format!("{}/{} dead {dead}", peer.alive_in, report.views),
    }
}

/// Formats the days until a certificate expires.
pub fn days(left: Option<i64>) -> String {
    match left {
        None => String::new(),
        Some(days) if days < 0 => "expired".to_owned(),
        Some(1) => "1 day".to_owned(),
        Some(days) => format!("{days} days"),
    }
}

/// Returns how long the peer has been running.
pub fn up(peer: &Peer, report: &Report) -> Option<String> {
    let started = super::json::seconds(peer.started?);
    if peer.is_dead() {
        return None;
    }
    Some(match u64::try_from(report.now - started) {
        Ok(seconds) if seconds < 60 => format!("{seconds} s"),
        Ok(seconds) => since(Duration::from_secs(seconds)),
        Err(_) => "starts later".to_owned(),
    })
}

/// Returns how much wider than the limit a table of these columns is.
fn excess(widths: &[usize; HEADINGS.len()], columns: &[usize], limit: usize) -> usize {
    let total: usize = columns.iter().map(|column| widths[*column] + 2).sum();
    total.saturating_sub(limit + 2)
}

/// Cuts columns until the table fits.
fn shrink(widths: &mut [usize; HEADINGS.len()], columns: &[usize], limit: usize) {
    for (column, least) in FLEXIBLE {
        let least = least.min(widths[column]);
        widths[column] = widths[column].saturating_sub(excess(widths, columns, limit)).max(least);
    }
}

/// Pads or cuts a cell. Endpoints keep their port, which distinguishes peers of one host.
fn fit(column: usize, cell: &str, width: usize) -> String {
    let tail = match cell.rsplit_once(':') {
        Some((_, port)) if column == ENDPOINT && port.len() < 6 => format!("…:{port}"),
        _ => "…".to_owned(),
    };
    console::pad_str(cell, width, console::Alignment::Left, Some(&tail)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let peer = Peer {
            pki_id: "ab".repeat(32),
            name: "peer0.a-long-name.org1.example.com\x1b[31m".into(),
            mspid: Some("Org1MSP".into()),
            endpoint: "peer0.a-long-name.org1.example.com:7051".into(),
            alive_in: 2,
            dead_in: 1,
            expires: Some(10 * 86_400),
            tls_expires: Some(3 * 86_400),
            started: Some(2_000_000_000),
            ..Peer::default()
        };
        Report { peers: vec![peer], views: 3, now: 62, ..Report::default() }
    }

    #[test]
    fn a_row_has_the_properties_of_a_peer() {
        let lines = peers(&report(), None);
        assert!(lines[0].1.contains("ORGANISATION"));
        for part in ["peer0.a-long-name", "Org1MSP", ":7051", "2/3 dead 1", "9 days   2 days", "1 min"] {
            assert!(lines[1].1.contains(part), "{part}: {}", lines[1].1);
        }
        assert!(!lines[1].1.contains('\x1b'), "control characters are escaped");
    }

    #[test]
    fn lines_fit_the_terminal_where_that_is_possible() {
        for width in [40, 60, 80, 100, 120] {
            for (_, line) in peers(&report(), Some(width)) {
                assert!(console::measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_narrow_table_still_distinguishes_peers() {
        let named = |n: usize| Peer {
            pki_id: format!("{n}").repeat(64),
            name: format!("peer{n}.org1.example.com"),
            endpoint: format!("peer.org1.example.com:{}", 7050 + n),
            ..report().peers.remove(0)
        };
        let mut report = Report { peers: (0..3).map(named).collect(), ..report() };
        for width in [40, 80] {
            for (n, (_, line)) in peers(&report, Some(width)).iter().skip(1).enumerate() {
                assert!(line.contains(&format!("peer{n}")) && line.contains(&format!("…:{}", 7050 + n)), "{line}");
                assert!(!line.contains(&report.peers[n].pki_id[..3]), "the name is enough: {line}");
            }
        }
        report.peers[1].name = report.peers[0].name.clone();
        assert!(peers(&report, Some(130))[1].1.contains("(000000000000)"), "two peers have this name");
    }

    #[test]
    fn many_findings_of_one_kind_are_counted() {
        let finding =
            Finding { severity: Severity::Error, kind: "unreachable", peers: Vec::new(), detail: "down".into() };
        assert_eq!(findings(&vec![finding.clone(); 5]).len(), 5);
        let lines = findings(&vec![finding; 30]);
        assert_eq!(lines.len(), 4);
        assert!(lines[3].1.starts_with("error    … and 27 more") && lines[3].1.ends_with("[unreachable]"), "{lines:?}");
    }
}
