//! Statements that must hold after every command. Run by tests and the simulation; what is cheap is
//! also checked where it happens, and counted as drift (K23).

use crate::master::Master;
use crate::state::agents::{AgentEntry, Link};
use crate::state::connections::ConnectionKind;
use crate::state::tasks::Counted;
use proffer_types::hold::{Standing, taken};
use proffer_types::{AgentId, FrameworkId, Resources};

type Checked = Result<(), String>;

fn holds(condition: bool, what: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(what()) }
}

impl Master {
    /// Checks all of it; costs time in proportion to the cluster.
    ///
    /// # Errors
    /// The first statement that does not hold, with the objects involved.
    pub fn check_invariants(&self) -> Result<(), String> {
        holds(self.counters.drift == 0, || format!("{} drifts", self.counters.drift))?;
        for (id, agent) in &self.agents.table {
            self.check_agent(*id, agent)?;
        }
        for id in self.frameworks.table.keys() {
            self.check_framework(*id)?;
        }
        self.check_vacated()?;
        self.check_gangs()?;
        self.pending.check_loads()?;
        self.occupancy.check()?;
        self.check_offers_linked()?;
        self.check_tasks_linked()
    }

    fn check_agent(&self, id: AgentId, agent: &AgentEntry) -> Checked {
        let rows = || agent.tasks.iter().filter_map(|key| self.tasks.get(key));
        let charged = rows().filter(|task| task.counted == Counted::Charged);
        let charged: Result<Vec<Resources>, _> =
            charged.map(|task| taken(&task.record.resources)).collect();
        let used = charged
            .and_then(|charged| Resources::sum(&charged))
            .map_err(|error| format!("{id}: two tasks use the same: {error}"))?;
        holds(used == agent.allocated, || {
            format!("I3 {id}: tasks use {used}, booked are {}", agent.allocated)
        })?;
        let leases = agent.offers.iter().filter_map(|offer| self.offers.get(*offer));
        let leased: Result<Vec<Resources>, _> =
            leases.map(|entry| taken(&entry.offer.resources)).collect();
        let held = leased
            .and_then(|leased| Resources::sum(&leased))
            .map_err(|error| format!("I3 {id}: two offers hold the same: {error}"))?;
        holds(held == agent.offered, || {
            format!("I3 {id}: offers hold {held}, booked are {}", agent.offered)
        })?;
        self.check_holds(id, agent)?;
        let total = &agent.total;
        if !held.is_empty() {
            let both = used
                .checked_add(&held)
                .map_err(|error| format!("I3 {id}: tasks and offers overlap: {error}"))?;
            let both = both.filtered(|entry| !entry.key.is_slack());
            holds(total.contains(&both), || format!("I3 {id}: {both} of {total} are given out"))?;
        }
        if agent.in_pool
            && let Ok(free) = total.checked_sub(&used).and_then(|rest| rest.checked_sub(&held))
        {
            let claimed = self.allocator.claimed(id);
            let free = free
                .checked_sub(&claimed)
                .map_err(|_| format!("I4 {id}: claims hold {claimed} of {free}"))?;
            let plain = free.filtered(|entry| entry.key.is_plain());
            let known = self.allocator.free(id).filtered(|entry| entry.key.is_plain());
            holds(plain == known, || {
                format!("I4 {id}: free are {plain}, the allocator says {known}")
            })?;
        }
        let active = rows().filter(|task| !task.is_terminal()).count();
        holds(active == agent.tasks_active as usize, || {
            format!("{id}: {active} tasks are active, {} are counted", agent.tasks_active)
        })?;
        holds(agent.in_pool == agent.is_registered(), || {
            format!("{id}: {:?}, in the pool: {}", agent.link, agent.in_pool)
        })?;
        if let Link::Connected { connection, .. } = agent.link {
            let bound = self.connections.get(connection).is_some_and(|entry| {
                matches!(&entry.kind, ConnectionKind::Agents(agents) if agents.contains(&id))
            });
            holds(bound, || format!("{id}: its connection {} is not bound", connection.0))?;
        }
        for ((framework, incarnation), log) in &agent.logs {
            for (sequence, name) in &log.waiting {
                let key = proffer_types::TaskKey { framework: *framework, name: name.clone() };
                let same = self.tasks.get(&key).and_then(|task| task.record.status.id);
                holds(
                    same.is_some_and(|same| {
                        same.sequence == *sequence && same.incarnation == *incarnation
                    }),
                    || format!("K15 {id}: {key} waits for an acknowledgement of {sequence}"),
                )?;
            }
        }
        Ok(())
    }

    /// K18: what is offered follows from the registry and from what the agent says, and nothing else.
    fn check_holds(&self, id: AgentId, agent: &AgentEntry) -> Checked {
        let (booked, _) = self.booked_at(id);
        let standing = Standing::of(&agent.record.info.resources, booked);
        holds(standing.total == agent.total, || {
            format!("K18 {id}: has {}, its total is {}", standing.total, agent.total)
        })?;
        for hold in self.holds.at(id) {
            let record = self.holds.get(hold).and_then(|entry| entry.record());
            holds(
                record.is_some_and(|record| record.agent == id && record.hold.id == hold),
                || format!("K18 {hold} is filed under {id}"),
            )?;
            holds(hold.number() <= self.cluster.hold_mark, || format!("K19 {hold} was not given"))?;
        }
        Ok(())
    }

