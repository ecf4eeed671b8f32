//! Faults and specs as text for people.

use proffer_service_core::spec::model::SCHEMA;
use proffer_service_core::spec::{Diagnostic, ServiceName, ServiceSpec};
use serde_json::{Value, json};
use std::fmt::Write;

/// Longest part of a line that is shown.
const LINE_CHARS_MAX: usize = 120;

/// A fault with its line, as compilers show it. `file` is how the author knows the text.
///
/// ```text
/// web.yaml:7:5: services.web.instnaces: is not a known field
///   7 |     instnaces: 3
///     |     ^
///   did you mean instances?
/// ```
#[must_use]
pub fn render(fault: &Diagnostic, file: &str, text: &str) -> String {
    let mut out = String::from(file);
    if fault.mark.line > 0 {
        let _ = write!(out, ":{}:{}", fault.mark.line, fault.mark.column);
    }
    if !fault.field.is_empty() {
        let _ = write!(out, ": {}", fault.field);
    }
    let _ = writeln!(out, ": {}", fault.message);
    let line =
        usize::try_from(fault.mark.line).ok().and_then(|n| text.lines().nth(n.checked_sub(1)?));
    if let Some(line) = line {
        let column = usize::try_from(fault.mark.column).unwrap_or(1).max(1) - 1;
        // A long line is cut around the place.
        let start = column.saturating_sub(LINE_CHARS_MAX / 2);
        let shown: String = line.chars().skip(start).take(LINE_CHARS_MAX).map(visible).collect();
        let number = fault.mark.line.to_string();
        let _ = writeln!(out, "  {number} | {shown}");
        let margin = " ".repeat(number.len());
        let _ = writeln!(out, "  {margin} | {}^", " ".repeat(column - start));
    }
    if !fault.hint.is_empty() {
        let _ = writeln!(out, "  {}", fault.hint);
    }
    out
}

/// Control characters would disturb a terminal.
fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// A file with one service, every default written out; it reads back as the same service.
#[must_use]
pub fn to_file(name: &ServiceName, spec: &ServiceSpec) -> Value {
    let spec = serde_json::to_value(spec).expect("plain data with string keys serialises");
    json!({"schema": SCHEMA, "services": {name.as_str(): tidy(escape(spec))}})
}

/// The same as YAML.
#[must_use]
pub fn to_yaml(name: &ServiceName, spec: &ServiceSpec) -> String {
    let mut out = String::new();
    // `schema` first: JSON objects are ordered by key, and so it is.
    write_value(&mut out, &to_file(name, spec), 0);
    out
}

/// Outside of command, env and checks a stored text holds plain dollar signs.
fn escape(mut spec: Value) -> Value {
    for field in ["user", "workdir", "root"] {
        if let Some(Value::String(text)) = spec.get_mut(field) {
            *text = text.replace('$', "$$");
        }
    }
    if let Some(Value::Object(labels)) = spec.get_mut("labels") {
        for value in labels.values_mut() {
            if let Value::String(text) = value {
                *text = text.replace('$', "$$");
            }
        }
    }
    spec
}

/// Leaves out what says nothing.
fn tidy(mut spec: Value) -> Value {
    if let Some(checks) = spec.get("checks")
        && checks.as_object().is_some_and(serde_json::Map::is_empty)
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("checks");
    }
    spec
}

/// The entries of a mapping or list, each on its own line.
fn write_value(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    if let Value::Object(map) = value {
        for (key, value) in map {
            let _ = write!(out, "{indent}{}:", scalar(key));
            write_nested(out, value, depth);
        }
    } else if let Value::Array(items) = value {
        for item in items {
            let _ = write!(out, "{indent}-");
            write_nested(out, item, depth);
        }
    }
}

/// What follows a key or a dash.
fn write_nested(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Array(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Object(_) | Value::Array(_) => {
            out.push('\n');
            write_value(out, value, depth + 1);
        }
        Value::String(text) if is_block(text) => write_block(out, text, depth + 1),
        Value::String(text) => {
            let _ = writeln!(out, " {}", scalar(text));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = writeln!(out, " {value}");
        }
    }
}

/// Text that reads back exactly as a block: lines without odd characters or ends.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
        && text.lines().all(|line| !line.ends_with([' ', '\t']) && !line.starts_with('\t'))
}

fn write_block(out: &mut String, text: &str, depth: usize) {
    let indent = "  ".repeat(depth);
    out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in text.lines() {
        if line.is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{indent}{line}");
        }
    }
}

/// Plain where that reads back as the same text, else quoted as in JSON, which YAML reads.
fn scalar(text: &str) -> String {
    use proffer_service_core::spec::node::Value as Yaml;
    let is_word =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b'%');
    let is_plain = !text.is_empty()
        && text.bytes().all(is_word)
        && !text.starts_with(['-', '%'])
        && matches!(Yaml::plain(text), Yaml::Text(_));
    if is_plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}
