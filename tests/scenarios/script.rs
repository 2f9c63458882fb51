//! Scenarios as text.
//!
//! A line is a step; `#` begins a comment. What the resolver does has to be expected before the time passes and before the end:
//! a question or an outcome that nobody expected is a failure.
//!
//! | step | what it means |
//! |---|---|
//! | `set NAME VALUE…` | a setting other than the design's; before everything else |
//! | `stored CONTENT…`, `trusted CONTENT…` | what is in those tiers at the beginning |
//! | `JID announces KEY+KEY… [over LINK] [unaskable]` | a presence |
//! | `JID is heard`, `JID departs` | a presence without `<c/>`, an unavailable one |
//! | `trust [CONTENT…] [deny KEY…] [pin KEY CONTENT…]` | the operator's files are these from now on |
//! | `NAME asks KEY` | somebody waits |
//! | `JID answers CONTENT [over LINK] [as JID] [under another id]` | to the latest question that JID was asked |
//! | `JID refuses` | with an error |
//! | `link LINK up`, `link LINK down`, `stop`, `restart`, `time DURATION` | |
//! | `expect question to JID [for KEY] [over LINK]` | JID may be `?NAME`: anybody, called so from then on |
//! | `expect NAME told CONTENT hot\|stored\|resolved`, `expect NAME told REASON` | |
//! | `expect nothing` | |
//! | `expect metric SERIES VALUE` | |

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use capsd::holders::LinkId;
use capsd::metrics::UpstreamResult;
use capsd::resolver::Reply;
use capsd::resolver::flights::{QuestionId, Served, Settings};

use crate::contents;
use crate::setup;
use crate::stage::{Asked, Stage, Told};

/// What is known before the resolver is started.
struct Opening {
    settings: Settings,
    stored: Vec<String>,
    trusted: Vec<String>,
}

struct Play {
    stage: Stage,
    /// What `?NAME` stands for.
    cast: HashMap<String, String>,
}

/// Runs the scenario in that file.
///
/// # Errors
/// What differs, with file and line.
pub(crate) fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let mut opening = Opening {
        settings: setup::settings(),
        stored: Vec::new(),
        trusted: Vec::new(),
    };
    let mut play: Option<Play> = None;
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        if words.is_empty() {
            continue;
        }
        let wrong = |what: String| format!("{name}:{}: `{}`: {what}", number + 1, line.trim());
        if open(&mut opening, &words) {
            assert!(play.is_none(), "{}", wrong("comes too late".to_owned()));
            continue;
        }
        let play = play.get_or_insert_with(|| Play {
            stage: Stage::new(opening.settings, &opening.stored, &opening.trusted),
            cast: HashMap::new(),
        });
        play.step(&words).map_err(wrong)?;
    }
    let play = play.ok_or_else(|| format!("{name}: no steps"))?;
    play.nothing()
        .map_err(|what| format!("{name}: at the end: {what}"))
}

/// Whether the line sets the scene.
fn open(opening: &mut Opening, words: &[&str]) -> bool {
    let settings = &mut opening.settings;
    match words {
        ["stored", contents @ ..] => opening
            .stored
            .extend(contents.iter().map(|c| (*c).to_owned())),
        ["trusted", contents @ ..] => opening
            .trusted
            .extend(contents.iter().map(|c| (*c).to_owned())),
        ["set", "resolve", how] => settings.on_announce = *how == "on-announce",
        ["set", "high-water-percent", percent] => {
            settings.probation.high_water_percent = percent.parse().unwrap();
        }
        ["set", "probation-bytes", bytes] => {
            settings.probation.max_bytes = bytes.parse().unwrap();
        }
        ["set", "per-key", count] => settings.holders.per_key = count.parse().unwrap(),
        ["set", "max-holders", count] => settings.holders.max = count.parse().unwrap(),
        [
            "set",
            name @ ("new-keys-per-account"
            | "new-keys-per-domain"
            | "questions-per-account"
            | "questions-per-domain"
            | "second-uses-per-account"),
            count,
            "per",
            time,
        ] => {
            let rate = setup::rate(count.parse().unwrap(), duration(time));
            match *name {
                "new-keys-per-account" => settings.new_keys_per_account = rate,
                "new-keys-per-domain" => settings.new_keys_per_domain = rate,
                "questions-per-account" => settings.questions_per_account = rate,
                "questions-per-domain" => settings.questions_per_domain = rate,
                _ => settings.probation.second_uses_per_account = rate,
            }
        }
        _ => return false,
    }
    true
}

/// A number with its unit.
fn duration(text: &str) -> Duration {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap();
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().unwrap();
    match unit {
        "ms" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "h" => Duration::from_secs(3600 * count),
        _ => panic!("no such unit: {unit}"),
    }
}

fn link(text: &str) -> LinkId {
    LinkId(text.parse().unwrap())
}

/// The word behind `name`, if it is there.
fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == name)?;
    words.get(at + 1).copied()
}

