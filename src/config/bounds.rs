//! The default and the range of every setting that is a number, each in one place.

use super::quantity::{Bound, Count, Per, Period, Rate, Size};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The most `[[component]]` blocks: each adds its own series to the metrics.
pub(super) const MAX_COMPONENTS: usize = 16;

/// The most values in any list of the configuration.
pub(super) const MAX_LIST: usize = 1024;

/// `store.flush-interval`: at most this much of what was learned is lost by a crash.
pub(super) const STORE_FLUSH_INTERVAL: Bound<Period> = Bound {
    default: Period::seconds(1),
    min: Period::millis(100),
    max: Period::seconds(60),
};

/// `store.max-entries`: the best known public collection has 1,600 hashes, so this bounds floods only.
pub(super) const STORE_MAX_ENTRIES: Bound<Count> = Bound {
    default: Count(1_000_000),
    min: Count(1),
    max: Count(100_000_000),
};

/// `store.max-bytes`: of values; the files take about twice as much.
pub(super) const STORE_MAX_BYTES: Bound<Size> = Bound {
    default: Size(2 * GIB),
    min: Size(MIB),
    max: Size(TIB),
};

/// `store.max-waste`: below the least of these the engine's own way of using space again is hardly under way.
pub(super) const STORE_MAX_WASTE: Bound<Size> = Bound {
    default: Size(256 * MIB),
    min: Size(8 * MIB),
    max: Size(TIB),
};

/// `store.cache`: memory of the store's engine; the hot tier spares it most reads.
pub(super) const STORE_CACHE: Bound<Size> = Bound {
    default: Size(16 * MIB),
    min: Size(MIB),
    max: Size(64 * GIB),
};

/// `store.high-water-percent`: of its entries and bytes; above it, what nobody uses a second time is kept out.
pub(super) const STORE_HIGH_WATER_PERCENT: Bound<Count> = Bound {
    default: Count(90),
    min: Count(1),
    max: Count(100),
};

/// `hot.probation-bytes`: about 1,000 contents of 2 KB.
pub(super) const HOT_PROBATION_BYTES: Bound<Size> = Bound {
    default: Size(4 * MIB),
    min: Size(64 * KIB),
    max: Size(64 * GIB),
};

/// `hot.max-bytes`: about 16,000 entries of 2 KB.
pub(super) const HOT_MAX_BYTES: Bound<Size> = Bound {
    default: Size(32 * MIB),
    min: Size(MIB),
    max: Size(64 * GIB),
};

/// `resolver.deadline`: of one lookup, over all holders; clients give up after some tens of seconds.
pub(super) const RESOLVER_DEADLINE: Bound<Period> = Bound {
    default: Period::seconds(5),
    min: Period::millis(100),
    max: Period::seconds(60),
};

/// `resolver.holder-timeout`: of one holder; then the next one is asked.
pub(super) const RESOLVER_HOLDER_TIMEOUT: Bound<Period> = Bound {
    default: Period::seconds(2),
    min: Period::millis(50),
    max: Period::seconds(60),
};

/// `resolver.retry-after`: how long the failure of a (holder, key) is remembered.
pub(super) const RESOLVER_RETRY_AFTER: Bound<Period> = Bound {
    default: Period::seconds(600),
    min: Period::seconds(1),
    max: Period::seconds(24 * 3600),
};

/// `holders.max`: over all links and keys.
pub(super) const HOLDERS_MAX: Bound<Count> = Bound {
    default: Count(1_000_000),
    min: Count(1),
    max: Count(10_000_000),
};

/// `holders.expire-after`: some servers report neither abrupt deaths nor who was already online.
pub(super) const HOLDERS_EXPIRE_AFTER: Bound<Period> = Bound {
    default: Period::seconds(24 * 3600),
    min: Period::seconds(1),
    max: Period::seconds(30 * 24 * 3600),
};

/// `holders.per-key`: more than a flight can ask within its deadline helps nobody.
pub(super) const HOLDERS_PER_KEY: Bound<Count> = Bound {
    default: Count(64),
    min: Count(1),
    max: Count(4096),
};

/// `holders.unverifiable-bytes`: about 1,000 addresses, or 400 with an answer of 2 KB; few clients are so old.
pub(super) const HOLDERS_UNVERIFIABLE_BYTES: Bound<Size> = Bound {
    default: Size(MIB),
    min: Size(64 * KIB),
    max: Size(GIB),
};

/// `limits.flights`: in progress at once.
pub(super) const LIMITS_FLIGHTS: Bound<Count> = Bound {
    default: Count(4096),
    min: Count(1),
    max: Count(65_536),
};

/// `limits.waiters`: over all flights.
pub(super) const LIMITS_WAITERS: Bound<Count> = Bound {
    default: Count(65_536),
    min: Count(1),
    max: Count(1_048_576),
};

/// `limits.subscribers`: users who added capsd to their contacts; seldom many.
pub(super) const LIMITS_SUBSCRIBERS: Bound<Count> = Bound {
    default: Count(65_536),
    min: Count(1),
    max: Count(1_048_576),
};

/// `limits.waiters-per-flight`: the larger part of a big room may wait for one hash.
pub(super) const LIMITS_WAITERS_PER_FLIGHT: Bound<Count> = Bound {
    default: Count(16_384),
    min: Count(1),
    max: Count(1_048_576),
};

