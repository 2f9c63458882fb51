//! The node URLs of announcements, each once: all versions of a client have one.

use std::sync::Arc;

use ahash::HashSet;

/// The node URLs.
#[derive(Debug, Default)]
pub(super) struct NodeUrls {
    known: HashSet<Arc<str>>,
    /// How many may be known before those that nobody has any more are looked for.
    enough: usize,
}

/// Fewer are not worth looking for.
const FEW: usize = 64;

impl NodeUrls {
    /// The one copy of a node URL.
    pub(super) fn one(&mut self, node_url: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(node_url) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.enough {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            // So each of them is looked at once on average.
            self.enough = FEW.max(2 * self.known.len());
        }
        self.known.insert(Arc::clone(node_url));
        Arc::clone(node_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_is_kept_and_what_nobody_has_is_forgotten() {
        let mut urls = NodeUrls::default();
        let first = urls.one(&"https://a.example".into());
        assert!(Arc::ptr_eq(&first, &urls.one(&"https://a.example".into())));
        for n in 0..10_000 {
            urls.one(&n.to_string().into());
            assert!(urls.known.len() <= FEW);
        }
        assert!(Arc::ptr_eq(&first, &urls.one(&"https://a.example".into())));
    }
}
