//! The closed sets of label values.

use crate::caps::{Family, Reason};

/// A set of label values that is closed: one label, or several together.
///
/// A metric over such a set is resolved once, into an array; whoever counts indexes it and hashes no string.
pub trait Labels: Copy + 'static {
    /// How many members there are.
    const COUNT: usize;
    /// Every member, each at the position that [`index`](Labels::index) gives.
    fn all() -> Vec<Self>;
    /// The position of this member in [`all`](Labels::all); less than [`COUNT`](Labels::COUNT).
    fn index(self) -> usize;
    /// The label values, in the order of the metric's label names.
    fn values(self) -> Vec<&'static str>;
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn all() -> Vec<(A, B)> {
        let pairs_of = |a| B::all().into_iter().map(move |b| (a, b));
        A::all().into_iter().flat_map(pairs_of).collect()
    }

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn values(self) -> Vec<&'static str> {
        [self.0.values(), self.1.values()].concat()
    }
}

impl Labels for Family {
    const COUNT: usize = Family::ALL.len();

    fn all() -> Vec<Family> {
        Family::ALL.to_vec()
    }

    fn index(self) -> usize {
        self as usize
    }

    fn values(self) -> Vec<&'static str> {
        vec![self.as_str()]
    }
}

impl Labels for Reason {
    const COUNT: usize = Reason::ALL.len();

    fn all() -> Vec<Reason> {
        Reason::ALL.to_vec()
    }

    fn index(self) -> usize {
        self as usize
    }

    fn values(self) -> Vec<&'static str> {
        vec![self.as_str()]
    }
}

/// Declares one closed set: the enum, its words, and both together as [`Labels`].
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident => [$($word:literal),+],)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$member_doc])* $member,)+ }

        impl Labels for $name {
            const COUNT: usize = [$($name::$member),+].len();

            fn all() -> Vec<$name> {
                vec![$($name::$member),+]
            }

            fn index(self) -> usize {
                self as usize
            }

            fn values(self) -> Vec<&'static str> {
                match self { $($name::$member => vec![$($word),+],)+ }
            }
        }
    };
}

closed_set! {
    /// How a lookup ended (labels `frontend`, `result`).
    LookupResult {
        /// Served from the hot or the learned tier.
        Hit => ["xmpp", "hit"],
        /// Served from the trusted tier.
        Override => ["xmpp", "override"],
        /// Joined a flight that was already in progress.
        Coalesced => ["xmpp", "coalesced"],
        /// Began a flight.
        Miss => ["xmpp", "miss"],
        /// Nothing stored, and nobody to ask, or only holders whose failure is remembered.
        Negative => ["xmpp", "negative"],
        /// Turned away before the cache was looked at: not permitted, malformed, or over a limit.
        Rejected => ["xmpp", "rejected"],
        /// Over HTTP: served from the hot or the learned tier.
        HttpHit => ["http", "hit"],
        /// Over HTTP: served from the trusted tier, or as it is pinned.
        HttpOverride => ["http", "override"],
        /// Over HTTP: nothing stored. Nobody is asked for those who ask over HTTP.
        HttpNegative => ["http", "negative"],
        /// Over HTTP: malformed, denied, or before the tiers could be looked in.
        HttpRejected => ["http", "rejected"],
    }
}

closed_set! {
    /// How a request of `urn:capsd:0` ended as a whole (labels `operation`, `result`); only what can occur is a member.
    Operation {
        /// A `<lookup/>` was answered.
        LookupOk => ["lookup", "ok"],
        /// It was not what it must be, or had too many elements.
        LookupMalformed => ["lookup", "malformed"],
        /// `limits.batch-keys-per-asker` was spent.
        LookupRateLimited => ["lookup", "rate-limited"],
        /// A `<contribute/>` was answered.
        ContributeOk => ["contribute", "ok"],
        /// It was not what it must be, or had too many elements.
        ContributeMalformed => ["contribute", "malformed"],
        /// `limits.batch-keys-per-asker` was spent.
        ContributeRateLimited => ["contribute", "rate-limited"],
        /// A `<feed/>` was taken.
        FeedOk => ["feed", "ok"],
        /// It was not what it must be, or had too many elements.
        FeedMalformed => ["feed", "malformed"],
        /// Its sender is no feed.
        FeedForbidden => ["feed", "forbidden"],
    }
}

