//! Reads one mapping of a document by its table: unknown keys, wrong kinds and missing units become
//! diagnostics, and reading goes on, so that one run shows every fault.

use super::diagnostic::{Diagnostic, did_you_mean};
use super::fields::Section;
use super::node::{Entry, Mark, Node, Value};
use proffer_types::{Bytes, DurationMs, Milli, refusal::excerpt};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A mapping that is being read.
pub(super) struct Reader<'a> {
    entries: &'a [Entry],
    path: String,
    mark: Mark,
}

/// Faults found so far.
pub(super) type Faults = Vec<Diagnostic>;

/// Joins a field path.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<'a> Reader<'a> {
    /// Opens a mapping and refuses the keys that its table does not know.
    pub(super) fn open(
        node: &'a Node,
        path: &str,
        section: &Section,
        faults: &mut Faults,
    ) -> Option<Self> {
        let reader = Self::open_free(node, path, faults)?;
        let known = || section.fields.iter().map(|field| field.name);
        for entry in reader.entries {
            let key = entry.key.as_str();
            if known().any(|name| name == key) {
                continue;
            }
            let field = join(path, &excerpt(key));
            if section.later.contains(&key) {
                faults.push(Diagnostic::new(field, entry.mark, "is not yet supported").later());
                continue;
            }
            let fault = Diagnostic::new(field, entry.mark, "is not a known field");
            faults.push(match did_you_mean(key, known()) {
                Some(near) => fault.hint(format!("did you mean {near}?")),
                None => fault.hint(format!("known: {}", known().collect::<Vec<_>>().join(", "))),
            });
        }
        Some(reader)
    }

    /// Opens a mapping whose keys are the author's own.
    pub(super) fn open_free(node: &'a Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self { entries, path: path.to_owned(), mark: node.mark }),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)) => {
                faults.push(Diagnostic::new(
                    path,
                    node.mark,
                    format!("needs a mapping, not {}", other.kind()),
                ));
                None
            }
        }
    }

    /// Where it starts.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Path of a field in it.
    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Its entries in order.
    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// The value of a field. A field without a value counts as absent.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == name)
            .map(|entry| &entry.value)
            .filter(|node| node.value != Value::Null)
    }

    /// Where a field's value starts, or the mapping.
    pub(super) fn mark_of(&self, name: &str) -> Mark {
        self.node(name).map_or(self.mark, |node| node.mark)
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str, faults: &mut Faults) -> Option<&'a Node> {
        let node = self.node(name);
        if node.is_none() {
            faults.push(Diagnostic::new(self.path(name), self.mark, "is required"));
        }
        node
    }

    fn parsed<T>(
        &self,
        name: &str,
        faults: &mut Faults,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(name)?;
        let outcome = match &node.value {
            Value::Text(text) | Value::Number(text) => parse(text),
            other @ (Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_)) => {
                Err(format!("needs a value, not {}", other.kind()))
            }
        };
        outcome.map_err(|why| faults.push(Diagnostic::new(self.path(name), node.mark, why))).ok()
    }

    /// A value with its own text form.
    pub(super) fn value<T>(
        &self,
        name: &str,
        faults: &mut Faults,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.parsed(name, faults, parse)
    }

    /// A span of time.
    pub(super) fn span(&self, name: &str, faults: &mut Faults) -> Option<DurationMs> {
        self.parsed(name, faults, DurationMs::parse)
    }

    /// A span of time above zero.
    pub(super) fn span_above_zero(&self, name: &str, faults: &mut Faults) -> Option<DurationMs> {
        self.parsed(name, faults, |text| match DurationMs::parse(text)? {
            DurationMs(0) => Err("is zero; it must be longer".to_owned()),
            span => Ok(span),
        })
    }

    /// A number of bytes.
    pub(super) fn size(&self, name: &str, faults: &mut Faults) -> Option<Bytes> {
        self.parsed(name, faults, Bytes::parse)
    }

    /// A number with up to three decimals.
    pub(super) fn milli(&self, name: &str, faults: &mut Faults) -> Option<Milli> {
        self.parsed(name, faults, Milli::parse)
    }

    /// A whole number within a range.
    pub(super) fn count(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<u64> {
        self.parsed(name, faults, |text| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().filter(|n| range.contains(n)).ok_or_else(
                || match *range.end() {
                    u64::MAX => format!(
                        "{:?} is not a whole number of at least {}",
                        excerpt(text),
                        range.start()
                    ),
                    end => format!(
                        "{:?} is not a whole number from {} to {end}",
                        excerpt(text),
                        range.start()
                    ),
                },
            )
        })
    }

    /// As [`Self::count`], for numbers that fit 32 bits.
    pub(super) fn count_32(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
        faults: &mut Faults,
    ) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        self.count(name, range, faults)
            .map(|count| u32::try_from(count).expect("the range ends below 2^32"))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&'static str, T)],
        later: &[&str],
        faults: &mut Faults,
    ) -> Option<T> {
        let node = self.node(name)?;
        let (Value::Text(text) | Value::Number(text)) = &node.value else {
            let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            faults.push(Diagnostic::new(
                self.path(name),
                node.mark,
                format!("needs one of {allowed}, not {}", node.value.kind()),
            ));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let path = self.path(name);
        if later.contains(&text.as_str()) {
            let fault = Diagnostic::new(path, node.mark, format!("{text:?} is not yet supported"));
            faults.push(fault.later());
            return None;
        }
        let allowed = words.iter().map(|(word, _)| *word);
        let fault =
            Diagnostic::new(path, node.mark, format!("{:?} is not a known value", excerpt(text)));
        faults.push(match did_you_mean(text, allowed.clone()) {
            Some(near) => fault.hint(format!("did you mean {near}?")),
            None => fault.hint(format!("one of: {}", allowed.collect::<Vec<_>>().join(", "))),
        });
        None
    }

    /// Text of any length, as it stands: placeholders and `$$` are kept for the agent.
    pub(super) fn text(&self, name: &str, faults: &mut Faults) -> Option<String> {
        text_of(self.node(name)?, &self.path(name), faults)
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str, faults: &mut Faults) -> Option<Vec<String>> {
        let node = self.node(name)?;
        let path = self.path(name);
        let items = list_of(node, &path, faults)?;
        Some(
            items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| text_of(item, &format!("{path}[{index}]"), faults))
                .collect(),
        )
    }

    /// A map of texts.
    pub(super) fn text_map(&self, name: &str, faults: &mut Faults) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(node) = self.node(name) else { return map };
        let path = self.path(name);
        let Some(reader) = Reader::open_free(node, &path, faults) else { return map };
        for entry in reader.entries {
            let field = reader.path(&excerpt(&entry.key));
            if entry.value.value == Value::Null {
                map.insert(entry.key.clone(), String::new());
            } else if let Some(text) = text_of(&entry.value, &field, faults) {
                map.insert(entry.key.clone(), text);
            }
        }
        map
    }
}

/// A scalar's text: numbers and booleans stand for what was written.
pub(super) fn text_of(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Map(entries) if entries.iter().any(|e| e.key == "secret" || e.key == "config") => {
            let fault = Diagnostic::new(path, node.mark, "references are not yet supported");
            faults.push(fault.hint("write the value as text").later());
            None
        }
        other @ (Value::Null | Value::List(_) | Value::Map(_)) => {
            let message = format!("needs text, not {}", other.kind());
            faults.push(Diagnostic::new(path, node.mark, message));
            None
        }
    }
}

/// The items of a list.
pub(super) fn list_of<'a>(node: &'a Node, path: &str, faults: &mut Faults) -> Option<&'a [Node]> {
    if let Value::List(items) = &node.value {
        return Some(items);
    }
    faults.push(Diagnostic::new(
        path,
        node.mark,
        format!("needs a list, not {}", node.value.kind()),
    ));
    None
}
