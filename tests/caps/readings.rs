//! Other readings: every other disco info with the same 0115 string that a generator can think of.
//!
//! Nothing here uses the code under test but its data types: strings are split and built by this file alone. A reading may break
//! any rule (empty names, fields without values, forms without fields, repetitions, `<` in a string); what counts is that its
//! string is the same.

use std::collections::HashSet;

use capsd::caps::{Answer, AnswerField, AnswerForm, DiscoInfo, Field, Form, Identity};

/// The 0115 string of XEP-0115 section 5.1, with identities sorted by their parts or, as many do it, as joined strings.
pub(crate) fn string_of(info: &DiscoInfo, joined: bool) -> String {
    let mut identities: Vec<[&str; 4]> = info
        .identities
        .iter()
        .map(|i| [&*i.category, &*i.type_, &*i.lang, &*i.name])
        .collect();
    identities.sort_unstable();
    let mut tokens: Vec<String> = identities.iter().map(|parts| parts.join("/")).collect();
    if joined {
        tokens.sort_unstable();
    }
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    tokens.extend(sorted(&info.features));
    let mut forms: Vec<&Form> = info.forms.iter().collect();
    forms.sort_by(|a, b| a.form_type.as_bytes().cmp(b.form_type.as_bytes()));
    for form in forms {
        tokens.push(form.form_type.clone());
        let mut fields: Vec<&Field> = form.fields.iter().collect();
        fields.sort_by(|a, b| a.var.as_bytes().cmp(b.var.as_bytes()));
        for field in fields {
            tokens.push(field.var.clone());
            tokens.extend(sorted(&field.values));
        }
    }
    tokens.iter().map(|token| format!("{token}<")).collect()
}

/// What somebody would send who means that content.
pub(crate) fn answer_of(info: &DiscoInfo) -> Answer {
    let form = |form: &Form| {
        let form_type = AnswerField {
            var: Some("FORM_TYPE".to_owned()),
            type_: Some("hidden".to_owned()),
            values: vec![form.form_type.clone()],
        };
        let fields = form.fields.iter().map(|field| AnswerField {
            var: Some(field.var.clone()),
            type_: None,
            values: field.values.clone(),
        });
        AnswerForm {
            fields: std::iter::once(form_type).chain(fields).collect(),
            tabular: false,
        }
    };
    let is_incomplete = |i: &&Identity| i.category.is_empty() || i.type_.is_empty();
    Answer {
        identities: info.identities.clone(),
        own_lang: info.identities.iter().map(|i| !i.lang.is_empty()).collect(),
        features: info.features.clone(),
        forms: info.forms.iter().map(form).collect(),
        incomplete: info.identities.iter().filter(is_incomplete).count(),
        ..Answer::default()
    }
}

/// What a token after the features is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    FormType,
    Var,
    Value,
}

/// A source of chance that is the same in every run (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below the bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// How many readings are tried by chance, at most.
const STROLLS: usize = 500;

/// Collects other readings of one content.
struct Search<'a> {
    original: &'a DiscoInfo,
    /// The strings of the original, identities in either order.
    strings: Vec<String>,
    tokens: Vec<String>,
    most: usize,
    seen: HashSet<DiscoInfo>,
    found: Vec<DiscoInfo>,
}

/// Other disco infos, all different, with the same string as that one; at most so many.
pub(crate) fn others(original: &DiscoInfo, most: usize, chance: &mut Chance) -> Vec<DiscoInfo> {
    let mut strings = vec![string_of(original, false), string_of(original, true)];
    strings.dedup();
    if holds_separator(original) {
        return vec![];
    }
    let mut search = Search {
        original,
        strings: strings.clone(),
        tokens: Vec::new(),
        most,
        seen: HashSet::from([original.clone()]),
        found: Vec::new(),
    };
    for string in &strings {
        search.tokens = string.split_terminator('<').map(str::to_owned).collect();
        search.run(chance);
    }
    search.found
}

