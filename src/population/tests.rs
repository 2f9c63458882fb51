//! Rounds over a table of holders, without a resolver: what is counted, what is merged, and what floods come to.

use super::*;
use crate::caps::{Algorithm, CapsKey, DiscoInfo, Family, Identity};
use crate::holders::{self, Announcement, Holders, LinkId};

struct Town {
    holders: Holders,
    census: Census,
    round: Round,
    places: Places,
    begin: Instant,
    rounds: u64,
}

/// The announcement of a client; its number is its digest, so that contents can be found again.
fn announcement(number: u32) -> Announcement {
    let mut digest = [0; 20];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    Announcement {
        keys: vec![CapsKey::new(Family::Xep0115, Algorithm::Sha1, &digest).unwrap()],
        node_url: std::sync::Arc::default(),
    }
}

fn content(name: &str, features: &[&str]) -> DiscoInfo {
    DiscoInfo {
        identities: vec![Identity {
            category: "client".to_owned(),
            type_: "pc".to_owned(),
            name: name.to_owned(),
            ..Identity::default()
        }],
        features: features.iter().map(|f| (*f).to_owned()).collect(),
        forms: Vec::new(),
    }
}

impl Town {
    fn new(clients: usize, kinds: usize) -> Town {
        let begin = Instant::now();
        let settings = holders::Settings {
            max: 100_000,
            expire_after: Duration::from_secs(3600),
            per_key: 64,
        };
        let mut holders = Holders::new(settings, begin);
        holders.limit_kinds(kinds);
        let settings = Settings {
            features: ["a", "b"].map(str::to_owned).to_vec(),
            clients,
            kinds,
        };
        Town {
            holders,
            census: Census::new(settings, Arc::new(Metrics::new().unwrap())),
            round: Round::default(),
            places: Places::new(clients, begin),
            begin,
            rounds: 0,
        }
    }

    fn online(&mut self, address: &str, number: u32) {
        let announcement = announcement(number);
        self.holders
            .announce(self.begin, LinkId(0), address, &announcement, true);
    }

    fn offline(&mut self, address: &str) {
        self.holders.depart(LinkId(0), address);
    }

    /// Counts everybody, as many steps as it takes; contents are found by the numbers of their announcements. How many were looked up.
    fn count(&mut self, contents: impl Fn(u32) -> Option<DiscoInfo>) -> usize {
        let mut looked_up = 0;
        loop {
            self.round.begin_step(self.holders.places());
            while self.round.count(&self.holders) {}
            let over = self.round.is_over();
            let totals = over.then(|| self.round.end(&mut self.holders, 2));
            for wanted in self.round.wanted() {
                let digest = wanted.keys[0].digest();
                let number = u32::from_be_bytes(digest[..4].try_into().unwrap());
                let features = &self.census.settings.features;
                let software = contents(number).map(|info| software::software(&info, "", features));
                self.holders.classify(&wanted, software);
                looked_up += 1;
            }
            if let Some(totals) = totals {
                self.rounds += 1;
                let now = self.begin + STEP * u32::try_from(self.rounds).unwrap();
                self.census
                    .publish(&totals, &mut self.places, now, self.rounds);
                return looked_up;
            }
        }
    }

    fn clients(&self) -> Vec<(String, u64)> {
        let population = self.census.latest();
        let of = |c: &Client| (c.client.clone(), c.sessions);
        population.clients.iter().map(of).collect()
    }

    fn features(&self) -> Vec<u64> {
        let population = self.census.latest();
        population.features.iter().map(|f| f.sessions).collect()
    }

    fn metric(&self, series: &str) -> Option<String> {
        let text = self.census.metrics.render();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(str::to_owned)
    }
}

fn named(number: u32) -> Option<DiscoInfo> {
    match number {
        1 => Some(content("Gajim 1.7", &["a"])),
        2 => Some(content("Gajim 1.8", &["a", "b"])),
        3 => Some(content("Dino", &["a"])),
        4 => Some(content("", &[])),
        _ => None,
    }
}

