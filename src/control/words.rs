//! Answers in words for people: what the commands print, and what ad-hoc commands say.

use std::fmt::Write as _;

use super::protocol::{Answer, Content, Flights, LinkStatus, Status, Tier};
use crate::caps::{CapsKey, Reason};
use crate::config::changes::Changes;
use crate::stanza::answer::{AnswerLimits, parse_query_unwrapped};

/// More than any content that is served has.
const LIMITS: AnswerLimits = AnswerLimits {
    max_bytes: 1 << 20,
    max_features: 8192,
};

/// An answer in words, in one or more lines; whether it is a yes.
pub fn words(answer: &Answer) -> (bool, String) {
    match answer {
        Answer::Status(found) => (true, status(found)),
        Answer::Synced => (true, "what was learned is on disk".to_owned()),
        Answer::Found(found) => (true, content(found)),
        Answer::NotFound { .. } | Answer::Unresolved { .. } => {
            let (reason, detail) = why_not(answer).unwrap_or_default();
            (false, format!("{reason}: {detail}"))
        }
        Answer::Reloaded(changes) => (true, reloaded(changes)),
        Answer::NotReloaded { faults } => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            (
                false,
                format!("nothing was changed:\n\n{}", faults.join("\n\n")),
            )
        }
        Answer::Flushed { contents, stays } => (true, flushed(*contents, *stays)),
        Answer::Ordered { until_restart } => (true, ordered(until_restart.as_deref())),
        Answer::Level => (
            true,
            "the log has that level until a reload or a restart".to_owned(),
        ),
        Answer::Refused { message, .. } => (false, message.clone()),
        Answer::Flights(found) => (true, flights(found)),
        Answer::Judged { .. } | Answer::Entries { .. } | Answer::Examined(_) => {
            (true, String::new())
        }
    }
}

/// What is being resolved: a line for all and one for each flight.
pub fn flights(found: &Flights) -> String {
    let mut lines = vec![format!(
        "{} in progress, {} looking in the store, {} waiting",
        found.in_progress, found.looking, found.waiters
    )];
    lines.extend(found.flights.iter().map(|flight| {
        let mut keys = flight.keys.clone();
        if flight.rare_keys > 0 {
            keys.push(format!("{} rare", flight.rare_keys));
        }
        format!(
            "{:>6} ms  {} waiting  {} asked  {} may answer  {}",
            flight.age_ms,
            flight.waiters,
            flight.asked,
            flight.awaited,
            keys.join(" ")
        )
    }));
    lines.join("\n")
}

/// The word for which nothing is found, or done, and what it means here; none for every other answer.
pub fn why_not(answer: &Answer) -> Option<(&str, &str)> {
    match answer {
        Answer::NotFound { denied: Some(why) } => Some((Reason::Denied.as_str(), why)),
        Answer::NotFound { denied: None } => Some((Reason::Unknown.as_str(), "it is not stored")),
        Answer::Unresolved { reason } => Some((reason, unresolved(reason))),
        Answer::Refused {
            reason: Some(reason),
            message,
        } => Some((reason, message)),
        _ => None,
    }
}

fn unresolved(reason: &str) -> &'static str {
    match reason {
        "unknown" => "it is not stored, and nobody who may be asked announces it",
        "unreachable" => "whoever announces it answered with an error, or is gone",
        "mismatch" => "what was answered does not have the hash",
        "ill-formed" => "what was answered breaks a rule of the specification",
        "ambiguous" => "what was answered could mean something else under the same hash",
        "timeout" => "nobody who announces it answered in time",
        "rate-limited" => "those who announce it have spent their quota of questions",
        "overloaded" => "a bound of capsd is spent; the metrics tell which",
        _ => "there is no answer",
    }
}

fn reloaded(changes: &Changes) -> String {
    let mut lines = Vec::new();
    if changes.is_empty() {
        lines.push("no key has changed".to_owned());
    }
    lines.extend(changes.applied.iter().map(|key| format!("applied: {key}")));
    let restart = changes.needs_restart.iter();
    lines.extend(restart.map(|key| format!("needs a restart: {key}")));
    lines.push(
        "trusted content and overrides are being read again; the log says when they are in force"
            .to_owned(),
    );
    lines.join("\n")
}

fn flushed(contents: u64, stays: bool) -> String {
    let stays = match stays {
        true => "; what you trust or pinned stays, and is served",
        false => "",
    };
    match contents {
        0 => format!("nothing was stored; what was in memory is forgotten{stays}"),
        1 => format!("1 content is forgotten, in every tier{stays}"),
        _ => format!("{contents} contents are forgotten, in every tier{stays}"),
    }
}

fn ordered(until_restart: Option<&str>) -> String {
    match until_restart {
        None => "done; it is kept over a restart".to_owned(),
        Some(cause) => format!("done, until a restart only: {cause}"),
    }
}

