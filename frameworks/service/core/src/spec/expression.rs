//! Placement expressions: `zone in (a, b)`, `attr.disk != hdd`, `attr.gpu exists`, `attr.rack matches r[0-9]+`.

use proffer_types::refusal::excerpt;
use proffer_types::{Constraint, ConstraintRule, Pattern, Refusal, RefusalCode};
use std::collections::BTreeSet;

/// Attributes that are written without `attr.`.
const BUILT_IN: [&str; 3] = ["zone", "region", "hostname"];

/// Reads one expression.
///
/// # Errors
/// A refusal whose message says what is wrong; the field is the caller's.
pub fn parse(text: &str) -> Result<Constraint, Refusal> {
    let malformed = || {
        let message = format!("{:?} is not an expression", excerpt(text));
        Refusal::new(RefusalCode::InvalidArgument, "", message).hint(
            "such as: zone == a, zone in (a, b), attr.disk != hdd, attr.gpu exists, \
             attr.rack matches r[0-9]+",
        )
    };
    let text_trimmed = text.trim();
    let end = text_trimmed
        .find(|c: char| c.is_whitespace() || matches!(c, '=' | '!' | '<' | '>' | '('))
        .unwrap_or(text_trimmed.len());
    let (name, rest) = text_trimmed.split_at(end);
    let rest = rest.trim();
    let rule = if rest == "exists" {
        ConstraintRule::Exists
    } else if rest == "absent" {
        ConstraintRule::Absent
    } else if let Some(value) = rest.strip_prefix("==") {
        ConstraintRule::In(BTreeSet::from([word(value).ok_or_else(malformed)?]))
    } else if let Some(value) = rest.strip_prefix("!=") {
        ConstraintRule::NotIn(BTreeSet::from([word(value).ok_or_else(malformed)?]))
    } else if let Some(list) = rest.strip_prefix("in").filter(|rest| is_list(rest)) {
        ConstraintRule::In(words(list).ok_or_else(malformed)?)
    } else if let Some(list) = rest.strip_prefix("not in").filter(|rest| is_list(rest)) {
        ConstraintRule::NotIn(words(list).ok_or_else(malformed)?)
    } else if let Some(pattern) = rest.strip_prefix("matches ") {
        ConstraintRule::Matches(Pattern::new(pattern.trim())?)
    } else if let Some(pattern) = rest.strip_prefix("not matches ") {
        ConstraintRule::NotMatches(Pattern::new(pattern.trim())?)
    } else if rest.starts_with(['<', '>', '~']) {
        let message = format!("{:?}: comparisons are not yet supported", excerpt(text));
        return Err(Refusal::new(RefusalCode::NotSupported, "", message)
            .hint("==, !=, in, not in, matches, not matches, exists, absent are"));
    } else {
        return Err(malformed());
    };
    Ok(Constraint { attribute: attribute(name)?, rule })
}

fn attribute(name: &str) -> Result<String, Refusal> {
    if BUILT_IN.contains(&name) {
        return Ok(name.to_owned());
    }
    name.strip_prefix("attr.").filter(|name| !name.is_empty()).map(str::to_owned).ok_or_else(|| {
        let message = format!("{:?} is not an attribute", excerpt(name));
        Refusal::new(RefusalCode::InvalidArgument, "", message)
            .hint(format!("{}, or attr.NAME", BUILT_IN.join(", ")))
    })
}

fn is_list(rest: &str) -> bool {
    rest.trim_start().starts_with('(')
}

fn words(list: &str) -> Option<BTreeSet<String>> {
    list.trim().strip_prefix('(')?.strip_suffix(')')?.split(',').map(word).collect()
}

fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':');
    (!text.is_empty() && text.bytes().all(allowed)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_constraints() {
        for (text, meaning) in [
            ("zone in (a, b)", "zone in (a, b)"),
            ("zone==a", "zone in (a)"),
            ("attr.disk != hdd", "disk not in (hdd)"),
            ("attr.disk not in (hdd,tape)", "disk not in (hdd, tape)"),
            ("attr.gpu exists", "gpu exists"),
            ("hostname absent", "hostname absent"),
            ("hostname matches db-[0-9]+(|-old)", "hostname matches db-[0-9]+(|-old)"),
            ("attr.rack not matches (a|b).*", "rack does not match (a|b).*"),
        ] {
            assert_eq!(parse(text).expect(text).describe(), meaning);
        }
        for bad in [
            "",
            "zone",
            "zone = a",
            "zone in a",
            "zone in (a b)",
            "disk == x",
            "attr. == x",
            "zone matches",
            "zone matches (",
            "zone not matches [z-a]",
        ] {
            assert_eq!(parse(bad).expect_err(bad).code, RefusalCode::InvalidArgument, "{bad}");
        }
        let later = parse("attr.kernel >= 5.10").expect_err("later");
        assert_eq!(later.code, RefusalCode::NotSupported);
    }
}
