//! Quantities with their unit in the type, and the two readings of time.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Thousandths of a scalar resource: 1500 cpus is one and a half cores.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Milli(pub u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0'))
    }
}

/// A number of bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// The largest binary unit that keeps the number whole, so that the text reads back exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Bytes {
    /// To a tenth of the largest binary unit it fills, as tables show it: `23.5GiB`. Does not read back
    /// exactly.
    #[must_use]
    pub fn rounded(self) -> String {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let Some((unit, shift)) = UNITS.into_iter().find(|(_, shift)| self.0 >> shift > 0) else {
            return self.to_string();
        };
        let tenths = (u128::from(self.0) * 10 + (1 << (shift - 1))) >> shift;
        match (tenths / 10, tenths % 10) {
            (whole, 0) => format!("{whole}{unit}"),
            (whole, tenth) => format!("{whole}.{tenth}{unit}"),
        }
    }

    /// Reads `512MiB`, `2Gi`, `18GB`, `100B`. A bare number is refused: a quantity has its unit.
    ///
    /// # Errors
    /// A sentence without the field's name, for the caller to complete.
    pub fn parse(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 13] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
            ("KB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("B", 1),
        ];
        let text = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim(), *factor)))
            .ok_or_else(|| {
                format!("{:?} needs a unit such as MiB or GiB", crate::refusal::excerpt(text))
            })?;
        let milli = parse_milli(number).ok_or_else(|| {
            format!("{:?} is not a number of bytes", crate::refusal::excerpt(text))
        })?;
        u64::try_from(milli * u128::from(factor) / 1000)
            .map(Self)
            .map_err(|_| format!("{:?} is more than 2^64 bytes", crate::refusal::excerpt(text)))
    }
}

impl Milli {
    /// Reads `2`, `0.5`, `1.125`; at most three decimals.
    ///
    /// # Errors
    /// A sentence without the field's name, for the caller to complete.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_milli(text.trim()).and_then(|milli| u64::try_from(milli).ok()).map(Self).ok_or_else(
            || {
                format!(
                    "{:?} is not a number with at most three decimals",
                    crate::refusal::excerpt(text)
                )
            },
        )
    }
}

/// Thousandths; 128 bits wide, since 2^64 bytes are a legal number of them.
fn parse_milli(text: &str) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || whole.is_empty() || (text.contains('.') && part.is_empty()) {
        return None;
    }
    if !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u128 = if part.is_empty() { 0 } else { format!("{part:0<3}").parse().ok()? };
    Some(u128::from(whole.parse::<u64>().ok()?) * 1000 + thousandths)
}

/// A span of time in milliseconds.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DurationMs(pub u64);

impl DurationMs {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Reads `200ms`, `10s`, `5m`, `1h`, `2d`. A bare number is refused.
    ///
    /// # Errors
    /// A sentence without the field's name, for the caller to complete.
    pub fn parse(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 5] =
            [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let text = text.trim();
        let wrong = || {
            format!(
                "{:?} is not a duration such as 200ms, 10s, 5m, 1h",
                crate::refusal::excerpt(text)
            )
        };
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .ok_or_else(wrong)?;
        let milli = parse_milli(number).ok_or_else(wrong)?;
        u64::try_from(milli * u128::from(factor) / 1000).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "0s"),
            ms if ms % 86_400_000 == 0 => write!(f, "{}d", ms / 86_400_000),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

/// A reading of a clock that never goes back, in milliseconds since an arbitrary start. For
/// deadlines only; meaningless on another machine.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The moment `span` later; the end of time when that overflows.
    #[must_use]
    pub const fn after(self, span: DurationMs) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Monotonic) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since 1970-01-01 UTC. For records only; no decision depends on it (I14).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub u64);

/// The two readings that every `apply` is given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Monotonic,
    /// For records.
    pub wall: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_bytes_keep_a_tenth_of_the_largest_unit() {
        let rounded = |bytes: u64| Bytes(bytes).rounded();
        assert_eq!(rounded(24_684_092 << 10), "23.5GiB");
        assert_eq!([rounded(0), rounded(1023), rounded(1536)], ["0B", "1023B", "1.5KiB"]);
        assert_eq!([rounded(2 << 30), rounded(u64::MAX)], ["2GiB", "16777216TiB"]);
    }

    #[test]
    fn quantities_need_their_unit_and_read_back() {
        assert_eq!(Bytes::parse("18GB"), Ok(Bytes(18_000_000_000)));
        assert_eq!(Bytes::parse("1.5GiB"), Ok(Bytes(3 << 29)));
        assert_eq!(Bytes::parse("512Mi"), Ok(Bytes(512 << 20)));
        for bad in ["512", "", "x", "-1MiB", "1.MiB", "99999999999TiB", "1e3MB"] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
        for bytes in [0, 1, 1000, 1 << 20, (1 << 30) + 1, u64::MAX] {
            assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }
        for ms in [0, 1, 999, 1000, 90_000, 86_400_000] {
            assert_eq!(DurationMs::parse(&DurationMs(ms).to_string()), Ok(DurationMs(ms)));
        }
        assert_eq!(Milli::parse("0.125"), Ok(Milli(125)));
        assert_eq!(Milli(1500).to_string(), "1.5");
        assert!(Milli::parse("0.1255").is_err());
        assert!(DurationMs::parse("5").is_err());
    }
}
