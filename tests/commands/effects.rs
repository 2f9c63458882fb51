//! That each key which a reload applies has its effect in the daemon that runs: each is given another value, and what capsd does is looked
//! at before and after. The link is not opened anew by it, and what was known is served.
//!
//! Where a time is changed it is from one that no test waits for to a short one: what is tried is that the end comes, not when.

use std::collections::BTreeSet;

use capsd::config::changes::APPLIED;

use crate::effect;
use crate::linked::{Linked, Settings};

/// A key with its value before and after.
pub(crate) struct Change {
    pub(crate) key: &'static str,
    after: &'static str,
}

impl Change {
    /// Gives the key its other value and reloads.
    pub(crate) fn apply(&self, linked: &mut Linked) {
        let said = linked.reload(&[(self.key, self.after)]);
        self.check(&said);
    }

    /// The reload says that this key was applied, and no other one but the secret, which may be another one with it.
    pub(crate) fn check(&self, said: &serde_json::Value) {
        let applied = said["applied"].as_array().unwrap().iter();
        let mut names: Vec<_> = applied
            .map(|shown| shown.as_str().unwrap().split(' ').next().unwrap())
            .collect();
        assert!(names.contains(&self.key), "{said}");
        names.retain(|name| ![self.key, "component.secret"].contains(name));
        assert_eq!(names, [""; 0], "{said}");
        assert_eq!(said["needs-restart"], serde_json::json!([]));
    }
}

/// One test for each line: a key, its value before and after, what else is set, and what is looked at.
macro_rules! effects {
    ($($test:ident: $key:literal, $before:literal => $after:literal, $more:expr, $effect:path;)*) => {
        /// The keys whose effect is tested here.
        const TESTED: &[&str] = &[$($key),*];
        $(
            #[tokio::test]
            async fn $test() {
                let more: Settings = &$more;
                let settings = [&[($key, $before)], more].concat();
                let mut linked = Linked::with(&settings).await;
                let change = Change { key: $key, after: $after };
                $effect(&mut linked, &change).await;
                linked.assert_unharmed().await;
            }
        )*
    };
}