closed_set! {
    /// What became of a contributed content (label `result`).
    ContributionResult {
        /// It verified under the node that it was given for, or under its own hashes if there was none.
        Taken => ["taken"],
        /// It did not, or a bound was reached.
        Refused => ["refused"],
    }
}

closed_set! {
    /// What the duration of a lookup is counted under (label `outcome`).
    LookupOutcome {
        /// Served from a tier.
        Cached => ["cached"],
        /// Served from the answer of a holder.
        Resolved => ["resolved"],
        /// Ended with an error.
        Failed => ["failed"],
    }
}

closed_set! {
    /// What a verification found (label `result`).
    VerificationResult {
        /// The content has the hash, and one reading.
        Ok => ["ok"],
        /// The content does not have the hash.
        Mismatch => ["mismatch"],
        /// The content breaks a rule of the family.
        IllFormed => ["ill-formed"],
        /// The verification string has more than one reading.
        Ambiguous => ["ambiguous"],
        /// The hash function is not supported, or switched off.
        UnsupportedAlgorithm => ["unsupported-algorithm"],
        /// The content is over a size limit.
        TooLarge => ["too-large"],
    }
}

closed_set! {
    /// Which bound on waiters turned one away (label `scope`).
    WaiterScope {
        /// `limits.waiters-per-flight`.
        Flight => ["flight"],
        /// `limits.waiters`.
        Global => ["global"],
        /// `limits.waiting-batch-bytes`.
        Batch => ["batch"],
    }
}

closed_set! {
    /// How a disco#info query to a holder ended (label `result`).
    UpstreamResult {
        /// The answer verified under a key that the holder announced.
        Ok => ["ok"],
        /// No answer within `resolver.holder-timeout`.
        Timeout => ["timeout"],
        /// An IQ error, other than those that mean `unreachable`.
        Error => ["error"],
        /// The server says that the holder is gone or cannot be reached.
        Unreachable => ["unreachable"],
        /// The content does not have an announced hash.
        Mismatch => ["mismatch"],
        /// The content breaks a rule of the family.
        IllFormed => ["ill-formed"],
        /// The verification string has more than one reading.
        Ambiguous => ["ambiguous"],
        /// The answer is over a size limit.
        TooLarge => ["too-large"],
        /// The holder left, or its link was lost, before it answered.
        Gone => ["gone"],
    }
}

closed_set! {
    /// Which quota was spent (label `scope`).
    RateScope {
        /// `limits.queries-per-asker`.
        Asker => ["asker"],
        /// `limits.batch-keys-per-asker`.
        BatchKeys => ["batch-keys"],
        /// `limits.new-keys-per-account`.
        Account => ["account"],
        /// `limits.new-keys-per-domain`.
        Domain => ["domain"],
        /// `limits.questions-per-account`.
        AccountQuestions => ["account-questions"],
        /// `limits.questions-per-domain`.
        DomainQuestions => ["domain-questions"],
        /// `limits.second-uses-per-account`.
        SecondUse => ["second-use"],
    }
}

closed_set! {
    /// Why a verified content is not written before its second use (label `reason`).
    Deferral {
        /// The account that proved it had spent `limits.new-keys-per-account`.
        Account => ["account"],
        /// Its domain had spent `limits.new-keys-per-domain`.
        Domain => ["domain"],
        /// The learned tier was above `store.high-water-percent`.
        HighWater => ["high-water"],
    }
}

