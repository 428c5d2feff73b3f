//! The map of who sees whom, as SVG: the peers on a circle, and a line for each pair of which one sees the other.

use super::page::{escape, Status, MAX_DRAWN};
use super::{Peer, Report};
use std::f64::consts::TAU;
use std::fmt::Write;

/// Number of characters of a label. The full name is in the node's title.
const LABEL: usize = 26;

/// Space around the circle for labels: beside it, and above and below it.
const MARGIN: (f64, f64) = (230.0, 50.0);

/// Number of peers above which labels are written along the rays, so that they do not overlap, and lines between peers
/// that see each other are faint, so that the others stand out.
const CROWDED: usize = 14;

/// Distance of neighbours on the circle, with labels along the rays.
const SPACING: f64 = 34.0;

struct Node<'a> {
    peer: &'a Peer,
    x: f64,
    y: f64,
    /// Direction from the centre.
    cos: f64,
    sin: f64,
}

/// Draws the map. A node links to its row, `#peer-N`.
pub fn map(report: &Report) -> String {
    let count = report.peers.len().min(MAX_DRAWN);
    let crowded = count > CROWDED;
    let (circumference, above) = match crowded {
        true => (count as f64 * SPACING, MARGIN.0),
        false => (count as f64 * 12.0 * TAU, MARGIN.1),
    };
    let radius = (circumference / TAU).max(150.0);
    let (width, height) = (2.0 * (radius + MARGIN.0), 2.0 * (radius + above));
    let class = if crowded { " class=\"crowded\"" } else { "" };
    let place = |(n, peer)| {
        let (sin, cos) = (TAU * n as f64 / count as f64 - TAU / 4.0).sin_cos();
        Node { peer, x: width / 2.0 + radius * cos, y: height / 2.0 + radius * sin, cos, sin }
    };
    let nodes: Vec<Node<'_>> = report.peers.iter().take(MAX_DRAWN).enumerate().map(place).collect();
    let mut svg = format!(
        "<svg{class} viewBox=\"0 0 {width:.0} {height:.0}\" role=\"group\" aria-label=\"Map of who sees whom\">\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"22\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L10 5L0 10z\"/></marker></defs>\n"
    );
    // The irregular ones are above the others.
    let mut irregular = String::new();
    for (n, a) in nodes.iter().enumerate() {
        for b in &nodes[n + 1..] {
            line(&mut svg, &mut irregular, a, b);
        }
    }
    svg += &irregular;
    for (n, node) in nodes.iter().enumerate() {
        draw(&mut svg, n, node, crowded);
    }
    svg + "</svg>\n"
}

/// Draws the line between two peers, if at least one of them lists the other.
fn line(regular: &mut String, irregular: &mut String, a: &Node<'_>, b: &Node<'_>) {
    let sees = |from: &Peer, to: &Peer| from.sees.as_ref().map(|sees| sees.get(to.key()).copied());
    let (forth, back) = (sees(a.peer, b.peer), sees(b.peer, a.peer));
    let (from, to, class, text) = match (forth, back) {
        (Some(Some(true)), Some(Some(true))) => (a, b, "both", "see each other"),
        (Some(Some(true)), Some(_)) => (a, b, "one", "sees, is not seen by"),
        (Some(_), Some(Some(true))) => (b, a, "one", "sees, is not seen by"),
        (Some(Some(true)), None) => (a, b, "unknown", "sees, which was not asked,"),
        (None, Some(Some(true))) => (b, a, "unknown", "sees, which was not asked,"),
        (Some(Some(false)), _) => (a, b, "dead", "lists as dead"),
        (_, Some(Some(false))) => (b, a, "dead", "lists as dead"),
        _ => return,
    };
    let (x1, y1, x2, y2) = (from.x, from.y, to.x, to.y);
    let (one, other) = (escape(&from.peer.label()), escape(&to.peer.label()));
    let marker = if matches!(class, "both" | "dead") { "" } else { " marker-end=\"url(#arrow)\"" };
    let svg = if class == "both" { regular } else { irregular };
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"{marker}><title>{one} {text} \
         {other}</title></line>"
    );
}

fn draw(svg: &mut String, n: usize, node: &Node<'_>, crowded: bool) {
    let Node { peer, x, y, cos, sin } = node;
    let status = Status::of(peer);
    let label: String = peer.short_label().chars().take(LABEL).collect();
    let anchor = match cos {
        c if *c > 0.2 => "start",
        c if *c < -0.2 => "end",
        _ => "middle",
    };
    let (anchor, rotation) = match (crowded, *cos >= 0.0) {
        (false, _) => (anchor, None),
        (true, true) => ("start", Some(sin.atan2(*cos).to_degrees())),
        (true, false) => ("end", Some(sin.atan2(*cos).to_degrees() + 180.0)),
    };
    let (label_x, label_y) = (x + 20.0 * cos, y + if crowded { 20.0 } else { 24.0 } * sin);
    let rotation = rotation.map(|by| format!(" transform=\"rotate({by:.1} {label_x:.1} {label_y:.1})\""));
    let rotation = rotation.unwrap_or_default();
    let (title, label) = (escape(&peer.label()), escape(&label));
    let endpoint = escape(&peer.endpoint);
    let _ = writeln!(
        svg,
        "<a href=\"#peer-{n}\" class=\"{}\"><title>{title} at {endpoint}: {}</title>\
         <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"13\"/>\
         <text class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text x=\"{label_x:.1}\" y=\"{label_y:.1}\" dy=\"4\" text-anchor=\"{anchor}\"{rotation}>{label}</text></a>",
        status.class,
        status.text,
        y + 5.0,
        status.mark,
    );
}
