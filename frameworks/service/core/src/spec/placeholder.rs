//! `${…}` in commands, environment and checks: the closed list, and how the names of a file become
//! the variables of a launch.

use super::diagnostic::did_you_mean;
use super::model::PortSpec;
use proffer_types::refusal::excerpt;
use std::collections::BTreeMap;

/// Names in a file and the launch variables behind them.
const META: &[(&str, &str)] = &[
    ("meta.service", "meta.service"),
    ("meta.slot", "meta.slot"),
    ("meta.revision", "meta.revision"),
    ("meta.agent", "agent.name"),
    ("meta.zone", "agent.zone"),
];

/// Checks every placeholder of `text`.
///
/// # Errors
/// Sentence and hint for the first that is not on the list.
pub(super) fn check(
    text: &str,
    ports: &BTreeMap<String, PortSpec>,
) -> Result<(), (String, String)> {
    let names: Vec<String> = ports.keys().cloned().collect();
    check_names(text, &names)
}

/// As [`check`], given the names of the ports.
pub(super) fn check_names(text: &str, ports: &[String]) -> Result<(), (String, String)> {
    walk(text, |name| {
        // Without a dot it is a variable of the file, which was looked up before.
        if !name.contains('.') || META.iter().any(|(known, _)| *known == name) {
            return Ok(String::new());
        }
        let known: Vec<String> = META
            .iter()
            .map(|(known, _)| (*known).to_owned())
            .chain(ports.iter().map(|port| format!("port.{port}")))
            .collect();
        if known.iter().any(|known| known == name) {
            return Ok(String::new());
        }
        let hint = match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean ${{{near}}}?"),
            None => format!("known: {}; a dollar sign is written $$", known.join(", ")),
        };
        Err((format!("${{{}}} is not a placeholder", excerpt(name)), hint))
    })
    .map(drop)
}

/// The text with the names of launch variables, for a template.
#[must_use]
pub(super) fn for_template(text: &str) -> String {
    let renamed = walk(text, |name| {
        let variable = META.iter().find(|(known, _)| *known == name).map_or(name, |(_, v)| v);
        Ok::<_, (String, String)>(format!("${{{variable}}}"))
    });
    renamed.expect("the text was checked when the file was read")
}

/// Text of a field that has no placeholders; `$$` becomes `$`.
///
/// # Errors
/// A sentence when it holds one.
pub(super) fn plain(text: &str) -> Result<String, String> {
    walk(text, |name| {
        Err((
            format!("holds ${{{}}}: placeholders are for command, env and checks", excerpt(name)),
            String::new(),
        ))
    })
    .map(|text| text.replace("$$", "$"))
    .map_err(|(message, _)| message)
}

/// Copies `text` with each placeholder replaced; `$$` is kept as it is.
fn walk(
    text: &str,
    mut replace: impl FnMut(&str) -> Result<String, (String, String)>,
) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push_str("$$");
            rest = after;
        } else if let Some(after) = tail.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| {
                (
                    "holds a \"${\" without a closing '}'".to_owned(),
                    "a dollar sign is written $$".to_owned(),
                )
            })?;
            out.push_str(&replace(name)?);
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_file_become_launch_variables_and_dollars_stay() {
        assert_eq!(
            for_template("$x $$ ${meta.agent}:${port.web}"),
            "$x $$ ${agent.name}:${port.web}"
        );
        assert_eq!(plain("a$$b$c"), Ok("a$b$c".to_owned()));
        assert!(plain("${meta.slot}").is_err());
        let (message, hint) = check("${meta.slt}", &BTreeMap::new()).expect_err("unknown");
        assert!(message.contains("${meta.slt}") && hint.contains("${meta.slot}"), "{hint}");
    }
}
