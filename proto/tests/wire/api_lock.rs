//! The wire API as text, in `schema/api.lock.txt`: a change shows in review, and what is there never
//! goes away or gets another number.

use proffer_proto::descriptor::{FieldKind, is_repeated, schema};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

const UPDATE: &str = "PROFFER_UPDATE_API_LOCK";
const HEADER: &str = "\
# The wire API of package proffer.v1: every message, field, number, type, enum value and rpc.
# Written by `PROFFER_UPDATE_API_LOCK=1 cargo test -p proffer-proto --test wire api_lock`; lines are
# only ever added.
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema/api.lock.txt")
}

/// One line a fact, sorted by name; each stands for itself, so that lines can be compared as a set.
fn dump() -> String {
    let mut text = HEADER.to_owned();
    for (name, message) in schema().messages.iter().filter(|(_, m)| !m.is_map_entry()) {
        let _ = writeln!(text, "\nmessage {name}");
        let mut fields: BTreeMap<i32, String> = BTreeMap::new();
        for field in &message.descriptor.field {
            let kind = FieldKind::of(field);
            let entry = schema().message(kind.as_str()).filter(|m| m.is_map_entry());
            let shape = match entry {
                Some(entry) => {
                    let kinds: Vec<_> = entry.descriptor.field.iter().map(FieldKind::of).collect();
                    let kinds: Vec<_> = kinds.iter().map(FieldKind::as_str).collect();
                    format!("map<{}>", kinds.join(", "))
                }
                None if is_repeated(field) => format!("repeated {}", kind.as_str()),
                None if field.proto3_optional() => format!("optional {}", kind.as_str()),
                None => kind.as_str().to_owned(),
            };
            let group = field.oneof_index.filter(|_| !field.proto3_optional()).map(|index| {
                let index = usize::try_from(index).expect("an index");
                format!(" in oneof {}", message.descriptor.oneof_decl[index].name())
            });
            let line = format!(
                "{name}.{} = {} {shape}{}",
                field.name(),
                field.number(),
                group.unwrap_or_default()
            );
            fields.insert(field.number(), line);
        }
        for line in fields.values() {
            let _ = writeln!(text, "{line}");
        }
    }
    for (name, (item, _)) in &schema().enums {
        let _ = writeln!(text, "\nenum {name}");
        for value in &item.value {
            let _ = writeln!(text, "{name}.{} = {}", value.name(), value.number());
        }
    }
    let rpcs: BTreeMap<_, _> = schema()
        .methods
        .iter()
        .map(|m| ((&m.service, m.descriptor.name()), &m.descriptor))
        .collect();
    let mut last = "";
    for ((service, name), rpc) in rpcs {
        if service != last {
            let _ = writeln!(text, "\nservice {service}");
            last = service;
        }
        let stream = |streams: bool| if streams { "stream " } else { "" };
        let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let _ = writeln!(
            text,
            "{service}.{name} ({}{}) returns ({}{})",
            stream(rpc.client_streaming()),
            short(rpc.input_type()),
            stream(rpc.server_streaming()),
            short(rpc.output_type()),
        );
    }
    text
}

fn facts(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What was promised in `locked` and is not kept in `now`, in words.
fn broken(locked: &str, now: &str) -> Vec<String> {
    let (locked, now) = (facts(locked), facts(now));
    let name = |line: &str| line.split(" = ").next().unwrap_or(line).to_owned();
    let known: BTreeMap<String, &str> = now.iter().map(|line| (name(line), *line)).collect();
    locked
        .difference(&now)
        .map(|line| match known.get(&name(line)) {
            Some(other) => format!("{line:?} became {other:?}: it keeps its number and type"),
            None => format!("{line:?} is gone: add a new one beside it, never remove or rename"),
        })
        .collect()
}

#[test]
fn the_wire_api_only_grows_and_is_written_down() {
    let now = dump();
    let update = std::env::var(UPDATE).ok();
    let locked = match std::fs::read_to_string(path()) {
        Ok(text) => text,
        Err(_) if update.is_some() => String::new(),
        Err(error) => panic!("{}: {error}; write it with {UPDATE}=1", path().display()),
    };
    let broken = broken(&locked, &now);
    // `break` is for a schema that no released program speaks yet.
    if update.as_deref() != Some("break") {
        assert!(
            broken.is_empty(),
            "programs of other versions speak this API:\n  {}\n(before the first release only: \
             {UPDATE}=break)",
            broken.join("\n  ")
        );
    }
    if update.is_some() {
        std::fs::write(path(), &now).expect("the schema's folder is writable");
        return;
    }
    let added: Vec<_> = facts(&now).difference(&facts(&locked)).copied().collect();
    assert!(
        now == locked,
        "schema/api.lock.txt is not up to date; run {UPDATE}=1 cargo test -p proffer-proto --test \
         wire api_lock and review the difference; added: {added:#?}"
    );
}

#[test]
fn removal_and_renumbering_are_refused_in_words() {
    let locked = "message A\nA.x = 1 string\nA.y = 2 uint64\n";
    assert_eq!(
        broken(locked, "message A\nA.x = 1 string\nA.y = 2 uint64\nA.z = 3 bool\n").len(),
        0
    );
    let renumbered = broken(locked, "message A\nA.x = 1 string\nA.y = 3 uint64\n");
    assert!(
        renumbered[0].contains("became") && renumbered[0].contains("A.y = 3"),
        "{renumbered:?}"
    );
    let removed = broken(locked, "message A\nA.x = 1 string\n");
    assert!(removed[0].contains("is gone"), "{removed:?}");
}

/// Two names for one number would be two meanings of the same bytes.
#[test]
fn enums_begin_with_unspecified_and_numbers_are_distinct() {
    for (name, (item, _)) in &schema().enums {
        assert!(
            item.value[0].name().ends_with("_UNSPECIFIED") && item.value[0].number() == 0,
            "{name}"
        );
        let numbers: BTreeSet<i32> = item.value.iter().map(|value| value.number()).collect();
        assert_eq!(numbers.len(), item.value.len(), "{name}");
    }
}

/// House rule: every message and rpc says what it is.
#[test]
fn every_message_and_rpc_is_documented() {
    for (name, message) in &schema().messages {
        let request = ["Request", "Response"].iter().any(|end| name.ends_with(end));
        assert!(message.is_map_entry() || request || !message.comment.is_empty(), "{name}");
    }
    for method in &schema().methods {
        assert!(!method.comment.is_empty(), "{}", method.descriptor.name());
    }
}