const fn per_hour_to_million_per_second(default: Rate) -> Bound<Rate> {
    Bound {
        default,
        min: Rate::new(1, Per::Hour),
        max: Rate::new(1_000_000, Per::Second),
    }
}

/// `limits.queries-per-asker`: of one asker.
pub(super) const LIMITS_QUERIES_PER_ASKER: Bound<Rate> =
    per_hour_to_million_per_second(Rate::new(50, Per::Second));

/// `limits.batch-keys-per-asker`: of one asker, in all its batches; at least one whole batch fits at once.
pub(super) const LIMITS_BATCH_KEYS_PER_ASKER: Bound<Rate> = Bound {
    default: Rate::new(2000, Per::Second),
    min: Rate::new(256, Per::Hour),
    max: Rate::new(1_000_000, Per::Second),
};

/// `limits.batch-bytes`: of all contents in one answer; servers take stanzas of 256 KiB and more.
pub(super) const LIMITS_BATCH_BYTES: Bound<Size> = Bound {
    default: Size(256 * KIB),
    min: Size(16 * KIB),
    max: Size(16 * MIB),
};

/// `limits.waiting-batch-bytes`: about 100 full batches of which half is known, or many thousand small ones.
pub(super) const LIMITS_WAITING_BATCH_BYTES: Bound<Size> = Bound {
    default: Size(16 * MIB),
    min: Size(64 * KIB),
    max: Size(GIB),
};

/// `limits.new-keys-per-domain`: unknown keys that one domain may have resolved and written at once.
pub(super) const LIMITS_NEW_KEYS_PER_DOMAIN: Bound<Rate> =
    per_hour_to_million_per_second(Rate::new(200, Per::Second));

/// `limits.new-keys-per-account`: unknown keys that one account may have resolved and written at once.
pub(super) const LIMITS_NEW_KEYS_PER_ACCOUNT: Bound<Rate> =
    per_hour_to_million_per_second(Rate::new(20, Per::Hour));

/// `limits.questions-per-domain`: to accounts of one domain, once its quota or theirs of new keys is spent.
pub(super) const LIMITS_QUESTIONS_PER_DOMAIN: Bound<Rate> =
    per_hour_to_million_per_second(Rate::new(400, Per::Second));

/// `limits.questions-per-account`: to one account, once its quota of new keys is spent.
pub(super) const LIMITS_QUESTIONS_PER_ACCOUNT: Bound<Rate> =
    per_hour_to_million_per_second(Rate::new(600, Per::Hour));

/// `limits.second-uses-per-account`: a room of a hundred unknown clients is a large one.
pub(super) const LIMITS_SECOND_USES_PER_ACCOUNT: Bound<Rate> =
    per_hour_to_million_per_second(Rate::new(100, Per::Hour));

/// `limits.max-disco-bytes`: of one answer; real ones are under 8 KB.
pub(super) const LIMITS_MAX_DISCO_BYTES: Bound<Size> = Bound {
    default: Size(16 * KIB),
    min: Size(KIB),
    max: Size(256 * KIB),
};

/// `limits.max-features`: in one answer; real ones have under 150.
pub(super) const LIMITS_MAX_FEATURES: Bound<Count> = Bound {
    default: Count(256),
    min: Count(16),
    max: Count(4096),
};

/// `limits.link-queue-bytes`: what may wait to be written to one server.
pub(super) const LIMITS_LINK_QUEUE_BYTES: Bound<Size> = Bound {
    default: Size(8 * MIB),
    min: Size(64 * KIB),
    max: Size(GIB),
};

/// `population.features`: each is a series of the metrics, of which there are to be fewer than 500.
pub(super) const MAX_POPULATION_FEATURES: usize = 20;

/// The longest member of `population.features`, in bytes; the longest that are registered have 60.
pub(super) const MAX_FEATURE_LEN: usize = 128;

/// `population.clients`: each is a series of the metrics, too.
pub(super) const POPULATION_CLIENTS: Bound<Count> = Bound {
    default: Count(15),
    min: Count(1),
    max: Count(20),
};

/// `population.kinds`: a large public server has some hundred; a kind takes about 200 bytes.
pub(super) const POPULATION_KINDS: Bound<Count> = Bound {
    default: Count(1024),
    min: Count(64),
    max: Count(16_384),
};

/// `control.connections`: open at once.
pub(super) const CONTROL_CONNECTIONS: Bound<Count> = Bound {
    default: Count(16),
    min: Count(1),
    max: Count(1024),
};

/// `control.timeout`: for a request to come and for an answer to be taken.
pub(super) const CONTROL_TIMEOUT: Bound<Period> = Bound {
    default: Period::seconds(30),
    min: Period::millis(100),
    max: Period::seconds(3600),
};

/// `http.connections`: open at once.
pub(super) const HTTP_CONNECTIONS: Bound<Count> = Bound {
    default: Count(64),
    min: Count(1),
    max: Count(4096),
};

/// `http.timeout`: of one connection, from its request to the end of the answer.
pub(super) const HTTP_TIMEOUT: Bound<Period> = Bound {
    default: Period::seconds(10),
    min: Period::millis(100),
    max: Period::seconds(300),
};
