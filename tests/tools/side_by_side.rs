//! Evaluation in the side-by-side benchmark: statistics, targets, tables. (The benchmark itself has no
//! test harness; `cargo test` tries it as a whole.) And the verdict of the soak, which has none either.

use crate::compare;
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
    let results = rates(100, &[("http2", &[100.0, 50.0, 10.0]), ("async", &[400.0, 100.0, 200.0])]);
    let ratio = results.ratio(&Point::new("throughput", 100, 1, "rate"), "http2", "async").unwrap();
    assert_eq!(ratio, Spread { median: 0.25, low: 0.05, high: 0.5 });
    let skewed = rates(100, &[("http2", &[100.0, 50.0, 10.0]), ("async", &[100.0, 25.0, 20.0])]);
    let ratio = skewed.ratio(&Point::new("throughput", 100, 1, "rate"), "http2", "async").unwrap();
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
    assert_eq!(Record::from_json(&json), Some(one.clone()));
    let file = std::env::temp_dir().join(format!("fabric-gossip-results-{}.json", std::process::id()));
    std::fs::write(&file, Results(vec![one.clone()]).json().to_string()).unwrap();
    let read = Results::read(&file);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(read.unwrap().0, [one]);
    assert_eq!(Record::from_json(&serde_json::json!({ "workload": "round" })), None);
}

const ONE_STREAM: &str = "messages/s, one stream, 1 KiB, one process";

#[test]
fn nothing_measured_leaves_every_target_in_the_table() {
    let targets = targets::all(&Results::default(), 2_000);
    assert!(targets.iter().all(|target| target.verdict() == Verdict::NotMeasured));
    let table = table::targets(&targets);
    let verdicts: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split('|').nth(6)).collect();
    assert_eq!(verdicts, vec![" not measured "; targets.len()]);
    // Of each line of the project's targets one at least.
    for against in ["the async variant", "Fabric's own Go layer", "plain TLS", "itself"] {
        assert!(table.contains(&format!("| {against}")), "{against}");
    }
}

#[test]
fn a_target_is_met_missed_or_better_than_hoped_for() {
    for (ours, verdict) in [(99.0, Verdict::Missed), (100.0, Verdict::Met), (200.0, Verdict::AimMet)] {
        let results = rates(1024, &[("http2", &[ours]), ("async", &[100.0])]);
        let targets = targets::all(&results, 2_000);
        assert_eq!(target(&targets, "async", ONE_STREAM), verdict);
        assert_eq!(target(&targets, "async", "messages/s, one stream, 100 B, one process"), Verdict::NotMeasured);
    }
}

#[test]
fn a_target_that_only_some_rounds_reach_is_undecided() {
    let verdict = |ours: &[f64]| {
        let results = rates(1024, &[("http2", ours), ("async", &[100.0; 3])]);
        target(&targets::all(&results, 2_000), "async", ONE_STREAM)
    };
    assert_eq!(verdict(&[150.0, 140.0, 99.0]), Verdict::Undecided);
    assert_eq!(verdict(&[50.0, 60.0, 101.0]), Verdict::Undecided);
    assert_eq!(verdict(&[150.0, 140.0, 100.0]), Verdict::Met);
    assert_eq!(verdict(&[50.0, 60.0, 99.0]), Verdict::Missed);
    assert_eq!(verdict(&[250.0, 260.0, 199.0]), Verdict::Met, "the aim is not reached in every round");
}

#[test]
fn the_better_of_the_async_runtimes_decides() {
    let results = rates(1024, &[("http2", &[90.0]), ("async", &[50.0]), ("async-current", &[900.0])]);
    assert_eq!(target(&targets::all(&results, 2_000), "async", ONE_STREAM), Verdict::Missed);
}