/// A status.
pub fn status(status: &Status) -> String {
    let store = match &status.memory_only {
        None => "on disk".to_owned(),
        Some(cause) => format!("in memory only, a restart loses what is learned: {cause}"),
    };
    let trusted = match status.trusted {
        Some(contents) => counted(contents, "content"),
        None => "being listed".to_owned(),
    };
    let counts = &status.counts;
    let mut lines = vec![format!(
        "capsd {}, process {}, up {}",
        status.version,
        status.process,
        duration(status.uptime_seconds)
    )];
    lines.extend(status.links.iter().map(link));
    lines.push(format!(
        "learned: {}, {}, {store} ({})",
        counted(status.entries, "content"),
        counted(status.bytes, "byte"),
        status.store
    ));
    lines.push(format!(
        "trusted: {trusted}; {} denied, {} pinned",
        counted(status.denied, "key"),
        status.pinned
    ));
    lines.push(format!(
        "hot: {}, {}",
        counted(counts.hot_entries, "key"),
        counted(counts.hot_bytes, "byte")
    ));
    let lookups: u64 = counts.lookups.values().sum();
    let by_result = counts.lookups.iter().filter(|(_, count)| **count > 0);
    let by_result: Vec<_> = by_result
        .map(|(result, count)| format!("{count} {result}"))
        .collect();
    let by_result = match by_result.is_empty() {
        true => String::new(),
        false => format!(" ({})", by_result.join(", ")),
    };
    lines.push(format!(
        "queries: {lookups}{by_result}; questions to clients: {}",
        counts.questions
    ));
    lines.push(format!(
        "now: {} being resolved, {} waiting, {} known",
        counts.flights,
        counts.waiters,
        counted(counts.holders, "client")
    ));
    lines.join("\n")
}

/// A link.
pub fn link(link: &LinkStatus) -> String {
    let LinkStatus { name, server, .. } = link;
    match (&link.down, link.up_seconds) {
        (None, up) => format!(
            "link {name} ({server}): up {}, {}",
            duration(up.unwrap_or_default()),
            counted(link.presences, "presence")
        ),
        (Some(cause), _) => format!("link {name} ({server}): down: {cause}"),
    }
}

/// So many things; `one` is the name of one of them, and an `s` makes it that of several.
pub fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

/// Seconds as people say them.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A content: where it comes from, whose it is, and what it says.
pub fn content(content: &Content) -> String {
    let tier = match content.tier {
        Tier::Pinned => "pinned by you",
        Tier::Trusted => "trusted: you installed it",
        Tier::Learned => "learned, and proven by its hash",
        Tier::Hot => {
            "hot, and proven by its hash; in memory only: the store has let go of it, or could not take it"
        }
        Tier::Probation => {
            "on probation, and proven by its hash; in memory only, until a second account uses it"
        }
    };
    let mut text = tier.to_owned();
    if content.tier == Tier::Learned && content.seen_nodes.is_some() {
        text += "; common: three accounts announced it, or it was imported";
    }
    list(&mut text, "announced by", &content.nodes);
    if let Ok(answer) = parse_query_unwrapped(content.query.as_bytes(), LIMITS) {
        let identities = answer.identities.iter().map(|identity| {
            let lang = match identity.lang.as_str() {
                "" => String::new(),
                lang => format!(" [{lang}]"),
            };
            format!(
                "{}/{} {}{lang}",
                identity.category, identity.type_, identity.name
            )
        });
        list(&mut text, "identities", &identities.collect::<Vec<_>>());
        list(&mut text, "features", &answer.features);
        for form in &answer.forms {
            let fields = form.fields.iter().map(|field| {
                let var = field.var.as_deref().unwrap_or_default();
                format!("{var} = {}", field.values.join(", "))
            });
            list(&mut text, "form", &fields.collect::<Vec<_>>());
        }
    }
    let keys = content
        .keys
        .iter()
        .map(|node| CapsKey::from_node(node).map_or_else(|_| node.clone(), |key| key.to_string()));
    list(&mut text, "keys", &keys.collect::<Vec<_>>());
    text
}

fn list(text: &mut String, title: &str, items: &[String]) {
    if !items.is_empty() {
        let _ = write!(text, "\n{title}:");
    }
    for item in items {
        let _ = write!(
            text,
            "\n  {}",
            item.replace(char::is_control, " ").trim_end()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, said) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3 * 3600 + 120, "3 h 2 min"),
            (86_400 * 9 + 3600, "9 d 1 h"),
        ] {
            assert_eq!(duration(seconds), said);
        }
    }

    #[test]
    fn what_a_stranger_sent_stays_on_its_line() {
        let said = content(&Content {
            tier: Tier::Learned,
            keys: vec!["#QgayPKawpkPSDYmwT/WM94uAlu0=".to_owned()],
            nodes: Vec::new(),
            seen_nodes: None,
            query: "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc' \
                    name='a&#10;keys:&#10;  b'/></query>"
                .to_owned(),
        });
        assert_eq!(
            said,
            "learned, and proven by its hash\nidentities:\n  client/pc a keys:   b\nkeys:\n  0115:sha-1:QgayPKawpkPSDYmwT/WM94uAlu0="
        );
    }
}
