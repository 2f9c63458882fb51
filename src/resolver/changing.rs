//! What a reload changes.

use super::Resolver;
use super::flights::Settings;
use crate::holders::LinkId;

impl Resolver {
    /// Takes other settings, as [`Flights::change`](super::flights::Flights::change) says; of those of the probation, its bytes stay what they were.
    pub fn change(&self, settings: Settings) {
        self.lock().flights.change(settings);
        self.probation
            .change(settings.probation.second_uses_per_account);
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
}
