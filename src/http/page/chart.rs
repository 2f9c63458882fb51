//! The hit ratio over time: a drawing, one sentence that says the same, and a table.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use maud::{Markup, html};

use super::words::{ago, number, percent, period};
use crate::history::{Sample, Shown};

/// The drawing is as wide and high as that, in its own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;

/// How much of the height the busiest moment takes.
const VOLUME_HEIGHT: f64 = 45.0;

/// The most rows of the table.
const ROWS: usize = 12;

/// The section of the page.
pub(super) fn section(shown: &Shown) -> Markup {
    let samples = &shown.samples;
    let (hits, lookups) = total(samples);
    let ends = samples.first().zip(samples.last());
    html! {
        section.card.wide aria-labelledby="ratio" {
            h2 #ratio { "Hit ratio over time" }
            @if let (Some((first, last)), 1..) = (ends, lookups) {
                @let whole = last.until - first.from;
                figure {
                    div.plot {
                        div.scale aria-hidden="true" { span { "100 %" } span { "50 %" } span { "0 %" } }
                        (drawing(samples, first.from, last.until))
                        div.time aria-hidden="true" { span { (period(whole)) " ago" } span { "now" } }
                    }
                    figcaption {
                        p.key aria-hidden="true" {
                            span { i {} "answered from the cache at once" } span { i.bar {} "how many look-ups" }
                        }
                        p {
                            "In the last " (period(whole)) ", " (number(hits)) " of " (number(lookups))
                            " look-ups were answered from the cache at once: " (percent(hits, lookups)) "."
                        }
                    }
                }
                details {
                    summary { "The same as a table" }
                    (table(samples, last.until))
                }
            } @else {
                p.quiet { "Nobody has looked anything up yet. The line begins with the first look-up." }
            }
        }
    }
}

fn total(samples: &[Sample]) -> (u64, u64) {
    let hits = samples.iter().map(|sample| sample.hits).sum();
    (hits, samples.iter().map(|sample| sample.lookups).sum())
}

fn drawing(samples: &[Sample], from: Instant, until: Instant) -> Markup {
    let whole = (until - from).as_secs_f64().max(f64::MIN_POSITIVE);
    let x = |at: Instant| (at - from).as_secs_f64() / whole * WIDTH;
    let per_second = |sample: &Sample| {
        let seconds = (sample.until - sample.from).as_secs_f64();
        sample.lookups as f64 / seconds.max(1.0)
    };
    let busiest = samples.iter().map(per_second).fold(0.0, f64::max);
    let (mut line, mut area, mut bars) = (String::new(), String::new(), String::new());
    let mut drawing = false;
    for sample in samples {
        let (left, right) = (x(sample.from), x(sample.until));
        if sample.lookups == 0 {
            drawing = false;
            continue;
        }
        let y = HEIGHT * (1.0 - sample.hits as f64 / sample.lookups as f64);
        let begin = if drawing { 'L' } else { 'M' };
        drawing = true;
        // Writing to a string cannot fail.
        let _ = write!(line, "{begin}{left:.1} {y:.1}H{right:.1}");
        let _ = write!(area, "M{left:.1} {HEIGHT}V{y:.1}H{right:.1}V{HEIGHT}Z");
        let top = HEIGHT - VOLUME_HEIGHT * per_second(sample) / busiest;
        let _ = write!(bars, "M{left:.1} {HEIGHT}V{top:.1}H{right:.1}V{HEIGHT}Z");
    }
    html! {
        svg.ratio viewBox={ "0 -2 " (WIDTH) " " (HEIGHT + 4.0) } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            path.grid d={ "M0 0H" (WIDTH) "M0 50H" (WIDTH) "M0 100H" (WIDTH) } {}
            path.area d=(area) {}
            path.bars d=(bars) {}
            path.line d=(line) {}
        }
    }
}

fn table(samples: &[Sample], now: Instant) -> Markup {
    let rows = samples.chunks(samples.len().div_ceil(ROWS).max(1));
    html! {
        table {
            thead { tr { th scope="col" { "Up to" } th.number scope="col" { "Look-ups" } th.number scope="col" { "Hits" } th.number scope="col" { "Ratio" } } }
            tbody {
                @for row in rows.rev() {
                    @let (hits, lookups) = total(row);
                    @let until = row.last().map_or(Duration::ZERO, |sample| now - sample.until);
                    tr {
                        th scope="row" { (ago(until)) }
                        td.number { (number(lookups)) }
                        td.number { (number(hits)) }
                        td.number { (percent(hits, lookups)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of ten seconds each, one after the other.
    fn samples(counts: &[(u64, u64)]) -> Vec<Sample> {
        let ten = Duration::from_secs(10);
        let begun = Instant::now();
        let numbered = (0u32..).zip(counts);
        numbered
            .map(|(place, (hits, lookups))| Sample {
                from: begun + ten * place,
                until: begun + ten * (place + 1),
                hits: *hits,
                lookups: *lookups,
            })
            .collect()
    }

    fn shown(counts: &[(u64, u64)]) -> String {
        let shown = Shown {
            uptime: Duration::from_secs(10),
            samples: samples(counts),
            refusals: Vec::new(),
        };
        section(&shown).into_string()
    }

    #[test]
    fn the_line_is_where_the_ratio_is_and_breaks_off_where_nobody_asked() {
        let page = shown(&[(4, 4), (1, 2), (0, 0), (0, 1)]);
        let line = "d=\"M0.0 0.0H250.0L250.0 50.0H500.0M750.0 100.0H1000.0\"";
        assert!(page.contains(line), "{page}");
        // The busiest piece has the highest bar, the others are lower by as much as they are quieter.
        let bars =
            "d=\"M0.0 100V55.0H250.0V100ZM250.0 100V77.5H500.0V100ZM750.0 100V88.8H1000.0V100Z\"";
        assert!(page.contains(bars), "{page}");
        assert!(page.contains("5 of 7 look-ups"), "{page}");
    }

    #[test]
    fn the_table_says_the_same_in_a_dozen_rows() {
        let page = shown(&[(1, 2); 100]);
        assert_eq!(page.matches("<tr>").count(), 1 + 12);
        assert!(page.contains("50.0\u{a0}%"));
    }

    #[test]
    fn without_look_ups_there_is_no_line() {
        for counts in [&[][..], &[(0, 0)]] {
            let page = shown(counts);
            assert!(!page.contains("<svg") && page.contains("Nobody has looked anything up yet"));
        }
    }
}
