//! From a tree to services: every fault is collected, with field path and place.

mod checks;
mod life;
mod placement;
mod resources;

use super::fields;
use super::model::{SCHEMA, SERVICES_MAX, ServiceFile, ServiceName, ServiceSpec};
use super::node::{Mark, Node};
use super::placeholder;
use super::reader::{Faults, Reader};
use super::vars::Vars;
use super::{Diagnostic, validate};
use proffer_types::refusal::excerpt;
use std::collections::BTreeMap;

/// Most faults that are told at once: enough to mend a file, too few to flood a terminal.
const FAULTS_MAX: usize = 100;

/// Reads a document.
///
/// # Errors
/// All faults that were found, in the order of the text; never empty.
pub fn decode(document: &Node) -> Result<ServiceFile, Vec<Diagnostic>> {
    let mut faults = Faults::new();
    let file = read_document(document, &mut faults);
    match file {
        Some(file) if faults.is_empty() => Ok(file),
        _ => {
            faults.sort_by_key(|fault| fault.mark);
            faults.dedup();
            faults.truncate(FAULTS_MAX);
            Err(faults)
        }
    }
}

fn read_document(node: &Node, faults: &mut Faults) -> Option<ServiceFile> {
    let document = Reader::open(node, "", &fields::DOCUMENT, faults)?;
    read_schema(&document, faults);
    let mut vars = Vars::read(&document, faults);
    let labels = document
        .node("defaults")
        .map(|node| vars.apply(node, "defaults", faults))
        .and_then(|node| {
            let reader = Reader::open(&node, "defaults", &fields::DEFAULTS, faults)?;
            Some(plain_map(&reader, "labels", faults))
        })
        .unwrap_or_default();
    let services = Reader::open_free(document.required("services", faults)?, "services", faults)?;
    if services.entries().is_empty() {
        faults.push(Diagnostic::new("services", services.mark(), "names no service"));
    }
    if services.entries().len() > SERVICES_MAX {
        let message = format!("names more than {SERVICES_MAX} services");
        faults.push(Diagnostic::new("services", services.mark(), message).hint("split the file"));
        return None;
    }
    let mut file = ServiceFile::default();
    for entry in services.entries() {
        let path = services.path(&excerpt(&entry.key));
        let node = vars.apply(&entry.value, &path, faults);
        match ServiceName::new(&entry.key) {
            Ok(name) => {
                if let Some(spec) = read_service(&node, &path, &labels, faults) {
                    file.services.insert(name, spec);
                }
            }
            Err(refusal) => faults.push(Diagnostic::new(path, entry.mark, refusal.message)),
        }
    }
    Some(file)
}

fn read_schema(document: &Reader<'_>, faults: &mut Faults) {
    let hint = format!("the first line is: schema: {SCHEMA}");
    match document.node("schema").map(|_| document.text("schema", faults)) {
        None => faults.push(Diagnostic::new("schema", document.mark(), "is required").hint(hint)),
        Some(Some(schema)) if schema != SCHEMA => faults.push(
            Diagnostic::new(
                "schema",
                document.mark_of("schema"),
                format!("{:?} is not known", excerpt(&schema)),
            )
            .hint(hint),
        ),
        Some(_) => {}
    }
}

