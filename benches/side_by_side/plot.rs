//! How the thread-based layer over http2 compares with the async one, as bars: an SVG written by hand.

use crate::results::{Point, Results};
use crate::table::name;
use std::fmt::Write;

/// One bar each; the better runtime of the async variant is not chosen here: both are shown.
const OTHERS: [(&str, &str); 2] = [("async", "#1f77b4"), ("async-current", "#ff9f4a")];

const WIDTH: f64 = 1000.0;
const LABELS: f64 = 400.0;
const BAR: f64 = 11.0;
const ROW: f64 = 2.0 * BAR + 9.0;
const TOP: f64 = 92.0;
/// The axis goes from a 32nd to 32 times, in powers of two.
const POWERS: f64 = 5.0;

pub fn svg(results: &Results, note: &str) -> String {
    let rows: Vec<(Point, &str, bool)> =
        results.points().into_iter().filter_map(|(p, u)| shown(results, p, u)).collect();
    let height = TOP + ROW * rows.len() as f64 + 30.0;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
    );
    let _ = writeln!(svg, r#"<rect width="100%" height="100%" fill="white"/>"#);
    text(
        &mut svg,
        10.0,
        22.0,
        "start",
        "16",
        "Threads over http2 against async: bars to the right show how much better threads are",
    );
    text(&mut svg, 10.0, 42.0, "start", "12", note);
    for (i, (other, colour)) in OTHERS.iter().enumerate() {
        let x = 10.0 + 190.0 * i as f64;
        let _ = writeln!(svg, r#"<rect x="{x}" y="53" width="12" height="12" fill="{colour}"/>"#);
        text(&mut svg, x + 18.0, 64.0, "start", "12", &format!("against {other}"));
    }
    for power in -(POWERS as i32)..=POWERS as i32 {
        let x = place(f64::from(power).exp2());
        let colour = if power == 0 { "#333" } else { "#ddd" };
        let bottom = height - 22.0;
        let _ = writeln!(svg, r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="{colour}"/>"#);
        let label = if power < 0 { format!("1/{}", 1 << -power) } else { format!("{}", 1 << power) };
        text(&mut svg, x, TOP - 6.0, "middle", "11", &label);
    }
    for (row, (point, unit, less)) in rows.iter().enumerate() {
        let y = TOP + 4.0 + ROW * row as f64;
        let label = format!("{}: {}", point.workload, name(point, unit));
        text(&mut svg, LABELS - 10.0, y + BAR + 4.0, "end", "12", &label);
        for (i, (other, colour)) in OTHERS.iter().enumerate() {
            let Some(ratio) = results.ratio(point, "http2", other) else { continue };
            let better = if *less { 1.0 / ratio.median } else { ratio.median };
            if !(better.is_finite() && better > 0.0) {
                continue;
            }
            let (from, to) = (place(1.0).min(place(better)), place(1.0).max(place(better)));
            let (y, width) = (y + BAR * i as f64, (to - from).max(1.0));
            let _ =
                writeln!(svg, r#"<rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#);
            let (x, anchor) = if better < 1.0 { (from - 4.0, "end") } else { (to + 4.0, "start") };
            let label = if better < 10.0 { format!("{better:.2}") } else { format!("{better:.0}") };
            text(&mut svg, x, y + BAR - 2.0, anchor, "10", &label);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns the results that have a bar, and whether less is better.
fn shown<'a>(results: &Results, point: Point, unit: &'a str) -> Option<(Point, &'a str, bool)> {
    let workload = |names: &[&str]| names.contains(&point.workload.as_str());
    let less = match point.metric.as_str() {
        "rate" if !workload(&["handshake"]) => false,
        "p50" | "memory-accepting" | "memory-dialling" => true,
        "p99"
            if workload(&["round-trip-loaded", "round-trip-loaded-apart", "blocking-host", "blocking-host-pooled"]) =>
        {
            true
        }
        "cpu" if workload(&["throughput", "throughput-apart", "connections", "connections-apart"]) => true,
        _ => return None,
    };
    let there = OTHERS.iter().any(|(other, _)| results.ratio(&point, "http2", other).is_some());
    there.then_some((point, unit, less))
}

fn place(ratio: f64) -> f64 {
    let room = WIDTH - LABELS - 60.0;
    LABELS + 30.0 + room * (ratio.log2().clamp(-POWERS, POWERS) + POWERS) / (2.0 * POWERS)
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, size: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{text}</text>"#);
}
