//! How capsd is: state, numbers, links, flights, tiers, refusals.

use std::time::Duration;

use maud::{Markup, html};

use super::words::{ago, bytes, count, number, percent, period, seconds};
use crate::caps::Reason;
use crate::control::protocol::{Flight, Flights, MAX_FLIGHTS};
use crate::http::api::{StatusView, title_of};

/// The state in a word, and in a sentence.
pub(super) struct State {
    /// The word.
    pub(super) word: &'static str,
    /// How it is drawn: `good`, `warning` or `bad`.
    mood: &'static str,
    /// What is the matter; empty where nothing is.
    matter: String,
}

/// How capsd is, all in all.
pub(super) fn state(view: &StatusView) -> State {
    let down = view
        .status
        .links
        .iter()
        .filter(|link| link.down.is_some())
        .count();
    let matter = match (down, view.status.links.len()) {
        (0, _) => String::new(),
        (1, 1) => "The link is down.".to_owned(),
        (down, all) => format!("{down} of {all} links are down."),
    };
    match (view.ready, &view.status.memory_only) {
        (false, _) => State {
            word: "Not ready",
            mood: "bad",
            matter,
        },
        (true, Some(cause)) => State {
            word: "Degraded",
            mood: "warning",
            matter: format!(
                "What is learned is in memory only, and a restart loses it: {cause}. Next step: see to the disk of {}; capsd keeps trying.",
                view.status.store
            ),
        },
        (true, None) => State {
            word: "Ready",
            mood: "good",
            matter,
        },
    }
}

/// The top of the page.
pub(super) fn masthead(view: &StatusView, state: &State) -> Markup {
    html! {
        header.masthead {
            div.name {
                img src="/icon.svg" width="36" height="36" alt="";
                div {
                    h1 { "capsd" }
                    p { "What each client can do, asked once and proven" }
                }
            }
            div.state {
                p.pill.(state.mood) { span.dot aria-hidden="true" {} (state.word) }
                p.quiet { "running for " (period(Duration::from_secs(view.status.uptime_seconds))) " " a href="/" { "Refresh" } }
            }
            @if !state.matter.is_empty() { p.matter { (state.matter) } }
        }
    }
}

/// The numbers that matter most.
pub(super) fn figures(view: &StatusView, flights: &Flights) -> Markup {
    let lookups = &view.lookups;
    let hits = lookups.hit + lookups.overridden;
    let all = hits + lookups.coalesced + lookups.miss + lookups.negative;
    let contents = view.status.entries + view.status.trusted.unwrap_or(0);
    let figures = [
        ("Hit ratio", percent(hits, all), "since the start"),
        ("Look-ups", number(all), "since the start"),
        ("Contents", number(contents), "learned and trusted"),
        (
            "Flights",
            number(flights.in_progress as u64),
            "being resolved now",
        ),
    ];
    html! {
        dl.figures {
            @for (name, value, more) in figures {
                div { dt { (name) } dd { (value) } dd.quiet { (more) } }
            }
        }
    }
}

