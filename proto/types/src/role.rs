//! A role: a place in the tree with a weight, a guarantee and a limit.

use crate::quantities::Quantities;
use crate::refusal::{Refusal, RefusalCode};
use serde::{Deserialize, Serialize};

/// What operators set on a role. A role without a record has weight 1, no guarantee, no limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoleConfig {
    /// Its part among its siblings, in thousandths; 1000 is the default.
    pub weight_milli: u64,
    /// Kept for it and all below it: served first, and as much is kept free of others.
    pub guarantee: Quantities,
    /// Never more than this for it and all below it, reservations and offers included. What is not
    /// named is not limited.
    pub limit: Quantities,
}

impl Default for RoleConfig {
    fn default() -> Self {
        Self { weight_milli: 1000, guarantee: Quantities::new(), limit: Quantities::new() }
    }
}

impl RoleConfig {
    /// Largest weight, so that shares stay exact in 128-bit arithmetic.
    pub const WEIGHT_MILLI_MAX: u64 = 1_000_000_000;

    /// Checks one record alone.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        if self.weight_milli == 0 || self.weight_milli > Self::WEIGHT_MILLI_MAX {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "weight",
                "is above 0 and at most 1000000",
            ));
        }
        if let Some(name) = self.guarantee.first_above(&self.limit) {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "guarantee",
                format!("of {name} is above the limit"),
            ));
        }
        Ok(())
    }
}
