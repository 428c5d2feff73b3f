//! A report as one HTML page without external resources or scripts.

use super::{svg, table, Finding, Peer, Report, Severity};
use crate::output::printable;
use crate::rfc3339;
use crate::values::short;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// Maximum number of peers in the map and in the columns of the matrix.
pub const MAX_DRAWN: usize = 256;

/// Number of days that a full expiry bar stands for.
const FULL_BAR: i64 = 365;

/// Writes the page. Certificates that expire within `warn_days` are marked.
pub fn render(report: &Report, warn_days: i64) -> String {
    let (_, summary) = table::summary(report);
    let made = rfc3339::seconds(report.now);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>Survey of the gossip network</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>Survey of the gossip network</h1>\n\
         <p>{} <span class=\"soft\">· {made}</span></p>\n</header>\n\
         <nav aria-label=\"Sections\"><ul><li><a href=\"#findings\">Findings</a></li><li><a href=\"#map\">Map</a></li>\
         <li><a href=\"#peers\">Peers</a></li><li><a href=\"#views\">Who sees whom</a></li>\
         <li><a href=\"#certificates\">Certificates</a></li></ul></nav>\n<main>\n",
        escape(&summary)
    );
    findings(&mut page, report);
    map(&mut page, report);
    peers(&mut page, report);
    matrix(&mut page, report);
    certificates(&mut page, report, warn_days);
    page + "</main>\n</body>\n</html>\n"
}

/// Escapes a text for HTML, in elements and in quoted attributes; control characters become readable.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// The state of a peer: a class of the style sheet, a mark for those who see no colours, and a text.
pub struct Status {
    pub class: &'static str,
    pub mark: &'static str,
    pub text: &'static str,
}

impl Status {
    pub fn of(peer: &Peer) -> Status {
        match peer.reachable {
            Some(true) => Status { class: "good", mark: "✔", text: "reachable" },
            _ if peer.is_dead() => Status { class: "none", mark: "†", text: "listed as dead" },
            Some(false) => Status { class: "bad", mark: "✘", text: "unreachable" },
            None => Status { class: "none", mark: "?", text: "not asked" },
        }
    }
}

fn findings(page: &mut String, report: &Report) {
    *page += "<section aria-labelledby=\"findings\">\n<h2 id=\"findings\">Findings</h2>\n";
    if report.findings.is_empty() {
        *page += "<p class=\"good\">✔ Nothing irregular was found.</p>\n</section>\n";
        return;
    }
    *page += "<ul class=\"findings\">\n";
    for group in report.grouped() {
        if group.len() < table::MANY {
            group.iter().for_each(|finding| item(page, finding));
            continue;
        }
        let first = &group[0];
        let (class, severity, detail) = (class(first.severity), first.severity.name(), escape(&first.detail));
        let _ = writeln!(
            page,
            "<li class=\"{class}\"><details><summary><b>{severity}</b> {} alike, such as: {detail} <code>{}</code>\
             </summary>\n<ul class=\"findings\">",
            group.len(),
            first.kind
        );
        group.iter().for_each(|finding| item(page, finding));
        *page += "</ul></details></li>\n";
    }
    *page += "</ul>\n</section>\n";
}

fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "bad",
        Severity::Warning => "warn",
        Severity::Info => "info",
    }
}

fn item(page: &mut String, finding: &Finding) {
    let (class, severity, detail) = (class(finding.severity), finding.severity.name(), escape(&finding.detail));
    let _ = writeln!(page, "<li class=\"{class}\"><b>{severity}</b> {detail} <code>{}</code></li>", finding.kind);
}

fn map(page: &mut String, report: &Report) {
    *page += "<section aria-labelledby=\"map\">\n<h2 id=\"map\">Map</h2>\n";
    *page += &svg::map(report);
    note_limit(page, report.peers.len());
    *page += "<ul class=\"legend\"><li>✔ reachable</li><li>✘ unreachable</li><li>† listed as dead</li><li>? not asked</li>\
              <li>solid line: see each other</li><li>dashed arrow: only one sees the other</li><li>dotted arrow: sees a peer \
              that was not asked</li><li>dotted line: lists the other as dead</li></ul>\n</section>\n";
}

