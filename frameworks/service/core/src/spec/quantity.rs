//! Quantities of a service file as text with units: the stored revision and `get` print what the
//! file accepts.

use proffer_types::DurationMs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of the instances: `25%` or a count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// Hundredths; 0 to 100.
    Percent(u32),
    /// So many.
    Count(u32),
}

impl Amount {
    /// How many of `count` that is; a fraction counts as a whole one.
    #[must_use]
    pub fn of(self, count: u32) -> u32 {
        match self {
            Self::Percent(percent) => {
                let product = u64::from(count) * u64::from(percent.min(100));
                u32::try_from(product.div_ceil(100)).expect("at most `count`")
            }
            Self::Count(number) => number,
        }
    }

    /// Reads `25%` or `3`.
    ///
    /// # Errors
    /// A sentence without the field's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = |text: &str| -> Option<u32> {
            (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
                .then(|| text.parse().ok())
                .flatten()
        };
        let excerpt = proffer_types::refusal::excerpt(text);
        match text.strip_suffix('%') {
            Some(percent) => digits(percent)
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| format!("{excerpt:?} is not a whole percentage from 0% to 100%")),
            None => digits(text)
                .map(Self::Count)
                .ok_or_else(|| format!("{excerpt:?} is not a count or a percentage such as 25%")),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}
impl TryFrom<String> for Amount {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}
impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

/// Time until something happens, or never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wait {
    /// After this long.
    For(DurationMs),
    /// Not at all.
    Never,
}

impl Wait {
    /// Reads `60s` or `never`.
    ///
    /// # Errors
    /// A sentence without the field's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            _ => DurationMs::parse(text).map(Self::For).map_err(|why| format!("{why}, or never")),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(span) => span.fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}
impl TryFrom<String> for Wait {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}
impl From<Wait> for String {
    fn from(wait: Wait) -> Self {
        wait.to_string()
    }
}

/// Serde of a quantity of `proffer-types` as text with its unit.
macro_rules! as_text {
    ($module:ident, $type:ty) => {
        /// Serde of the quantity as text with its unit.
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            /// Writes the text.
            ///
            /// # Errors
            /// Those of the serializer.
            pub fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(value)
            }

            /// Reads the text.
            ///
            /// # Errors
            /// When the text is not the quantity.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                <$type>::parse(&String::deserialize(from)?).map_err(D::Error::custom)
            }
        }
    };
}
as_text!(span, proffer_types::DurationMs);
as_text!(size, proffer_types::Bytes);
as_text!(cores, proffer_types::Milli);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The rounding trap of two incumbents: a part is rounded up, never truncated, never
        /// above the whole, and never zero unless it says zero.
        #[test]
        fn a_percentage_is_rounded_up(count in 0u32..=200, percent in 0u32..=100) {
            let part = Amount::Percent(percent).of(count);
            prop_assert!(part <= count);
            prop_assert!(u64::from(part) * 100 >= u64::from(count) * u64::from(percent));
            prop_assert_eq!(part == 0, count == 0 || percent == 0);
            prop_assert!(part == 0 || u64::from(part - 1) * 100 < u64::from(count) * u64::from(percent));
        }
    }

    #[test]
    fn amounts_and_waits_read_back() {
        for text in ["25%", "0%", "100%", "3", "0"] {
            assert_eq!(Amount::parse(text).expect(text).to_string(), text);
        }
        for bad in ["101%", "-1", "2.5%", "%", "", "25 %", "99999999999"] {
            assert!(Amount::parse(bad).is_err(), "{bad}");
        }
        for text in ["never", "1m"] {
            assert_eq!(Wait::parse(text).expect(text).to_string(), text);
        }
        assert!(Wait::parse("60").is_err());
    }
}
