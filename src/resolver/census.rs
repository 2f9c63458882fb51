//! What the [census](crate::population) needs of the resolver.

use super::Resolver;
use crate::caps::{CapsKey, DiscoInfo};
use crate::holders::Holders;

impl Resolver {
    /// What is served under a key; nobody is asked. For what is seldom wanted: the hot tier is read, then the others on their thread.
    /// What is on probation is left out: the kinds that a census tells apart are bounded, and whoever floods would take their places.
    pub async fn content(&self, key: &CapsKey) -> Option<DiscoInfo> {
        if let Some(entry) = self.hot.get(key) {
            return entry.info();
        }
        let key = *key;
        let found = self.work(move |below| below.find(&key, |info, _| info.info().clone()));
        found.await.flatten()
    }

    /// Does something with the table of holders. Everybody else waits so long: it is to be short.
    pub fn with_holders<T>(&self, work: impl FnOnce(&mut Holders) -> T) -> T {
        work(self.lock().flights.holders_mut())
    }
}
