//! No more offers for some roles, or offers again. Filters end with a revival.

use crate::master::Master;
use crate::state::changes::RowKey;
use proffer_allocator::Delta;
use proffer_types::{FrameworkId, Refusal, RefusalCode, RoleName};
use std::collections::BTreeSet;

impl Master {
    pub(crate) fn suppress(&mut self, framework: FrameworkId, roles: &BTreeSet<RoleName>) {
        match self.check(|master| master.check_roles(framework, roles)) {
            Err(refusal) => self.refuse_call(framework, "suppress", refusal),
            Ok(roles) => {
                for role in roles {
                    self.set_suppressed(framework, role, true);
                }
            }
        }
    }

    pub(crate) fn revive(&mut self, framework: FrameworkId, roles: &BTreeSet<RoleName>) {
        match self.check(|master| master.check_roles(framework, roles)) {
            Err(refusal) => self.refuse_call(framework, "revive", refusal),
            Ok(named) => {
                for role in &named {
                    self.set_suppressed(framework, role.clone(), false);
                }
                self.tell_allocator(Delta::FiltersCleared { framework, roles: named });
                if let Some(entry) = self.frameworks.get_mut(framework) {
                    entry.revived = true;
                }
                self.sync_demand(framework);
            }
        }
    }

    fn set_suppressed(&mut self, framework: FrameworkId, role: RoleName, suppressed: bool) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let changed = if suppressed {
            entry.suppressed.insert(role.clone())
        } else {
            entry.suppressed.remove(&role)
        };
        if changed && !entry.clogged {
            self.tell_allocator(Delta::Suppressed { framework, role, suppressed });
        }
        self.row(RowKey::Framework(framework));
    }

    /// Holds back all offers of a framework while it is clogged, beside those it suppressed itself
    /// (K15).
    pub(crate) fn set_clogged(&mut self, framework: FrameworkId, clogged: bool) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        entry.clogged = clogged;
        let held_back: Vec<RoleName> =
            entry.record.info.roles.difference(&entry.suppressed).cloned().collect();
        for role in held_back {
            self.tell_allocator(Delta::Suppressed { framework, role, suppressed: clogged });
        }
    }

    /// The roles named, or all of the framework's.
    fn check_roles(
        &self,
        framework: FrameworkId,
        roles: &BTreeSet<RoleName>,
    ) -> Result<BTreeSet<RoleName>, Refusal> {
        let own = self
            .frameworks
            .get(framework)
            .map(|entry| entry.record.info.roles.clone())
            .unwrap_or_default();
        if roles.is_empty() {
            return Ok(own);
        }
        match roles.iter().find(|role| !own.contains(role)) {
            Some(role) => Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "roles",
                format!("the framework has not subscribed with role {role}"),
            )),
            None => Ok(roles.clone()),
        }
    }
}
