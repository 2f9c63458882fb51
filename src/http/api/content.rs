//! A content as it is written: as JSON, or as the `<query/>` that a client would have sent.

use serde::Serialize;

use crate::caps::{CapsKey, DiscoInfo, Field, Form, Identity};
use crate::control::desk::Found;
use crate::control::protocol::Tier;

/// A content with what is known of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::http) struct ContentView {
    /// The family of the key: `0115` or `0390`.
    pub(in crate::http) family: &'static str,
    /// The hash function of the key.
    pub(in crate::http) algorithm: &'static str,
    /// The digest of the key, in base64.
    pub(in crate::http) hash: String,
    /// Where it is served from.
    pub(in crate::http) tier: Tier,
    /// The operator's reason for pinning it, or the file or bundle that he installed.
    pub(in crate::http) source: Option<String>,
    /// Whether three accounts or more announced it, or it was imported; none where the operator installed it, and of what is in
    /// memory only.
    pub(in crate::http) common: Option<bool>,
    /// All its keys as caps nodes, the 0115 ones without a node URL.
    pub(in crate::http) keys: Vec<String>,
    /// The node URLs that it was announced with, of what was learned those of three accounts or more; no hash covers them.
    pub(in crate::http) nodes: Vec<String>,
    /// What the hash covers.
    pub(in crate::http) disco_info: InfoView,
}

/// What a hash covers, in canonical order.
#[derive(Clone, Debug, Serialize)]
pub(in crate::http) struct InfoView {
    /// Who it is.
    pub(in crate::http) identities: Vec<IdentityView>,
    /// What it can do.
    pub(in crate::http) features: Vec<String>,
    /// More about it (XEP-0128).
    pub(in crate::http) forms: Vec<FormView>,
}

/// An identity.
#[derive(Clone, Debug, Serialize)]
pub(in crate::http) struct IdentityView {
    /// The category, such as `client`.
    pub(in crate::http) category: String,
    /// The type, such as `phone`.
    #[serde(rename = "type")]
    pub(in crate::http) type_: String,
    /// The language of the name; empty where there is none.
    pub(in crate::http) lang: String,
    /// The name; empty where there is none.
    pub(in crate::http) name: String,
}

/// A form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::http) struct FormView {
    /// Its FORM_TYPE.
    pub(in crate::http) form_type: String,
    /// Its other fields.
    pub(in crate::http) fields: Vec<FieldView>,
}

/// A field of a form.
#[derive(Clone, Debug, Serialize)]
pub(in crate::http) struct FieldView {
    /// Its name.
    pub(in crate::http) var: String,
    /// Its values.
    pub(in crate::http) values: Vec<String>,
}

impl ContentView {
    /// What was found under that key.
    pub(super) fn new(key: &CapsKey, found: &Found) -> ContentView {
        ContentView {
            family: key.family().as_str(),
            algorithm: key.algorithm().name(),
            hash: key.digest_base64(),
            tier: found.tier,
            source: found.source.clone(),
            common: (found.tier == Tier::Learned).then_some(found.seen_nodes.is_some()),
            keys: found.keys.iter().map(|key| key.to_node("")).collect(),
            nodes: found.nodes.clone(),
            disco_info: InfoView::from(found.info.info()),
        }
    }
}

impl From<&DiscoInfo> for InfoView {
    fn from(info: &DiscoInfo) -> InfoView {
        InfoView {
            identities: info.identities.iter().map(IdentityView::from).collect(),
            features: info.features.clone(),
            forms: info.forms.iter().map(FormView::from).collect(),
        }
    }
}

impl From<&Identity> for IdentityView {
    fn from(identity: &Identity) -> IdentityView {
        IdentityView {
            category: identity.category.clone(),
            type_: identity.type_.clone(),
            lang: identity.lang.clone(),
            name: identity.name.clone(),
        }
    }
}

impl From<&Form> for FormView {
    fn from(form: &Form) -> FormView {
        FormView {
            form_type: form.form_type.clone(),
            fields: form.fields.iter().map(FieldView::from).collect(),
        }
    }
}

impl From<&Field> for FieldView {
    fn from(field: &Field) -> FieldView {
        FieldView {
            var: field.var.clone(),
            values: field.values.clone(),
        }
    }
}
