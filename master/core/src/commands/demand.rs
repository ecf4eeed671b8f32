//! What a framework wants, whole: groups that are not named end (K10), and so do those whose deadline has
//! passed. The allocator knows of no deadline: it is told what ends.

use crate::limits;
use crate::master::Master;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use proffer_allocator::Delta;
use proffer_types::demand::{DemandGroup, ExpiredGroup};
use proffer_types::scheduler::Event;
use proffer_types::{DemandKey, FrameworkId, GroupName, Now, Refusal, RefusalCode};
use std::collections::BTreeMap;

impl Master {
    pub(crate) fn demand(&mut self, framework: FrameworkId, groups: Vec<DemandGroup>, now: Now) {
        match self.check(|master| master.check_demand(framework, groups)) {
            Err(refusal) => self.refuse_call(framework, "demand", refusal),
            Ok(groups) => self.set_demand(framework, groups, now),
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

    fn set_demand(
        &mut self,
        framework: FrameworkId,
        groups: BTreeMap<GroupName, DemandGroup>,
        now: Now,
    ) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let ended = entry.demand.keys().filter(|name| !groups.contains_key(*name));
        let changed = groups.iter().filter(|(name, group)| entry.demand.get(*name) != Some(*group));
        let touched: Vec<GroupName> = ended.chain(changed.map(|(name, _)| name)).cloned().collect();
        entry.waiting_since.retain(|name, _| groups.contains_key(name));
        let end = |group: &DemandGroup| Some(now.monotonic.after(group.deadline?));
        let ends = groups.iter().filter_map(|(name, group)| Some((name.clone(), end(group)?)));
        entry.demand_ends = ends.collect();
        entry.demand = groups;
        entry.states_demand = true;
        self.arm_demand(framework);
        self.sync_demand(framework);
        for group in touched {
            self.row(RowKey::Demand(DemandKey { framework, group }));
        }
    }

    /// Sets the timer to the group that is given up next.
    fn arm_demand(&mut self, framework: FrameworkId) {
        let entry = self.frameworks.get(framework);
        match entry.and_then(|entry| entry.demand_ends.values().min()) {
            Some(next) => self.deadlines.set(Deadline::Demand(framework), *next),
            None => self.deadlines.clear(Deadline::Demand(framework)),
        }
    }

    /// Ends the groups whose deadline has passed. What they have, leased or launched, stays.
    pub(crate) fn demand_due(&mut self, framework: FrameworkId, now: Now) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let due = entry.demand_ends.iter().filter(|(_, end)| **end <= now.monotonic);
        let due: Vec<GroupName> = due.map(|(name, _)| name.clone()).collect();
        let mut groups = Vec::with_capacity(due.len());
        for name in &due {
            entry.demand_ends.remove(name);
            entry.waiting_since.remove(name);
            if let Some(group) = entry.demand.remove(name) {
                let unmet = self.allocator.unmet(framework, name);
                let generation = group.generation;
                groups.push(ExpiredGroup { name: name.clone(), generation, unmet });
            }
        }
        self.arm_demand(framework);
        self.sync_demand(framework);
        for group in due {
            self.row(RowKey::Demand(DemandKey { framework, group }));
        }
        for groups in groups.chunks(limits::EXPIRED_PER_EVENT_MAX) {
            let unmet: u64 = groups.iter().map(|group| u64::from(group.unmet)).sum();
            let message = format!("{unmet} tasks of {} groups had no place in time", groups.len());
            self.event("demand_expired", framework.to_string(), message, now);
            self.tell(framework, Event::DemandExpired { groups: groups.to_vec() });
        }
    }

    /// Forgets what a framework stated; the caller tells the allocator.
    pub(crate) fn forget_demand(&mut self, framework: FrameworkId) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        entry.waiting_since.clear();
        entry.demand_ends.clear();
        self.deadlines.clear(Deadline::Demand(framework));
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        for group in std::mem::take(&mut entry.demand).into_keys() {
            self.row(RowKey::Demand(DemandKey { framework, group }));
        }
    }

    /// A framework that states demand gets what it wants; classical offers only when it wants nothing
    /// and has asked for offers by a revival.
    pub(crate) fn sync_demand(&mut self, framework: FrameworkId) {
        let Some(entry) = self.frameworks.get(framework) else { return };
        let classical = !entry.states_demand || (entry.revived && entry.demand.is_empty());
        let plain = |group: &DemandGroup| DemandGroup { deadline: None, ..group.clone() };
        let groups = (!classical).then(|| entry.demand.values().map(plain).collect());
        self.tell_allocator(Delta::Demand { framework, groups });
    }
}
