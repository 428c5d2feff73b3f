//! Tests of what is outside the library: the fuzzers' targets, the benchmark's arithmetic and its async variant, and the files
//! that name metrics.

#[path = "../../benches/side_by_side/compare.rs"]
mod compare;
#[path = "../fuzz/org.rs"]
mod org;
#[path = "../../benches/side_by_side/plot.rs"]
mod plot;
#[path = "../../benches/side_by_side/results.rs"]
mod results;
#[path = "../../benches/side_by_side/statistics.rs"]
mod statistics;
#[path = "../../benches/side_by_side/table.rs"]
mod table;
#[path = "../../benches/side_by_side/targets.rs"]
mod targets;
#[path = "../../benches/support/trend.rs"]
mod trend;

#[cfg(any(feature = "c-core", feature = "http2"))]
mod async_interop;
mod fuzz;
mod metrics;
mod side_by_side;
