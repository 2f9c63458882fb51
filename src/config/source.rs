//! A configuration file while it is read: its tables, and the faults found so far.
//!
//! serde would stop at the first unknown key or wrong type. Reading the tables ourselves costs these few functions, and
//! the operator sees everything that is wrong at once.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::bounds::MAX_LIST;
use super::fault::{Fault, Wrong};
use super::quantity::{Bound, Quantity, shown};

/// How a configuration sees the environment of the process: the value of a variable, if it is set.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// The largest file of which more than the first syntax error is told, in bytes: one that is no TOML at all has one at every byte.
const MAX_RECOVERED: usize = 64 * 1024;

/// The most syntax errors that are looked at.
const MAX_SYNTAX_FAULTS: usize = 100;

/// The most characters of a value that a fault repeats.
const MAX_VALUE_CHARACTERS: usize = 200;

/// Where something stands in the text, in bytes.
type Place = Range<usize>;

/// One file and what is wrong with it.
pub(super) struct Source<'s> {
    file: &'s Path,
    text: &'s str,
    pub(super) environment: Environment<'s>,
    /// Whether secrets are read, too, and not only where they are.
    pub(super) with_secrets: bool,
    faults: RefCell<Vec<Fault>>,
}

impl<'s> Source<'s> {
    pub(super) fn new(file: &'s Path, text: &'s str, environment: Environment<'s>) -> Source<'s> {
        Source {
            file,
            text,
            environment,
            with_secrets: true,
            faults: RefCell::default(),
        }
    }

    /// The same, with the secrets left alone.
    pub(super) fn without_secrets(self) -> Source<'s> {
        Source {
            with_secrets: false,
            ..self
        }
    }

    /// Parses the file into its outermost table. Syntax errors are the only faults then, one of each line, and the table is empty.
    pub(super) fn root(&'s self) -> Table<'s> {
        let entries = DeTable::parse(self.text)
            .map(Spanned::into_inner)
            .unwrap_or_else(|first| {
                self.syntax_faults(first);
                DeTable::new()
            });
        Table::new(self, "", 0, entries)
    }

    fn syntax_faults(&self, first: toml::de::Error) {
        let errors = match self.text.len() <= MAX_RECOVERED {
            true => DeTable::parse_recoverable(self.text).1,
            false => vec![first],
        };
        let mut lines = BTreeSet::new();
        for error in errors.iter().take(MAX_SYNTAX_FAULTS) {
            let offset = error.span().map_or(0, |span| span.start);
            if lines.insert(self.line(offset)) {
                let message = format!("the file is not TOML: {}", error.message());
                let hint = "correct that line; strings stand in quotes, as in `path = \"/var/lib/capsd\"`, and each key \
                            and section stands once";
                self.fault_at(offset, None, None, Wrong::new(message, hint));
            }
        }
    }

    /// The line of a byte, counted from 1.
    fn line(&self, offset: usize) -> usize {
        let before = self.text.bytes().take(offset);
        1 + before.filter(|byte| *byte == b'\n').count()
    }

    fn fault_at(&self, offset: usize, key: Option<String>, value: Option<Place>, wrong: Wrong) {
        let value = value.and_then(|place| self.text.get(place));
        self.faults.borrow_mut().push(Fault {
            message: wrong.message,
            file: self.file.to_owned(),
            line: Some(self.line(offset)),
            key,
            value: value.map(|value| value.chars().take(MAX_VALUE_CHARACTERS).collect()),
            hint: wrong.hint,
            unread_secret: wrong.unread_secret,
        });
    }

    /// A fault of no single key, at the end of the file.
    pub(super) fn fault_at_end(&self, message: &str, hint: &str) {
        let end = self.text.trim_end().len();
        self.fault_at(end, None, None, Wrong::new(message, hint));
    }

    pub(super) fn is_faulty(&self) -> bool {
        !self.faults.borrow().is_empty()
    }

    /// What is wrong, in the order of the lines.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

/// One table of the file; a key that is read is removed, and what is left in the end is unknown.
pub(super) struct Table<'s> {
    pub(super) source: &'s Source<'s>,
    name: &'static str,
    offset: usize,
    entries: DeTable<'s>,
    known: Vec<&'static str>,
    /// Where each key stands that was read, and its value if it may be told.
    places: HashMap<&'static str, (usize, Option<Place>)>,
}

impl<'s> Table<'s> {
    fn new(
        source: &'s Source<'s>,
        name: &'static str,
        offset: usize,
        entries: DeTable<'s>,
    ) -> Table<'s> {
        Table {
            source,
            name,
            offset,
            entries,
            known: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// The key with its section.
    fn full(&self, key: &str) -> String {
        match self.name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }

    /// Says that a key is wrong: where it stands, or where its section begins if it does not.
    pub(super) fn fault(&self, key: &'static str, wrong: Wrong) {
        let place = self.places.get(key).cloned();
        let (offset, value) = place.unwrap_or((self.offset, None));
        self.fault_at(offset, key, value, wrong);
    }

    /// Says that the table itself is wrong, where it begins.
    pub(super) fn fault_at_start(&self, wrong: Wrong) {
        let wrong = wrong.after(&format!("`{}`", self.name));
        let key = Some(self.name.to_owned());
        self.source.fault_at(self.offset, key, None, wrong);
    }

    fn fault_at(&self, offset: usize, key: &str, value: Option<Place>, wrong: Wrong) {
        let key = self.full(key);
        let wrong = wrong.after(&format!("`{key}`"));
        self.source.fault_at(offset, Some(key), value, wrong);
    }

    fn take(&mut self, key: &'static str) -> Option<(Place, DeValue<'s>)> {
        self.known.push(key);
        let (name, value) = self.entries.remove_entry(key)?;
        // Some write the secret itself where its place belongs.
        let told = told(&value).filter(|_| !key.starts_with("secret"));
        self.places.insert(key, (name.span().start, told));
        Some((value.span(), value.into_inner()))
    }

    /// Whether the key stands there and was not read yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A key that may be missing. `None` also when it is wrong, which is then said.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let (_, value) = self.take(key)?;
        read(&value).map_err(|wrong| self.fault(key, wrong)).ok()
    }

