//! Evaluation in the side-by-side benchmark: statistics, targets, tables. (The benchmark itself has no
//! test harness; `cargo test` tries it as a whole.) And the verdict of the soak, which has none either.

use crate::plot;
use crate::results::{Point, Record, Recorded, Results};
use crate::statistics::{at, ratios, Spread};
use crate::table;
use crate::targets::{self, Target, Verdict};
use crate::trend;
use std::path::Path;

fn record(workload: &str, size: u64, variant: &str, metric: &str, round: u64, value: f64) -> Record {
    let text = str::to_owned;
    let (workload, variant, metric, unit) = (text(workload), text(variant), text(metric), text("messages/s"));
    Record { workload, size, connections: 1, variant, metric, unit, value, round }
}

/// One value a round for each variant.
fn rates(size: u64, rounds: &[(&str, &[f64])]) -> Results {
    let of = |(variant, values): &(&str, &[f64])| -> Vec<Record> {
        let values = values.iter().enumerate();
        values.map(|(round, value)| record("throughput", size, variant, "rate", round as u64, *value)).collect()
    };
    Results(rounds.iter().flat_map(of).collect())
}

fn go() -> Recorded {
    Recorded::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/recorded/fabric-go.json")).unwrap()
}

fn target(targets: &[Target], against: &str, what: &str) -> Verdict {
    let found: Vec<&Target> = targets.iter().filter(|t| t.against.contains(against) && t.what == what).collect();
    assert_eq!(found.len(), 1, "{against}: {what}");
    found[0].verdict()
}

