//! A role: a place in the tree with a weight, a guarantee and a limit.

use crate::refusal::{Refusal, RefusalCode};
use crate::resources::Resources;
use serde::{Deserialize, Serialize};

/// What operators set on a role. A role without a record has weight 1, no guarantee, no limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoleConfig {
    /// Its part among its siblings, in thousandths; 1000 is the default.
    pub weight_milli: u64,
    /// Kept for it; scalars only. Later versions accept one.
    pub guarantee: Resources,
    /// Never more than this for it and all below it; scalars only. Empty: no limit. Later versions
    /// accept one.
    pub limit: Resources,
}

impl Default for RoleConfig {
    fn default() -> Self {
        Self { weight_milli: 1000, guarantee: Resources::new(), limit: Resources::new() }
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
        for (field, resources) in [("guarantee", &self.guarantee), ("limit", &self.limit)] {
            if !resources.is_empty() {
                return Err(Refusal::new(
                    RefusalCode::NotSupported,
                    field,
                    "is not supported yet; weights are",
                ));
            }
        }
        Ok(())
    }
}