closed_set! {
    /// What a presence announced (label `kind`).
    AnnouncementKind {
        /// XEP-0115 with a hash.
        Xep0115 => ["0115"],
        /// XEP-0390.
        Xep0390 => ["0390"],
        /// XEP-0115 and XEP-0390, linked.
        Both => ["both"],
        /// XEP-0115 without a hash (section 13); unverifiable.
        Legacy => ["legacy"],
        /// Only algorithms that are not supported, or switched off.
        Unsupported => ["unsupported"],
        /// Available presence without `<c/>`.
        None => ["none"],
    }
}

closed_set! {
    /// Why a holder was forgotten, or is no longer asked, although it had not left (label `reason`).
    HolderEviction {
        /// Not heard of for `holders.expire-after`.
        Expired => ["expired"],
        /// `holders.max` was reached.
        Full => ["full"],
        /// Not forgotten, but no longer asked: `holders.per-key` was reached.
        PerKey => ["per-key"],
        /// Not a holder: the count of the accounts that announced a key, because there were too many keys.
        Accounts => ["accounts"],
    }
}

closed_set! {
    /// Why sessions are not in the population by client and feature (label `reason`).
    Uncounted {
        /// What they announce is not known, or not yet.
        Unknown => ["unknown"],
        /// `population.kinds` was reached.
        Kinds => ["kinds"],
    }
}

closed_set! {
    /// A tier of the cache (label `tier`).
    Tier {
        /// In memory, in front of the others.
        Hot => ["hot"],
        /// In memory until its second use, of a source that spent its quota.
        Probation => ["probation"],
        /// On disk, proven by capsd itself.
        Learned => ["learned"],
        /// Read-only, installed by the operator.
        Trusted => ["trusted"],
    }
}

closed_set! {
    /// Why an entry left a tier (labels `tier`, `reason`).
    Eviction {
        /// The hot tier was full.
        HotSize => ["hot", "size"],
        /// Too much was on probation.
        ProbationSize => ["probation", "size"],
        /// It was used a second time, and went to the hot and the learned tier.
        ProbationUsed => ["probation", "second-use"],
        /// Too many addresses announced what cannot be verified.
        UnverifiedSize => ["unverified", "size"],
        /// The learned tier was full.
        LearnedSize => ["learned", "size"],
        /// A trusted entry took the place of a learned one.
        LearnedOverridden => ["learned", "overridden"],
        /// The operator flushed it.
        LearnedFlushed => ["learned", "flush"],
        /// A stored value was damaged, or no longer had its hash.
        LearnedDamaged => ["learned", "damaged"],
    }
}

closed_set! {
    /// What reading one stored value found (label `result`).
    LoadResult {
        /// It is whole and has its hash.
        Ok => ["ok"],
        /// Its checksum or its form is wrong.
        Corrupt => ["corrupt"],
        /// It is whole but does not have its hash.
        Mismatch => ["mismatch"],
    }
}

closed_set! {
    /// Which operation on the store failed (label `op`).
    StoreOperation {
        /// Opening it.
        Open => ["open"],
        /// Reading a value.
        Read => ["read"],
        /// Writing or removing a value.
        Write => ["write"],
        /// Making what was written durable.
        Flush => ["flush"],
    }
}

closed_set! {
    /// How an attempt to connect a component ended (label `result`).
    ConnectResult {
        /// The link is up.
        Ok => ["ok"],
        /// The server refused the secret.
        Auth => ["auth"],
        /// The server does not know the component's JID.
        HostUnknown => ["host-unknown"],
        /// The server has another connection for that JID.
        Conflict => ["conflict"],
        /// A network fault, or any other refusal.
        Error => ["error"],
    }
}

