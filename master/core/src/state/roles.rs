//! What operators set on roles, and what each role and all below it use.

use super::tally::Tally;
use proffer_types::role::RoleConfig;
use proffer_types::{FrameworkId, Resources, RoleName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Default, Debug)]
pub(crate) struct RoleEntry {
    /// What is durable; `None`: never set.
    pub(crate) config: Option<RoleConfig>,
    /// Used or held by it and all below it.
    pub(crate) used: Tally,
    /// Frameworks that take part in it.
    pub(crate) frameworks: BTreeSet<FrameworkId>,
}

impl RoleEntry {
    pub(crate) fn is_idle(&self) -> bool {
        self.config.is_none() && self.frameworks.is_empty() && self.used.resources().is_empty()
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Roles {
    pub(crate) table: BTreeMap<RoleName, RoleEntry>,
    /// Roles with a record, those being written included: bounds the registry.
    pub(crate) configured: BTreeSet<RoleName>,
}

impl Roles {
    pub(crate) fn entry(&mut self, name: &RoleName) -> &mut RoleEntry {
        self.table.entry(name.clone()).or_default()
    }

    /// The role and all above it, deepest first.
    pub(crate) fn path(name: &RoleName) -> impl Iterator<Item = RoleName> {
        std::iter::successors(Some(name.clone()), RoleName::parent)
    }

    /// Charges `name` and all above it; returns the roles whose row changed.
    pub(crate) fn charge(&mut self, name: &RoleName, resources: &Resources) -> Vec<RoleName> {
        let path: Vec<_> = Self::path(name).collect();
        for role in &path {
            self.entry(role).used.add(resources);
        }
        path
    }

    pub(crate) fn release(&mut self, name: &RoleName, resources: &Resources) -> Vec<RoleName> {
        let path: Vec<_> = Self::path(name).collect();
        for role in &path {
            self.entry(role).used.subtract(resources);
            if self.table.get(role).is_some_and(RoleEntry::is_idle) {
                self.table.remove(role);
            }
        }
        path
    }
}
