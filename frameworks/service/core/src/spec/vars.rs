//! `${name}` of `vars:` is replaced in every scalar before its type is looked at. Placeholders with
//! a dot (`${port.web}`, `${meta.slot}`) are left for the agent; `$$` stays `$$` for it too.

use super::diagnostic::{Diagnostic, did_you_mean};
use super::node::{Mark, Node, Value};
use super::reader::{Faults, Reader, join};
use proffer_types::refusal::excerpt;
use std::collections::BTreeMap;

/// Most bytes that replacing may make of one document: a small file with long values repeated in
/// many places must not fill memory.
const EXPANDED_BYTES_MAX: usize = 4 << 20;

/// The values of `vars:`.
pub(super) struct Vars {
    values: BTreeMap<String, String>,
    bytes_left: usize,
}

impl Vars {
    /// Reads `vars:` of the document.
    pub(super) fn read(document: &Reader<'_>, faults: &mut Faults) -> Self {
        let values = document.text_map("vars", faults);
        for name in values.keys() {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if name.is_empty() || !name.bytes().all(word) {
                faults.push(Diagnostic::new(
                    join("vars", &excerpt(name)),
                    document.mark_of("vars"),
                    "is not a name of letters, digits, '_' and '-'",
                ));
            }
        }
        Self { values, bytes_left: EXPANDED_BYTES_MAX }
    }

    /// The same tree with the values in place.
    pub(super) fn apply(&mut self, node: &Node, path: &str, faults: &mut Faults) -> Node {
        let value = match &node.value {
            Value::Text(text) if text.contains("${") => {
                match self.expand(text, path, node.mark, faults) {
                    // A scalar that is nothing but one variable takes the variable's type.
                    Some(expanded) if is_one_variable(text) => Value::plain(&expanded),
                    Some(expanded) => Value::Text(expanded),
                    None => Value::Text(text.clone()),
                }
            }
            Value::List(items) => Value::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.apply(item, &format!("{path}[{index}]"), faults))
                    .collect(),
            ),
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|entry| {
                        let path = join(path, &excerpt(&entry.key));
                        let value = self.apply(&entry.value, &path, faults);
                        super::node::Entry { value, ..entry.clone() }
                    })
                    .collect(),
            ),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_)) => {
                other.clone()
            }
        };
        Node { mark: node.mark, value }
    }

    fn expand(
        &mut self,
        text: &str,
        path: &str,
        mark: Mark,
        faults: &mut Faults,
    ) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                out.push_str("$$");
                rest = after;
                continue;
            }
            let Some(after) = tail.strip_prefix('{') else {
                out.push('$');
                rest = tail;
                continue;
            };
            let Some((name, after)) = after.split_once('}') else {
                faults.push(
                    Diagnostic::new(path, mark, "holds a \"${\" without a closing '}'")
                        .hint("a dollar sign is written $$"),
                );
                return None;
            };
            if name.contains('.') {
                out.push_str(&format!("${{{name}}}"));
            } else if let Some(value) = self.values.get(name) {
                // A value is literal: the agent must not look for placeholders in it.
                out.push_str(&value.replace('$', "$$"));
            } else {
                let fault = Diagnostic::new(
                    path,
                    mark,
                    format!("${{{}}} is not one of `vars`", excerpt(name)),
                );
                let known = || self.values.keys().map(String::as_str);
                faults.push(match did_you_mean(name, known()) {
                    Some(near) => fault.hint(format!("did you mean ${{{near}}}?")),
                    None => fault.hint("a dollar sign is written $$"),
                });
                return None;
            }
            rest = after;
        }
        out.push_str(rest);
        let Some(left) = self.bytes_left.checked_sub(out.len()) else {
            let message = "replacing `vars` makes the document longer than 4MiB";
            faults.push(Diagnostic::new(path, mark, message));
            return None;
        };
        self.bytes_left = left;
        Some(out)
    }
}

fn is_one_variable(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.contains(['$', '}', '.']))
}
