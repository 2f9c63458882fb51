//! The addresses of holders, side by side: as allocations of their own a hundred thousand of them cost half as much again.

/// The longest address that lies beside others, in bytes; almost all are shorter. Longer ones are allocations of their own, so that
/// what they take can be given back.
const LONGEST: usize = 64;

/// Places differ in size by so many bytes.
const STEP: usize = 8;

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    index: u32,
    /// Its length; 0 where it is an allocation of its own.
    length: u8,
}

/// Addresses of about one length; a place that is free is taken again.
#[derive(Debug, Default)]
struct Pool {
    bytes: Vec<u8>,
    free: Vec<u32>,
}

/// The addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pools: [Pool; LONGEST / STEP],
    long: Vec<Box<str>>,
    free_long: Vec<u32>,
}

/// Which pool an address of that length is in, and how long a place is there; `length` is from 1 to [`LONGEST`].
fn pool_of(length: usize) -> (usize, usize) {
    let pool = (length - 1) / STEP;
    (pool, (pool + 1) * STEP)
}

impl Addresses {
    /// Takes an address in; `None` where places can no longer be counted.
    pub(super) fn insert(&mut self, address: &str) -> Option<Place> {
        let length = match address.len() {
            length @ 1..=LONGEST => length,
            _ => return self.insert_long(address),
        };
        let (pool, size) = pool_of(length);
        let pool = &mut self.pools[pool];
        let index = match pool.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(pool.bytes.len() / size).ok()?;
                pool.bytes.resize(pool.bytes.len() + size, 0);
                index
            }
        };
        let start = index as usize * size;
        pool.bytes[start..start + length].copy_from_slice(address.as_bytes());
        Some(Place {
            index,
            // At most `LONGEST`.
            length: length as u8,
        })
    }

    fn insert_long(&mut self, address: &str) -> Option<Place> {
        let index = match self.free_long.pop() {
            Some(index) => {
                self.long[index as usize] = address.into();
                index
            }
            None => {
                let index = u32::try_from(self.long.len()).ok()?;
                self.long.push(address.into());
                index
            }
        };
        Some(Place { index, length: 0 })
    }

    /// The bytes of the address at a place that is taken.
    pub(super) fn bytes(&self, place: Place) -> &[u8] {
        match usize::from(place.length) {
            0 => self.long[place.index as usize].as_bytes(),
            length => {
                let (pool, size) = pool_of(length);
                let start = place.index as usize * size;
                &self.pools[pool].bytes[start..start + length]
            }
        }
    }

    /// The address at a place that is taken.
    pub(super) fn get(&self, place: Place) -> &str {
        // What was put there was text.
        std::str::from_utf8(self.bytes(place)).unwrap_or_default()
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, place: Place) {
        match usize::from(place.length) {
            0 => {
                self.long[place.index as usize] = Box::default();
                self.free_long.push(place.index);
            }
            length => self.pools[pool_of(length).0].free.push(place.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_found_where_it_was_put_and_places_are_taken_again() {
        let mut addresses = Addresses::default();
        let address = |n: usize| "ä".repeat(n % 45) + &n.to_string();
        let mut places: Vec<Place> = (0..500)
            .map(|n| addresses.insert(&address(n)).unwrap())
            .collect();
        for round in 1..20 {
            for (n, place) in places.iter().enumerate() {
                assert_eq!(addresses.get(*place), address(n + 500 * (round - 1)));
            }
            for (n, place) in places.iter_mut().enumerate() {
                addresses.remove(*place);
                *place = addresses.insert(&address(n + 500 * round)).unwrap();
            }
        }
        let taken: usize = addresses.pools.iter().map(|pool| pool.bytes.len()).sum();
        assert!(taken <= 2 * 500 * LONGEST, "{taken}");
        assert!(addresses.long.len() <= 500);
    }

    #[test]
    fn the_empty_and_the_longest_are_addresses_too() {
        let mut addresses = Addresses::default();
        let all = ["", "a", &"b".repeat(64), &"c".repeat(65), &"d".repeat(3071)];
        let places = all.map(|address| addresses.insert(address).unwrap());
        assert_eq!(places.map(|place| addresses.get(place)), all);
        assert_eq!(addresses.long.len(), 3);
    }
}
