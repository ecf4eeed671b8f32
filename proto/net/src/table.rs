//! Owns which call needs which right: a table from method and path to a verb on an object. What is not
//! in it is denied. Pure.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use proffer_types::rights::{Access, Object, Verb};

/// One line of the table, for lists and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The HTTP method; gRPC calls are POST.
    pub method: Method,
    /// A path with `{name}` for one segment and, at the end, `{*name}` for any number.
    pub pattern: String,
    /// What it needs.
    pub access: Access,
}

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Paths without placeholders.
    exact: BTreeMap<String, Vec<(Method, Access)>>,
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    method: Method,
    text: String,
    segments: Vec<Segment>,
    access: Access,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    One,
    Rest,
}

impl RouteTable {
    /// Adds a line.
    ///
    /// # Panics
    /// If the same method and pattern are there already: that is a mistake in the program.
    pub fn add(&mut self, method: Method, pattern: &str, access: Access) {
        let known = self.rules().any(|rule| rule.method == method && rule.pattern == pattern);
        assert!(!known, "{method} {pattern} is in the table twice");
        if pattern.contains('{') {
            let segments = pattern.split('/').map(segment).collect();
            self.patterns.push(Pattern { method, text: pattern.to_owned(), segments, access });
        } else {
            self.exact.entry(pattern.to_owned()).or_default().push((method, access));
        }
    }

    /// What a call needs; `None` if it is not in the table. `HEAD` needs what `GET` does.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<(Verb, Object)> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let exact = self.exact.get(path).into_iter().flatten().find(|(m, _)| m == method);
        if let Some((_, access)) = exact {
            return Some((access.verb, Object { kind: access.kind, name: None }));
        }
        self.patterns.iter().filter(|pattern| pattern.method == *method).find_map(|pattern| {
            let name = matched(&pattern.segments, path)?.map(str::to_owned);
            Some((pattern.access.verb, Object { kind: pattern.access.kind, name }))
        })
    }

    /// The methods that a path answers to, as the header `allow` lists them; `None` when it answers to
    /// none.
    #[must_use]
    pub fn allowed(&self, path: &str) -> Option<String> {
        let exact = self.exact.get(path).into_iter().flatten().map(|(method, _)| method);
        let fits = |pattern: &&Pattern| matched(&pattern.segments, path).is_some();
        let patterns = self.patterns.iter().filter(fits).map(|pattern| &pattern.method);
        let mut names: BTreeSet<&str> = exact.chain(patterns).map(Method::as_str).collect();
        if names.contains("GET") {
            names.insert("HEAD");
        }
        let names: Vec<&str> = names.into_iter().collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// All lines.
    pub fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        let exact = self.exact.iter().flat_map(|(pattern, methods)| {
            methods.iter().map(move |(method, access)| Rule {
                method: method.clone(),
                pattern: pattern.clone(),
                access: *access,
            })
        });
        exact.chain(self.patterns.iter().map(|pattern| Rule {
            method: pattern.method.clone(),
            pattern: pattern.text.clone(),
            access: pattern.access,
        }))
    }

    /// Takes in the lines of another table.
    pub fn extend(&mut self, other: &Self) {
        for rule in other.rules() {
            self.add(rule.method, &rule.pattern, rule.access);
        }
    }
}

fn segment(text: &str) -> Segment {
    if text.starts_with("{*") && text.ends_with('}') {
        Segment::Rest
    } else if text.starts_with('{') && text.ends_with('}') {
        Segment::One
    } else {
        Segment::Text(text.to_owned())
    }
}

/// `None` if the path does not match; else the first placeholder's text, if there is one.
fn matched<'a>(segments: &[Segment], path: &'a str) -> Option<Option<&'a str>> {
    let mut name = None;
    let mut rest = path.split('/');
    for segment in segments {
        match segment {
            Segment::Text(text) if rest.next()? == text => {}
            Segment::Text(_) => return None,
            Segment::One => {
                let found = rest.next().filter(|found| !found.is_empty())?;
                name = name.or(Some(found));
            }
            Segment::Rest => {
                rest.next().filter(|found| !found.is_empty())?;
                return Some(name);
            }
        }
    }
    rest.next().is_none().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::rights::ObjectKind;

    fn table() -> RouteTable {
        let mut table = RouteTable::default();
        let read = |kind| Access::new(Verb::Read, kind);
        table.add(Method::GET, "/v1/agents", read(ObjectKind::Agent));
        table.add(Method::GET, "/v1/agents/{id}", read(ObjectKind::Agent));
        table.add(
            Method::POST,
            "/v1/agents/{id}/drain",
            Access::new(Verb::Drain, ObjectKind::Agent),
        );
        table.add(Method::GET, "/v1/tasks/{id}/files/{*path}", read(ObjectKind::Sandbox));
        table
    }

    fn find(method: &Method, path: &str) -> Option<String> {
        table().find(method, path).map(|(verb, object)| format!("{verb:?} {object}"))
    }

    #[test]
    fn paths_name_a_verb_and_an_object() {
        assert_eq!(find(&Method::GET, "/v1/agents").as_deref(), Some("Read agent"));
        assert_eq!(find(&Method::HEAD, "/v1/agents/a7").as_deref(), Some("Read agent a7"));
        assert_eq!(find(&Method::POST, "/v1/agents/a7/drain").as_deref(), Some("Drain agent a7"));
        let files = find(&Method::GET, "/v1/tasks/t/files/a/b/c");
        assert_eq!(files.as_deref(), Some("Read sandbox t"));
    }

    #[test]
    fn a_path_says_which_methods_it_answers_to() {
        let allowed = |path| table().allowed(path);
        assert_eq!(allowed("/v1/agents").as_deref(), Some("GET, HEAD"));
        assert_eq!(allowed("/v1/agents/a7/drain").as_deref(), Some("POST"));
        assert_eq!(allowed("/v1/agents/"), None);
    }

    #[test]
    fn k20_what_is_not_in_the_table_has_no_right() {
        for path in ["/v1/agents/", "/v1/agents//", "/v1/agents/a/b", "/v1", "//v1/agents", "/", ""]
        {
            assert_eq!(find(&Method::GET, path), None, "{path}");
        }
        assert_eq!(find(&Method::POST, "/v1/agents"), None);
        assert_eq!(find(&Method::GET, "/v1/agents/a7/drain"), None);
        assert_eq!(find(&Method::GET, "/v1/tasks/t/files/"), None);
    }
}
