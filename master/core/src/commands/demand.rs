//! What a framework wants, whole: groups that are not named end (K10).

use crate::master::Master;
use crate::state::changes::RowKey;
use proffer_allocator::Delta;
use proffer_types::demand::DemandGroup;
use proffer_types::{DemandKey, FrameworkId, GroupName, Refusal, RefusalCode};
use std::collections::BTreeMap;

impl Master {
    pub(crate) fn demand(&mut self, framework: FrameworkId, groups: Vec<DemandGroup>) {
        match self.check(|master| master.check_demand(framework, groups)) {
            Err(refusal) => self.refuse_call(framework, "demand", refusal),
            Ok(groups) => self.set_demand(framework, groups),
        }
    }

    fn check_demand(
        &self,
        framework: FrameworkId,
        groups: Vec<DemandGroup>,
    ) -> Result<BTreeMap<GroupName, DemandGroup>, Refusal> {
        let entry = self.frameworks.get(framework).ok_or_else(|| {
            Refusal::new(RefusalCode::Removed, "framework", "the framework is not known")
        })?;
        if groups.len() > DemandGroup::GROUPS_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "groups",
                format!("more than {} groups", DemandGroup::GROUPS_MAX),
            ));
        }
        let mut checked = BTreeMap::new();
        for (index, group) in groups.into_iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format!("groups[{index}]"));
            group.validate().map_err(within)?;
            if !entry.record.info.roles.contains(&group.role) {
                return Err(within(Refusal::new(
                    RefusalCode::InvalidArgument,
                    "role",
                    format!("the framework has not subscribed with role {}", group.role),
                )));
            }
            let current = entry.demand.get(&group.name).map(|group| group.generation);
            if let Some(current) = current.filter(|current| group.generation < *current) {
                return Err(within(Refusal::new(
                    RefusalCode::StaleEpoch,
                    "generation",
                    format!("{} is older than {current}", group.generation),
                )));
            }
            let name = group.name.clone();
            if checked.insert(name.clone(), group).is_some() {
                return Err(within(Refusal::new(
                    RefusalCode::AlreadyExists,
                    "name",
                    format!("{name} is named twice"),
                )));
            }
        }
        Ok(checked)
    }

    fn set_demand(&mut self, framework: FrameworkId, groups: BTreeMap<GroupName, DemandGroup>) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let ended = entry.demand.keys().filter(|name| !groups.contains_key(*name));
        let changed = groups.iter().filter(|(name, group)| entry.demand.get(*name) != Some(*group));
        let touched: Vec<GroupName> = ended.chain(changed.map(|(name, _)| name)).cloned().collect();
        entry.waiting_since.retain(|name, _| groups.contains_key(name));
        entry.demand = groups;
        entry.states_demand = true;
        self.sync_demand(framework);
        for group in touched {
            self.row(RowKey::Demand(DemandKey { framework, group }));
        }
    }

    /// Forgets what a framework stated; the caller tells the allocator.
    pub(crate) fn forget_demand(&mut self, framework: FrameworkId) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        entry.waiting_since.clear();
        for group in std::mem::take(&mut entry.demand).into_keys() {
            self.row(RowKey::Demand(DemandKey { framework, group }));
        }
    }

    /// A framework that states demand gets what it wants; classical offers only when it wants nothing
    /// and has asked for offers by a revival.
    pub(crate) fn sync_demand(&mut self, framework: FrameworkId) {
        let Some(entry) = self.frameworks.get(framework) else { return };
        let classical = !entry.states_demand || (entry.revived && entry.demand.is_empty());
        let groups = (!classical).then(|| entry.demand.values().cloned().collect());
        self.tell_allocator(Delta::Demand { framework, groups });
    }
}
