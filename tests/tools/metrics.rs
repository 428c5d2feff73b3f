//! The reference page, the dashboard and the alerts, compared with the metrics that the library exports.

use fabric_gossip::metrics::{self, Kind, Metric};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = "docs/metrics.md";
const DASHBOARD: &str = "packaging/grafana/fabric-gossip.json";
const ALERTS: &str = "packaging/prometheus/alerts.yml";

/// Labels that Prometheus adds to every sample, and the one of histogram buckets.
const COMMON_LABELS: [&str; 3] = ["job", "instance", "le"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the row of the reference page for a metric.
fn row(metric: &Metric) -> String {
    let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { " ".to_owned() } else { format!(" {} ", labels.join(", ")) };
    format!("| `{}` | {} |{labels}| {} |", metric.name, metric.kind.as_str(), metric.help)
}

/// Returns the metric of a sample's name: that of a histogram has a suffix.
fn metric_of(sample: &str) -> Option<&'static Metric> {
    metrics::all().find(|metric| match metric.kind {
        Kind::Histogram => {
            sample.strip_prefix(metric.name).is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end))
        }
        _ => metric.name == sample,
    })
}

/// Returns the words of a text: letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Returns the labels in an expression: those in `by (…)`, and those before a matcher in `{…}`.
fn labels(expression: &str) -> Vec<&str> {
    let between = |open: &str, close: char| -> Vec<&str> {
        expression.split(open).skip(1).filter_map(|rest| rest.split(close).next()).collect()
    };
    let grouped = between("by (", ')').into_iter().flat_map(words);
    let matched = between("{", '}').into_iter().flat_map(|inner| inner.split(',')).filter_map(|it| words(it).next());
    grouped.chain(matched).collect()
}

/// Returns what is wrong with an expression: names and labels that the library does not export.
fn faults(expression: &str) -> Vec<String> {
    let names: BTreeSet<&str> = words(expression).filter(|word| word.starts_with("gossip_")).collect();
    let unknown = names.iter().filter(|name| metric_of(name).is_none()).map(|name| format!("{name} is not exported"));
    let known: Vec<_> = names.iter().filter_map(|name| metric_of(name)).flat_map(|metric| metric.labels).collect();
    let is_known = |label: &&str| COMMON_LABELS.contains(label) || known.contains(&label);
    let stray = labels(expression).into_iter().filter(|label| !is_known(label));
    unknown.chain(stray.map(|label| format!("no metric of {expression} has the label {label}"))).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

/// Returns the expressions of the dashboard's panels.
fn dashboard_expressions(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// Returns the expressions of the alerts, each of which is on one line.
fn alert_expressions(alerts: &str) -> Vec<&str> {
    alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect()
}

#[test]
fn the_reference_page_has_a_row_for_each_metric_in_order() {
    let page = read(PAGE);
    let found: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = metrics::all().map(row).collect();
    assert_eq!(found, expected, "{PAGE} differs from the table in src/metrics/table.rs:\n{}", expected.join("\n"));
}

#[test]
fn the_page_names_only_metrics_that_exist() {
    let page = read(PAGE);
    // A code span of one word; the functions of the C interface begin alike.
    let spans = page.split('`').skip(1).step_by(2).filter(|span| words(span).next() == Some(span));
    let names = spans.filter(|span| span.starts_with("gossip_") && !span.ends_with("_metrics"));
    for name in names {
        assert!(metrics::all().any(|metric| metric.name == name), "{PAGE}: {name}");
    }
}

#[test]
fn the_dashboard_uses_exported_metrics_and_shows_all_of_them() {
    let dashboard = dashboard();
    let expressions = dashboard_expressions(&dashboard);
    let faults: Vec<_> = expressions.iter().flat_map(|expression| faults(expression)).collect();
    assert_eq!(faults, [""; 0], "{DASHBOARD}");
    let shown: BTreeSet<_> =
        expressions.iter().flat_map(|it| words(it)).filter_map(metric_of).map(|it| it.name).collect();
    let hidden: Vec<_> = metrics::all().map(|metric| metric.name).filter(|name| !shown.contains(name)).collect();
    assert_eq!(hidden, [""; 0], "{DASHBOARD} has no panel for these");
}

#[test]
fn the_panels_of_the_dashboard_have_different_ids_and_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{title} exceeds the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} overlaps another panel");
        }
    }
}

#[test]
fn the_alerts_use_exported_metrics() {
    let alerts = read(ALERTS);
    let expressions = alert_expressions(&alerts);
    assert_eq!(expressions.len(), alerts.matches("- alert: ").count(), "an alert without an expression on one line");
    let faults: Vec<_> = expressions.iter().flat_map(|expression| faults(expression)).collect();
    assert_eq!(faults, [""; 0], "{ALERTS}");
    // Expiry, flapping, drops and refused handshakes.
    let used: BTreeSet<_> = expressions.iter().flat_map(|it| words(it)).collect();
    for name in [
        "gossip_comm_identity_expires_in_seconds",
        "gossip_comm_tls_expires_in_seconds",
        "gossip_comm_reconnects",
        "gossip_comm_dropped_messages",
        "gossip_comm_handshake_failures",
    ] {
        assert!(used.contains(name), "no alert for {name}");
    }
}

#[test]
fn unknown_names_and_labels_are_found() {
    assert_eq!(faults("rate(gossip_comm_dials{job=\"x\"}[5m])"), [""; 0]);
    assert_eq!(faults("gossip_comm_dial"), ["gossip_comm_dial is not exported"]);
    assert_eq!(faults("gossip_comm_ack_round_trip_seconds"), ["gossip_comm_ack_round_trip_seconds is not exported"]);
    assert_eq!(faults("gossip_comm_ack_round_trip_seconds_bucket"), [""; 0]);
    assert_eq!(faults("sum by (instance, reason) (gossip_comm_dials)").len(), 1);
    assert_eq!(faults("gossip_comm_dials{instance=~\"a\",peer=\"b\"}").len(), 1);
}
