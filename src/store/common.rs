//! The fact that several accounts announced a key, noted with its content without haste.
//!
//! When a server starts, thousands of keys become common within seconds, and each costs the writing of its whole content; the
//! fact serves exports only. So it waits in memory and is written a little at a time, and all of it before a flush that somebody
//! asked for and at the end. A crash loses what waits; it is found again when the key is announced to the next process.

use super::{Learned, Store};
use crate::caps::{CapsKey, Family};

/// How many facts may wait; more are dropped.
const MOST: usize = 16_384;

/// How many are written at a time.
const STEP: usize = 8;

impl Store {
    /// Notes that several accounts announced a key, with that node URL if one is given, as soon as there is leisure. Without
    /// effect if the content of the key is not stored by then.
    pub fn note_common(&mut self, key: &CapsKey, node_url: Option<&str>) {
        if self.common.len() < MOST {
            let node = key.to_node(node_url.unwrap_or_default());
            self.common.push_back(node.into());
        }
    }

    /// Writes a few of them.
    pub(super) fn write_some_common(&mut self) {
        for _ in 0..STEP {
            self.write_next_common();
        }
    }

    /// Writes all of them.
    pub(super) fn write_all_common(&mut self) {
        while !self.common.is_empty() {
            self.write_next_common();
        }
        self.common.shrink_to_fit();
    }

    fn write_next_common(&mut self) {
        let Some(node) = self.common.pop_front() else {
            return;
        };
        // A node that is too long to be asked for, or looks like one of the other family, is of no use to anybody.
        let Ok(key) = CapsKey::from_node(&node) else {
            return;
        };
        let node_url = node.rsplit_once('#').map(|(node_url, _)| node_url);
        let node_url = node_url.filter(|url| key.family() == Family::Xep0115 && !url.is_empty());
        if let Some(stored) = self.get(&key) {
            self.put_seen(Learned {
                info: stored.info,
                keys: vec![key],
                nodes: node_url.map(str::to_owned).into_iter().collect(),
            });
        }
    }
}
