//! What is online: clients and features, never of fewer than three accounts.

use maud::{Markup, html};

use super::words::{counted, number, percent};
use crate::population::Population;

/// The most clients, and the most features, that are shown.
const SHOWN: usize = 10;

/// The section of the page.
pub(super) fn section(population: &Population) -> Markup {
    html! {
        section.card.wide aria-labelledby="online" {
            h2 #online { "Online" }
            @if population.total == 0 {
                p { "Nobody is online whose client says what it can do." }
            } @else {
                p.quiet {
                    "Announced in " (counted(population.total, "session")) ". What fewer than three accounts use is not named."
                }
                div.pair {
                    (clients(population))
                    (features(population))
                }
            }
        }
    }
}

fn clients(population: &Population) -> Markup {
    let named = population.clients.iter();
    let mut rows: Vec<(&str, u64)> = named
        .take(SHOWN)
        .map(|client| (client.client.as_str(), client.sessions))
        .collect();
    let told: u64 = rows.iter().map(|(_, sessions)| sessions).sum();
    let others = population.total - population.unknown.min(population.total);
    rows.push(("Others", others.saturating_sub(told)));
    rows.push(("Not known (yet)", population.unknown));
    rows.retain(|(_, sessions)| *sessions > 0);
    table("Client", &rows, population.total)
}

fn features(population: &Population) -> Markup {
    let mut rows: Vec<(&str, u64)> = population
        .features
        .iter()
        .map(|feature| (feature.feature.as_str(), feature.sessions))
        .collect();
    rows.retain(|(_, sessions)| *sessions > 0);
    rows.sort_by_key(|(_, sessions)| std::cmp::Reverse(*sessions));
    rows.truncate(SHOWN);
    if rows.is_empty() {
        return html! { p { "None of the features that are counted is one of three accounts." } };
    }
    table("Feature", &rows, population.total)
}

fn table(what: &str, rows: &[(&str, u64)], total: u64) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { (what) } th.number scope="col" { "Sessions" } th.number scope="col" { "Share" } } }
            tbody {
                @for (name, sessions) in rows {
                    tr {
                        th scope="row" { (name) }
                        td.number { (number(*sessions)) }
                        td.number {
                            (percent(*sessions, total))
                            meter min="0" max=(total) value=(sessions) aria-hidden="true" {}
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::Feature;

    #[test]
    fn sessions_are_counted_in_words() {
        for (total, said) in [
            (1, "Announced in 1 session. "),
            (2, "Announced in 2 sessions. "),
            (1000, "Announced in 1\u{202f}000 sessions. "),
        ] {
            let population = Population {
                total,
                unknown: total,
                ..Population::default()
            };
            let shown = section(&population).into_string();
            assert!(shown.contains(said), "{shown}");
        }
    }

    #[test]
    fn no_table_is_empty() {
        let with = |sessions| {
            let feature = "urn:xmpp:ping".to_owned();
            let population = Population {
                total: 3,
                unknown: 3,
                features: vec![Feature { feature, sessions }],
                ..Population::default()
            };
            section(&population).into_string()
        };
        assert!(with(3).contains("urn:xmpp:ping"));
        assert_eq!(with(3).matches("<table>").count(), 2);
        let none = with(0);
        assert_eq!(none.matches("<table>").count(), 1, "{none}");
        assert!(none.contains("None of the features"), "{none}");
    }
}
