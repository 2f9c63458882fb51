//! The file of overrides: keys that the operator denies, and keys for which the operator says which content counts.
//!
//! ```toml
//! [[deny]]
//! key = "http://example.org/client#QgayPKawpkPSDYmwT/WM94uAlu0="
//! reason = "sent by a broken bot"
//!
//! [[pin]]
//! key = "0115:sha-1:q07IKJEyjvHSyhy//CH0CxmKi8w="
//! file = "/etc/capsd/pinned/psi.xml"
//! reason = "two readings; this is the one of Psi"
//! ```
//!
//! It is a file of its own, because it is read again on SIGHUP, and because one is faulty without the other.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::fault::{ConfigFaults, Wrong};
use super::quantity::shown;
use super::read_text;
use super::source::{Source, Table, absolute_path, string};
use crate::caps::CapsKey;

/// The most contents that are pinned; each is in memory.
pub const MAX_PINS: usize = 1024;

/// The longest reason, in bytes; askers are told it.
pub const MAX_REASON_LEN: usize = 500;

/// What an operator says about keys. `C` is what the reader of pinned files makes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules<C> {
    /// Keys that are not served and not asked for, each with the reason.
    pub denied: Vec<(CapsKey, String)>,
    /// Keys for which one content counts, each with the content and the reason.
    pub pinned: Vec<(CapsKey, C, String)>,
}

/// Reads a file of overrides. `content` reads a pinned file and says what is wrong with it for that key.
///
/// # Errors
/// Everything that is wrong with it, each with file, line, key and remedy.
pub fn read<C>(
    file: &Path,
    content: impl Fn(&CapsKey, &Path) -> Result<C, String>,
) -> Result<Rules<C>, ConfigFaults> {
    let text = read_text(file, "file of overrides", "`trusted.overrides`")?;
    let source = Source::new(file, &text, &|_| None);
    let rules = {
        let mut root = source.root();
        let rules = (!source.is_faulty()).then(|| read_rules(&mut root, content));
        if rules.is_some() {
            root.finish();
        }
        rules
    };
    match rules {
        Some(rules) if !source.is_faulty() => Ok(rules),
        _ => Err(ConfigFaults {
            faults: source.into_faults(),
        }),
    }
}

fn read_rules<C>(
    root: &mut Table<'_>,
    content: impl Fn(&CapsKey, &Path) -> Result<C, String>,
) -> Rules<C> {
    let mut seen = HashSet::new();
    let mut rules = Rules {
        denied: Vec::new(),
        pinned: Vec::new(),
    };
    for mut block in root.blocks("deny") {
        if let (Some(key), Some(reason)) = read_common(&mut block, &mut seen) {
            rules.denied.push((key, reason));
        }
        block.finish();
    }
    for mut block in root.blocks("pin") {
        let (key, reason) = read_common(&mut block, &mut seen);
        let file = block.required("file", "/etc/capsd/pinned/client.xml", absolute_path);
        if rules.pinned.len() >= MAX_PINS {
            let message = format!("has more than {MAX_PINS} blocks");
            block.fault_at_start(Wrong::new(
                message,
                "install the contents as trusted instead",
            ));
            block.finish();
            break;
        }
        if let (Some(key), Some(reason), Some(file)) = (key, reason, file)
            && let Some(content) = read_pinned(&block, &key, file, &content)
        {
            rules.pinned.push((key, content, reason));
        }
        block.finish();
    }
    rules
}

fn read_pinned<C>(
    block: &Table<'_>,
    key: &CapsKey,
    file: PathBuf,
    content: &impl Fn(&CapsKey, &Path) -> Result<C, String>,
) -> Option<C> {
    content(key, &file)
        .map_err(|cause| {
            let message = format!("is {file:?}, which cannot be pinned: {cause}");
            let hint = "name a file that holds the disco#info `<query/>` whose hash is `key`; `capsd verify` says whether it is";
            block.fault("file", Wrong::new(message, hint));
        })
        .ok()
}

/// The key and the reason of a block.
fn read_common(
    block: &mut Table<'_>,
    seen: &mut HashSet<CapsKey>,
) -> (Option<CapsKey>, Option<String>) {
    let key = block.required(
        "key",
        "http://example.org#QgayPKawpkPSDYmwT/WM94uAlu0=",
        key,
    );
    if let Some(key) = key
        && !seen.insert(key)
    {
        let message = format!("is {key}, and so is that of an earlier block");
        block.fault("key", Wrong::new(message, "remove one of the blocks"));
    }
    let reason = block.required("reason", "sent by a broken bot", reason);
    (key, reason)
}

fn key(value: &DeValue<'_>) -> Result<CapsKey, Wrong> {
    let text = string(value)?;
    let parsed = text.parse().or_else(|_| CapsKey::from_node(text));
    parsed.map_err(|error| {
        let message = format!("is {}, which is not a caps key: {error}", shown(value));
        let hint = "write a node with its hash, as in \"http://example.org#QgayPKawpkPSDYmwT/WM94uAlu0=\", or the key as the log has it, \
                    as in \"0115:sha-1:QgayPKawpkPSDYmwT/WM94uAlu0=\"";
        Wrong::new(message, hint)
    })
}

fn reason(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = string(value)?;
    let fits = (1..=MAX_REASON_LEN).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        let message = format!("is empty, longer than {MAX_REASON_LEN} bytes, or has several lines");
        Wrong::new(
            message,
            "write in a few words why; whoever asks for the key is told",
        )
    })
}
