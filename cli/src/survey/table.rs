//! A report as text: a table of the peers, and the findings.

use super::{Finding, Peer, Report, Severity};
use crate::output::printable;
use crate::terminal::Tone;
use crate::values::{counted, short, since};
use std::time::Duration;

const HEADINGS: [&str; 9] = ["", "PEER", "ORGANISATION", "ENDPOINT", "PING", "ALIVE IN", "EXPIRES", "TLS", "UP"];

/// The columns that are cut to fit, the first of them first, and their smallest width.
const FLEXIBLE: [(usize, usize); 3] = [(3, 10), (1, 13), (2, 8)];

/// Returns the lines of the table; with a width, no line is longer if that is possible.
pub fn peers(report: &Report, width: Option<usize>) -> Vec<(Tone, String)> {
    let mut rows = vec![(Tone::Faint, HEADINGS.map(str::to_owned))];
    rows.extend(report.peers.iter().map(|peer| (tone(peer), cells(peer, report))));
    let mut widths = [0; HEADINGS.len()];
    for (_, cells) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(console::measure_text_width(cell));
        }
    }
    shrink(&mut widths, width);
    let line = |cells: [String; HEADINGS.len()]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| fit(cell, width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(|(tone, cells)| (tone, line(cells))).collect()
}

/// Returns the lines of the findings.
pub fn finding(finding: &Finding) -> (Tone, String) {
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

fn cells(peer: &Peer, report: &Report) -> [String; HEADINGS.len()] {
    let mark = match peer.reachable {
        Some(true) => "✔",
        Some(false) => "✘",
        None => "-",
    };
    [
        mark.to_owned(),
        printable(&peer.label()),
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

/// Cuts columns until the table fits.
fn shrink(widths: &mut [usize; HEADINGS.len()], limit: Option<usize>) {
    let Some(limit) = limit else { return };
    for (column, least) in FLEXIBLE {
        let total: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        let excess = total.saturating_sub(limit);
        let least = least.min(widths[column]);
        widths[column] = widths[column].saturating_sub(excess).max(least);
    }
}

fn fit(cell: &str, width: usize) -> String {
    console::pad_str(cell, width, console::Alignment::Left, Some("…")).into_owned()
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
        for width in [80, 100, 120] {
            for (_, line) in peers(&report(), Some(width)) {
                assert!(console::measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }
}
