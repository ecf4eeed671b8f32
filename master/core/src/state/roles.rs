//! What operators set on roles, and who takes part in each. Shares are the allocator's.

use proffer_types::role::RoleConfig;
use proffer_types::{FrameworkId, RoleName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Default, Debug)]
pub(crate) struct RoleEntry {
    /// What is durable; `None`: never set.
    pub(crate) config: Option<RoleConfig>,
    /// Frameworks that take part in it.
    pub(crate) frameworks: BTreeSet<FrameworkId>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Roles {
    pub(crate) table: BTreeMap<RoleName, RoleEntry>,
    /// What was asked for last, durable or being written: what further calls are checked against (K4).
    pub(crate) asked: BTreeMap<RoleName, RoleConfig>,
}

impl Roles {
    pub(crate) fn entry(&mut self, name: &RoleName) -> &mut RoleEntry {
        self.table.entry(name.clone()).or_default()
    }

    /// The role and all above it, deepest first.
    pub(crate) fn path(name: &RoleName) -> impl Iterator<Item = RoleName> + use<> {
        std::iter::successors(Some(name.clone()), RoleName::parent)
    }

    pub(crate) fn join(&mut self, name: &RoleName, framework: FrameworkId) {
        self.entry(name).frameworks.insert(framework);
    }

    pub(crate) fn leave(&mut self, name: &RoleName, framework: FrameworkId) {
        if let Some(entry) = self.table.get_mut(name) {
            entry.frameworks.remove(&framework);
            if entry.config.is_none() && entry.frameworks.is_empty() {
                self.table.remove(name);
            }
        }
    }
}
