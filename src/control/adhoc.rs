//! Ad-hoc commands: forms from and to the requests that the desk carries out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::act::{self, Actor};
use super::protocol::{Answer, Content, Request};
use super::server::Desk;
use super::words::{counted, words};
use crate::config::LogLevel;
use crate::service::commands::{Admin, AdminDesk, Tell};
use crate::stanza::form::{Field, Form, Reply, Stage};
use crate::stanza::{Action, Command};

/// The words and names of all commands.
const COMMANDS: &[(&str, &str)] = &[
    ("status", "Status of capsd"),
    ("lookup", "Look up a hash"),
    ("resolve", "Ask for a hash now"),
    ("flush", "Forget a hash"),
    ("flush-all", "Forget everything that was learned"),
    ("deny", "Deny a hash"),
    ("undeny", "End the denial of a hash"),
    ("pin", "Pin what a hash means"),
    ("unpin", "End a pin"),
    ("reload", "Read the configuration again"),
    ("log-level", "Change the log level"),
    ("export", "Export what was learned"),
];

/// How many exports are known to go on; one that falls out is logged anew if it goes on all the same.
const MAX_EXPORTS: usize = 64;

/// Carries out ad-hoc commands at the desk.
#[derive(Debug)]
pub struct AdHoc {
    desk: Arc<Desk>,
    exports: Arc<Exports>,
}

/// Whose export goes on where: each export is logged once, however many pages are read.
#[derive(Debug, Default)]
struct Exports(Mutex<VecDeque<(Actor, String)>>);

impl Exports {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Actor, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is the next page of an export that was begun.
    fn goes_on(&self, by: &Actor, from: &str) -> bool {
        let mut exports = self.lock();
        let known = exports
            .iter()
            .position(|(whose, next)| whose == by && next == from);
        known.and_then(|place| exports.remove(place)).is_some()
    }

    fn may_go_on(&self, by: &Actor, next: String) {
        let mut exports = self.lock();
        if exports.len() >= MAX_EXPORTS {
            exports.pop_front();
        }
        exports.push_back((by.clone(), next));
    }
}

impl AdHoc {
    /// Commands that are carried out at that desk.
    pub fn new(desk: Arc<Desk>) -> AdHoc {
        AdHoc {
            desk,
            exports: Arc::default(),
        }
    }
}

impl AdminDesk for AdHoc {
    fn commands(&self) -> &'static [(&'static str, &'static str)] {
        COMMANDS
    }

    fn command(&self, by: Admin, word: &'static str, command: Command, tell: Tell) {
        let (desk, exports) = (Arc::clone(&self.desk), Arc::clone(&self.exports));
        let by = Actor::Admin {
            component: by.component,
            place: by.place,
        };
        tokio::spawn(async move { tell(carry_out((&desk, &exports), &by, word, &command).await) });
    }
}

async fn carry_out(
    (desk, exports): (&Arc<Desk>, &Exports),
    by: &Actor,
    word: &'static str,
    command: &Command,
) -> Reply {
    if command.action == Action::Cancel {
        return Reply {
            stage: Stage::Canceled,
            note: None,
            form: None,
        };
    }
    if word == "export" {
        return export((desk, exports), by, command).await;
    }
    let request = match request(word, command) {
        Ok(request) => request,
        Err(reply) => return reply,
    };
    let (is_yes, words) = words(&desk.act(by, request).await);
    let title = name(word);
    // Short answers are a note; long ones are a form, which clients show with its lines.
    match words.contains('\n') {
        false => completed(!is_yes, words, None),
        true => {
            let form = Form {
                is_result: true,
                title: title.to_owned(),
                instructions: String::new(),
                fields: lines(&words),
            };
            let note = if is_yes { "done" } else { "not done" };
            completed(!is_yes, note.to_owned(), Some(form))
        }
    }
}

/// One field for each line. Clients for terminals let people leaf through the lines of one field, and show nothing of a long one.
fn lines(words: &str) -> Vec<Field> {
    let lines = words.lines().zip(1..).map(|(line, number)| Field {
        var: format!("line-{number}").into(),
        kind: "fixed",
        values: vec![line.to_owned()],
        ..Field::default()
    });
    lines.collect()
}