impl Search<'_> {
    fn run(&mut self, chance: &mut Chance) {
        self.shift_slashes();
        self.join_tokens();
        self.move_identities();
        self.turn_roles();
        // From the end of the features: a form of the last ones is what passes most rules.
        for first_form in (0..=self.tokens.len()).rev() {
            self.form_from(first_form);
        }
        for _ in 0..STROLLS.min(self.most - self.found.len()) {
            self.stroll(chance);
        }
    }

    /// Counts a candidate if it is another content with the same string.
    fn offer(&mut self, mut candidate: DiscoInfo) {
        candidate.sort();
        if self.found.len() >= self.most || self.seen.contains(&candidate) {
            return;
        }
        let same = [false, true]
            .iter()
            .any(|joined| self.strings.contains(&string_of(&candidate, *joined)));
        if same {
            self.seen.insert(candidate.clone());
            self.found.push(candidate);
        }
    }

    /// The reading with so many identities, features up to a token, and roles for the rest.
    fn offer_roles(&mut self, identities: usize, first_form: usize, roles: &[Role]) {
        if self.found.len() >= self.most {
            return;
        }
        let tokens = &self.tokens;
        let sorted = tokens[identities..first_form].is_sorted();
        let shaped = tokens[..identities]
            .iter()
            .all(|t| splits(t).next().is_some());
        if !sorted || !shaped || roles.first().is_some_and(|role| *role != Role::FormType) {
            return;
        }
        let first_split = |token: &String| splits(token).next().unwrap_or_default();
        let mut info = DiscoInfo {
            identities: tokens[..identities].iter().map(first_split).collect(),
            features: tokens[identities..first_form].to_vec(),
            forms: vec![],
        };
        for (token, role) in tokens[first_form..].iter().zip(roles) {
            let form = info.forms.last_mut();
            match (role, form) {
                (Role::FormType, _) => info.forms.push(Form {
                    form_type: token.clone(),
                    fields: vec![],
                }),
                (Role::Var, Some(form)) => form.fields.push(Field {
                    var: token.clone(),
                    values: vec![],
                }),
                (Role::Value, Some(form)) => match form.fields.last_mut() {
                    Some(field) => field.values.push(token.clone()),
                    None => return,
                },
                (_, None) => return,
            }
        }
        self.offer(info);
    }

    /// Every other way to split an identity at its slashes: type to language, language to name, name to category.
    fn shift_slashes(&mut self) {
        for at in 0..self.original.identities.len() {
            let token = self.tokens[at].clone();
            for identity in splits(&token).take(50) {
                let mut info = self.original.clone();
                if let Some(of_token) = info
                    .identities
                    .iter_mut()
                    .find(|i| [&*i.category, &*i.type_, &*i.lang, &*i.name].join("/") == token)
                {
                    *of_token = identity;
                }
                self.offer(info);
            }
        }
    }

    /// Two neighbours as one string with `<` in it; the end of one list and the beginning of the next, too.
    fn join_tokens(&mut self) {
        let whole = self.tokens.clone();
        let (identities, features) = self.ends();
        let roles = self.roles();
        for at in 0..whole.len().saturating_sub(1) {
            let mut tokens = whole.clone();
            tokens[at] = format!("{}<{}", whole[at], whole[at + 1]);
            tokens.remove(at + 1);
            self.tokens = tokens;
            // What was joined is of the kind of the first or of the second.
            for (identities, features, dropped) in [
                (
                    identities - usize::from(at + 1 < identities),
                    features - usize::from(at + 1 < features),
                    at + 1,
                ),
                (
                    identities - usize::from(at < identities),
                    features - usize::from(at < features),
                    at,
                ),
            ] {
                let kept = |(place, role): (usize, &Role)| {
                    (place + self.original_features_end() != dropped).then_some(*role)
                };
                let roles: Vec<Role> = roles.iter().enumerate().filter_map(kept).collect();
                self.offer_roles(identities, features, &roles);
            }
        }
        self.tokens = whole;
    }

    /// Identities to features and features to identities, the rest as it is.
    fn move_identities(&mut self) {
        let (_, features) = self.ends();
        let roles = self.roles();
        for identities in 0..=features {
            self.offer_roles(identities, features, &roles);
        }
    }

    /// One token of a form in another role.
    fn turn_roles(&mut self) {
        let (identities, features) = self.ends();
        let roles = self.roles();
        for at in 0..roles.len() {
            for role in [Role::FormType, Role::Var, Role::Value] {
                let mut turned = roles.clone();
                turned[at] = role;
                self.offer_roles(identities, features, &turned);
            }
        }
    }

    /// Simple readings in which the forms begin at that token: one or two forms, with one or two fields, or with many that are empty.
    fn form_from(&mut self, first_form: usize) {
        let (identities, _) = self.ends();
        let len = self.tokens.len() - first_form;
        if first_form < identities {
            return;
        }
        let mut all = vec![Role::Value; len];
        for (role, place) in [Role::FormType, Role::Var].into_iter().zip(&mut all) {
            *place = role;
        }
        self.offer_roles(identities, first_form, &all);
        for rest in [Role::FormType, Role::Var] {
            let mut same = vec![rest; len];
            same.iter_mut()
                .take(1)
                .for_each(|role| *role = Role::FormType);
            self.offer_roles(identities, first_form, &same);
        }
        for at in 1..len {
            let mut turned = all.clone();
            turned[at] = Role::Var;
            self.offer_roles(identities, first_form, &turned);
            turned[at] = Role::FormType;
            self.offer_roles(identities, first_form, &turned);
            if at + 1 < len {
                turned[at + 1] = Role::Var;
                self.offer_roles(identities, first_form, &turned);
            }
        }
    }

    /// A reading by chance, among those in order.
    fn stroll(&mut self, chance: &mut Chance) {
        let (identities, features) = self.ends();
        // Near the real end of the features half of the time.
        let first_form = match chance.below(2) {
            0 => identities + chance.below(self.tokens.len() - identities + 1),
            _ => (features + chance.below(3))
                .saturating_sub(1)
                .clamp(identities, self.tokens.len()),
        };
        let mut roles: Vec<Role> = Vec::new();
        let (mut form, mut var) = ("", None);
        for at in first_form..self.tokens.len() {
            let token = self.tokens[at].as_str();
            let mut possible = Vec::with_capacity(4);
            if roles.is_empty() || token >= form {
                possible.push(Role::FormType);
            }
            if !roles.is_empty() && var.is_none_or(|var| token >= var) {
                possible.push(Role::Var);
            }
            let previous = self.tokens[at.saturating_sub(1)].as_str();
            match roles.last() {
                Some(Role::Var) => possible.extend([Role::Value; 2]),
                Some(Role::Value) if token >= previous => possible.extend([Role::Value; 2]),
                _ => {}
            }
            if possible.is_empty() {
                return;
            }
            let role = possible[chance.below(possible.len())];
            match role {
                Role::FormType => (form, var) = (token, None),
                Role::Var => var = Some(token),
                Role::Value => {}
            }
            roles.push(role);
        }
        self.offer_roles(identities, first_form, &roles);
    }

    /// Where identities and features of the original end, in tokens.
    fn ends(&self) -> (usize, usize) {
        (self.original.identities.len(), self.original_features_end())
    }

    fn original_features_end(&self) -> usize {
        self.original.identities.len() + self.original.features.len()
    }

    /// The roles of the original.
    fn roles(&self) -> Vec<Role> {
        let mut roles = Vec::new();
        for form in &self.original.forms {
            roles.push(Role::FormType);
            for field in &form.fields {
                roles.push(Role::Var);
                roles.extend(field.values.iter().map(|_| Role::Value));
            }
        }
        roles
    }
}

/// Every identity that a token can be, the one that the first three slashes make first.
fn splits(token: &str) -> impl Iterator<Item = Identity> + '_ {
    let slashes: Vec<usize> = token.match_indices('/').map(|(at, _)| at).collect();
    let mut cuts = Vec::new();
    for (nth, first) in slashes.iter().enumerate() {
        for (next, second) in slashes.iter().enumerate().skip(nth + 1) {
            for third in &slashes[next + 1..] {
                cuts.push((*first, *second, *third));
            }
        }
    }
    cuts.into_iter().map(|(first, second, third)| Identity {
        category: token[..first].to_owned(),
        type_: token[first + 1..second].to_owned(),
        lang: token[second + 1..third].to_owned(),
        name: token[third + 1..].to_owned(),
    })
}

/// Whether a string holds `<`. Such content is found from the others, but never taken apart itself.
pub(crate) fn holds_separator(info: &DiscoInfo) -> bool {
    let fields = info.forms.iter().flat_map(|form| &form.fields);
    let in_forms: usize = fields.map(|field| 1 + field.values.len()).sum();
    let strings = info.identities.len() + info.features.len() + info.forms.len() + in_forms;
    string_of(info, false).matches('<').count() != strings
}
