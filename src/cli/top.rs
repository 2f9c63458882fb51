//! `capsd top` and `capsd flights`: what goes on in the daemon.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use super::interrupt::Interrupt;
use super::screen::{self, Report, Screen};
use super::tier::{Place, ask, status, unexpected};
use super::{Exit, Failure, print};
use crate::control::client::Client;
use crate::control::protocol::{Answer, Counts, Flights, Status};
use crate::control::{Request, words};

/// Show what goes on, again and again: links, tiers, queries per second, what is being resolved
///
/// On a terminal one screen is kept up to date until you press q or Ctrl-C; elsewhere one report follows the other.
#[derive(Debug, clap::Args)]
pub(super) struct TopArguments {
    #[command(flatten)]
    place: Place,

    /// Show it once
    #[arg(long)]
    once: bool,

    /// Print JSON objects instead, one in a line
    #[arg(long)]
    pub(super) json: bool,

    /// Seconds from one to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// Print what is being resolved: the oldest first
#[derive(Debug, clap::Args)]
pub(super) struct FlightsArguments {
    #[command(flatten)]
    place: Place,

    /// Also keys that fewer than three accounts announced: such a key may tell who is online
    #[arg(long)]
    all: bool,

    /// Print a JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

/// Exit code 0, and 4 where no daemon answers.
pub(super) fn flights(arguments: &FlightsArguments) -> Result<Exit, Failure> {
    let found = ask_flights(&mut arguments.place.daemon()?, arguments.all)?;
    match arguments.json {
        true => print(&json!(found).to_string())?,
        false => print(&words::flights(&found))?,
    }
    Ok(Exit::Done)
}

fn ask_flights(client: &mut Client, all: bool) -> Result<Flights, Failure> {
    match ask(client, &Request::Flights { all })? {
        Answer::Flights(flights) => Ok(flights),
        _ => Err(unexpected()),
    }
}

/// What there was at one time.
struct Sight {
    at: Instant,
    overview: Status,
    flights: Flights,
}

impl Sight {
    fn now(client: &mut Client) -> Result<Sight, Failure> {
        Ok(Sight {
            at: Instant::now(),
            overview: status(client)?,
            flights: ask_flights(client, false)?,
        })
    }

    fn queries(&self) -> u64 {
        self.overview.counts.lookups.values().sum()
    }

    /// How many queries, and questions to clients, there were in a second since then.
    fn rates(&self, before: &Sight) -> (f64, f64) {
        let seconds = self
            .at
            .saturating_duration_since(before.at)
            .as_secs_f64()
            .max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let questions = |sight: &Sight| sight.overview.counts.questions;
        (
            rate(self.queries(), before.queries()),
            rate(questions(self), questions(before)),
        )
    }
}

/// In hundredths of all queries but those that were rejected, as on the page: those that nobody was asked for.
fn hits(counts: &Counts) -> Option<f64> {
    let count = |word: &str| counts.lookups.get(word).copied().unwrap_or(0);
    let all = counts.lookups.values().sum::<u64>() - count("rejected");
    (all > 0).then(|| (count("hit") + count("override")) as f64 * 100.0 / all as f64)
}

/// Exit code 0: it was ended, or shown once; 4: no daemon answers, or it does not any more.
pub(super) fn top(arguments: &TopArguments) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen_until(screen::restore);
    // Whoever learns at once that there is no daemon is not shown an empty screen first.
    let mut sight = arguments.look()?;
    let mut screen = match arguments.json || arguments.once {
        true => None,
        false => Screen::open(),
    };
    let mut before: Option<Sight> = None;
    loop {
        let written = match &mut screen {
            Some(screen) => {
                let report = arguments.report(screen.way_out(), &sight, before.as_ref());
                screen.show(report)
            }
            None => write(&match arguments.json {
                true => json_of(&sight, before.as_ref()),
                false => text_of(&sight, before.as_ref()),
            }),
        };
        if !is_read(written)? || arguments.once || !arguments.wait(&interrupt, &mut screen)? {
            return Ok(Exit::Done);
        }
        before = Some(std::mem::replace(&mut sight, arguments.look()?));
    }
}

impl TopArguments {
    /// Each time anew: the daemon ends connections on which nothing is asked for long.
    fn look(&self) -> Result<Sight, Failure> {
        Sight::now(&mut self.place.daemon()?)
    }

    /// Waits until the next report is due; false if none is wanted any more.
    fn wait(&self, interrupt: &Interrupt, screen: &mut Option<Screen>) -> Result<bool, Failure> {
        let until = Instant::now() + Duration::from_secs(self.interval);
        while Instant::now() < until {
            if interrupt.came() || screen.as_ref().is_some_and(Screen::quits) {
                return Ok(false);
            }
            if let Some(screen) = screen
                && !is_read(screen.keep())?
            {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(true)
    }

    fn report(&self, way_out: &str, sight: &Sight, before: Option<&Sight>) -> Report {
        Report {
            whole: overview(sight, before),
            list: format!("\n{}", words::flights(&sight.flights)),
            footer: format!("{way_out} quits; every {} s", self.interval),
        }
    }
}

fn json_of(sight: &Sight, before: Option<&Sight>) -> String {
    let rates = before.map(|before| sight.rates(before));
    json!({
        "status": sight.overview,
        "flights": sight.flights,
        "queries-per-second": rates.map(|(queries, _)| queries),
        "questions-per-second": rates.map(|(_, questions)| questions),
    })
    .to_string()
}

fn text_of(sight: &Sight, before: Option<&Sight>) -> String {
    let overview = overview(sight, before);
    format!("{overview}\n\n{}\n", words::flights(&sight.flights))
}

fn overview(sight: &Sight, before: Option<&Sight>) -> String {
    let mut text = words::status(&sight.overview);
    if let Some(hits) = hits(&sight.overview.counts) {
        text += &format!("\nanswered without asking anybody: {hits:.1} %");
    }
    if let Some((queries, questions)) = before.map(|before| sight.rates(before)) {
        text += &format!("\nlately: {queries:.1} queries/s, {questions:.1} questions to clients/s");
    }
    text
}

fn write(report: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{report}")?;
    out.flush()
}

/// Whether what was written has a reader; a fault of another kind is one.
fn is_read(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure {
            message: format!("cannot write to standard output: {error}"),
            exit: Exit::Usage,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rejected_is_no_query_that_could_be_a_hit() {
        let of = |counts: &[(&str, u64)]| {
            let lookups = counts.iter().map(|(word, n)| (word.to_string(), *n));
            hits(&Counts {
                lookups: lookups.collect(),
                ..Counts::default()
            })
        };
        assert_eq!(of(&[("rejected", 7)]), None);
        let counts = [("hit", 2), ("override", 1), ("miss", 1), ("rejected", 96)];
        assert_eq!(of(&counts), Some(75.0));
    }
}
