//! A second run beside the first: whether its medians lie within the spread of the first.

use crate::results::{Point, Results};
use crate::statistics::Spread;
use crate::table::{name, or_dash, row, spread, value};
use crate::targets::VARIANTS;

/// Returns a table of all series of the first run, and how many medians agree.
pub fn text(first: &Results, second: &Results) -> String {
    let mut text = String::new();
    row(&mut text, &["", "variant", "first run", "second run", "agrees"].map(String::from));
    row(&mut text, &vec!["---".to_owned(); 5]);
    let (mut agreeing, mut compared) = (0, 0);
    for (point, unit) in first.points() {
        let absolute =
            VARIANTS.iter().map(|v| ((*v).to_owned(), first.spread(&point, v), second.spread(&point, v), unit));
        let ratios = VARIANTS.iter().map(|v| {
            let of = |results: &Results| ratio(results, &point, v);
            (format!("http2 / {v}"), of(first), of(second), "")
        });
        for (variant, was, is, unit) in absolute.chain(ratios) {
            let Some(was) = was else { continue };
            let agrees = is.and_then(|is| agree(was, is));
            compared += usize::from(agrees.is_some());
            agreeing += usize::from(agrees == Some(true));
            let shown = |s: Spread| spread(s, |x| value(x, unit));
            let verdict = agrees.map_or("–", |agrees| if agrees { "yes" } else { "**no**" });
            let what = format!("{}, {}", point.workload, name(&point, unit));
            row(&mut text, &[what, variant, shown(was), or_dash(is, shown), verdict.into()]);
        }
    }
    text + &format!("\n{agreeing} of {compared} medians of the second run lie within the spread of the first.\n")
}

fn ratio(results: &Results, point: &Point, other: &str) -> Option<Spread> {
    results.ratio(point, "http2", other).filter(|_| other != "http2")
}

/// Returns `None` if the first has no spread, because there is one value only.
fn agree(first: Spread, second: Spread) -> Option<bool> {
    (first.low < first.high).then_some((first.low..=first.high).contains(&second.median))
}
