//! What a reload changes, and what a feeder that begins anew does.

use std::time::Instant;

use super::Resolver;
use super::flights::Settings;
use crate::caps::Reason;
use crate::holders::LinkId;
use crate::holders::feeders::FeederId;

impl Resolver {
    /// Takes other settings, as [`Flights::change`](super::flights::Flights::change) says; how many bytes there are for the probation and for what cannot be
    /// verified stays what it was.
    pub fn change(&self, settings: Settings) {
        self.lock().flights.change(settings);
        self.probation
            .change(settings.probation.second_uses_per_account);
        self.unverified.change(settings.unverified);
        if let Some(tiers) = self.tiers.get() {
            tiers.change_high_water(settings.probation.high_water_percent);
        }
        self.rearm.notify_one();
    }

    /// The bounds and times in force.
    pub fn settings(&self) -> Settings {
        *self.lock().flights.settings()
    }

    /// Forgets the holders of a domain that the link serves no more.
    pub fn forget_domain(&self, link: LinkId, domain: &str) {
        self.lock().flights.forget_domain(link, domain);
    }

    /// The feeder with that domain on that link, and of those who share it the one of that name.
    pub fn feeder(&self, link: LinkId, domain: &str, name: &str) -> FeederId {
        self.lock().flights.feeder(link, domain, name)
    }

    /// What the feeder told before holds no more, unless it is told again.
    pub fn begin_anew(&self, now: Instant, feeder: FeederId) {
        self.lock().flights.begin_anew(now, feeder);
        let ended = self.unverified.forget_feeder(feeder);
        self.tell_all(now, ended, &Err(Reason::Unreachable));
    }

    /// Takes note of who told of an address last.
    pub fn told_by(&self, feeder: FeederId, link: LinkId, address: &str) {
        self.lock().flights.told_by(feeder, link, address);
        self.unverified.told_by(feeder, link, address);
    }
}
