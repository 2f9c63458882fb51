//! Finding the readings of a verification string; the grammar is in the parent's documentation.

use super::super::disco_info::DiscoInfo;
use super::tables::{self, Table, Var};
use super::{Clause, Clauses, Freedom, MAX_STEPS, is_identity_shaped};

/// Too much work: the answer counts as ambiguous.
struct TooMuchWork;

/// What comes after the form that a field belongs to. Later FORM_TYPEs are greater, and the end follows any form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next<'a> {
    Form(&'a str),
    End,
}

impl Next<'_> {
    /// Whether it may come after a form with that FORM_TYPE.
    fn follows(self, form_type: &str) -> bool {
        match self {
            Next::End => true,
            Next::Form(next) => form_type < next,
        }
    }
}

/// What a token is in a reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    FormType,
    Var,
    Value,
}

/// A place in the enumeration: the token there, what it is, and what it stands under.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    role: Role,
    /// Where the FORM_TYPE of the form is.
    form: usize,
    /// Where the `var` of the field is; meaningless at a FORM_TYPE.
    var: usize,
}

/// The tokens of a verification string after the identities, and how much work was spent on them.
///
/// Parses are counted by the whole grammar, whatever clauses are switched off: a clause that is off only lets content pass that
/// breaks it, and no longer makes strings of such content ambiguous.
pub(super) struct Reader<'a> {
    tokens: Vec<&'a str>,
    clauses: Clauses,
    steps: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(info: &'a DiscoInfo, clauses: Clauses) -> Reader<'a> {
        let mut tokens: Vec<&str> = info.features.iter().map(String::as_str).collect();
        for form in &info.forms {
            tokens.push(&form.form_type);
            for field in &form.fields {
                tokens.push(&field.var);
                tokens.extend(field.values.iter().map(String::as_str));
            }
        }
        Reader {
            tokens,
            clauses,
            steps: 0,
        }
    }

    /// Whether the string of content that needs that freedom has no parse but the content itself.
    pub(super) fn has_one_parse(mut self, freedom: Freedom) -> bool {
        let count = match freedom {
            Freedom::Plain => self.count_plain(Clauses::NONE),
            Freedom::UnknownForm | Freedom::UnknownVar => self.count_free(freedom),
        };
        // With a clause off, content may be no reading itself, and none is found.
        matches!(count, Ok(0 | 1))
    }

    fn spend(&mut self, steps: usize) -> Result<(), TooMuchWork> {
        self.steps += steps;
        match self.steps > MAX_STEPS {
            true => Err(TooMuchWork),
            false => Ok(()),
        }
    }

    /// How many tokens can be features at most.
    fn most_features(&self, faults: Clauses) -> usize {
        let is_feature = |token: &str| {
            (!token.is_empty() || faults.contains(Clause::SomeFeature))
                && (!is_identity_shaped(token) || faults.contains(Clause::FeatureNotIdentity))
                && (tables::table_of(token).is_none()
                    || faults.contains(Clause::FeatureNotFormType))
        };
        let single = self.tokens.iter().take_while(|t| is_feature(t)).count();
        let increasing = self.tokens[..single]
            .windows(2)
            .take_while(|pair| increases(Clause::FeaturesIncrease, faults, pair[0], pair[1]))
            .count();
        single.min(increasing + 1)
    }

    /// The number of plain readings, up to two; `faults` are the clauses that may be broken.
    fn count_plain(&mut self, faults: Clauses) -> Result<usize, TooMuchWork> {
        let end = self.tokens.len();
        let starts: Vec<usize> = (0..end)
            .filter(|at| tables::table_of(self.tokens[*at]).is_some())
            .collect();
        // How the tokens from such a start on can be read as forms.
        let mut counts = vec![0; end + 1];
        counts[end] = 1;
        for (nth, &start) in starts.iter().enumerate().rev() {
            let form_type = self.tokens[start];
            let Some(table) = tables::table_of(form_type) else {
                continue;
            };
            for &stop in starts[nth + 1..].iter().chain([&end]) {
                self.spend(1)?;
                let follows = stop == end
                    || increases(Clause::FormsIncrease, faults, form_type, self.tokens[stop]);
                if follows && counts[stop] > 0 && self.is_read_by(table, start + 1, stop, faults)? {
                    counts[start] += counts[stop];
                }
            }
            counts[start] = counts[start].min(2);
        }
        let readings: usize = (1..=self.most_features(faults)).map(|at| counts[at]).sum();
        Ok(readings.min(2))
    }

    /// Whether a table can read those tokens as the fields of its form, with some clauses broken.
    fn is_read_by(
        &mut self,
        table: &Table,
        from: usize,
        to: usize,
        faults: Clauses,
    ) -> Result<bool, TooMuchWork> {
        self.spend(to.saturating_sub(from) + 1)?;
        let mut field: Option<(&str, &Var)> = None;
        let mut last: Option<&str> = None;
        let may_end = |last: Option<&str>| last.is_some() || faults.contains(Clause::SomeValue);
        for &token in &self.tokens[from..to] {
            if let Some(var) = table.var(token) {
                let in_order = field.is_none_or(|(before, _)| {
                    may_end(last) && increases(Clause::FieldsIncrease, faults, before, token)
                });
                if !in_order {
                    return Ok(false);
                }
                field = Some((token, var));
                last = None;
                continue;
            }
            let Some((_, var)) = field else {
                return Ok(false);
            };
            let one_too_many = last.is_some() && !var.many;
            let not_uri = table.uris && !tables::is_uri(token);
            if one_too_many && !faults.contains(Clause::TableCardinality)
                || not_uri && !faults.contains(Clause::TableUri)
                || last.is_some_and(|before| before > token)
            {
                return Ok(false);
            }
            last = Some(token);
        }
        match field {
            Some(_) => Ok(may_end(last)),
            None => Ok(faults.contains(Clause::SomeField)),
        }
    }

    /// The number of free and plain readings that count, up to two; two where the string is nearly plain.
    fn count_free(&mut self, freedom: Freedom) -> Result<usize, TooMuchWork> {
        if self.count_plain(self.clauses)? > 0 {
            return Ok(2);
        }
        let end = self.tokens.len();
        let rest = self.readable()?;
        let mut found = 0;
        for at in 1..=self.most_features(Clauses::NONE) {
            if at == end {
                found += 1;
            } else if rest.form(at) {
                found += self.count_from(at, freedom, &rest)?;
            }
            if found > 1 {
                break;
            }
        }
        Ok(found.min(2))
    }

    /// The number of readings that count, up to two, whose first FORM_TYPE is at that token.
    fn count_from(
        &mut self,
        first_form: usize,
        freedom: Freedom,
        rest: &Readable<'a>,
    ) -> Result<usize, TooMuchWork> {
        let end = self.tokens.len();
        let mut found = 0;
        let mut roles = vec![Role::Value; end];
        let mut places = vec![Place {
            at: first_form,
            role: Role::FormType,
            form: first_form,
            var: first_form,
        }];
        while let Some(place) = places.pop() {
            self.spend(1)?;
            roles[place.at] = place.role;
            if place.at + 1 < end {
                self.continue_from(place, rest, &mut places);
            } else if freedom == Freedom::UnknownVar || self.counts(&roles, first_form)? {
                found += 1;
                if found > 1 {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Pushes what the next token can be.
    fn continue_from(&self, place: Place, rest: &Readable<'a>, places: &mut Vec<Place>) {
        let Place {
            role, form, var, ..
        } = place;
        let at = place.at + 1;
        let token = self.tokens[at];
        let as_var = Place {
            at,
            role: Role::Var,
            form,
            var: at,
        };
        let as_value = Place {
            at,
            role: Role::Value,
            form,
            var,
        };
        match role {
            Role::FormType => places.push(as_var),
            Role::Var => places.push(as_value),
            Role::Value => {
                if self.tokens[place.at] <= token {
                    places.push(as_value);
                }
                let form_type = self.tokens[form];
                if self.tokens[var] < token
                    && rest.field(at).is_some_and(|next| next.follows(form_type))
                {
                    places.push(as_var);
                }
                if rest.form(at) && Next::Form(token).follows(form_type) {
                    places.push(Place {
                        at,
                        role: Role::FormType,
                        form: at,
                        var,
                    });
                }
            }
        }
    }

    /// Whether a free reading counts: each of its forms that is in the table must be read by it, or have a var from outside
    /// and tokens that the table cannot read.
    fn counts(&mut self, roles: &[Role], first_form: usize) -> Result<bool, TooMuchWork> {
        let mut start = first_form;
        while start < roles.len() {
            let next_form = roles[start + 1..].iter().position(|r| *r == Role::FormType);
            let stop = next_form.map_or(roles.len(), |offset| start + 1 + offset);
            self.spend(stop - start)?;
            if let Some(table) = tables::table_of(self.tokens[start]) {
                let is_outside =
                    |at: usize| roles[at] == Role::Var && table.var(self.tokens[at]).is_none();
                let outside = (start + 1..stop).any(is_outside);
                let counts = match self.is_read_by(table, start + 1, stop, Clauses::NONE)? {
                    true => !outside && self.agrees(table, &roles[..stop], start + 1),
                    false => outside,
                };
                if !counts {
                    return Ok(false);
                }
            }
            start = stop;
        }
        Ok(true)
    }

    /// Whether the roles from that token on are those that the table gives.
    fn agrees(&self, table: &Table, roles: &[Role], from: usize) -> bool {
        (from..roles.len())
            .all(|at| (roles[at] == Role::Var) == table.var(self.tokens[at]).is_some())
    }

    /// From which tokens on the rest can be read.
    ///
    /// For a field, what matters of all that may follow it is the greatest FORM_TYPE: if a form comes before that, the field
    /// can stand in it. So one value for each token says all, and a pass from the end finds them.
    fn readable(&mut self) -> Result<Readable<'a>, TooMuchWork> {
        let end = self.tokens.len();
        let mut rest = Readable {
            fields: vec![None; end],
            forms: vec![false; end],
        };
        // Tokens from which something can be read, the nearest last; and where the sorted run from the current token ends.
        let mut known: Vec<usize> = Vec::new();
        let mut run_end = end;
        for at in (0..end.saturating_sub(1)).rev() {
            // The values of a field that begins here start at the next token, and sorted ones end at `run_end` (exclusive).
            let broken = at + 2 < end && self.tokens[at + 1] > self.tokens[at + 2];
            if broken {
                run_end = at + 2;
            }
            rest.fields[at] = self.after_field(at, run_end, &known, &rest)?;
            rest.forms[at] = rest.fields[at + 1].is_some_and(|next| next.follows(self.tokens[at]));
            if rest.fields[at].is_some() || rest.forms[at] {
                known.push(at);
            }
        }
        Ok(rest)
    }

    /// The last that can follow the form of a field whose `var` is at that token and whose values end by `run_end`.
    fn after_field(
        &mut self,
        at: usize,
        run_end: usize,
        known: &[usize],
        rest: &Readable<'a>,
    ) -> Result<Option<Next<'a>>, TooMuchWork> {
        let var = self.tokens[at];
        if var.is_empty() {
            return Ok(None);
        }
        if run_end == self.tokens.len() {
            return Ok(Some(Next::End));
        }
        let mut best = None;
        for &next in known.iter().rev().take_while(|next| **next <= run_end) {
            self.spend(1)?;
            if next < at + 2 {
                continue;
            }
            if var < self.tokens[next] {
                best = best.max(rest.fields[next]);
            }
            if rest.forms[next] {
                best = best.max(Some(Next::Form(self.tokens[next])));
            }
        }
        Ok(best)
    }
}

/// Whether one token may follow another in a list that increases strictly, unless that clause may be broken.
fn increases(clause: Clause, faults: Clauses, before: &str, after: &str) -> bool {
    before < after || before == after && faults.contains(clause)
}

/// For each token, whether the tokens from it on can be read.
struct Readable<'a> {
    /// As fields, the first of which begins here, and then forms: the greatest FORM_TYPE that can follow, or the end.
    fields: Vec<Option<Next<'a>>>,
    /// As forms, the first of which begins here.
    forms: Vec<bool>,
}

impl<'a> Readable<'a> {
    fn field(&self, at: usize) -> Option<Next<'a>> {
        self.fields.get(at).copied().flatten()
    }

    fn form(&self, at: usize) -> bool {
        self.forms.get(at).copied().unwrap_or(false)
    }
}
