//! Amounts by resource name, where zero is something else than nothing said: the guarantee and the
//! limit of a role.

use crate::refusal::excerpt;
use crate::resources::{Quantity, ResourceError, ResourceName, parse_entry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Scalars by name, in the units of [`crate::Resources`]. Zero counts: a limit of `gpus:0` forbids gpus.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(ResourceName, u64)>", into = "Vec<(ResourceName, u64)>")]
pub struct Quantities(BTreeMap<ResourceName, u64>);

impl Quantities {
    /// Names nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is said of `name`.
    #[must_use]
    pub fn get(&self, name: &ResourceName) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Names `name`; `false`, and nothing is changed, when it is named already.
    pub fn insert(&mut self, name: ResourceName, value: u64) -> bool {
        let is_new = !self.0.contains_key(&name);
        if is_new {
            self.0.insert(name, value);
        }
        is_new
    }

    /// Ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, u64)> {
        self.0.iter().map(|(name, value)| (name, *value))
    }

    /// Each sum at most 2^64 − 1.
    #[must_use]
    pub fn saturating_add(mut self, other: &Self) -> Self {
        for (name, value) in other.iter() {
            let have = self.0.entry(name.clone()).or_default();
            *have = have.saturating_add(value);
        }
        self
    }

    /// The first name of `self` with more than `other` has of it, where that names it.
    #[must_use]
    pub fn first_above(&self, other: &Self) -> Option<&ResourceName> {
        self.0.iter().find_map(|(name, value)| {
            other.get(name).is_some_and(|most| *value > most).then_some(name)
        })
    }
}

impl TryFrom<Vec<(ResourceName, u64)>> for Quantities {
    type Error = ResourceError;
    fn try_from(list: Vec<(ResourceName, u64)>) -> Result<Self, ResourceError> {
        let mut quantities = Self::new();
        for (name, value) in list {
            if !quantities.insert(name.clone(), value) {
                return Err(twice(&name));
            }
        }
        Ok(quantities)
    }
}
impl From<Quantities> for Vec<(ResourceName, u64)> {
    fn from(quantities: Quantities) -> Self {
        quantities.0.into_iter().collect()
    }
}

fn twice(name: &ResourceName) -> ResourceError {
    ResourceError::Syntax { text: name.to_string(), why: "is named twice".to_owned() }
}

impl fmt::Display for Quantities {
    /// `cpus:9;mem:18GiB;gpus:0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index > 0 { ";" } else { "" };
            write!(f, "{separator}{name}:{}", name.display_scalar(*value))?;
        }
        Ok(())
    }
}
impl fmt::Debug for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Quantities {
    type Err = ResourceError;

    /// Reads `cpus:9;mem:18GiB;gpus:0`.
    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let mut quantities = Self::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong =
                |why: &str| ResourceError::Syntax { text: excerpt(part), why: why.to_owned() };
            let entry = parse_entry(part)?;
            let Quantity::Scalar(value) = entry.quantity else {
                return Err(wrong("is not a scalar such as cpus:4 or mem:8GiB"));
            };
            if !entry.key.is_plain() {
                return Err(wrong("carries a role or a mark, which has no place here"));
            }
            if !quantities.insert(entry.key.name.clone(), value) {
                return Err(twice(&entry.key.name));
            }
        }
        Ok(quantities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_kept_and_text_and_json_read_back() {
        let text = "cpus:1.5;mem:2GiB;gpus:0";
        let quantities: Quantities = text.parse().expect("valid");
        assert_eq!(quantities.get(&ResourceName::Gpus), Some(0));
        assert_eq!(quantities.get(&ResourceName::Disk), None);
        assert_eq!(quantities.to_string(), text);
        let json = serde_json::to_string(&quantities).expect("plain data");
        assert_eq!(serde_json::from_str::<Quantities>(&json).expect("reads back"), quantities);
        assert_eq!(serde_json::to_string(&Quantities::new()).expect("plain data"), "[]");
    }

    #[test]
    fn what_is_no_plain_scalar_is_refused_by_name() {
        for (text, part) in [
            ("ports:[1-2]", "ports:[1-2]"),
            ("cpus(eng):1", "cpus(eng):1"),
            ("cpus:1;cpus:2", "cpus"),
            ("cpus", "cpus"),
            ("mem:x", "mem:x"),
        ] {
            let error = text.parse::<Quantities>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{part:?}")), "{error}");
        }
    }

    #[test]
    fn the_first_name_above_is_found_among_those_that_both_name() {
        let (some, limit): (Quantities, Quantities) =
            ("cpus:4;mem:9GiB".parse().expect("valid"), "mem:8GiB;gpus:0".parse().expect("valid"));
        assert_eq!(some.first_above(&limit), Some(&ResourceName::Mem));
        assert_eq!(limit.first_above(&some), None);
    }
}
