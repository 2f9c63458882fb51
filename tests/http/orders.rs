//! What was ordered by command is in force when it is said to be done, whatever the tiers' thread has to do before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::caps::CapsKey;
use capsd::config::ConfigFaults;
use capsd::config::changes::Changes;
use capsd::control::act::{self, Actor, Process, Surroundings};
use capsd::control::protocol::{Answer, Request};
use capsd::control::server::Desk;
use capsd::daemon::trust::Trust;
use capsd::metrics::Metrics;
use capsd::resolver::flights::Settings;
use capsd::trusted::Overrides;
use capsd::trusted::orders::Orders;

use crate::contents::{key, query};
use crate::served::{nothing_trusted, sources};
use crate::setup::{settings, tiers_in};

/// A process that carries out orders, and reads nothing again.
#[derive(Debug)]
struct Ordered(Trust);

impl Process for Ordered {
    fn reload(&self) -> Result<Changes, ConfigFaults> {
        Ok(Changes::default())
    }

    fn deny(&self, key: CapsKey, reason: &str) -> act::Ordered {
        Ok(self.0.deny(key, reason)?)
    }

    fn pin(&self, key: CapsKey, query: &str, reason: &str) -> act::Ordered {
        Ok(self.0.pin(key, query, reason)?)
    }

    fn withdraw(&self, key: &CapsKey, pinned: bool) -> act::Ordered {
        Ok(self.0.withdraw(key, pinned)?)
    }
}

/// A desk that can order, over empty tiers in a directory.
fn desk(directory: &std::path::Path, settings: Settings) -> Arc<Desk> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let below = tiers_in(directory, Some(nothing_trusted()), &metrics, Instant::now());
    let desk = sources(settings, below, Arc::clone(&metrics)).desk;
    let by_file = Arc::new(Overrides::default());
    let trust = Trust::start(
        &desk.resolver,
        metrics,
        by_file,
        Orders::default(),
        directory,
    );
    Arc::new(Desk {
        resolver: Arc::clone(&desk.resolver),
        policy: desk.policy.clone(),
        store: directory.to_owned(),
        clock: desk.clock,
        around: Surroundings {
            process: Arc::new(Ordered(trust.unwrap())),
            ..desk.around.clone()
        },
    })
}

#[tokio::test]
async fn an_order_is_in_force_when_it_is_said_to_be_done() {
    let directory = tempfile::tempdir().unwrap();
    let desk = desk(directory.path(), settings());
    let order = async |request| {
        // The disk is slow just now.
        desk.resolver
            .order(|_| std::thread::sleep(Duration::from_millis(100)));
        let done = desk.act(&Actor::User(None), request).await;
        assert!(matches!(done, Answer::Ordered { .. }), "{done:?}");
    };
    let node = key("K1").to_node("");
    let reason = "mine".to_owned();
    order(Request::Deny {
        key: node.clone(),
        reason: reason.clone(),
    })
    .await;
    assert_eq!(desk.resolver.denial(&key("K1")).as_deref(), Some("mine"));
    order(Request::Undeny { key: node.clone() }).await;
    assert_eq!(desk.resolver.denial(&key("K1")), None);
    order(Request::Pin {
        key: node.clone(),
        query: query("1"),
        reason,
    })
    .await;
    desk.act(&Actor::User(None), Request::Resolve { key: node.clone() })
        .await;
    let withdrawn = desk.resolver.withdrawals();
    order(Request::Unpin { key: node }).await;
    assert!(desk.resolver.withdrawals() > withdrawn);
}