fn completed(is_error: bool, note: String, form: Option<Form>) -> Reply {
    Reply {
        stage: Stage::Completed,
        note: Some((is_error, note)),
        form,
    }
}

fn name(word: &str) -> &'static str {
    let found = COMMANDS.iter().find(|(known, _)| *known == word);
    found.map_or("", |(_, name)| name)
}

/// The request that a command with its form comes to.
///
/// # Errors
/// The form to fill in, where it is missing or something in it is.
fn request(word: &str, command: &Command) -> Result<Request, Reply> {
    let ask = |missing: Option<&str>| to_fill_in(word, command, missing);
    if command.fields.is_none() && !fields(word).is_empty() {
        return Err(ask(None));
    }
    let value = |var| command.value(var).map(|value| value.trim().to_owned());
    let key = || value("key").ok_or_else(|| ask(Some("the hash is missing")));
    let reason = || value("reason").ok_or_else(|| ask(Some("the reason is missing")));
    Ok(match word {
        "lookup" => Request::Lookup { node: key()? },
        "resolve" => Request::Resolve { key: key()? },
        "flush" => Request::FlushKey { key: key()? },
        "flush-all" => match value("sure").as_deref() {
            Some("1" | "true") => Request::FlushAll,
            _ => {
                return Err(ask(Some("you did not say that you are sure")));
            }
        },
        "deny" => Request::Deny {
            key: key()?,
            reason: reason()?,
        },
        "undeny" => Request::Undeny { key: key()? },
        "pin" => Request::Pin {
            key: key()?,
            query: value("query").ok_or_else(|| ask(Some("the content is missing")))?,
            reason: reason()?,
        },
        "unpin" => Request::Unpin { key: key()? },
        "reload" => Request::Reload,
        "log-level" => match value("level").as_deref().and_then(LogLevel::from_word) {
            Some(level) => Request::LogLevel { level },
            None => return Err(ask(Some("the level is none of those that there are"))),
        },
        _ => Request::Status,
    })
}

/// The form of a command, with what was filled in already.
fn to_fill_in(word: &str, command: &Command, missing: Option<&str>) -> Reply {
    let mut fields = fields(word);
    for field in &mut fields {
        if let Some(value) = command.value(&field.var) {
            field.values = value.lines().map(str::to_owned).collect();
        }
    }
    // Some clients show no note beside a form.
    let instructions = match missing {
        Some(missing) => format!("Not done yet: {missing}. {}", instructions(word)),
        None => instructions(word).to_owned(),
    };
    Reply {
        stage: Stage::Form,
        note: missing.map(|missing| (true, missing.to_owned())),
        form: Some(Form {
            is_result: false,
            title: name(word).to_owned(),
            instructions,
            fields,
        }),
    }
}

fn instructions(word: &str) -> &'static str {
    match word {
        "lookup" => "What is served under the hash is shown. Nobody is asked.",
        "resolve" => "If it is not stored, whoever announces the hash is asked now.",
        "flush" => {
            "What was learned under the hash is forgotten, in every tier, and asked for again. What is trusted or pinned stays."
        }
        "flush-all" => {
            "All that was learned is forgotten, in every tier. What is trusted or pinned stays."
        }
        "deny" => {
            "The hash is not served any more, and nobody is asked for it, until that is ended."
        }
        "undeny" => "The hash is served again.",
        "pin" => {
            "This content is served under the hash, whatever anybody else says. It must have the hash."
        }
        "unpin" => "What is stored or announced counts again.",
        "log-level" => {
            "The level lasts until a reload or a restart. Only at trace does the log name users: accounts beyond a quota, clients whose answers prove nothing, domains that crowd others out."
        }
        _ => "",
    }
}

