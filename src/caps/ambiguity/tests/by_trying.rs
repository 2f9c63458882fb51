//! The same grammar once more, by trying everything: slow, and written from its description.

use super::*;

type Fields = Vec<(String, Vec<String>)>;

/// Every reading of tokens as forms, the first of which has a FORM_TYPE above `after`.
fn forms(tokens: &[String], after: Option<&str>) -> Vec<Vec<(String, Fields)>> {
    let Some((form_type, rest)) = tokens.split_first() else {
        return vec![vec![]];
    };
    if after.is_some_and(|after| form_type.as_str() <= after) {
        return vec![];
    }
    let mut found = Vec::new();
    for len in 2..=rest.len() {
        for fields in fields(&rest[..len], None) {
            for others in forms(&rest[len..], Some(form_type)) {
                let mut all = vec![(form_type.clone(), fields.clone())];
                all.extend(others);
                found.push(all);
            }
        }
    }
    found
}

fn fields(tokens: &[String], after: Option<&str>) -> Vec<Fields> {
    let Some((var, rest)) = tokens.split_first() else {
        return vec![vec![]];
    };
    if var.is_empty() || after.is_some_and(|after| var.as_str() <= after) {
        return vec![];
    }
    let mut found = Vec::new();
    for len in 1..=rest.len() {
        let (values, rest) = rest.split_at(len);
        if !values.is_sorted() {
            break;
        }
        for others in fields(rest, Some(var)) {
            let mut all = vec![(var.clone(), values.to_vec())];
            all.extend(others);
            found.push(all);
        }
    }
    found
}

fn is_by_table(table: &tables::Table, fields: &Fields) -> bool {
    fields.iter().all(|(var, values)| {
        table.var(var).is_some_and(|known| {
            (known.many || values.len() == 1)
                && values.iter().all(|v| table.var(v).is_none())
                && (!table.uris || values.iter().all(|v| tables::is_uri(v)))
        })
    })
}

fn tokens_of(fields: &Fields) -> Vec<String> {
    fields
        .iter()
        .flat_map(|(var, values)| std::iter::once(var).chain(values))
        .cloned()
        .collect()
}

fn is_plain(forms: &[(String, Fields)]) -> bool {
    forms.iter().all(|(form_type, fields)| {
        tables::table_of(form_type).is_some_and(|table| is_by_table(table, fields))
    })
}

fn counts(forms: &[(String, Fields)]) -> bool {
    forms.iter().all(|(form_type, content)| {
        let Some(table) = tables::table_of(form_type) else {
            return true;
        };
        let outside = content.iter().any(|(var, _)| table.var(var).is_none());
        let table_can = fields(&tokens_of(content), None)
            .iter()
            .any(|other| is_by_table(table, other));
        is_by_table(table, content) || outside && !table_can
    })
}

/// Every reading of the tokens after the identities.
pub(super) fn readings(tokens: &[String]) -> Vec<DiscoInfo> {
    let mut found = Vec::new();
    for len in 1..=tokens.len() {
        let (features, rest) = tokens.split_at(len);
        let last = &features[len - 1];
        let bad = last.is_empty() || tables::table_of(last).is_some();
        if bad || len > 1 && features[len - 2] >= *last {
            break;
        }
        for forms in forms(rest, None) {
            found.push(DiscoInfo {
                identities: vec![identity("client", "pc", "", "x")],
                features: features.to_vec(),
                forms: forms
                    .into_iter()
                    .map(|(form_type, fields)| Form {
                        form_type,
                        fields: fields
                            .into_iter()
                            .map(|(var, values)| Field { var, values })
                            .collect(),
                    })
                    .collect(),
            });
        }
    }
    found
}

fn raw(info: &DiscoInfo) -> Vec<(String, Fields)> {
    let fields = |f: &Form| {
        f.fields
            .iter()
            .map(|f| (f.var.clone(), f.values.clone()))
            .collect()
    };
    info.forms
        .iter()
        .map(|f| (f.form_type.clone(), fields(f)))
        .collect()
}

/// Whether the tokens are fields of the table, but perhaps none, repeated, without a value or with too many.
fn is_nearly_by_table(table: &tables::Table, tokens: &[String]) -> bool {
    let is_var = |token: &String| table.var(token).is_some();
    let vars: Vec<&String> = tokens.iter().filter(|t| is_var(t)).collect();
    let runs = || tokens.split(is_var);
    tokens
        .first()
        .is_none_or(|first| is_var(first) && vars.is_sorted() && runs().all(|run| run.is_sorted()))
}

/// Whether the tokens can be cut into such forms.
fn are_nearly_forms(tokens: &[String]) -> bool {
    let Some((form_type, rest)) = tokens.split_first() else {
        return true;
    };
    let Some(table) = tables::table_of(form_type) else {
        return false;
    };
    (0..=rest.len()).any(|len| {
        let follows = rest.get(len).is_none_or(|next| form_type <= next);
        follows && is_nearly_by_table(table, &rest[..len]) && are_nearly_forms(&rest[len..])
    })
}

pub(super) fn is_nearly_plain(tokens: &[String]) -> bool {
    (1..=tokens.len()).any(|len| tokens[..len].is_sorted() && are_nearly_forms(&tokens[len..]))
}

/// Whether values of a form with some vars of the table are within its rules.
fn keeps_rules_of_table(table: &tables::Table, fields: &Fields) -> bool {
    fields.iter().all(|(var, values)| {
        let no_var = values.iter().all(|v| table.var(v).is_none());
        let rules = table.var(var).is_none_or(|known| {
            (known.many || values.len() == 1)
                && (!table.uris || values.iter().all(|v| tables::is_uri(v)))
        });
        no_var && rules
    })
}

/// Whether the content is the only parse, by the definition.
pub(super) fn is_only_parse(info: &DiscoInfo, tokens: &[String], readings: &[DiscoInfo]) -> bool {
    let plain: Vec<_> = readings.iter().filter(|r| is_plain(&raw(r))).collect();
    if !plain.is_empty() {
        return plain == [info];
    }
    let unknown_var = info.forms.iter().any(|f| {
        tables::table_of(&f.form_type)
            .is_some_and(|table| f.fields.iter().any(|f| table.var(&f.var).is_none()))
    });
    let within_rules = raw(info).iter().all(|(form_type, fields)| {
        tables::table_of(form_type).is_none_or(|table| keeps_rules_of_table(table, fields))
    });
    let free: Vec<_> = readings.iter().filter(|r| counts(&raw(r))).collect();
    free == [info]
        && within_rules
        && !is_nearly_plain(tokens)
        && (!unknown_var || readings.len() == 1)
}
