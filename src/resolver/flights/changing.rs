//! What a reload changes, what an operator wants forgotten, and what a feeder that begins anew does.

use std::time::Instant;

use super::{EXPIRE_STEP, Effect, Flights, Settings};
use crate::caps::CapsKey;
use crate::holders::LinkId;
use crate::holders::feeders::{FeederId, Untold};

impl<W> Flights<W> {
    /// Takes other settings. The deadline of a flight is that with which it began; the bounds of the table of holders stay what they
    /// were, but for the time after which the silent are forgotten.
    pub fn change(&mut self, settings: Settings) {
        self.new_keys
            .change(settings.new_keys_per_account, settings.new_keys_per_domain);
        self.more_questions.change(
            settings.questions_per_account,
            settings.questions_per_domain,
        );
        self.holders.change(settings.holders.expire_after);
        let holders = crate::holders::Settings {
            expire_after: settings.holders.expire_after,
            ..self.settings.holders
        };
        self.settings = Settings {
            holders,
            ..settings
        };
    }

    /// The bounds and times in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Forgets the holders of a domain that the link serves no more.
    pub fn forget_domain(&mut self, link: LinkId, domain: &str) {
        self.holders.forget_domain(link, domain);
    }

    /// What was known of a key, and what its holders failed to prove, counts no more.
    pub fn forget_key(&mut self, key: &CapsKey) {
        self.holders.forget_key(key);
    }

    /// The same for all keys.
    pub fn forget_all_keys(&mut self) {
        self.holders.forget_all_keys();
    }

    /// See [`Holders::feeder`](crate::holders::Holders::feeder).
    pub fn feeder(&mut self, link: LinkId, domain: &str, name: &str) -> FeederId {
        self.holders.feeder(link, domain, name)
    }

    /// See [`Holders::begin_anew`](crate::holders::Holders::begin_anew).
    pub fn begin_anew(&mut self, now: Instant, feeder: FeederId) {
        self.holders.begin_anew(now, feeder);
    }

    /// See [`Holders::told_by`](crate::holders::Holders::told_by).
    pub fn told_by(&mut self, feeder: FeederId, link: LinkId, address: &str) {
        self.holders.told_by(feeder, link, address);
    }

    /// Removes some of those whom their feeder did not tell of again: whatever they were asked goes to the next holder. Adds them to
    /// `untold`.
    pub fn remove_untold(&mut self, now: Instant, untold: &mut Vec<Untold>) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        let removed = self.holders.remove_untold(now, EXPIRE_STEP);
        for Untold { holder, .. } in &removed {
            self.lose_holder(now, *holder, &mut effects);
        }
        untold.extend(removed);
        effects
    }
}
