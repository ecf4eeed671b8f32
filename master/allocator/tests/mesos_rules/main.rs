//! The rules of Apache Mesos' allocator, sorter, quota, reservations and resources as tables (T16): a
//! row names its rule, sets a cluster up, and says who is offered what. Where this allocator decides
//! otherwise on purpose, the row names the paragraph of the decision that says why.
//!
//! The tables are the text files beside this one. `script` says what a line may be.

#[path = "../cluster/mod.rs"]
mod cluster;
mod script;

use script::Script;
use std::collections::BTreeSet;

const TABLES: [(&str, &str); 6] = [
    ("sorter", include_str!("sorter.txt")),
    ("offers", include_str!("offers.txt")),
    ("quota", include_str!("quota.txt")),
    ("reservations", include_str!("reservations.txt")),
    ("resources", include_str!("resources.txt")),
    ("revocable", include_str!("revocable.txt")),
];

/// Where each deviation has its paragraph.
const DECISION: &str =
    include_str!("../../../../docs/decisions/2026-11-20-rules-of-apache-mesos.md");

/// Fewer rows than this means that a table was lost.
const ROWS_MIN: usize = 100;

struct Row<'a> {
    name: String,
    rule: &'a str,
    otherwise: Option<&'a str>,
    steps: Vec<&'a str>,
}

/// Rows are parted by empty lines; `#` begins a comment.
fn rows(table: &'static str, text: &'static str) -> Vec<Row<'static>> {
    let blocks = text.split("\n\n");
    let blocks = blocks.map(|block| {
        let lines = block.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>()
    });
    let parse = |lines: Vec<&'static str>| {
        let field = |name: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(": "))
        };
        let name = field("row").unwrap_or_else(|| panic!("a row has a name: {lines:?}"));
        let rule = field("rule").unwrap_or_else(|| panic!("row {name} names no rule"));
        let is_step = |line: &&&str| {
            !["row: ", "rule: ", "otherwise: "].iter().any(|head| line.starts_with(head))
        };
        Row {
            name: format!("{table}: {name}"),
            rule,
            otherwise: field("otherwise"),
            steps: lines.iter().filter(is_step).copied().collect(),
        }
    };
    blocks.filter(|lines| !lines.is_empty()).map(parse).collect()
}

fn all_rows() -> Vec<Row<'static>> {
    TABLES.iter().flat_map(|(table, text)| rows(table, text)).collect()
}

#[test]
fn t16_every_row_holds() {
    let mut failures = Vec::new();
    for row in all_rows() {
        let mut script = Script::new();
        for step in &row.steps {
            if let Err(why) = script.step(step) {
                failures.push(format!("{}\n  rule: {}\n  at: {step}\n  {why}", row.name, row.rule));
                break;
            }
        }
        if script.expectations == 0 {
            failures.push(format!("{}\n  expects nothing", row.name));
        }
    }
    assert!(failures.is_empty(), "{} rows fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_tables_are_whole_and_every_deviation_is_decided() {
    let rows = all_rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "each row has a name of its own");
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let cited: BTreeSet<&str> = rows.iter().filter_map(|row| row.otherwise).collect();
    let decided: BTreeSet<&str> = DECISION
        .lines()
        .filter_map(|line| line.strip_prefix("**"))
        .filter_map(|line| line.split_once('.').map(|(id, _)| id))
        .collect();
    assert_eq!(cited, decided, "each deviation has a row and a paragraph");
}