impl Play {
    fn step(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["expect", "nothing"] => self.nothing(),
            ["expect", "question", "to", who, rest @ ..] => self.expect_question(who, rest),
            ["expect", "metric", series, value] => self.expect_metric(series, value),
            ["expect", who, "told", what @ ..] => self.expect_told(who, what),
            ["time", time] => {
                self.nothing()?;
                self.stage.pass(duration(time));
                Ok(())
            }
            _ => {
                self.act(words);
                Ok(())
            }
        }
    }

    fn act(&mut self, words: &[&str]) {
        let now = self.stage.now();
        let resolver = self.stage.resolver.clone();
        let who = self.who(words[0]);
        match words[1..] {
            ["announces", keys, ref rest @ ..] => {
                let link = option(rest, "over").map_or(LinkId(0), link);
                self.stage
                    .announce(&who, keys, link, !rest.contains(&"unaskable"));
            }
            ["is", "heard"] => resolver.heard(now, LinkId(0), &who),
            ["departs"] => resolver.depart(now, LinkId(0), &who),
            ["asks", key] => self.stage.ask(&who, key),
            ["answers", content, ref rest @ ..] => {
                let mut asked = self.asked(&who);
                let link = option(rest, "over").map_or(asked.link, link);
                let from = option(rest, "as").unwrap_or(&asked.address).to_owned();
                if rest.ends_with(&["under", "another", "id"]) {
                    asked.id = QuestionId(asked.id.0 ^ 1);
                }
                let answer = Reply::Answer(Box::new(contents::answer(content)));
                self.stage.reply(&asked, &from, link, answer);
            }
            ["refuses"] => {
                let asked = self.asked(&who);
                self.stage.refuse(&asked, UpstreamResult::Error);
            }
            [at, "up"] if words[0] == "link" => resolver.link_up(link(at)),
            [at, "down"] if words[0] == "link" => resolver.link_down(now, link(at)),
            ref rest if words[0] == "trust" => self.stage.trust(rest),
            [] if words[0] == "stop" => resolver.stop(now),
            [] if words[0] == "restart" => self.stage.restart(),
            _ => panic!("no such step: {words:?}"),
        }
        self.stage.settle();
    }

    fn who(&self, name: &str) -> String {
        match name.starts_with('?') {
            true => self.cast[name].clone(),
            false => name.to_owned(),
        }
    }

    /// The latest expected question to an address; an address may answer it more than once.
    fn asked(&self, who: &str) -> Asked {
        let open = self.stage.open.iter().rev();
        let asked = open.clone().find(|asked| asked.address == who);
        asked
            .unwrap_or_else(|| panic!("{who} was not asked"))
            .clone()
    }

    fn nothing(&self) -> Result<(), String> {
        if let Some(asked) = self.stage.questions.first() {
            return Err(format!("unexpected question: {asked:?}"));
        }
        if let Some((who, told)) = self.stage.news.first() {
            return Err(format!("unexpected: {who} was told {}", words_of(told)));
        }
        Ok(())
    }

    fn expect_question(&mut self, who: &str, rest: &[&str]) -> Result<(), String> {
        let anybody = who.starts_with('?') && !self.cast.contains_key(who);
        let address = (!anybody).then(|| self.who(who));
        let place = self
            .stage
            .questions
            .iter()
            .position(|asked| address.as_ref().is_none_or(|a| *a == asked.address));
        let place = place.ok_or_else(|| format!("not asked; asked: {:?}", self.stage.questions))?;
        let asked = self.stage.questions.remove(place);
        if let Some(name) = option(rest, "for") {
            let node = contents::key(name).to_node(contents::NODE_URL);
            if asked.node != node {
                return Err(format!("asked for {}, not {node}", asked.node));
            }
        }
        if let Some(over) = option(rest, "over")
            && asked.link != link(over)
        {
            return Err(format!("asked over {:?}", asked.link));
        }
        self.cast.insert(who.to_owned(), asked.address.clone());
        self.stage.open.push(asked);
        Ok(())
    }

    fn expect_told(&mut self, who: &str, what: &[&str]) -> Result<(), String> {
        let news = &mut self.stage.news;
        let place = news.iter().position(|(told, _)| told == who);
        let place = place.ok_or_else(|| format!("{who} was told nothing"))?;
        let (_, told) = news.remove(place);
        let as_expected = match (&told, what) {
            (Told::Hot(entry), [content, "hot"]) => holds(entry.children(), content),
            (Told::By(Ok((entry, served))), [content, how]) => {
                let expected = match *how {
                    "stored" => Served::Stored,
                    "resolved" => Served::Resolved,
                    _ => return Err(format!("no such origin: {how}")),
                };
                holds(entry.children(), content) && *served == expected
            }
            (Told::By(Err(reason)), [expected]) => reason.as_str() == *expected,
            _ => false,
        };
        match as_expected {
            true => Ok(()),
            false => Err(format!("{who} was told {}", words_of(&told))),
        }
    }

    fn expect_metric(&self, series: &str, value: &str) -> Result<(), String> {
        let text = self.stage.metrics.render();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{series} ")));
        match line {
            Some(line) if line.ends_with(&format!(" {value}")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

fn holds(children: &[u8], content: &str) -> bool {
    String::from_utf8_lossy(children).contains(&contents::mark(content))
}

fn words_of(told: &Told) -> String {
    match told {
        Told::Hot(entry) => format!("{} hot", String::from_utf8_lossy(entry.children())),
        Told::By(Ok((entry, served))) => {
            format!("{} {served:?}", String::from_utf8_lossy(entry.children()))
        }
        Told::By(Err(reason)) => reason.to_string(),
    }
}
