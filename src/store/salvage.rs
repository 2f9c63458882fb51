//! Taking over what is still legible from a store that was set aside.
//!
//! One bad page costs the entries on it, not the whole store. The damaged database is read from its new place, a few
//! entries at a time beside the service; where reading fails, it goes on a little further. What is taken over is checked
//! like anything that is put.

use crate::caps::{DiscoInfo, Policy};

use super::disk::{Disk, Legible, is_verified};
use super::record::{ID_LEN, Names};

/// How many entries one step takes at most.
const STEP: usize = 16;

/// A damaged database that is being read.
pub(super) struct Salvage {
    disk: Disk,
    /// Content ids below this one were looked at.
    reached: Option<[u8; ID_LEN]>,
    taken: u64,
    /// How many steps in a row could not be read.
    illegible: u32,
}

impl Salvage {
    pub(super) fn of(disk: Disk) -> Salvage {
        Salvage {
            disk,
            reached: Some([0; ID_LEN]),
            taken: 0,
            illegible: 0,
        }
    }

    /// The next entries, with those of their keys that they verify under; `None` when all was looked at.
    pub(super) fn next(&mut self, policy: &Policy) -> Option<Vec<(Names, DiscoInfo)>> {
        let from = self.reached?;
        let legible = match self.disk.entries_from(&from, STEP) {
            Ok(legible) => {
                self.illegible = 0;
                legible
            }
            Err(_) => {
                self.illegible += 1;
                Legible {
                    entries: Vec::new(),
                    next: next_page(&from, self.illegible),
                }
            }
        };
        self.reached = legible.next;
        let mut found = legible.entries;
        for (names, info) in &mut found {
            names
                .keys
                .retain(|key| is_verified(key, info.clone(), policy));
        }
        found.retain(|(names, _)| !names.keys.is_empty());
        self.taken += found.len() as u64;
        Some(found)
    }

    /// How many entries were taken over.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Lets go of the damaged database.
    pub(super) fn close(self) {
        self.disk.close();
    }
}

/// How many steps in a row are passed over page by page; then ever more is.
const PATIENT_STEPS: u32 = 16;

/// Where to go on after content ids from that one on could not be read: ids are evenly spread, so a step of 1/65,536 of
/// them is about a page of a million entries, and less than a page of fewer.
///
/// The engine may look for a page that is lost for a second before it gives up; where nothing can be read at all, the end is
/// reached in some thirty steps.
fn next_page(from: &[u8; ID_LEN], illegible: u32) -> Option<[u8; ID_LEN]> {
    let stride = 1u32 << illegible.saturating_sub(PATIENT_STEPS).min(16);
    let page = u32::from(u16::from_be_bytes([from[0], from[1]])) + stride;
    let page = u16::try_from(page).ok()?;
    let mut next = [0; ID_LEN];
    next[..2].copy_from_slice(&page.to_be_bytes());
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_pages_are_passed_over_up_to_the_last() {
        let mut from = [0; ID_LEN];
        from[1] = 0xff;
        from[15] = 7;
        let mut expected = [0; ID_LEN];
        expected[0] = 1;
        assert_eq!(next_page(&from, 1), Some(expected));
        assert_eq!(next_page(&[0xff; ID_LEN], 1), None);
    }
    #[test]
    fn where_nothing_can_be_read_the_end_is_near() {
        let mut from = Some([0; ID_LEN]);
        let mut steps = 0;
        while let Some(place) = from {
            steps += 1;
            from = next_page(&place, steps);
        }
        assert!((20..=40).contains(&steps), "{steps}");
    }
}
