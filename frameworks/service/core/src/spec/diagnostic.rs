//! What is wrong with a service file: field path, place, sentence, hint.

use super::node::Mark;
use proffer_types::{Refusal, RefusalCode};
use std::fmt;

/// One fault of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// `invalid_argument` or `not_supported`.
    pub code: RefusalCode,
    /// Field path, such as `services.web.checks.ready.interval`.
    pub field: String,
    /// Where in the text.
    pub mark: Mark,
    /// One sentence: lower case, no full stop.
    pub message: String,
    /// What to do, or empty.
    pub hint: String,
}

impl Diagnostic {
    /// A fault without a hint.
    #[must_use]
    pub fn new(field: impl Into<String>, mark: Mark, message: impl Into<String>) -> Self {
        Self {
            code: RefusalCode::InvalidArgument,
            field: field.into(),
            mark,
            message: message.into(),
            hint: String::new(),
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same as something that a later version will do.
    #[must_use]
    pub fn later(mut self) -> Self {
        self.code = RefusalCode::NotSupported;
        self
    }

    /// As an answer to a call.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let message = if self.mark.line == 0 {
            self.message.clone()
        } else {
            format!("{} (line {}, column {})", self.message, self.mark.line, self.mark.column)
        };
        Refusal::new(self.code, self.field.clone(), message).hint(self.hint.clone())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mark.line > 0 {
            write!(f, "{}:{}: ", self.mark.line, self.mark.column)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// The known word that `word` was probably meant to be.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits between two words; a swap of neighbours is one. Longer words than any field's are not
/// compared, which bounds the work on hostile input.
fn distance(left: &str, right: &str) -> usize {
    const CHARS_MAX: usize = 64;
    let left: Vec<char> = left.chars().take(CHARS_MAX + 1).collect();
    let right: Vec<char> = right.chars().take(CHARS_MAX + 1).collect();
    if left.len() > CHARS_MAX || right.len() > CHARS_MAX {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let change = rows[i][j] + usize::from(a != b);
            let mut best = change.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_not() {
        let known = ["instances", "command", "checks", "stop"];
        assert_eq!(did_you_mean("instnaces", known), Some("instances"));
        assert_eq!(did_you_mean("check", known), Some("checks"));
        assert_eq!(did_you_mean("volumes", known), None);
        assert_eq!(did_you_mean(&"x".repeat(100_000), known), None);
    }
}