    /// Whoever has tasks on an agent that is emptied is asked, and nobody else.
    fn check_vacated(&self) -> Checked {
        let mut asked = 0;
        for (id, agent) in &self.agents.table {
            let wanted = self.wanted_vacate(*id);
            let current = agent.vacate.as_ref().map(|it| (it.reason.clone(), it.deadline));
            holds(agent.writing.is_some() || wanted == current, || {
                format!("{id} is emptied for {current:?}, wanted is {wanted:?}")
            })?;
            let Some(vacate) = &agent.vacate else { continue };
            asked += vacate.asks.len();
            for (framework, ask) in &vacate.asks {
                let entry = self.frameworks.get(*framework);
                let known = entry.is_some_and(|entry| entry.asked.get(&ask.id) == Some(id));
                holds(known || entry.is_none(), || {
                    format!("{framework} does not know {}", ask.id)
                })?;
            }
            let told: u32 = vacate.asks.values().map(|ask| ask.tasks).sum();
            holds(self.agents.recount.contains(id) || told == agent.tasks_active, || {
                format!("{id}: {told} tasks are asked for, {} are active", agent.tasks_active)
            })?;
        }
        let known: usize = self.frameworks.table.values().map(|entry| entry.asked.len()).sum();
        holds(known <= asked, || format!("frameworks know {known} inverse offers of {asked}"))
    }

    fn check_framework(&self, id: FrameworkId) -> Checked {
        let Some(entry) = self.frameworks.get(id) else { return Ok(()) };
        let active = self.tasks.of(id).filter(|(_, task)| !task.is_terminal()).count();
        holds(active == entry.tasks_active as usize, || {
            format!("{id}: {active} tasks are active, {} are counted", entry.tasks_active)
        })?;
        let away = self.tasks.of(id).filter(|(_, task)| task.counted == Counted::OutOfReach);
        let known: usize = entry.out_of_reach.values().map(|tasks| *tasks as usize).sum();
        holds(away.count() == known, || format!("K10 {id}: {known} tasks count as out of reach"))?;
        let bytes: u64 =
            entry.state.index.iter().map(|(key, meta)| key.len() as u64 + meta.bytes).sum();
        holds(entry.is_ended() || bytes == entry.state.bytes, || {
            format!("K9 {id}: {bytes} bytes are stored, {} are counted", entry.state.bytes)
        })?;
        holds(entry.offers.is_empty() || entry.stream.is_some(), || {
            format!("{id}: holds offers without a stream")
        })?;
        let Some(stream) = &entry.stream else { return Ok(()) };
        let looked_at = [&self.frameworks.unweighed, &self.frameworks.unsent];
        let noted = looked_at.iter().any(|set| set.contains(&id));
        holds(noted || self.is_full(entry) == entry.clogged, || {
            format!("K15 {id}: whether it may have offers was missed")
        })?;
        let bound = self
            .connections
            .get(stream.connection)
            .is_some_and(|connection| connection.kind == ConnectionKind::ReplicaOf(id));
        holds(bound, || format!("{id}: its connection {} is not bound", stream.connection.0))?;
        holds(stream.outbox.credits <= crate::limits::FRAMEWORK_WINDOW, || {
            format!("I15 {id}: {} credits", stream.outbox.credits)
        })
    }

    fn check_offers_linked(&self) -> Checked {
        for (id, entry) in &self.offers.table {
            let offer = &entry.offer;
            let framework =
                self.frameworks.get(offer.framework).is_some_and(|f| f.offers.contains(id));
            let agent = self.agents.get(offer.agent);
            let linked = agent.is_some_and(|agent| agent.offers.contains(id));
            holds(framework && linked, || format!("I4 {id} is not in both books"))?;
            holds(agent.is_some_and(|agent| agent.connection().is_some()), || {
                format!("{id} is on {}, which is not connected", offer.agent)
            })?;
        }
        let held: usize = self.frameworks.table.values().map(|entry| entry.offers.len()).sum();
        holds(held == self.offers.table.len(), || {
            format!("I4: frameworks hold {held} offers of {}", self.offers.table.len())
        })
    }

    fn check_tasks_linked(&self) -> Checked {
        for (key, task) in &self.tasks.table {
            let id = task.agent();
            let agent = self.agents.get(id);
            holds(agent.is_some_and(|agent| agent.tasks.contains(key)), || {
                format!("I1 {key} is not in the books of {id}")
            })?;
            holds(self.frameworks.get(key.framework).is_some(), || {
                format!("I1 {key} belongs to nobody")
            })?;
            holds(task.counted == Counted::No || !task.is_terminal(), || {
                format!("I3 {key} ended and is counted")
            })?;
            let pair = (key.framework, task.record.role.clone());
            let covered =
                task.is_terminal() || self.occupancy.pairs(id).any(|known| *known == pair);
            holds(covered, || format!("K2 {key} is not covered by the occupancy of {id}"))?;
        }
        let known: usize = self.agents.table.values().map(|agent| agent.tasks.len()).sum();
        holds(known == self.tasks.table.len(), || {
            format!("I1: agents have {known} rows of {}", self.tasks.table.len())
        })
    }
}