fn read_service(
    node: &Node,
    path: &str,
    labels: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> Option<ServiceSpec> {
    let reader = Reader::open(node, path, &fields::SERVICE, faults)?;
    let before = faults.len();
    let ports = resources::ports(&reader, faults);
    let (command, env) = (command(&reader, faults), env(&reader, faults));
    let mut all_labels = labels.clone();
    all_labels.extend(plain_map(&reader, "labels", faults));
    let spec = ServiceSpec {
        instances: reader.word_or_count(
            "instances",
            &["per_node"],
            super::model::INSTANCES_MAX,
            faults,
        ),
        command,
        user: plain_text(&reader, "user", faults),
        workdir: absolute_path(&reader, "workdir", faults),
        root: absolute_path(&reader, "root", faults),
        env,
        labels: all_labels,
        resources: resources::resources(&reader, faults),
        checks: checks::checks(&reader, &ports.order, faults),
        ports: ports.by_name,
        stop: life::stop(&reader, faults),
        restart: life::restart(&reader, faults),
        rollout: life::rollout(&reader, faults),
        placement: placement::placement(&reader, faults),
        unreachable: life::unreachable(&reader, faults),
        history: life::history(&reader, faults),
        availability: life::availability(&reader, faults),
        priority: life::priority(&reader, faults),
    };
    check_placeholders(&spec, &reader, faults);
    // Rules over several fields make sense only when each field does.
    if faults.len() == before {
        for fault in validate::service(&spec, spec.instances) {
            let name = fault.field.split(['.', '[']).next().unwrap_or_default().to_owned();
            faults.push(Diagnostic {
                field: super::reader::join(path, &fault.field),
                mark: mark_within(&reader, &fault.field, &name),
                ..fault
            });
        }
    }
    Some(spec)
}

/// The place of `field`, or of the nearest mapping around it that the author wrote.
fn mark_within(reader: &Reader<'_>, field: &str, name: &str) -> Mark {
    let Some(mut node) = reader.node(name) else { return reader.mark() };
    for part in field.split('.').skip(1) {
        let super::node::Value::Map(entries) = &node.value else { break };
        match entries.iter().find(|entry| entry.key == part) {
            Some(entry) => node = &entry.value,
            None => break,
        }
    }
    node.mark
}

fn command(reader: &Reader<'_>, faults: &mut Faults) -> Vec<String> {
    if reader.required("command", faults).is_none() {
        return Vec::new();
    }
    let command = reader.texts("command", faults).unwrap_or_default();
    if command.first().is_none_or(String::is_empty) {
        let fault =
            Diagnostic::new(reader.path("command"), reader.mark_of("command"), "names no program");
        faults.push(fault.hint("a list: [\"/bin/server\", \"--port\", \"${port.web}\"]"));
    }
    command
}

fn env(reader: &Reader<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let env = reader.text_map("env", faults);
    for name in env.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            faults.push(Diagnostic::new(
                super::reader::join(&reader.path("env"), &excerpt(name)),
                reader.mark_of("env"),
                "is not a name of a variable: not empty, without '='",
            ));
        }
    }
    env
}

fn check_placeholders(spec: &ServiceSpec, reader: &Reader<'_>, faults: &mut Faults) {
    let mut check = |field: &str, path: String, text: &str| {
        if let Err((message, hint)) = placeholder::check(text, &spec.ports) {
            faults.push(Diagnostic::new(path, reader.mark_of(field), message).hint(hint));
        }
    };
    for (index, text) in spec.command.iter().enumerate() {
        check("command", reader.path(&format!("command[{index}]")), text);
    }
    for (name, text) in &spec.env {
        check("env", reader.path(&format!("env.{}", excerpt(name))), text);
    }
}

/// Text outside of command, environment and checks: no placeholders there.
fn plain_text(reader: &Reader<'_>, name: &str, faults: &mut Faults) -> Option<String> {
    let text = reader.text(name, faults)?;
    match placeholder::plain(&text) {
        Ok(text) => Some(text),
        Err(why) => {
            faults.push(Diagnostic::new(reader.path(name), reader.mark_of(name), why));
            None
        }
    }
}

fn plain_map(reader: &Reader<'_>, name: &str, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut map = reader.text_map(name, faults);
    for (key, value) in &mut map {
        match placeholder::plain(value) {
            Ok(text) => *value = text,
            Err(why) => faults.push(Diagnostic::new(
                super::reader::join(&reader.path(name), &excerpt(key)),
                reader.mark_of(name),
                why,
            )),
        }
    }
    map
}

fn absolute_path(reader: &Reader<'_>, name: &str, faults: &mut Faults) -> Option<String> {
    let path = plain_text(reader, name, faults)?;
    if path.starts_with('/') && !path.contains('\0') {
        return Some(path);
    }
    let message = format!("{:?} is not an absolute path", excerpt(&path));
    faults.push(Diagnostic::new(reader.path(name), reader.mark_of(name), message));
    None
}

impl Reader<'_> {
    /// A count, or a word that stands for a later feature.
    fn word_or_count(
        &self,
        name: &str,
        later: &[&str],
        max: u32,
        faults: &mut Faults,
    ) -> Option<u32> {
        if let Some(super::node::Value::Text(text)) = self.node(name).map(|node| &node.value)
            && later.contains(&text.as_str())
        {
            let message = format!("{text:?} is not yet supported");
            faults.push(Diagnostic::new(self.path(name), self.mark_of(name), message).later());
            return None;
        }
        self.count_32(name, 0..=max, faults)
    }
}
