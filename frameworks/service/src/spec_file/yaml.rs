//! The strict subset of YAML: types of the 1.2 core schema, unique keys, anchors; no merge keys, no
//! tags, one document. Built from the parser's events, with bounds on everything an author may
//! multiply.

use super::FILE_BYTES_MAX;
use proffer_service_core::spec::Diagnostic;
use proffer_service_core::spec::node::{Entry, Mark, Node, Value};
use serde_saphyr::granit_parser::{
    Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting; the schema needs eight levels.
const DEPTH_MAX: usize = 32;
/// Most nodes, those that aliases repeat included: an alias bomb ends here.
const NODES_MAX: usize = 100_000;

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Node, Diagnostic> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("is longer than {FILE_BYTES_MAX} bytes");
        return Err(Diagnostic::new("", Mark::default(), message));
    }
    let mut builder = Builder::default();
    for item in Parser::with_options(StrInput::new(text), options()) {
        let (event, span) = item.map_err(|error| malformed(&error))?;
        builder.take(event, mark(&span))?;
    }
    builder.document.ok_or_else(|| {
        Diagnostic::new("", Mark { line: 1, column: 1 }, "is empty")
            .hint("the first line is: schema: service/v1")
    })
}

/// The place right after some bytes.
pub(super) fn mark_after(before: &[u8]) -> Mark {
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Mark {
        line: count(lines + 1),
        column: count(String::from_utf8_lossy(last).chars().count() + 1),
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    options
}

fn mark(span: &Span) -> Mark {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Mark { line: count(span.start.line()), column: count(span.start.col() + 1) }
}

fn malformed(error: &ScanError) -> Diagnostic {
    let at = error.marker();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mark = Mark { line: count(at.line()), column: count(at.col() + 1) };
    let fault = Diagnostic::new("", mark, format!("is not YAML: {}", lower_case(&error.info())));
    fault.hint("check indentation, quotes and brackets around this place")
}

fn lower_case(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// A collection that is not complete yet.
enum Open {
    List {
        mark: Mark,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        mark: Mark,
        anchor: usize,
        entries: Vec<Entry>,
        keys: BTreeSet<String>,
        key: Option<(String, Mark)>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Complete nodes that have an anchor, with the number of nodes in them.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    document: Option<Node>,
    documents: usize,
}

impl Builder {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list of events may grow")]
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_ref(), mark)?;
                let value = if style == ScalarStyle::Plain {
                    Value::plain(&text)
                } else {
                    Value::Text(text.into_owned())
                };
                self.complete(Node { mark, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_ref(), mark)?;
                self.push(Open::List { mark, anchor, items: Vec::new() }, mark)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_ref(), mark)?;
                let (entries, keys) = (Vec::new(), BTreeSet::new());
                self.push(Open::Map { mark, anchor, entries, keys, key: None }, mark)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { mark, anchor, items }) => {
                    self.complete(Node { mark, value: Value::List(items) }, anchor)
                }
                Some(Open::Map { mark, anchor, entries, .. }) => {
                    self.complete(Node { mark, value: Value::Map(entries) }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor, mark),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::new("", mark, "holds more than one document")
                        .hint("name several services under `services`"));
                }
                Ok(())
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::Comment(..) => Ok(()),
            _ => Err(Diagnostic::new("", mark, "is not understood here")),
        }
    }

    fn push(&mut self, open: Open, mark: Mark) -> Result<(), Diagnostic> {
        if self.open.len() >= DEPTH_MAX {
            let message = format!("is nested deeper than {DEPTH_MAX} levels");
            return Err(Diagnostic::new("", mark, message));
        }
        self.open.push(open);
        Ok(())
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), Diagnostic> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::new("", mark, "refers to an anchor that is not complete"));
        };
        // Counted before it is copied.
        if self.nodes + size > NODES_MAX {
            return Err(too_many(mark));
        }
        self.nodes += size - 1;
        let node = Node { mark, value: node.value.clone() };
        self.complete(node, 0)
    }

    /// Puts a complete node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(too_many(node.mark));
        }
        if anchor != 0 {
            let size = size(&node);
            self.nodes += size;
            if self.nodes > NODES_MAX {
                return Err(too_many(node.mark));
            }
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            None => self.document = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, keys, key, .. }) => match key.take() {
                None => *key = Some(read_key(node, keys)?),
                Some((key, mark)) => entries.push(Entry { key, mark, value: node }),
            },
        }
        Ok(())
    }
}

fn read_key(node: Node, keys: &mut BTreeSet<String>) -> Result<(String, Mark), Diagnostic> {
    let text = match node.value {
        Value::Text(text) | Value::Number(text) => text,
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            return Err(Diagnostic::new("", node.mark, "a key is a word"));
        }
    };
    let excerpt = proffer_types::refusal::excerpt(&text);
    if text == "<<" {
        let fault = Diagnostic::new(excerpt, node.mark, "merge keys are not part of this format");
        return Err(fault.hint("use `defaults`, or an anchor on the whole value"));
    }
    if !keys.insert(text.clone()) {
        return Err(Diagnostic::new(excerpt, node.mark, "is there twice in this mapping"));
    }
    Ok((text, node.mark))
}

fn refuse_tag(tag: Option<&Cow<'_, Tag>>, mark: Mark) -> Result<(), Diagnostic> {
    match tag {
        None => Ok(()),
        Some(_) => Err(Diagnostic::new("", mark, "tags are not part of this format")
            .hint("quote what is to be text")),
    }
}

fn too_many(mark: Mark) -> Diagnostic {
    Diagnostic::new("", mark, format!("holds more than {NODES_MAX} values, aliases included"))
}

/// Nodes in a tree; its depth is bounded.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}
