//! The OpenAPI 3.1 document of the JSON under `/v1`, made from the schema and the table of routes.

use crate::descriptor::{FieldKind, Message, has_presence, is_repeated, schema};
use crate::routes::{ROUTES, Route, Rpc, Target};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let text = serde_json::to_string_pretty(&document()).expect("a JSON value serialises");
    format!("{text}\n")
});

/// The document as text, ready to be served.
#[must_use]
pub fn text() -> &'static str {
    &TEXT
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    let mut used = Used::default();
    for route in ROUTES {
        let path = route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut used);
    }
    used.answers.insert("Refusal".to_owned());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Proffer",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "JSON of a Proffer master. 64-bit numbers are strings; bytes are \
                base64; cpus, gpus and custom scalars count thousandths, mem and disk count \
                bytes. Every answer that is not a success is a Refusal.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(&used),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }],
    })
}

/// Messages that the document speaks of.
#[derive(Default)]
struct Used {
    /// Sent to the master: any field may be left out.
    requests: BTreeSet<String>,
    /// Sent by the master: what has no presence is always there.
    answers: BTreeSet<String>,
}

fn reference(message: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{message}") })
}

fn operation(route: &Route, used: &mut Used) -> Value {
    let refusal = json!({
        "description": "refused",
        "content": { "application/json": { "schema": reference("Refusal") } },
    });
    let (Target::Rpc { body, events, .. }, Some(rpc)) = (route.target, route.rpc()) else {
        return plain_operation(route, &refusal);
    };
    used.answers.insert(rpc.response.to_owned());
    let media = if events { "text/event-stream" } else { "application/json" };
    let mut operation = json!({
        "operationId": rpc.method,
        "summary": comment_of(rpc),
        "parameters": parameters(route, rpc, body),
        "responses": {
            "200": {
                "description": if events { "events whose data is one such message each" }
                    else { "done" },
                "content": { media: { "schema": reference(rpc.response) } },
            },
            "default": refusal,
        },
    });
    let request = schema().message(rpc.request);
    if let Some(field) = body.and_then(|name| request?.field(name)) {
        let kind = FieldKind::of(field);
        used.requests.insert(kind.as_str().to_owned());
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": reference(kind.as_str()) } },
        });
    }
    operation
}

fn plain_operation(route: &Route, refusal: &Value) -> Value {
    let Target::Plain { media, summary, .. } = route.target else {
        unreachable!("a test finds the rpc of each route");
    };
    let parameters: Vec<Value> = route
        .parameters()
        .map(|name| parameter(name, "path", &json!({"type": "string"}), ""))
        .collect();
    json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "done", "content": { media: {} } },
            "default": refusal,
        },
    })
}

fn comment_of(rpc: &Rpc) -> &'static str {
    let mut methods = schema().methods.iter();
    methods
        .find(|method| method.service == rpc.service && method.descriptor.name() == rpc.method)
        .map_or("", |method| method.comment.as_str())
}

fn parameters(route: &Route, rpc: &Rpc, body: Option<&str>) -> Vec<Value> {
    let Some(request) = schema().message(rpc.request) else { return Vec::new() };
    let in_path: BTreeSet<&str> = route.parameters().collect();
    request
        .fields()
        .filter(|field| Some(field.part.name()) != body)
        .map(|field| {
            let name = field.part.name();
            let place = if in_path.contains(name) { "path" } else { "query" };
            parameter(name, place, &field_schema(field.part, ""), field.comment)
        })
        .collect()
}

fn parameter(name: &str, place: &str, schema: &Value, description: &str) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "schema": schema });
    if place == "path" {
        parameter["required"] = Value::Bool(true);
    }
    if !description.is_empty() {
        parameter["description"] = description.into();
    }
    parameter
}

fn schemas(used: &Used) -> Map<String, Value> {
    let (requests, answers) = (reachable(&used.requests), reachable(&used.answers));
    let mut schemas = Map::new();
    for name in requests.union(&answers) {
        if let Some(message) = schema().message(name) {
            let shape = message_schema(message, requests.contains(name));
            schemas.insert(name.clone(), shape);
        } else if let Some((item, comment)) = schema().enums.get(name) {
            let values: Vec<&str> =
                item.value.iter().map(prost_types::EnumValueDescriptorProto::name).collect();
            let text = json!({ "type": "string", "enum": values, "description": comment });
            schemas.insert(name.clone(), text);
        }
    }
    schemas
}

/// The named messages, all that they hold, and all that those hold.
fn reachable(names: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = names.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let message = schema().message(&name);
        if message.is_some_and(Message::is_map_entry) || found.insert(name) {
            let fields = message.iter().flat_map(|message| &message.descriptor.field);
            for kind in fields.map(FieldKind::of) {
                match kind {
                    FieldKind::Message(name) | FieldKind::Enum(name) => open.push(name),
                    FieldKind::Scalar(_) => {}
                }
            }
        }
    }
    found
}

fn message_schema(message: &Message, in_requests: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields() {
        properties.insert(field.part.name().to_owned(), field_schema(field.part, field.comment));
        if !in_requests && !has_presence(field.part) {
            required.push(field.part.name().to_owned());
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !message.comment.is_empty() {
        schema["description"] = message.comment.as_str().into();
    }
    if in_requests {
        schema["additionalProperties"] = Value::Bool(false);
    } else if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn field_schema(field: &prost_types::FieldDescriptorProto, comment: &str) -> Value {
    let kind = FieldKind::of(field);
    let mut shape = match &kind {
        FieldKind::Message(name) => match schema().message(name).filter(|m| m.is_map_entry()) {
            Some(entry) => {
                let value = entry.field("value").map_or(Value::Null, |f| field_schema(f, ""));
                json!({ "type": "object", "additionalProperties": value })
            }
            None if is_repeated(field) => json!({ "type": "array", "items": reference(name) }),
            None => reference(name),
        },
        FieldKind::Enum(name) if is_repeated(field) => {
            json!({ "type": "array", "items": reference(name) })
        }
        FieldKind::Enum(name) => reference(name),
        FieldKind::Scalar(name) if is_repeated(field) => {
            json!({ "type": "array", "items": scalar_schema(name) })
        }
        FieldKind::Scalar(name) => scalar_schema(name),
    };
    if !comment.is_empty() {
        shape["description"] = comment.into();
    }
    shape
}

fn scalar_schema(name: &str) -> Value {
    match name {
        "bool" => json!({ "type": "boolean" }),
        "uint32" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        "int32" => json!({ "type": "integer", "format": "int32" }),
        "uint64" => json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]+$" }),
        "int64" => json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" }),
        "bytes" => json!({ "type": "string", "contentEncoding": "base64" }),
        _ => json!({ "type": "string" }),
    }
}