/// The links to the servers.
pub(super) fn links(view: &StatusView) -> Markup {
    html! {
        section.card.wide aria-labelledby="links" {
            h2 #links { "Servers" }
            table {
                thead { tr { th scope="col" { "Component" } th scope="col" { "Link" } } }
                tbody {
                    @for link in &view.status.links {
                        tr {
                            th scope="row" { (link.name) }
                            td {
                                @match &link.down {
                                    None => span.pill.good { span.dot aria-hidden="true" {} "Up" },
                                    Some(cause) => {
                                        span.pill.bad { span.dot aria-hidden="true" {} "Down" }
                                        " " span.cause { (cause) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is being resolved.
pub(super) fn flights(flights: &Flights) -> Markup {
    const SHOWN: usize = 12;
    let shown = flights.flights.iter().take(SHOWN);
    html! {
        section.card aria-labelledby="flights" {
            h2 #flights { "Flights" }
            p.quiet { "Hashes that clients are being asked for; one question serves everybody who waits." }
            @if flights.flights.is_empty() {
                p { "Nothing is being resolved." }
            } @else {
                table {
                    thead { tr { th scope="col" { "Hash" } th.number scope="col" { "Age" } th.number scope="col" { "Waiting" } th.number scope="col" { "Asked" } } }
                    tbody {
                        @for flight in shown {
                            tr {
                                th scope="row" { (flight_keys(flight)) }
                                td.number { (seconds(Duration::from_millis(flight.age_ms))) }
                                td.number { (number(flight.waiters as u64)) }
                                td.number { (number(flight.asked as u64)) }
                            }
                        }
                    }
                }
                @if flights.in_progress > SHOWN.min(MAX_FLIGHTS) {
                    p.quiet { "The oldest " (SHOWN) " of " (number(flights.in_progress as u64)) "." }
                }
            }
        }
    }
}

fn flight_keys(flight: &Flight) -> Markup {
    html! {
        @for key in &flight.keys { code { (key) } " " }
        @if flight.rare_keys > 0 {
            span.quiet { (flight.rare_keys) " rare" }
        }
    }
}

/// What is where.
pub(super) fn tiers(view: &StatusView) -> Markup {
    let is_on_disk = view.status.memory_only.is_none();
    let about = |tier: &str| match tier {
        "hot" => "prepared answers, in memory",
        "probation" => "in memory until a second account uses it",
        "learned" if is_on_disk => "proven by capsd, on disk",
        "learned" => "proven by capsd, in memory only for now",
        "trusted" => "installed by the operator",
        _ => "",
    };
    html! {
        section.card aria-labelledby="tiers" {
            h2 #tiers { "Tiers" }
            table {
                thead { tr { th scope="col" { "Tier" } th.number scope="col" { "Contents" } th.number scope="col" { "Size" } } }
                tbody {
                    @for tier in &view.tiers {
                        @let size = u64::try_from(tier.bytes).unwrap_or(0);
                        @let limit = u64::try_from(tier.limit_bytes).unwrap_or(0);
                        tr {
                            th scope="row" { (tier.tier) " " span.quiet { (about(tier.tier)) } }
                            td.number { (count(tier.entries)) }
                            td.number {
                                @if size > 0 || limit > 0 { (bytes(size)) } @else { "–" }
                                @if limit > 0 {
                                    meter min="0" max=(limit) value=(size) aria-label={ (tier.tier) ": part of its bound" } {}
                                    span.quiet { "of " (bytes(limit)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What was refused lately.
pub(super) fn refusals(view: &StatusView) -> Markup {
    const SHOWN: usize = 12;
    html! {
        section.card.wide aria-labelledby="refusals" {
            h2 #refusals { "Refused lately" }
            p.quiet { "By reason and time; whom and which hash it was about is not kept." }
            @if view.refusals.is_empty() {
                p { "Nothing was refused since the start." }
            } @else {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Reason" } th.number scope="col" { "Times" } } }
                    tbody {
                        @for refusal in view.refusals.iter().take(SHOWN) {
                            tr {
                                td.when { (ago(Duration::from_secs(refusal.seconds_ago))) }
                                th scope="row" {
                                    code { (refusal.reason) } " "
                                    span.quiet {
                                        @if refusal.refused == "answer" { "A client’s answer: " } @else { "A look-up: " }
                                        (meaning(refusal.reason))
                                    }
                                }
                                td.number { (number(refusal.count)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn meaning(word: &str) -> &'static str {
    let reason = Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == word);
    reason.map_or("", title_of)
}

/// The end of the page.
pub(super) fn footer(view: &StatusView) -> Markup {
    html! {
        footer.foot {
            p {
                "capsd " (view.status.version) ", process " (view.status.process) ". "
                "For programs: " a href="/api/v1/openapi.json" { "/api/v1" } ", " a href="/metrics" { "/metrics" } ", "
                a href="/readyz" { "/readyz" } "."
            }
        }
    }
}
