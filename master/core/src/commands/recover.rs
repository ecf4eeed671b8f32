//! What a new leader makes of the registry: every agent is awaited, every framework is without a
//! replica, durable deadlines start in full (K2, K19).

use crate::master::Master;
use crate::registry::{AgentStanding, RegistryImage, StateHead};
use crate::state::agents::{AgentEntry, Link};
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::frameworks::{FrameworkEntry, Life, StateStore};
use crate::state::vacate::Vacate;
use crate::state::windows::WindowEntry;
use proffer_allocator::Delta;
use proffer_types::{AgentId, FrameworkId, HoldKey, Now};

impl Master {
    pub(crate) fn load(&mut self, image: RegistryImage, now: Now) {
        let RegistryImage {
            agents,
            frameworks,
            roles,
            occupancy,
            holds,
            gangs,
            maintenance,
            state_heads,
            state_index,
            ..
        } = image;
        let policy = self.config.policy.clone();
        self.tell_allocator(Delta::PolicySet { policy });
        for (id, record) in holds {
            self.row(RowKey::Hold(HoldKey { agent: record.agent, id }));
            self.holds.load(id, record);
        }
        for (name, config) in roles {
            self.roles.asked.insert(name.clone(), config.clone());
            self.roles.entry(&name).config = Some(config.clone());
            self.tell_allocator(Delta::RoleSet { role: name.clone(), config });
            self.row(RowKey::Role(name));
        }
        for (id, record) in agents {
            let link = match record.standing {
                AgentStanding::Reachable => Link::Awaited { until: now.monotonic },
                AgentStanding::Unreachable(_) => Link::Unreachable,
                AgentStanding::Gone => Link::Gone,
            };
            let since = match record.standing {
                AgentStanding::Unreachable(since) => since,
                AgentStanding::Reachable | AgentStanding::Gone => now.wall,
            };
            self.agents.insert(id, AgentEntry::new(record, link, since));
            self.settle_total(id);
            self.row(RowKey::Agent(id));
        }
        self.windows = maintenance
            .into_iter()
            .map(|(id, record)| (id, WindowEntry { record, is_writing: false }))
            .collect();
        self.load_windows();
        let ids: Vec<AgentId> = self.agents.table.keys().copied().collect();
        for id in ids {
            let vacate = self.wanted_vacate(id).map(|(why, deadline)| Vacate::new(why, deadline));
            if let Some(agent) = self.agents.get_mut(id) {
                agent.vacate = vacate;
            }
        }
        self.load_gangs(gangs);
        for (agent, record) in &occupancy {
            self.occupancy.load(*agent, record);
        }
        let mut state_index = state_index;
        for (id, record) in frameworks {
            let head: StateHead = state_heads.get(&id).copied().unwrap_or_default();
            let state = StateStore::recover(head, state_index.remove(&id).unwrap_or_default());
            let ending = record.ending;
            let entry = FrameworkEntry::new(record, state, now.wall);
            self.insert_framework(id, entry);
            if ending && let Some(entry) = self.frameworks.get_mut(id) {
                entry.life = Life::Ended { swept: false };
            }
            if ending {
                self.withdraw_framework(id);
            }
        }
    }

    /// Adds a framework to the tables and tells the allocator its roles.
    pub(crate) fn insert_framework(&mut self, id: FrameworkId, entry: FrameworkEntry) {
        let roles = entry.record.info.roles.clone();
        for role in &roles {
            self.roles.join(role, id);
            self.row(RowKey::Role(role.clone()));
        }
        self.frameworks.by_name.insert(entry.record.info.name.clone(), id);
        self.frameworks.table.insert(id, entry);
        self.row(RowKey::Framework(id));
        self.tell_allocator(Delta::FrameworkAdded { framework: id, roles });
    }

    /// Deadlines run from the moment that the master leads, in full.
    pub(crate) fn start_deadlines(&mut self, now: Now) {
        let awaited = now.monotonic.after(self.config.agent_awaited_for);
        for (id, agent) in &mut self.agents.table {
            if let Link::Awaited { until } = &mut agent.link {
                *until = awaited;
                self.deadlines.set(Deadline::Agent(*id), awaited);
            }
        }
        let agents: Vec<AgentId> = self.agents.table.keys().copied().collect();
        for id in agents {
            self.arm_vacate(id, now);
        }
        self.arm_windows(now);
        let ids: Vec<FrameworkId> = self.frameworks.table.keys().copied().collect();
        for id in ids {
            if self.frameworks.get(id).is_some_and(FrameworkEntry::is_ended) {
                self.sweep_framework(id);
            } else {
                self.arm_failover(id, now);
            }
        }
        let sweep = now.monotonic.after(self.config.occupancy_sweep);
        self.deadlines.set(Deadline::OccupancySweep, sweep);
        self.send_heartbeats(now);
        self.preemption_due(now);
        let gone = self.agents.table.iter().filter(|(_, agent)| agent.link == Link::Gone);
        self.occupancy.stale.extend(gone.map(|(id, _)| *id));
    }
}