effects! {
    secret_file: "component.secret-file", "'$DIR/secret'" => "'$DIR/other'", [], effect::link::secret;
    secret_env: "component.secret-env", "'FIRST'" => "'SECOND'", [("component.secret-file", "")], effect::link::secret;
    secret_itself: "component.secret", "" => "", [], effect::link::secret_in_the_same_file;
    domains: "component.domains", "['example.org']" => "['example.org', 'example.net']", [], effect::link::domains;
    feeds: "component.feeds", "['example.org']" => "['example.net']", [("component.domains", "['example.org', 'example.net']")], effect::link::feeds;
    admins: "component.admins", "['admin@example.org']" => "['late@example.org']", [], effect::link::admins;
    flush_interval: "store.flush-interval", "'1m'" => "'100ms'", [], effect::store::flush_interval;
    max_entries: "store.max-entries", "100" => "2", [], effect::store::max_entries;
    max_bytes: "store.max-bytes", "'1GiB'" => "'1MiB'", [], effect::store::max_bytes;
    high_water_percent: "store.high-water-percent", "100" => "1", [("store.max-entries", "100")], effect::store::high_water;
    max_waste: "store.max-waste", "'1GiB'" => "'8MiB'", [], effect::store::max_waste;
    directories: "trusted.directories", "[]" => "['$DIR/files']", [], effect::trusted::directories;
    bundles: "trusted.bundles", "[]" => "['$DIR/signed.capsd']", [("trusted.unsigned-bundles", "'accept'")], effect::trusted::bundles;
    unsigned_bundles: "trusted.unsigned-bundles", "'refuse'" => "'accept'", [("trusted.bundles", "['$DIR/signed.capsd']")], effect::trusted::bundles;
    public_keys: "trusted.public-keys", "[]" => "['$PUBLIC']", [("trusted.bundles", "['$DIR/signed.capsd']")], effect::trusted::public_keys;
    overrides: "trusted.overrides", "" => "'$DIR/deny.toml'", [], effect::trusted::overrides;
    resolve: "resolver.resolve", "'on-demand'" => "'on-announce'", [], effect::resolver::resolve;
    deadline: "resolver.deadline", "'1m'" => "'1s'", [("resolver.holder-timeout", "'50ms'"), ("resolver.resolve", "'on-demand'")], effect::resolver::deadline;
    holder_timeout: "resolver.holder-timeout", "'1m'" => "'50ms'", [("resolver.deadline", "'1m'")], effect::resolver::holder_timeout;
    holder_timeout_alone: "resolver.holder-timeout", "'1m'" => "'50ms'", [("resolver.deadline", "'1m'")], effect::alone::timeout;
    retry_after: "resolver.retry-after", "'1d'" => "'1s'", [], effect::resolver::retry_after;
    retry_after_alone: "resolver.retry-after", "'1d'" => "'1s'", [], effect::alone::retry_after;
    expire_after: "holders.expire-after", "'1d'" => "'1s'", [], effect::resolver::expire_after;
    flights: "limits.flights", "1" => "2", [("resolver.deadline", "'1m'")], effect::limits::flights;
    flights_alone: "limits.flights", "1" => "2", [("resolver.deadline", "'1m'"), ("resolver.holder-timeout", "'1m'")], effect::alone::questions;
    waiters: "limits.waiters", "1" => "2", [("resolver.deadline", "'1m'")], effect::limits::waiters;
    waiters_per_flight: "limits.waiters-per-flight", "1" => "2", [("resolver.deadline", "'1m'")], effect::limits::waiters;
    subscribers: "limits.subscribers", "1" => "2", [], effect::limits::subscribers;
    queries_per_asker: "limits.queries-per-asker", "'1/h'" => "'1000/s'", [], effect::limits::queries_per_asker;
    new_keys_per_domain: "limits.new-keys-per-domain", "'1/h'" => "'100/s'", [], effect::limits::new_keys;
    new_keys_per_account: "limits.new-keys-per-account", "'1/h'" => "'100/h'", [], effect::limits::new_keys;
    questions_per_domain: "limits.questions-per-domain", "'1/h'" => "'100/s'", [("limits.new-keys-per-account", "'1/h'")], effect::limits::questions;
    questions_per_account: "limits.questions-per-account", "'1/h'" => "'100/h'", [("limits.new-keys-per-account", "'1/h'")], effect::limits::questions;
    second_uses: "limits.second-uses-per-account", "'1/h'" => "'100/h'", [("limits.new-keys-per-account", "'1/h'")], effect::limits::second_uses;
    contact_abuse: "contact.abuse", "[]" => "['mailto:new@example.org']", [], effect::link::contact;
    contact_admin: "contact.admin", "[]" => "['mailto:new@example.org']", [], effect::link::contact;
    contact_feedback: "contact.feedback", "[]" => "['mailto:new@example.org']", [], effect::link::contact;
    contact_sales: "contact.sales", "[]" => "['mailto:new@example.org']", [], effect::link::contact;
    contact_security: "contact.security", "[]" => "['mailto:new@example.org']", [], effect::link::contact;
    contact_status: "contact.status", "[]" => "['https://example.org/status']", [], effect::link::contact;
    contact_support: "contact.support", "[]" => "['mailto:new@example.org']", [], effect::link::contact;
    log_level: "log.level", "'info'" => "'debug'", [], effect::link::log_level;
}

#[test]
fn the_effect_of_every_key_that_is_applied_is_tested() {
    let tested: BTreeSet<_> = TESTED.iter().collect();
    let applied: BTreeSet<_> = APPLIED.iter().collect();
    assert_eq!(tested, applied);
}
