//! The two boxes: what is known of a hash, and which hashes a disco#info has.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use maud::{Markup, html};

use crate::caps::{Algorithm, CapsKey, Family, Hashed, NodeError, Verdict};
use crate::caps::{DiscoInfo, Reason};
use crate::control::desk::Found;
use crate::control::protocol::Tier;
use crate::http::api::{self, Problem};
use crate::http::{Sources, body};

/// The longest text that is put into a box again.
const MAX_ASKED: usize = 2048;

/// What was asked in the first box, and the answer.
#[derive(Default)]
pub(super) struct LookUp {
    asked: String,
    answer: Option<Result<Known, Problem>>,
}

/// A content that is served.
struct Known {
    key: CapsKey,
    found: Box<Found>,
    /// Whether it is in memory, prepared.
    hot: bool,
}

/// What was pasted into the second box, and the answer.
#[derive(Default)]
pub(super) struct Check {
    query: String,
    node: String,
    answer: Option<Result<api::Checked, Problem>>,
}

impl LookUp {
    /// Whether something was asked.
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }
}

impl Check {
    /// Whether something was pasted.
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// What was pasted could not even be read.
    pub(super) fn refused(problem: Problem) -> Check {
        Check {
            answer: Some(Err(problem)),
            ..Check::default()
        }
    }
}

/// Looks for what was asked.
pub(super) async fn look_up(sources: &Sources, asked: &str) -> LookUp {
    let answer = match keys_of(asked) {
        Ok(keys) => first_known(sources, keys).await,
        Err(fault) => Err(fault.into()),
    };
    LookUp {
        asked: asked.chars().take(MAX_ASKED).collect(),
        answer: Some(answer),
    }
}

async fn first_known(sources: &Sources, keys: Vec<CapsKey>) -> Result<Known, Problem> {
    let mut refused = None;
    for key in keys {
        match api::find(sources, key).await {
            Ok(found) => {
                let hot = sources.desk.resolver.hot(&key).is_some();
                return Ok(Known { key, found, hot });
            }
            Err(problem) => refused = refused.or(Some(problem)),
        }
    }
    Err(refused.unwrap_or(NodeError::Malformed.into()))
}

/// What may be meant: the key of a node, or all keys that a bare hash may be.
fn keys_of(asked: &str) -> Result<Vec<CapsKey>, NodeError> {
    let digest = STANDARD
        .decode(asked)
        .or_else(|_| URL_SAFE_NO_PAD.decode(asked.trim_end_matches('=')));
    let Ok(digest) = digest else {
        return Ok(vec![api::key_of(asked)?]);
    };
    let all = Family::ALL.into_iter().flat_map(|family| {
        let digest = &digest;
        let keys = Algorithm::ALL.into_iter();
        keys.filter_map(move |algorithm| CapsKey::new(family, algorithm, digest).ok())
    });
    let keys: Vec<CapsKey> = all.collect();
    match keys.is_empty() {
        true => Err(NodeError::Malformed),
        false => Ok(keys),
    }
}

/// Checks what was pasted.
pub(super) async fn check(sources: &Sources, form: &[u8]) -> Check {
    let field = |name| body::field(form, name).unwrap_or_default().into_owned();
    let (query, node) = (field("query"), field("node"));
    let expected = match node.trim() {
        "" => Ok(None),
        node => one_key(node).map(Some),
    };
    let answer = match expected {
        Ok(expected) => api::check(query.clone(), expected, sources.desk.policy.clone()).await,
        Err(fault) => Err(fault.into()),
    };
    Check {
        query,
        node,
        answer: Some(answer),
    }
}

/// The key of a node, or of the `ver` of XEP-0115 alone.
fn one_key(text: &str) -> Result<CapsKey, NodeError> {
    api::key_of(text).or_else(|fault| CapsKey::from_node(&format!("#{text}")).map_err(|_| fault))
}

/// The box for a node or hash.
pub(super) fn look_up_section(look_up: &LookUp) -> Markup {
    html! {
        section.card.wide[look_up.is_answered()] aria-labelledby="lookup" {
            h2 #lookup { "Look up a hash" }
            form action="/#lookup" method="get" role="search" aria-labelledby="lookup" {
                label for="node" { "Node or hash" }
                input #node name="node" type="text" value=(look_up.asked) maxlength="1100" required
                    autocomplete="off" autocapitalize="off" spellcheck="false" aria-describedby="node-help";
                p.help #node-help {
                    "As in a presence: " code { "NODE#VER" } ", " code { "urn:xmpp:caps#ALGO.BASE64" } ", or the hash alone. "
                    "Only what is served now is shown; no client is asked."
                }
                button { "Look up" }
            }
            @match &look_up.answer {
                None => {},
                Some(Ok(known)) => (known_section(known)),
                Some(Err(problem)) => (problem_section(problem)),
            }
        }
    }
}

fn problem_section(problem: &Problem) -> Markup {
    html! {
        div.answer role="status" {
            p.verdict { span.pill.bad { span.dot aria-hidden="true" {} (problem.reason().map_or("not possible", Reason::as_str)) } }
            p { (problem.detail()) }
        }
    }
}

