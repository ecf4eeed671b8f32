//! Makes the request of an rpc out of the parts of an HTTP request: path, query and body.

use crate::descriptor::{FieldKind, Message, is_repeated, schema};
use crate::routes::{Route, Target};
use proffer_types::refusal::excerpt;
use proffer_types::{Refusal, RefusalCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads the request of `route`'s rpc. `path` and `query` hold decoded names and values; a list in
/// the query is given by repeating its name.
///
/// # Errors
/// A refusal that names the parameter and lists the known ones, or says what is wrong in the body.
pub fn read_request<T: DeserializeOwned>(
    route: &Route,
    path: &[(String, String)],
    query: &[(String, String)],
    body: &[u8],
) -> Result<T, Refusal> {
    let Target::Rpc { body: body_field, .. } = route.target else {
        return Err(invalid("path", "is not answered by an rpc"));
    };
    let message = route
        .rpc()
        .and_then(|rpc| schema().message(rpc.request))
        .expect("a test finds the request message of each route");
    let mut fields = Map::new();
    for (name, value) in query {
        let open = |name: &str| !route.parameters().any(|p| p == name) && Some(name) != body_field;
        add_parameter(message, name, value, open, &mut fields)?;
    }
    for (name, value) in path {
        fields.insert(name.clone(), Value::String(value.clone()));
    }
    match body_field {
        Some(field) if !body.is_empty() => {
            let value = serde_json::from_slice::<Value>(body)
                .map_err(|error| invalid("body", format!("is not JSON: {error}")))?;
            fields.insert(field.to_owned(), value);
        }
        None if !body.iter().all(u8::is_ascii_whitespace) && body != b"{}" => {
            return Err(invalid("body", "is not wanted here"));
        }
        Some(_) | None => {}
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| invalid(body_field.map_or("query", |_| "body"), excerpt_long(&error)))
}

fn add_parameter(
    message: &Message,
    name: &str,
    value: &str,
    open: impl Fn(&str) -> bool,
    fields: &mut Map<String, Value>,
) -> Result<(), Refusal> {
    let Some(field) = message.field(name).filter(|field| open(field.name())) else {
        let known = message.descriptor.field.iter().map(prost_types::FieldDescriptorProto::name);
        let known = known.filter(|name| open(name)).collect::<Vec<_>>().join(", ");
        let name = excerpt(name);
        let refusal = invalid(&name, "is not a parameter of this path");
        return Err(if known.is_empty() {
            refusal
        } else {
            refusal.hint(format!("known: {known}"))
        });
    };
    let value = match FieldKind::of(field) {
        FieldKind::Scalar("bool") => match value {
            "true" | "1" | "" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            other => {
                return Err(invalid(name, format!("{:?} is not true or false", excerpt(other))));
            }
        },
        FieldKind::Scalar("uint32" | "uint64") => {
            let number = value
                .parse::<u64>()
                .map_err(|_| invalid(name, format!("{:?} is not a number", excerpt(value))))?;
            Value::from(number)
        }
        FieldKind::Scalar(_) | FieldKind::Enum(_) => Value::String(value.to_owned()),
        FieldKind::Message(_) => return Err(invalid(name, "cannot stand in a query")),
    };
    if is_repeated(field) {
        let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.push(value);
        }
    } else if fields.insert(name.to_owned(), value).is_some() {
        return Err(invalid(name, "is given twice"));
    }
    Ok(())
}

fn invalid(field: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, field, message)
}

/// The error with the list of known fields, but never the whole of what was sent.
fn excerpt_long(error: &serde_json::Error) -> String {
    const CHARS_MAX: usize = 400;
    error.to_string().chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;
    use crate::routes::ROUTES;

    fn route(path: &str) -> &'static Route {
        ROUTES.iter().find(|route| route.path == path).expect(path)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn path_query_and_body_make_one_request() {
        let tasks: pb::ListTasksRequest = read_request(
            route("/v1/tasks"),
            &[],
            &pairs(&[("framework", "f7"), ("page_size", "20"), ("state", "running")]),
            b"",
        )
        .expect("valid");
        assert_eq!((tasks.framework.as_str(), tasks.page_size), ("f7", 20));
        let role: pb::SetRoleRequest = read_request(
            route("/v1/roles/{*role}"),
            &pairs(&[("role", "eng/db")]),
            &[],
            br#"{"weight_milli": 2000}"#,
        )
        .expect("valid");
        assert_eq!(role.role, "eng/db");
        assert_eq!(role.config.expect("given").weight_milli, 2000);
        let watch: pb::WatchRequest = read_request(
            route("/v1/watch"),
            &[],
            &pairs(&[("kinds", "task"), ("kinds", "agent")]),
            b"",
        )
        .expect("valid");
        assert_eq!(watch.kinds, ["task", "agent"]);
    }

    #[test]
    fn what_is_wrong_is_named_and_what_is_known_listed() {
        let refuse = |path: &str, query: &[(&str, &str)], body: &[u8]| {
            read_request::<Value>(route(path), &[], &pairs(query), body).expect_err(path)
        };
        let unknown = refuse("/v1/tasks", &[("colour", "red")], b"");
        assert_eq!(unknown.field, "colour");
        assert!(unknown.hint.contains("page_size") && unknown.hint.contains("state"), "{unknown}");
        assert_eq!(refuse("/v1/tasks", &[("page_size", "many")], b"").field, "page_size");
        assert_eq!(refuse("/v1/tasks", &[("state", "a"), ("state", "b")], b"").field, "state");
        assert_eq!(refuse("/v1/tasks", &[], b"{\"x\":1}").field, "body");
        assert_eq!(refuse("/v1/agents/{id}/drain", &[("id", "a2")], b"").field, "id");
        let body = read_request::<pb::SetRoleRequest>(
            route("/v1/roles/{*role}"),
            &pairs(&[("role", "eng")]),
            &[],
            br#"{"wait": 1}"#,
        )
        .expect_err("unknown field");
        assert!(body.message.contains("wait") && body.message.contains("weight_milli"), "{body}");
    }
}