#[test]
fn the_median_is_the_middle_one_or_between_the_two() {
    assert_eq!(Spread::of(&[9.0, 1.0, 4.0]), Some(Spread { median: 4.0, low: 1.0, high: 9.0 }));
    assert_eq!(Spread::of(&[8.0, 1.0, 4.0, 2.0]), Some(Spread { median: 3.0, low: 1.0, high: 8.0 }));
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn a_percentile_is_the_value_that_so_many_are_below() {
    let times: Vec<f64> = (0..2000).map(f64::from).collect();
    assert_eq!([500, 990, 999].map(|per_mille| at(&times, per_mille)), [1000.0, 1980.0, 1998.0]);
    assert_eq!(at(&[7.0], 999), 7.0);
    assert_eq!(at(&[1.0, 2.0], 1000), 2.0);
}

#[test]
fn a_ratio_is_the_median_of_those_of_each_round() {
    let results = rates(100, &[("threads", &[100.0, 50.0, 10.0]), ("async", &[400.0, 100.0, 200.0])]);
    let ratio = results.ratio(&Point::new("throughput", 100, 1, "rate"), "threads", "async").unwrap();
    assert_eq!(ratio, Spread { median: 0.25, low: 0.05, high: 0.5 });
    let skewed = rates(100, &[("threads", &[100.0, 50.0, 10.0]), ("async", &[100.0, 25.0, 20.0])]);
    let ratio = skewed.ratio(&Point::new("throughput", 100, 1, "rate"), "threads", "async").unwrap();
    assert_eq!(ratio.median, 1.0, "the ratio of the medians is 2");
}

#[test]
fn a_round_that_one_of_them_lacks_does_not_count() {
    assert_eq!(ratios(&[(0, 1.0), (1, 6.0), (2, 9.0)], &[(1, 2.0), (2, 0.0), (3, 5.0)]), [3.0]);
}

#[test]
fn a_result_survives_its_json() {
    let one = record("connections", 1024, "async-current", "rate", 3, 1.5);
    let json = Results(vec![one.clone()]).json()[0].take();
    let fields: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(fields.len(), 8);
    assert_eq!(Record::from_json(&json), Some(one));
    assert_eq!(Record::from_json(&serde_json::json!({ "workload": "round" })), None);
}

#[test]
fn nothing_measured_leaves_every_target_in_the_table() {
    let targets = targets::all(&Results::default(), &[go()], 2_000);
    assert!(targets.iter().all(|target| target.verdict() == Verdict::NotMeasured));
    let table = table::targets(&targets);
    assert_eq!(table.lines().count(), targets.len() + 2);
    assert_eq!(table.matches("| not measured |").count(), targets.len());
    // Of each line of the project's targets one at least.
    for against in ["the async variant", "Fabric's own Go layer", "the bare transport", "plain TLS", "itself"] {
        assert!(table.contains(&format!("| {against}")), "{against}");
    }
}

#[test]
fn a_target_is_met_missed_or_better_than_hoped_for() {
    for (threads, verdict) in [(79.0, Verdict::Missed), (80.0, Verdict::Met), (100.0, Verdict::AimMet)] {
        let results = rates(1024, &[("threads", &[threads]), ("async", &[100.0])]);
        let targets = targets::all(&results, &[], 2_000);
        assert_eq!(target(&targets, "async", "messages/s, one stream, 1 KiB, one process"), verdict);
        assert_eq!(target(&targets, "async", "messages/s, one stream, 100 B, one process"), Verdict::NotMeasured);
    }
}

#[test]
fn the_better_of_the_async_runtimes_decides() {
    let results = rates(100, &[("threads", &[90.0]), ("async", &[50.0]), ("async-current", &[900.0])]);
    let targets = targets::all(&results, &[], 2_000);
    assert_eq!(target(&targets, "async", "messages/s, one stream, 100 B, one process"), Verdict::Missed);
}

#[test]
fn where_less_is_better_the_largest_decides() {
    let p50 = |variant, value| record("round-trip", 100, variant, "p50", 0, value);
    let results = Results(vec![p50("threads", 30.0), p50("async", 100.0), p50("async-current", 55.0)]);
    let what = "acknowledged round trip, p50, one process";
    assert_eq!(target(&targets::all(&results, &[], 2_000), "async", what), Verdict::Met);
    let results = Results(vec![p50("threads", 30.0), p50("async", 100.0), p50("async-current", 45.0)]);
    assert_eq!(target(&targets::all(&results, &[], 2_000), "async", what), Verdict::Missed);
}

#[test]
fn of_fabric_in_the_same_run_and_what_was_recorded_the_better_decides() {
    for (theirs, verdict) in [(300_000.0, Verdict::Missed), (100_000.0, Verdict::Met)] {
        let results = rates(100, &[("threads", &[320_000.0]), ("fabric-go", &[theirs])]);
        let targets = targets::all(&results, &[go()], 2_000);
        assert_eq!(target(&targets, "Go", "messages/s, 100 B"), verdict);
        let table = table::targets(&targets);
        assert!(table.contains("recorded, not in this run: 1.14; in this run: "), "{table}");
    }
}

#[test]
fn what_was_recorded_elsewhere_is_compared_and_said_to_be_of_another_run() {
    let results = rates(100, &[("threads", &[300_000.0, 320_000.0, 340_000.0])]);
    let targets = targets::all(&results, &[go()], 2_000);
    assert_eq!(target(&targets, "Go", "messages/s, 100 B"), Verdict::Met);
    assert!(table::targets(&targets).contains("recorded, not in this run: "));
    let table = table::recorded(&[go()], &results);
    assert!(table.contains("not in this run"), "{table}");
    assert!(table.contains("| 280,000 | 320,000 (300,000 – 340,000) | 1.14 (1.07 – 1.21) |"), "{table}");
}

#[test]
fn what_one_variant_did_not_do_is_a_dash_in_its_column() {
    let results = rates(100, &[("threads", &[1_234.5]), ("bare", &[2_469.0])]);
    let with_async = Results([results.0, rates(1024, &[("async", &[0.5])]).0].concat());
    let table = table::measured(&with_async);
    assert!(table.contains("|  | threads | async | bare | threads / async | threads / bare |"), "{table}");
    assert!(table.contains("| 100 B, rate, messages/s | 1,234 | – | 2,469 | – | 0.50 |"), "{table}");
}

#[test]
fn a_bar_to_the_right_means_that_threads_are_better() {
    let p50 = |variant, value| record("round-trip", 100, variant, "p50", 0, value);
    let svg = plot::svg(&Results(vec![p50("threads", 50.0), p50("async", 100.0)]), "a < b");
    assert!(svg.contains(">2.00</text>") && svg.contains("a &lt; b"), "{svg}");
    let svg = plot::svg(&rates(100, &[("threads", &[50.0]), ("async", &[100.0])]), "");
    assert!(svg.contains(">0.50</text>"), "{svg}");
}

/// Returns a value every five seconds that grows by `growth` in a minute and is lower by `noise` half of the time, in periods
/// of 20 seconds.
fn series(minutes: usize, growth: f64, noise: f64) -> Vec<(f64, f64)> {
    let value = |n: usize| {
        let minute = n as f64 / 12.0;
        let is_lower = (n as u64 / 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0;
        (minute, 10_000.0 + growth * minute - if is_lower { noise } else { 0.0 })
    };
    (0..12 * minutes).map(value).collect()
}

#[test]
fn a_trend_is_within_its_limit_above_it_or_undecided() {
    use trend::Verdict::{Above, Undecided, Within};
    let verdict = |minutes, growth, noise| trend::Trend::of(&series(minutes, growth, noise)).verdict(16.0);
    assert_eq!(verdict(40, 0.0, 800.0), Within);
    assert_eq!(verdict(40, -100.0, 800.0), Within);
    assert_eq!(verdict(40, 100.0, 800.0), Above);
    assert_eq!(verdict(40, 16.0, 800.0), Undecided, "the limit itself");
    assert_eq!(verdict(5, 0.0, 800.0), Undecided, "too short for this noise");
    assert_eq!([0, 1, 2].map(|minutes| verdict(minutes, 0.0, 0.0)), [Undecided; 3], "too short for a line");
    assert_eq!(verdict(40, 16.5, 0.0), Above);
    let exact = trend::Trend::of(&series(10, 3.0, 0.0));
    assert!((exact.slope - 3.0).abs() < 1e-6 && exact.error < 1e-6, "{exact:?}");
}