#[test]
fn versions_are_one_client_and_three_accounts_make_it_known() {
    let mut town = Town::new(5, 100);
    for (address, number) in [("a@x/1", 1), ("a@x/2", 1), ("b@x/1", 2), ("c@x/1", 3)] {
        town.online(address, number);
    }
    town.online("d@x/1", 4);
    town.online("e@x/1", 9);
    assert_eq!(town.count(named), 5);
    let population = town.census.latest();
    assert_eq!((population.total, population.unknown), (6, 6));
    // What was found counts from the next round on; it is not looked up again.
    assert_eq!(town.count(named), 0);
    let population = town.census.latest();
    assert_eq!(
        (population.total, population.unknown, population.other),
        (6, 1, 5)
    );
    // Gajim has three sessions but two accounts; the feature "a" has three accounts in all.
    assert_eq!(town.clients(), []);
    assert_eq!(town.features(), [4, 0]);
    town.online("e@x/1", 2);
    town.count(named);
    assert_eq!(town.clients(), [("Gajim".to_owned(), 4)]);
    assert_eq!(town.census.latest().other, 2);
    assert_eq!(town.features(), [5, 0]);
    assert_eq!(
        town.metric("capsd_population_clients{client=\"Gajim\"}")
            .unwrap(),
        "4"
    );
    assert_eq!(
        town.metric("capsd_population_clients{client=\"other\"}")
            .unwrap(),
        "2"
    );
    assert_eq!(
        town.metric("capsd_population_features{feature=\"a\"}")
            .unwrap(),
        "5"
    );
    // One of three accounts leaves: the others are merged again. The series stays, at zero.
    town.offline("b@x/1");
    town.count(named);
    assert_eq!(town.clients(), []);
    assert_eq!(town.census.latest().other, 5);
    assert_eq!(
        town.metric("capsd_population_clients{client=\"Gajim\"}")
            .unwrap(),
        "0"
    );
}

#[test]
fn what_is_resolved_later_is_counted_then() {
    let mut town = Town::new(5, 100);
    for account in ["a", "b", "c"] {
        town.online(&format!("{account}@x"), 1);
    }
    town.count(|_| None);
    assert_eq!(town.count(|_| None), 0);
    assert_eq!(
        town.metric("capsd_population_uncounted{reason=\"unknown\"}")
            .unwrap(),
        "3"
    );
    town.holders.mark_known(&announcement(1));
    assert_eq!(town.count(named), 1);
    town.count(named);
    assert_eq!(town.clients(), [("Gajim".to_owned(), 3)]);
    // And what nobody told of, some time.
    for account in ["a", "b", "c"] {
        town.online(&format!("{account}@x"), 3);
    }
    town.count(|_| None);
    let looked_up: usize = (0..64).map(|_| town.count(named)).sum();
    assert_eq!(looked_up, 1);
    town.count(named);
    assert_eq!(town.clients(), [("Dino".to_owned(), 3)]);
}

#[test]
fn a_large_town_is_counted_in_steps_and_whole() {
    let mut town = Town::new(5, 100);
    for n in 0..20_000 {
        town.online(&format!("{n}@x/1"), 1 + n % 3);
    }
    for _ in 0..2 {
        town.count(named);
    }
    assert_eq!(
        town.clients(),
        [("Gajim".to_owned(), 13_334), ("Dino".to_owned(), 6_666)]
    );
    assert_eq!(town.features(), [20_000, 6_667]);
    let population = town.census.latest();
    assert_eq!((population.total, population.other), (20_000, 0));
}

#[test]
fn an_account_that_makes_up_names_is_never_shown_and_hides_nobody() {
    let mut town = Town::new(5, 64);
    let contents = |number: u32| match number {
        7 => Some(content("Gajim", &["b"])),
        n => Some(content(
            &format!("Client {}", char::from(b'a' + (n % 26) as u8)).repeat(2),
            &["a"],
        )),
    };
    let made_up = |number: u32| match number {
        n if n >= 100 => Some(content(&format!("name-{n}"), &["a"])),
        n => contents(n),
    };
    for n in 0..500 {
        town.online(&format!("mallory@x/{n}"), 100 + n);
    }
    for _ in 0..10 {
        town.count(made_up);
    }
    for account in ["a", "b", "c"] {
        town.online(&format!("{account}@x"), 7);
    }
    for _ in 0..3 {
        town.count(made_up);
    }
    assert_eq!(town.clients(), [("Gajim".to_owned(), 3)]);
    assert_eq!(town.features(), [0, 3]);
    let population = town.census.latest();
    assert_eq!(
        (population.total, population.other, population.unknown),
        (503, 48, 452)
    );
    assert_eq!(
        town.metric("capsd_population_uncounted{reason=\"kinds\"}")
            .unwrap(),
        "452"
    );
}

#[test]
fn names_that_rotate_leave_few_series_and_the_old_ones_go() {
    let mut town = Town::new(3, 1000);
    for second in 0..200_u32 {
        for account in ["a", "b", "c"] {
            town.online(&format!("{account}@x"), second);
        }
        town.count(|number| Some(content(&format!("name-{number}"), &[])));
        town.count(|_| None);
    }
    let text = town.census.metrics.render();
    let series = text
        .lines()
        .filter(|line| line.starts_with("capsd_population_clients{"));
    assert_eq!(series.count(), 4, "three names and the others");
    assert_eq!(town.census.latest().other, 3);
    // Much later there is room for another name, in the place of one that is gone.
    town.rounds += 700;
    town.count(|_| None);
    assert_eq!(town.clients(), [("name-199".to_owned(), 3)]);
    let text = town.census.metrics.render();
    assert_eq!(text.matches("capsd_population_clients{").count(), 4);
    assert!(text.contains("client=\"name-199\"} 3\n"));
}
