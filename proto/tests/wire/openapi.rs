//! The OpenAPI document is committed, whole, and speaks of what exists.

use proffer_proto::openapi;
use serde_json::Value;
use std::path::PathBuf;

const UPDATE: &str = "PROFFER_UPDATE_OPENAPI";

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, openapi::text()).expect("docs/ is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == openapi::text(),
        "docs/openapi.json is not up to date; run {UPDATE}=1 cargo test -p proffer-proto --test \
         wire openapi and review the difference"
    );
}

#[test]
fn every_reference_has_its_target() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if let Some(target) = value.as_str().filter(|_| name == "$ref") {
                        found.push(target.to_owned());
                    }
                    references(value, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = openapi::document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for target in found {
        let pointer = target.strip_prefix('#').expect("inside the document");
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

#[test]
fn each_operation_has_its_own_name_and_its_path_parameters() {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("an object");
    let mut names = Vec::new();
    for (path, item) in paths {
        for operation in item.as_object().expect("an object").values() {
            names.extend(operation["operationId"].as_str().map(str::to_owned));
            let parameters = operation["parameters"].as_array().expect("a list");
            for part in path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')) {
                let declared = |p: &&Value| p["in"] == "path" && p["name"] == part;
                assert_eq!(parameters.iter().filter(declared).count(), 1, "{path}: {part}");
            }
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "an operation id occurs once");
}