#[test]
fn where_less_is_better_the_largest_decides() {
    let p50 = |variant, value| record("round-trip", 100, variant, "p50", 0, value);
    let what = "acknowledged round trip, p50, one process";
    let results = Results(vec![p50("http2", 30.0), p50("async", 100.0), p50("async-current", 55.0)]);
    assert_eq!(target(&targets::all(&results, 2_000), "async", what), Verdict::Met);
    let results = Results(vec![p50("http2", 30.0), p50("async", 100.0), p50("async-current", 45.0)]);
    assert_eq!(target(&targets::all(&results, 2_000), "async", what), Verdict::Missed);
}

#[test]
fn the_layers_own_cost_is_the_difference_to_the_bare_transport_of_each_round() {
    let cpu = |variant, round, value| record("throughput", 100, variant, "cpu", round, value);
    let of = |ours: f64| {
        let results = [cpu("http2", 0, ours), cpu("bare-http2", 0, 1.0), cpu("http2", 1, 9.0), cpu("c-core", 0, 5.0)];
        targets::all(&Results(results.into()), 2_000)
    };
    let what = "the layer's own CPU per message, 100 B, both ends (layer less bare transport; 2.5 times it)";
    assert_eq!(target(&of(2.5), "itself", what), Verdict::Met);
    let missed = of(2.6);
    assert!(missed.iter().any(|t| t.what.contains("2.6 times it") && t.verdict() == Verdict::Missed));
}

#[test]
fn the_c_core_has_its_values_without_targets() {
    let results = rates(1024, &[("http2", &[100.0]), ("c-core", &[25.0]), ("async", &[100.0])]);
    let table = table::targets(&targets::all(&results, 2_000));
    let row = table.lines().find(|line| line.contains(ONE_STREAM)).unwrap();
    assert!(row.contains("| met |") && row.contains("| async: 0.25;"), "{row}");
}

#[test]
fn medians_of_a_second_run_agree_within_the_spread_of_the_first() {
    let first = rates(100, &[("http2", &[90.0, 100.0, 110.0]), ("async", &[80.0, 100.0, 120.0])]);
    let second = rates(100, &[("http2", &[110.0, 110.0]), ("async", &[121.0, 121.0])]);
    let text = compare::text(&first, &second);
    assert!(text.contains("| throughput, 100 B, rate, messages/s | http2 | 100 (90.0 – 110) | 110 | yes |"), "{text}");
    assert!(text.contains("| async | 100 (80.0 – 120) | 121 | **no** |"), "{text}");
    // The ratio of the two is the third.
    assert!(text.ends_with("\n1 of 3 medians of the second run lie within the spread of the first.\n"), "{text}");
    let single = compare::text(&rates(100, &[("http2", &[1.0])]), &second);
    assert!(single.contains("0 of 0 medians"), "one value has no spread: {single}");
}

#[test]
fn recorded_results_are_beside_those_of_the_run() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/recorded/fabric-go.json");
    let table = table::recorded(&[Recorded::read(&file).unwrap()], &rates(100, &[("http2", &[560_000.0])]));
    assert!(
        table.contains("| throughput, 100 B, rate, messages/s | fabric-go | 280,000 | 560,000 | 2.00 |"),
        "{table}"
    );
}

#[test]
fn what_one_variant_did_not_do_is_a_dash_in_its_column() {
    let results = rates(100, &[("http2", &[1_234.5]), ("bare-http2", &[2_469.0])]);
    let with_async = Results([results.0, rates(1024, &[("async", &[0.5])]).0].concat());
    let table = table::measured(&with_async);
    assert!(table.contains("|  | http2 | async | bare-http2 | http2 / async | http2 / bare-http2 |"), "{table}");
    assert!(table.contains("| 100 B, rate, messages/s | 1,234 | – | 2,469 | – | 0.50 |"), "{table}");
}

#[test]
fn a_bar_to_the_right_means_that_threads_are_better() {
    let p50 = |variant, value| record("round-trip", 100, variant, "p50", 0, value);
    let svg = plot::svg(&Results(vec![p50("http2", 50.0), p50("async", 100.0)]), "a < b");
    assert!(svg.contains(">2.00</text>") && svg.contains("a &lt; b"), "{svg}");
    let svg = plot::svg(&rates(100, &[("http2", &[50.0]), ("async", &[100.0])]), "");
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
