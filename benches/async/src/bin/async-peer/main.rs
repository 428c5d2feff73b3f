//! The async layer as a separate process, for the benchmark and for tests that let it talk to the thread-based one.
//!
//! It reads orders from its input, a line each: a name, and `key=value` pairs. Each is carried out immediately; the
//! result is printed as JSON, an object a line, with `done` after the last one, or `error` and a reason. It ends with
//! its input. `benches/async/README.md` lists orders and arguments.

mod layer;
mod machine;
mod options;
mod process;
mod workloads;

use options::{Options, Order};
use std::io::{BufRead, Write};

type Outcome<T = ()> = Result<T, String>;

/// One measured value.
struct Figure {
    metric: &'static str,
    unit: &'static str,
    value: f64,
}

fn figure(metric: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure { metric, unit, value }
}

fn main() {
    let options = match Options::from(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("async-peer: {error}");
            std::process::exit(2);
        }
    };
    let mut process = process::Process::new(&options);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let order = Order::from(&line);
        if order.name.is_empty() {
            continue;
        }
        let outcome = match process.carry_out(&order) {
            Some(outcome) => outcome,
            None => workloads::measure(&options, &order),
        };
        let mut output = std::io::stdout().lock();
        let said = match outcome {
            Ok(figures) => {
                let lines =
                    figures.iter().try_for_each(|figure| writeln!(output, "{}", json(&options, &order, figure)));
                lines.and_then(|()| writeln!(output, "done"))
            }
            Err(error) => writeln!(output, "error {}", error.replace('\n', " ")),
        };
        if said.and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

/// Everything in it is a word or a number: nothing needs to be escaped.
fn json(options: &Options, order: &Order, figure: &Figure) -> String {
    let number = |key| order.number(key).unwrap_or(0);
    format!(
        r#"{{"workload":"{}","size":{},"connections":{},"variant":"{}","metric":"{}","unit":"{}","value":{},"round":{}}}"#,
        order.name,
        number("size"),
        order.number("connections").unwrap_or(1),
        options.variant,
        figure.metric,
        figure.unit,
        figure.value,
        number("round"),
    )
}
