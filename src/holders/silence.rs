//! The order in which holders were heard of: whoever has been silent for longest comes first.
//!
//! It is a ring through the places of the table: eight bytes for each, and every step takes the same time however many there are.

/// The neighbours of a place in the ring.
#[derive(Clone, Copy, Debug)]
struct Neighbours {
    before: u32,
    after: u32,
}

/// The ring. Its node 0 is where it begins and ends; place `n` of the table is node `n + 1`.
#[derive(Debug)]
pub(super) struct Silence {
    nodes: Vec<Neighbours>,
}

impl Silence {
    /// An empty ring, with room for that many places.
    pub(super) fn new(places: usize) -> Silence {
        let mut nodes = Vec::with_capacity(places + 1);
        nodes.push(Neighbours {
            before: 0,
            after: 0,
        });
        Silence { nodes }
    }

    /// Whoever has been silent for longest.
    pub(super) fn longest(&self) -> Option<u32> {
        self.nodes[0].after.checked_sub(1)
    }

    /// Takes note that a place was heard of just now.
    pub(super) fn heard(&mut self, place: u32) {
        self.remove(place);
        let node = place + 1;
        let last = self.nodes[0].before;
        self.nodes[node as usize] = Neighbours {
            before: last,
            after: 0,
        };
        self.nodes[last as usize].after = node;
        self.nodes[0].before = node;
    }

    /// Takes a place out of the ring, if it is in it.
    pub(super) fn remove(&mut self, place: u32) {
        let node = place + 1;
        while self.nodes.len() <= node as usize {
            // A node that is in no ring is its own neighbour.
            let alone = self.nodes.len() as u32;
            self.nodes.push(Neighbours {
                before: alone,
                after: alone,
            });
        }
        let Neighbours { before, after } = self.nodes[node as usize];
        self.nodes[before as usize].after = after;
        self.nodes[after as usize].before = before;
        self.nodes[node as usize] = Neighbours {
            before: node,
            after: node,
        };
    }
}