    /// A key that must be there. `None` when it is missing or wrong, which is then said.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            let hint = format!("add a line such as `{key} = \"{example}\"`");
            self.fault(key, Wrong::new("is missing", hint));
            return None;
        }
        self.optional(key, read)
    }

    /// A number within its bounds; the default when it is missing, or wrong, which is then said.
    pub(super) fn bounded<T: Quantity>(&mut self, key: &'static str, bound: &Bound<T>) -> T {
        self.optional(key, |value| bound.read(value))
            .unwrap_or(bound.default)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.optional(key, |value| {
            value.as_bool().ok_or_else(|| {
                let message = format!("is {}, which is neither true nor false", shown(value));
                Wrong::new(message, "write `true` or `false`, without quotes")
            })
        })
        .unwrap_or(default)
    }

    pub(super) fn path(&mut self, key: &'static str, default: &str) -> PathBuf {
        self.optional(key, absolute_path)
            .unwrap_or_else(|| PathBuf::from(default))
    }

    /// A word of a closed set; the first member is the default.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        self.optional(key, |value| {
            let member = words.iter().find(|(word, _)| value.as_str() == Some(word));
            member.map(|(_, member)| *member).ok_or_else(|| {
                let listed: Vec<_> = words
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                let message = format!("is {}, which is none of its values", shown(value));
                Wrong::new(message, format!("write one of {}", listed.join(", ")))
            })
        })
        .unwrap_or(default)
    }

    /// A list; `None` when it is missing or no list. Members that are wrong are said and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let (_, value) = self.take(key)?;
        let DeValue::Array(members) = value else {
            let message = format!("is {}, which is not a list", shown(&value));
            self.fault(
                key,
                Wrong::new(message, "write a list, as in `[\"one\", \"two\"]`"),
            );
            return None;
        };
        if members.len() > MAX_LIST {
            let message = format!("has {} members, but may have {MAX_LIST}", members.len());
            self.fault(key, Wrong::new(message, "shorten the list"));
            return None;
        }
        let mut values = Vec::new();
        for member in members {
            match read(member.get_ref()) {
                Ok(value) => values.push(value),
                Err(wrong) => self.fault_at(member.span().start, key, told(&member), wrong),
            }
        }
        Some(values)
    }

    /// A key that operators try and that must not be there; whether it was.
    pub(super) fn refuse(&mut self, key: &str, wrong: impl FnOnce() -> Wrong) -> bool {
        let Some((name, _)) = self.entries.remove_entry(key) else {
            return false;
        };
        self.fault_at(name.span().start, key, None, wrong());
        true
    }

    /// A `[section]`; an empty one when it is missing.
    pub(super) fn section(&mut self, key: &'static str) -> Table<'s> {
        match self.take(key) {
            Some((span, DeValue::Table(entries))) => {
                Table::new(self.source, key, span.start, entries)
            }
            found => {
                if let Some((_, value)) = found {
                    let message = format!("is {}, which is not a section", shown(&value));
                    self.fault(
                        key,
                        Wrong::new(message, format!("write `[{key}]` on a line of its own")),
                    );
                }
                Table::new(self.source, key, self.offset, DeTable::new())
            }
        }
    }

    /// All `[[section]]` blocks of that name.
    pub(super) fn blocks(&mut self, key: &'static str) -> Vec<Table<'s>> {
        let members = match self.take(key) {
            None => return Vec::new(),
            Some((_, DeValue::Array(members))) => members,
            Some((_, value)) => {
                let message = format!("is {}, not a block", shown(&value));
                let hint = format!("write `[[{key}]]`, with two brackets on each side");
                self.fault(key, Wrong::new(message, hint));
                return Vec::new();
            }
        };
        let mut blocks = Vec::new();
        for member in members {
            let (start, told) = (member.span().start, told(&member));
            match member.into_inner() {
                DeValue::Table(entries) => {
                    blocks.push(Table::new(self.source, key, start, entries));
                }
                value => {
                    let message = format!("holds {}, not a block", shown(&value));
                    self.fault_at(
                        start,
                        key,
                        told,
                        Wrong::new(message, format!("write `[[{key}]]`")),
                    );
                }
            }
        }
        blocks
    }

    /// Says which keys are unknown, with the one that was probably meant.
    pub(super) fn finish(self) {
        for (name, _) in &self.entries {
            let written = name.get_ref();
            let nearest = self.known.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, written).total_cmp(&strsim::jaro_winkler(b, written))
            });
            let known = self.known.join(", ");
            let hint = match nearest {
                Some(nearest) if strsim::jaro_winkler(nearest, written) > 0.8 => {
                    format!("perhaps `{nearest}` is meant; known here: {known}")
                }
                _ => format!("remove it; known here: {known}"),
            };
            self.fault_at(
                name.span().start,
                written,
                None,
                Wrong::new("is unknown", hint),
            );
        }
    }
}

/// Where a value stands, if it may be told: a table may have keys that hold a secret.
fn told(value: &Spanned<DeValue<'_>>) -> Option<Place> {
    fn is_plain(value: &DeValue<'_>) -> bool {
        match value {
            DeValue::Table(_) => false,
            DeValue::Array(members) => members.iter().all(|member| is_plain(member.get_ref())),
            _ => true,
        }
    }
    is_plain(value.get_ref()).then(|| value.span())
}

/// A string.
pub(super) fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| {
        let message = format!("is {}, which is not a string", shown(value));
        Wrong::new(message, "write it in quotes")
    })
}

/// A path from the root: what is relative would depend on where capsd was started.
pub(super) fn absolute_path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    absolute(string(value)?).ok_or_else(|| {
        Wrong::new(
            format!("is {}, which is not an absolute path", shown(value)),
            "write the whole path, beginning with `/`",
        )
    })
}

/// The path, if it is one from the root.
pub(super) fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    (path.is_absolute() && !text.chars().any(char::is_control)).then_some(path)
}