fn known_section(known: &Known) -> Markup {
    let Known { key, found, hot } = known;
    let (tier, origin) = match found.tier {
        Tier::Learned if found.seen_nodes.is_some() => (
            "learned",
            "Clients of three accounts or more announced it, or it was imported.",
        ),
        Tier::Learned => (
            "learned",
            "A client that announced it was asked, and its answer has the hash.",
        ),
        Tier::Hot => (
            "hot",
            "A client that announced it was asked, and its answer has the hash. It is in memory only: the store has let go of it, or \
             could not take it.",
        ),
        Tier::Probation => (
            "probation",
            "A client that announced it was asked, and its answer has the hash. It is in memory only, until a second account uses it.",
        ),
        Tier::Trusted => ("trusted", "Installed by the operator, in the file "),
        Tier::Pinned => ("pinned", "Pinned by the operator: "),
    };
    html! {
        div.answer role="status" {
            p.verdict {
                @if *hot && found.tier != Tier::Hot { span.pill.good { span.dot aria-hidden="true" {} "hot" } " " }
                span.pill.good { span.dot aria-hidden="true" {} (tier) }
                @if found.info.waived() { " " span.pill.warning { span.dot aria-hidden="true" {} "rule waived" } }
            }
            dl.facts {
                dt { "Where it came from" }
                dd { (origin) @if let Some(source) = &found.source { (source) } }
                dt { "Hash" }
                dd { code { (key.digest_base64()) } " " span.quiet { (key.algorithm().name()) ", XEP-" (key.family().as_str()) } }
                @if !found.nodes.is_empty() {
                    dt { "Announced as" }
                    @for node in &found.nodes { dd { code { (node) } } }
                }
            }
            (info_section(found.info.info()))
            @if found.keys.len() > 1 {
                details {
                    summary { "All " (found.keys.len()) " hashes of it" }
                    ul.plain { @for key in &found.keys { li { code { (key.to_node("")) } } } }
                }
            }
        }
    }
}

fn info_section(info: &DiscoInfo) -> Markup {
    html! {
        h3 { "Identities" }
        @if info.identities.is_empty() { p.quiet { "None." } }
        ul.plain {
            @for identity in &info.identities {
                li {
                    @if !identity.name.is_empty() { strong { (identity.name) } " " }
                    (identity.category) "/" (identity.type_)
                    @if !identity.lang.is_empty() { " " span.quiet { (identity.lang) } }
                }
            }
        }
        h3 { "Features " span.quiet { (info.features.len()) } }
        ul.plain.features { @for feature in &info.features { li { code { (feature) } } } }
        @for form in &info.forms {
            h3 { "Form " code { (form.form_type) } }
            dl.facts {
                @for field in &form.fields {
                    dt { code { (field.var) } }
                    @for value in &field.values { dd { (value) } }
                }
            }
        }
    }
}

/// The box for a disco#info.
pub(super) fn check_section(check: &Check) -> Markup {
    html! {
        section.card.wide[check.is_answered()] aria-labelledby="check" {
            h2 #check { "Check a disco#info" }
            form action="/#check" method="post" aria-labelledby="check" {
                label for="query" { "The " code { "<query/>" } " of a client" }
                textarea #query name="query" rows="6" required spellcheck="false" autocapitalize="off" autocomplete="off" aria-describedby="query-help" { (check.query) }
                label for="expected" { "The hash that it should have " span.quiet { "(may be empty)" } }
                input #expected name="node" type="text" value=(check.node) maxlength="1100" autocomplete="off" autocapitalize="off" spellcheck="false";
                p.help #query-help { "Its hashes are computed and judged as those of any client. Nothing of it is kept." }
                button { "Check" }
            }
            @match &check.answer {
                None => {},
                Some(Ok(checked)) => (checked_section(checked)),
                Some(Err(problem)) => (problem_section(problem)),
            }
        }
    }
}

fn checked_section(checked: &api::Checked) -> Markup {
    let mut whys: Vec<&str> = checked
        .hashes
        .iter()
        .filter_map(|hashed| hashed.verdict.refusal())
        .map(|(_, detail)| detail)
        .collect();
    whys.sort_unstable();
    whys.dedup();
    html! {
        div.answer role="status" {
            @if let Some((key, verdict)) = &checked.expected {
                p.verdict { (verdict_pill(verdict)) " " code { (key.digest_base64()) } }
                @if let Some((_, detail)) = verdict.refusal() { p { (detail) } }
            }
            h3 { "All its hashes" }
            ul.plain.hashes { @for hashed in &checked.hashes { (hash_item(hashed)) } }
            @if !whys.is_empty() {
                h3 { "Why not" }
                ul.plain { @for why in whys { li { (why) } } }
            }
        }
    }
}

fn hash_item(hashed: &Hashed) -> Markup {
    let Hashed {
        key,
        variant,
        verdict,
    } = hashed;
    html! {
        li {
            span.what {
                "XEP-" (key.family().as_str()) " " (key.algorithm().name())
                @if let Some(variant) = variant { ", " (variant) }
            }
            " " (verdict_pill(verdict))
            code { (key.digest_base64()) }
        }
    }
}

fn verdict_pill(verdict: &Verdict) -> Markup {
    let mood = match verdict {
        Verdict::Verified(_) => "good",
        Verdict::Quarantined(..) => "warning",
        Verdict::Rejected(..) => "bad",
    };
    let reason = verdict.refusal().map(|(reason, _)| reason);
    html! {
        span.pill.(mood) {
            span.dot aria-hidden="true" {}
            (verdict.word())
            @if let Some(reason) = reason { ": " (reason.as_str()) }
        }
    }
}