closed_set! {
    /// Which way a stanza went, and what it was (labels `direction`, `kind`). What is none of these is counted as ignored.
    ///
    /// capsd sends no messages. There is one series of each for every link, so that what never occurs is not among them.
    Stanza {
        /// `<iq/>` from the server.
        IqIn => ["in", "iq"],
        /// `<presence/>` from the server.
        PresenceIn => ["in", "presence"],
        /// `<message/>` from the server.
        MessageIn => ["in", "message"],
        /// `<iq/>` to the server.
        IqOut => ["out", "iq"],
        /// `<presence/>` to the server.
        PresenceOut => ["out", "presence"],
    }
}

closed_set! {
    /// What the duration of an HTTP request is counted under (label `route`).
    Route {
        /// `/`, with its style and its picture.
        Page => ["/"],
        /// Everything that is there below `/api/v1/`.
        Api => ["/api/v1"],
        /// `/metrics`.
        Metrics => ["/metrics"],
        /// `/healthz`.
        Healthz => ["/healthz"],
        /// `/readyz`.
        Readyz => ["/readyz"],
        /// Any other path.
        Other => ["other"],
    }
}

impl Route {
    /// What a path is counted under.
    pub fn of(path: &str) -> Route {
        match path {
            "/" | "/style.css" | "/icon.svg" => Route::Page,
            "/metrics" => Route::Metrics,
            "/healthz" => Route::Healthz,
            "/readyz" => Route::Readyz,
            _ if path.starts_with("/api/v1/") => Route::Api,
            _ => Route::Other,
        }
    }

    /// The codes of GET and HEAD, of POST where that is of any use, and of any other method. Where there are many kinds of errors,
    /// those of one class are one.
    fn codes(self) -> [&'static [&'static str]; 3] {
        match self {
            Route::Page => [&["200", "5xx"], &["200", "4xx", "5xx"], &["4xx"]],
            Route::Api => [
                &["200", "304", "404", "4xx", "5xx"],
                &["200", "4xx", "5xx"],
                &["4xx"],
            ],
            Route::Metrics | Route::Healthz => [&["200"], &[], &["405"]],
            Route::Readyz => [&["200", "503"], &[], &["405"]],
            // What strangers' pages make browsers send is refused as one of these, whatever is asked for.
            Route::Other => [&["404", "4xx"], &[], &["404", "4xx"]],
        }
    }
}

/// What an HTTP answer is counted under (labels `route`, `method`, `code`).
///
/// Only what can occur is a member: each route with its own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    route: Route,
    method: &'static str,
    code: &'static str,
}

impl HttpAnswer {
    /// What to count an answer under: HEAD as GET, which it is without its body, and a method that is of no use here as `other`. A
    /// status that has no code of its own is counted with its class. `None` for what cannot occur.
    pub fn of(route: Route, method: &str, status: u16) -> Option<HttpAnswer> {
        let [_, posted, _] = route.codes();
        let method = match method {
            "GET" | "HEAD" => "GET",
            "POST" if !posted.is_empty() => "POST",
            _ => "other",
        };
        let all = HttpAnswer::all().into_iter();
        let mut alike = all.filter(|answer| answer.route == route && answer.method == method);
        let class = format!("{}xx", status / 100);
        alike
            .clone()
            .find(|answer| answer.code.parse() == Ok(status))
            .or_else(|| alike.find(|answer| answer.code == class))
    }
}

impl Labels for HttpAnswer {
    const COUNT: usize = 26;

    fn all() -> Vec<HttpAnswer> {
        let mut all = Vec::with_capacity(HttpAnswer::COUNT);
        for route in Route::all() {
            let [read, posted, other] = route.codes();
            for (method, codes) in [("GET", read), ("POST", posted), ("other", other)] {
                all.extend(codes.iter().map(|code| HttpAnswer {
                    route,
                    method,
                    code,
                }));
            }
        }
        all
    }

    fn index(self) -> usize {
        HttpAnswer::all()
            .iter()
            .position(|answer| *answer == self)
            .unwrap_or_default()
    }

    fn values(self) -> Vec<&'static str> {
        vec![self.route.values()[0], self.method, self.code]
    }
}