fn peers(page: &mut String, report: &Report) {
    *page += "<section aria-labelledby=\"peers\">\n<h2 id=\"peers\">Peers</h2>\n\
              <div class=\"scroll\" role=\"region\" aria-labelledby=\"peers\" tabindex=\"0\">\n<table>\n\
              <caption>Alive in: number of the compared views that list the peer as alive</caption>\n<thead><tr>";
    for heading in ["Peer", "State", "Organisation", "Endpoint", "Ping", "Alive in", "Expires", "TLS expires", "Up"] {
        let _ = write!(page, "<th scope=\"col\">{heading}</th>");
    }
    *page += "</tr></thead>\n<tbody>\n";
    for (n, peer) in report.peers.iter().enumerate() {
        let status = Status::of(peer);
        let _ = write!(
            page,
            "<tr id=\"peer-{n}\"><th scope=\"row\">{}<br/><code>{}</code></th><td class=\"{}\">{} {}</td>",
            escape(&peer.short_label()),
            escape(&peer.pki_id),
            status.class,
            status.mark,
            status.text
        );
        let endpoints: Vec<&String> = [&peer.endpoint, &peer.internal, &peer.external].into_iter().collect();
        let mut distinct: Vec<&String> = Vec::new();
        for endpoint in endpoints {
            if !endpoint.is_empty() && !distinct.contains(&endpoint) {
                distinct.push(endpoint);
            }
        }
        let endpoints: Vec<String> = distinct.into_iter().map(|endpoint| escape(endpoint)).collect();
        let cells = [
            peer.mspid.as_deref().map_or_else(|| "unknown".to_owned(), escape),
            endpoints.join("<br/>"),
            peer.round_trip.map(short).unwrap_or_default(),
            table::listed(peer, report),
            table::days(peer.days_left(report.now)),
            table::days(peer.tls_days_left(report.now)),
            table::up(peer, report).unwrap_or_default(),
        ];
        for cell in cells {
            let _ = write!(page, "<td>{cell}</td>");
        }
        *page += "</tr>\n";
    }
    *page += "</tbody>\n</table>\n</div>\n</section>\n";
}

fn matrix(page: &mut String, report: &Report) {
    let label = |peer: &Peer| escape(&peer.short_label());
    *page += "<section aria-labelledby=\"views\">\n<h2 id=\"views\">Who sees whom</h2>\n\
              <div class=\"scroll\" role=\"region\" aria-labelledby=\"views\" tabindex=\"0\">\n<table class=\"matrix\">\n\
              <caption>Each row is the view of one peer</caption>\n<thead><tr><th scope=\"col\">View of</th>";
    let mut listed: Vec<&Peer> = report.peers.iter().filter(|peer| peer.alive_in + peer.dead_in > 0).collect();
    let count = listed.len();
    listed.truncate(MAX_DRAWN);
    for peer in &listed {
        let _ = write!(page, "<th scope=\"col\">{}</th>", label(peer));
    }
    *page += "</tr></thead>\n<tbody>\n";
    for (peer, sees) in report.peers.iter().filter_map(|peer| Some((peer, peer.sees.as_ref()?))) {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", label(peer));
        for other in &listed {
            let (class, text) = match sees.get(other.key()) {
                Some(true) => ("good", "✔ alive"),
                Some(false) => ("bad", "† dead"),
                None => ("none", "– absent"),
            };
            let _ = write!(page, "<td class=\"{class}\">{text}</td>");
        }
        *page += "</tr>\n";
    }
    *page += "</tbody>\n</table>\n</div>\n";
    note_limit(page, count);
    *page += "</section>\n";
}

/// Says that peers are missing, if that is so.
fn note_limit(page: &mut String, count: usize) {
    if count > MAX_DRAWN {
        let _ = writeln!(page, "<p class=\"warn\">Only the first {MAX_DRAWN} of {count} peers are drawn.</p>");
    }
}

