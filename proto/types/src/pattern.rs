//! A regular expression of bounded size for texts of bounded length. One that is in use is compiled
//! once, however often it is said.

use crate::refusal::{Refusal, RefusalCode, excerpt};
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A checked pattern. It matches a text when it matches all of it. Letters, digits and classes such as
/// `\d` are ASCII; other characters stand for themselves. Cloning is cheap.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: String,
    regex: Regex,
}

/// What is compiled and in use, by text. Only a memory of a pure function: nothing depends on it but
/// time.
static IN_USE: Mutex<BTreeMap<String, Weak<Compiled>>> = Mutex::new(BTreeMap::new());

impl Pattern {
    /// Longest pattern.
    pub const BYTES_MAX: usize = 256;
    /// Largest compiled form: enough for four host labels of 63 letters each, and matched with the
    /// longest text within a millisecond or so.
    pub const COMPILED_BYTES_MAX: usize = 64 << 10;
    /// No longer text matches any pattern.
    pub const TEXT_BYTES_MAX: usize = 1024;
    /// Most different patterns in one call.
    pub const DISTINCT_MAX: usize = 64;

    /// Checks and compiles a pattern.
    ///
    /// # Errors
    /// It is empty, too long, malformed, or too large when compiled. The field is the caller's.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, "", message));
        if text.is_empty() {
            return refuse(RefusalCode::InvalidArgument, "is an empty pattern".to_owned());
        }
        if text.len() > Self::BYTES_MAX {
            let message = format!("is a pattern of more than {} bytes", Self::BYTES_MAX);
            return refuse(RefusalCode::BudgetExceeded, message);
        }
        if let Some(known) = in_use().get(text).and_then(Weak::upgrade) {
            return Ok(Self(known));
        }
        // By itself first, so that no parenthesis of it can close the one around it.
        let regex = compile(text).and_then(|_| compile(&format!(r"\A(?:{text})\z")));
        let regex = match regex {
            Ok(regex) => regex,
            Err(regex::Error::CompiledTooBig(_)) => {
                let message = format!("pattern {:?} is too large when compiled", excerpt(text));
                return refuse(RefusalCode::BudgetExceeded, message);
            }
            Err(error) => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default();
                let why = why.strip_prefix("error: ").unwrap_or(why);
                let message = format!("{:?} is not a pattern: {why}", excerpt(text));
                return refuse(RefusalCode::InvalidArgument, message);
            }
        };
        let compiled = Arc::new(Compiled { text: text.to_owned(), regex });
        let mut all = in_use();
        all.retain(|_, known| known.strong_count() > 0);
        all.insert(text.to_owned(), Arc::downgrade(&compiled));
        Ok(Self(compiled))
    }

    /// What was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        text.len() <= Self::TEXT_BYTES_MAX && self.0.regex.is_match(text.as_bytes())
    }
}

fn in_use() -> std::sync::MutexGuard<'static, BTreeMap<String, Weak<Compiled>>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .unicode(false)
        .nest_limit(32)
        .size_limit(Pattern::COMPILED_BYTES_MAX)
        .dfa_size_limit(Pattern::COMPILED_BYTES_MAX)
        .build()
}

impl std::str::FromStr for Pattern {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::new(text)
    }
}
impl TryFrom<String> for Pattern {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::new(&text)
    }
}
impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}
impl Eq for Pattern {}
impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}
impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect(text)
    }

    #[test]
    fn all_of_the_text_has_to_match() {
        for (text, good, bad) in [
            (r"rack-\d{1,3}", "rack-17", "rack-1234"),
            ("a|ab", "ab", "abc"),
            ("(?m)^a$", "a", "a\na"),
            ("(?i)eu-.*", "EU-west", "us-east"),
            ("é+", "éé", "e"),
            (r"(?:[a-z0-9]{1,63}\.){1,4}example\.com", "a.b.example.com", "example.com"),
        ] {
            assert!(pattern(text).matches(good), "{text} {good}");
            assert!(!pattern(text).matches(bad), "{text} {bad}");
        }
        assert!(!pattern(".*").matches(&"a".repeat(Pattern::TEXT_BYTES_MAX + 1)));
    }

    #[test]
    fn i15_what_is_malformed_or_too_large_is_refused() {
        for text in ["", "(", "a)|(?:b", r"\p{L}", "[z-a]", "(?x)a # b", r"(a)\1"] {
            let refusal = Pattern::new(text).expect_err(text);
            assert_eq!(refusal.code, RefusalCode::InvalidArgument, "{text}: {refusal}");
            assert!(!refusal.message.contains('\n'), "{refusal}");
        }
        let long = "a".repeat(Pattern::BYTES_MAX + 1);
        for text in ["a{0,10000}", "((a{99}){99}){99}", long.as_str()] {
            let refusal = Pattern::new(text).expect_err(text);
            assert_eq!(refusal.code, RefusalCode::BudgetExceeded, "{text}: {refusal}");
        }
    }

    #[test]
    fn one_in_use_is_compiled_once_and_forgotten_with_its_last_user() {
        let one = pattern("only-here-[0-9]");
        assert!(Arc::ptr_eq(&one.0, &pattern("only-here-[0-9]").0));
        drop(one);
        let _other = pattern("another-[0-9]");
        assert!(!in_use().contains_key("only-here-[0-9]"));
    }

    proptest! {
        #[test]
        fn i15_no_pattern_panics(text in ".{0,40}", value in ".{0,40}") {
            if let Ok(pattern) = Pattern::new(&text) {
                let once = pattern.matches(&value);
                assert_eq!(pattern.matches(&value), once);
            }
        }

        #[test]
        fn a_text_without_signs_matches_itself_alone(text in "[a-z0-9-]{1,20}", other in "[a-z]{1,9}") {
            prop_assert!(pattern(&text).matches(&text));
            prop_assert_eq!(pattern(&text).matches(&other), text == other);
        }
    }
}
