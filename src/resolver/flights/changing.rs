//! What a reload changes, and what an operator wants forgotten.

use super::{Flights, Settings};
use crate::caps::CapsKey;
use crate::holders::LinkId;

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
}