fn certificates(page: &mut String, report: &Report, warn_days: i64) {
    *page +=
        "<section aria-labelledby=\"certificates\">\n<h2 id=\"certificates\">Certificates</h2>\n<dl class=\"bars\">\n";
    let mut ending: Vec<(i64, &Peer)> =
        report.peers.iter().filter_map(|peer| Some((peer.days_left(report.now)?, peer))).collect();
    ending.sort_by_key(|(days, _)| *days);
    for (days, peer) in ending {
        let class = match days {
            ..0 => "bad",
            days if days < warn_days => "warn",
            _ => "good",
        };
        let part = days.clamp(0, FULL_BAR) * 100 / FULL_BAR;
        let text = table::days(Some(days));
        let until = peer.expires.map(rfc3339::seconds).unwrap_or_default();
        let _ = writeln!(
            page,
            "<dt>{}</dt><dd class=\"{class}\" title=\"{until}\"><span class=\"bar\" aria-hidden=\"true\"><span \
             style=\"width:{part}%\"></span></span><span>{text}</span></dd>",
            escape(&peer.short_label())
        );
    }
    *page += "</dl>\n<p class=\"soft\">A full bar is a year or more.</p>\n</section>\n";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const HOSTILE: &str = "</td><script>alert(\"1\")</script>' onload=x \x1b[31m&\u{202e}";

    #[test]
    fn hostile_names_are_text() {
        let peer = Peer {
            pki_id: HOSTILE.into(),
            name: HOSTILE.into(),
            mspid: Some(HOSTILE.into()),
            endpoint: HOSTILE.into(),
            external: HOSTILE.into(),
            internal: HOSTILE.into(),
            alive_in: 1,
            expires: Some(0),
            sees: Some(BTreeMap::from([(HOSTILE.to_owned(), true)])),
            ..Peer::default()
        };
        let finding = Finding {
            severity: Severity::Error,
            kind: "unreachable",
            peers: vec![HOSTILE.into()],
            detail: HOSTILE.into(),
        };
        let report = Report { peers: vec![peer.clone(), peer], findings: vec![finding], views: 1, now: 0 };
        let page = render(&report, 30);
        assert!(!page.contains("<script") && !page.contains("' onload") && !page.contains('\x1b'), "{page}");
        assert!(page.contains("&lt;script&gt;") && !page.contains('\u{202e}'));
    }

    #[test]
    fn a_large_network_is_drawn_in_part() {
        let peer = |n: usize| Peer { pki_id: n.to_string(), alive_in: 1, ..Peer::default() };
        let page = render(&Report { peers: (0..300).map(peer).collect(), ..Report::default() }, 30);
        assert_eq!((page.matches("<circle").count(), page.matches("Only the first 256 of 300").count()), (256, 2));
        assert_eq!(page.matches("id=\"peer-").count(), 300);
    }

    #[test]
    fn irregular_lines_of_a_large_network_are_drawn_last_and_labels_do_not_overlap() {
        let sees = |own: usize, not: usize| {
            let others = (0..30).filter(|n| *n != own && *n != not).map(|n| (n.to_string(), true));
            Some(others.collect::<BTreeMap<_, _>>())
        };
        // The first peer does not list the last one.
        let peer = |n: usize| Peer {
            pki_id: n.to_string(),
            alive_in: 1,
            reachable: Some(true),
            sees: sees(n, if n == 0 { 29 } else { n }),
            ..Peer::default()
        };
        let page = render(&Report { peers: (0..30).map(peer).collect(), ..Report::default() }, 30);
        assert_eq!(page.matches("class=\"one\"").count(), 1);
        assert!(page.find("class=\"one\"") > page.rfind("<line class=\"both\""), "above all others");
        assert!(page.contains("<svg class=\"crowded\"") && page.matches("rotate(").count() == 30, "labels along rays");
        assert!(!render(&Report { peers: (0..5).map(peer).collect(), ..Report::default() }, 30).contains("rotate("));
    }

    #[test]
    fn many_findings_of_one_kind_are_folded() {
        let finding = |n: usize| Finding {
            severity: Severity::Error,
            kind: "unreachable",
            peers: vec![n.to_string()],
            detail: format!("peer{n} <cannot> be reached"),
        };
        let page = render(&Report { findings: (0..30).map(finding).collect(), ..Report::default() }, 30);
        assert_eq!((page.matches("<details>").count(), page.matches("</details>").count()), (1, 1));
        assert!(page.contains("30 alike, such as: peer0 &lt;cannot&gt; be reached <code>"), "{page}");
        assert!((0..30).all(|n| page.contains(&format!("</b> peer{n} &lt;cannot&gt; be reached <code>"))));
        let page = render(&Report { findings: (0..5).map(finding).collect(), ..Report::default() }, 30);
        assert!(!page.contains("<details>"));
    }

    #[test]
    fn an_empty_report_is_a_page() {
        assert!(render(&Report::default(), 30).ends_with("</html>\n"));
    }
}