fn fields(word: &str) -> Vec<Field> {
    let key = Field {
        var: "key".into(),
        kind: "text-single",
        label: "Hash: NODE#VER, or as the log has it".to_owned(),
        description: "NODE and VER are those of a <c/> (XEP-0115). A hash of XEP-0390 is written urn:xmpp:caps#ALGO.BASE64.",
        required: true,
        ..Field::default()
    };
    let reason = |label: &str| Field {
        var: "reason".into(),
        kind: "text-single",
        label: label.to_owned(),
        required: true,
        ..Field::default()
    };
    match word {
        "lookup" | "resolve" | "flush" | "undeny" | "unpin" => vec![key],
        "deny" => vec![key, reason("Why; whoever asks for the hash is told")],
        "pin" => vec![
            key,
            Field {
                var: "query".into(),
                kind: "text-multi",
                label: "The disco#info <query/>".to_owned(),
                required: true,
                ..Field::default()
            },
            reason("Why"),
        ],
        "flush-all" => vec![Field {
            var: "sure".into(),
            kind: "boolean",
            label: "I am sure".to_owned(),
            values: vec!["0".to_owned()],
            required: true,
            ..Field::default()
        }],
        "log-level" => vec![Field {
            var: "level".into(),
            kind: "list-single",
            label: "Level".to_owned(),
            values: vec![LogLevel::Info.word().to_owned()],
            options: LogLevel::WORDS.iter().map(|(word, _)| *word).collect(),
            required: true,
            ..Field::default()
        }],
        _ => Vec::new(),
    }
}

/// How many contents a page of an export has at the most: some 10 KiB of them can be looked at, and a server lets no stanza of endless length
/// pass.
const EXPORT_PAGE: usize = 8;

/// One page of what was learned and is common, as documents; where the next one begins stands in the form, so nothing is kept here.
async fn export((desk, exports): (&Arc<Desk>, &Exports), by: &Actor, command: &Command) -> Reply {
    if command.action == Action::Complete {
        return completed(false, "done".to_owned(), None);
    }
    let from = command.value("from");
    let is_further = command.action == Action::Next || command.session.is_some();
    if from.is_none() && is_further {
        let lost = "where the next page begins is not known: submit the form of the page before as it was received, or begin anew";
        return completed(true, lost.to_owned(), None);
    }
    let is_known = from
        .as_deref()
        .is_some_and(|from| exports.goes_on(by, from));
    match common_contents(desk, from).await {
        Ok((contents, next)) => {
            if !is_known {
                let learned = desk.resolver.work(|below| below.store.entries()).await;
                let learned = counted(learned.unwrap_or_default(), "content");
                tracing::info!(
                    %by,
                    "carried out: export of what is common, page by page; {learned} stored"
                );
            }
            if let Some(next) = next.clone() {
                exports.may_go_on(by, next);
            }
            export_page(&contents, next)
        }
        Err(answer) => {
            act::log(by, "export", &answer);
            completed(true, words(&answer).1, None)
        }
    }
}

/// The next contents from there on that are common, and where those after them begin; none is left where that is `None`.
async fn common_contents(
    desk: &Desk,
    mut from: Option<String>,
) -> Result<(Vec<Content>, Option<String>), Answer> {
    loop {
        match desk.entries(from, EXPORT_PAGE).await {
            Answer::Entries { mut entries, next } => {
                entries.retain(|content| content.seen_nodes.is_some());
                if next.is_none() || !entries.is_empty() {
                    return Ok((entries, next));
                }
                from = next;
            }
            answer => return Err(answer),
        }
    }
}

fn export_page(contents: &[Content], next: Option<String>) -> Reply {
    let count = counted(contents.len() as u64, "content");
    let is_last = next.is_none();
    let (stage, note) = match is_last {
        true => (Stage::Completed, format!("{count}; that is all")),
        false => (Stage::More, format!("{count}; there are more")),
    };
    let place = next.map(|next| Field {
        var: "from".into(),
        kind: "hidden",
        values: vec![next],
        ..Field::default()
    });
    // Names of fields are unique in a form: many clients keep fields by their names.
    let contents = contents.iter().zip(1..).map(|(content, number)| Field {
        var: format!("content-{number}").into(),
        kind: "text-multi",
        label: content.keys.join(" "),
        values: vec![content.query.clone()],
        ..Field::default()
    });
    let form = Form {
        is_result: is_last,
        title: name("export").to_owned(),
        instructions: format!(
            "{note}. They are contents that several accounts announced, or that were imported."
        ),
        fields: place.into_iter().chain(contents).collect(),
    };
    Reply {
        stage,
        note: Some((false, note)),
        form: Some(form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::read::FIELDS;

    #[test]
    fn every_field_that_is_to_be_filled_in_is_read() {
        for (word, _) in COMMANDS {
            for field in fields(word) {
                assert!(FIELDS.contains(&&*field.var), "{word}: {}", field.var);
            }
        }
    }
}
