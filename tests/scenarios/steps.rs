//! The table of flights, step by step, with everybody around it played by the test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::cache::Entry;
use capsd::caps::{CapsKey, Reason};
use capsd::holders::LinkId;
use capsd::holders::accounts::Common;
use capsd::metrics::Metrics;
use capsd::resolver::flights::{
    Effect, FlightId, Flights, Patience, QuestionId, Settings, Verdicts,
};

use crate::contents::{announcement, key, verified};

/// The only link.
pub(crate) const LINK: LinkId = LinkId(0);

/// The table with its effects sorted by what they are. The tiers are empty, and looked in when [`Table::load`] is called.
pub(crate) struct Table {
    pub(crate) flights: Flights<String>,
    pub(crate) now: Instant,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) loads: Vec<FlightId>,
    pub(crate) asked: Vec<(QuestionId, String)>,
    pub(crate) told: Vec<(String, Option<Reason>)>,
    pub(crate) common: Vec<Common>,
}

impl Table {
    pub(crate) fn new(settings: Settings) -> Table {
        let now = Instant::now();
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut flights = Flights::new(settings, 1, Arc::clone(&metrics), now);
        flights.link_up(LINK);
        Table {
            flights,
            now,
            metrics,
            loads: Vec::new(),
            asked: Vec::new(),
            told: Vec::new(),
            common: Vec::new(),
        }
    }

    pub(crate) fn take_in(&mut self, effects: Vec<Effect<String>>) {
        for effect in effects {
            match effect {
                Effect::Load(flight, _) => self.loads.push(flight),
                Effect::Ask { id, address, .. } => self.asked.push((id, address.into())),
                Effect::Tell(who, outcome) => self.told.push((who, outcome.err())),
                Effect::Common(common) => self.common.push(common),
            }
        }
    }

    /// The tiers were looked in and are empty.
    pub(crate) fn load(&mut self) {
        for flight in std::mem::take(&mut self.loads) {
            let effects = self.flights.loaded(self.now, flight, Vec::new());
            self.take_in(effects);
        }
    }

    pub(crate) fn announce(&mut self, address: &str, keys: &str) {
        self.announce_only(address, keys);
        self.load();
    }

    pub(crate) fn announce_only(&mut self, address: &str, keys: &str) {
        let effects =
            self.flights
                .announce(self.now, LINK, address, &announcement(keys), true, false);
        self.take_in(effects);
    }

    pub(crate) fn ask_only(&mut self, who: &str, name: &str) {
        let effects = self
            .flights
            .ask(self.now, key(name), Patience::Asking, who.to_owned());
        self.take_in(effects);
    }

    pub(crate) fn ask(&mut self, who: &str, name: &str) {
        self.ask_only(who, name);
        self.load();
    }

    /// Somebody wants to know what is stored, and nobody to be asked.
    pub(crate) fn look_only(&mut self, who: &str, name: &str) {
        let effects = self
            .flights
            .ask(self.now, key(name), Patience::Looking, who.to_owned());
        self.take_in(effects);
    }

    pub(crate) fn depart(&mut self, address: &str) {
        let effects = self.flights.depart(self.now, LINK, address);
        self.take_in(effects);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let effects = self.flights.expire(self.now);
        self.take_in(effects);
    }

    /// The answer to the latest question to the address proves those keys and refuses those.
    pub(crate) fn answer(&mut self, address: &str, proven: &[&str], refused: &[&str]) {
        let id = self.question_to(address);
        let question = self.flights.take_question(id, LINK, address).unwrap();
        let verdicts = Verdicts::Content {
            proven: proven.iter().map(|name| proof(name)).collect(),
            refused: refused
                .iter()
                .map(|name| (key(name), Reason::Mismatch))
                .collect(),
            written: true,
        };
        let effects = self.flights.answered(self.now, question, verdicts);
        self.take_in(effects);
    }

    pub(crate) fn question_to(&self, address: &str) -> QuestionId {
        let mut asked = self.asked.iter().rev();
        asked.find(|(_, to)| to == address).unwrap().0
    }

    /// Whom questions went to since the last call.
    pub(crate) fn asked(&mut self) -> Vec<String> {
        self.asked.drain(..).map(|(_, address)| address).collect()
    }

    /// Who was told what since the last call.
    pub(crate) fn told(&mut self) -> Vec<(String, Option<Reason>)> {
        std::mem::take(&mut self.told)
    }

    /// How large everything is that the table remembers, as far as it can be looked at.
    pub(crate) fn size(&self) -> usize {
        format!("{:?}", self.flights).len()
    }
}

pub(crate) fn proof(name: &str) -> (CapsKey, Arc<Entry>) {
    (
        key(name),
        Arc::new(Entry::new(&verified(&name[1..]), false)),
    )
}

pub(crate) fn tell(who: &str, reason: impl Into<Option<Reason>>) -> (String, Option<Reason>) {
    (who.to_owned(), reason.into())
}
