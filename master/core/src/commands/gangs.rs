//! Gangs (K3). An accept that launches on several agents is booked like any other and then only prepared:
//! each agent takes its tasks, makes their containers and waits. When all are prepared one record is
//! written; when that is durable the gang starts, whoever leads. Without the record it never does. What
//! becomes of a gang is looked at once a turn, from the rows of its tasks.

use crate::effect::WriteLane;
use crate::limits;
use crate::master::Master;
use crate::registry::{GangRecord, Record, RecordKey, RegistryChange};
use crate::state::agents::Link;
use crate::state::deadlines::Deadline;
use crate::state::gangs::{GangEntry, Member, Standing, Step};
use crate::state::pending::Continuation;
use crate::state::tasks::Stage;
use proffer_types::agent::AgentOrder;
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{AgentId, FrameworkId, GangId, Now, Refusal, RefusalCode, TaskKey, TaskState};
use std::collections::{BTreeMap, BTreeSet};

impl Master {
    /// Whether an accept may be a gang. `launches` says by agent, and `hold` of the first reservation or
    /// volume, in which operation it is.
    pub(super) fn check_gang(
        &self,
        launches: &BTreeMap<AgentId, usize>,
        hold: Option<usize>,
    ) -> Result<(), Refusal> {
        if launches.len() < 2 {
            return Ok(());
        }
        let not_supported = |field: String, message: String| {
            Refusal::new(RefusalCode::NotSupported, field, message)
        };
        if let Some(index) = hold {
            let message = "launches on several agents start together or not at all; an agent may \
                           refuse a reservation or a volume after that is decided";
            return Err(not_supported(format!("operations[{index}]"), message.to_owned())
                .hint("make it in an accept of its own"));
        }
        for (id, index) in launches {
            if !self.agents.get(*id).is_some_and(|agent| agent.knows_gangs) {
                let message = format!(
                    "{id} runs a version that cannot prepare tasks and start them together with \
                     those of other agents"
                );
                return Err(not_supported(format!("operations[{index}].agent"), message)
                    .hint("make one accept for each agent, or update it"));
            }
        }
        if self.gangs.table.len() >= limits::GANGS_MAX {
            let message = format!("{} gangs are under way", limits::GANGS_MAX);
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "operations", message)
                .hint("try again when some of them have started"));
        }
        Ok(())
    }

    /// A gang is booked; its tasks follow.
    pub(super) fn begin_gang(&mut self, framework: FrameworkId, now: Now) -> GangId {
        self.gangs.made += 1;
        let id = GangId { epoch: self.epoch(), sequence: self.gangs.made };
        self.gangs.table.insert(id, GangEntry::new(framework, Step::Preparing));
        self.deadlines
            .set(Deadline::Gang(id), now.monotonic.after(self.config.gang_prepare_timeout));
        id
    }

    /// A task is booked as one of its gang.
    pub(super) fn join_gang(&mut self, id: GangId, key: TaskKey) {
        let Some(row) = self.tasks.get(&key) else { return };
        let member = Member { token: row.record.status.token, agent: row.agent() };
        if let Some(entry) = self.gangs.table.get_mut(&id) {
            entry.members.insert(key, member);
        }
    }

    /// Something has happened to a task: if it is one of a gang, that is looked at before the turn ends.
    pub(crate) fn note_gang(&mut self, gang: Option<GangId>) {
        if let Some(gang) = gang
            && self.gangs.table.contains_key(&gang)
        {
            self.gangs.unsettled.insert(gang);
        }
    }

    pub(crate) fn settle_gangs(&mut self, now: Now) {
        // Giving one up moves its own tasks, and nobody else's.
        while let Some(id) = self.gangs.unsettled.pop_first() {
            self.settle_gang(id, now);
        }
    }

    fn settle_gang(&mut self, id: GangId, now: Now) {
        let Some(entry) = self.gangs.table.get(&id) else { return };
        match entry.step {
            Step::Preparing => match self.look_at_preparing(entry) {
                Outlook::Hopeless(why) => self.abort_gang(id, &why, now),
                Outlook::Ready => self.decide_gang(id),
                Outlook::Open => {}
            },
            Step::Starting => self.settle_starting(id),
            // Whether the record is durable is not known: nothing is decided until it is.
            Step::Deciding | Step::Ending => {}
        }
    }

    fn look_at_preparing(&self, entry: &GangEntry) -> Outlook {
        let mut outlook = Outlook::Ready;
        for (key, member) in &entry.members {
            let row = self.tasks.get(key);
            match member.standing(row) {
                Standing::Prepared => {}
                Standing::Unprepared => outlook = Outlook::Open,
                Standing::Unwanted => return Outlook::Hopeless(format!("{} is killed", key.name)),
                Standing::Away => {
                    let why = format!("{} is on {}, out of reach", key.name, member.agent);
                    return Outlook::Hopeless(why);
                }
                Standing::Over => {
                    let end = row.map(|row| end_of(&row.record.status)).unwrap_or_default();
                    let why = format!("{} on {} has ended{end}", key.name, member.agent);
                    return Outlook::Hopeless(why);
                }
                // An agent that starts it before it is told to.
                Standing::Started => {
                    let why = format!("{} has started on {}", key.name, member.agent);
                    return Outlook::Hopeless(why);
                }
            }
        }
        outlook
    }

    /// All are prepared: one record decides. Its deadline is over with that, whatever the store takes.
    fn decide_gang(&mut self, id: GangId) {
        self.deadlines.clear(Deadline::Gang(id));
        let Some(entry) = self.gangs.table.get_mut(&id) else { return };
        entry.step = Step::Deciding;
        let record = GangRecord { framework: entry.framework, agents: entry.agents() };
        let change = RegistryChange::put(RecordKey::Gang(id), Record::Gang(record));
        self.persist(WriteLane::Registry, vec![change], Continuation::GangDecided(id));
    }

    /// The record is durable: it starts.
    pub(crate) fn gang_decided(&mut self, id: GangId, now: Now) {
        let Some(entry) = self.gangs.table.get_mut(&id) else { return };
        entry.step = Step::Starting;
        let (count, agents) = (entry.members.len(), entry.agents());
        let message = format!("{count} tasks on {} agents start", agents.len());
        self.event("gang_started", id.to_string(), message, now);
        for agent in agents {
            self.order(agent, AgentOrder::StartGang { gang: id });
        }
        self.gangs.unsettled.insert(id);
    }

    /// Who has started is no member any more; without members nobody needs the record.
    fn settle_starting(&mut self, id: GangId) {
        let tasks = &self.tasks;
        let Some(entry) = self.gangs.table.get_mut(&id) else { return };
        entry.members.retain(|key, member| match member.standing(tasks.get(key)) {
            Standing::Unprepared | Standing::Prepared | Standing::Unwanted | Standing::Away => true,
            Standing::Started | Standing::Over => false,
        });
        if !entry.members.is_empty() || !entry.awaited.is_empty() {
            return;
        }
        entry.step = Step::Ending;
        let change = RegistryChange::delete(RecordKey::Gang(id));
        self.persist(WriteLane::Registry, vec![change], Continuation::GangEnded(id));
    }

    pub(crate) fn gang_ended(&mut self, id: GangId) {
        self.gangs.table.remove(&id);
    }

    /// Not all are prepared in time.
    pub(crate) fn gang_due(&mut self, id: GangId, now: Now) {
        let Some(entry) = self.gangs.table.get(&id) else { return };
        if entry.step != Step::Preparing {
            return;
        }
        let late: BTreeSet<AgentId> = entry
            .members
            .iter()
            .filter(|(key, member)| member.standing(self.tasks.get(key)) == Standing::Unprepared)
            .map(|(_, member)| member.agent)
            .collect();
        let late: Vec<String> = late.iter().map(AgentId::to_string).collect();
        let span = self.config.gang_prepare_timeout;
        let why = format!("not prepared within {span} on {}", late.join(", "));
        self.abort_gang(id, &why, now);
    }

    /// It never starts. Agents that are away are told by the answer to their next lists.
    fn abort_gang(&mut self, id: GangId, why: &str, now: Now) {
        self.deadlines.clear(Deadline::Gang(id));
        let Some(entry) = self.gangs.table.remove(&id) else { return };
        let why = proffer_types::refusal::excerpt(why);
        let count = entry.members.len();
        self.event("gang_aborted", id.to_string(), format!("none of {count} starts: {why}"), now);
        for agent in entry.agents() {
            let why = format!("{id} was given up: {why}");
            self.order(agent, AgentOrder::AbortGang { gang: id, why });
        }
        let why = format!("{id} was given up: {why}");
        for (key, member) in entry.members {
            let held = self.tasks.get(&key).is_some_and(|row| {
                row.stage == Stage::Held && row.record.status.token == member.token
            });
            if held {
                // It never left: nothing will.
                self.end_task(&key, TaskState::Dropped, StatusReason::GangAborted, &why, now);
            }
        }
    }

    /// An agent has registered: what waits there is told to start, or never to, unless it is still open.
    pub(crate) fn take_gangs(&mut self, id: AgentId) {
        for (gang, entry) in &mut self.gangs.table {
            if entry.awaited.remove(&id) {
                self.gangs.unsettled.insert(*gang);
            }
        }
        let mut listed: BTreeMap<GangId, Vec<TaskKey>> = BTreeMap::new();
        let keys = self.agents.get(id).into_iter().flat_map(|agent| &agent.tasks);
        for key in keys {
            let Some(row) = self.tasks.get(key) else { continue };
            let waits = row.record.status.state == TaskState::Staging;
            if let Some(gang) = row.record.gang.filter(|_| waits && row.stage == Stage::Reported) {
                listed.entry(gang).or_default().push(key.clone());
            }
        }
        for (gang, keys) in listed {
            match self.gangs.table.get(&gang).map(|entry| entry.step) {
                Some(Step::Preparing | Step::Deciding) => {}
                Some(Step::Starting | Step::Ending) => {
                    for key in keys {
                        self.join_gang(gang, key);
                    }
                    self.order(id, AgentOrder::StartGang { gang });
                }
                None => {
                    let why = format!("{gang} was given up: nothing was decided of it");
                    self.order(id, AgentOrder::AbortGang { gang, why });
                }
            }
        }
    }

    /// An agent will not return: nothing of any gang waits there.
    pub(crate) fn forget_gangs_on(&mut self, id: AgentId) {
        for (gang, entry) in &mut self.gangs.table {
            if entry.awaited.remove(&id) {
                self.gangs.unsettled.insert(*gang);
            }
        }
    }

    /// What an earlier leader decided. Agents that are gone have nothing of it.
    pub(crate) fn load_gangs(&mut self, gangs: BTreeMap<GangId, GangRecord>) {
        for (id, GangRecord { framework, agents }) in gangs {
            let mut entry = GangEntry::new(framework, Step::Starting);
            let is_there = |agent: &AgentId| {
                self.agents.get(*agent).is_some_and(|entry| entry.link != Link::Gone)
            };
            entry.awaited = agents.into_iter().filter(is_there).collect();
            self.gangs.table.insert(id, entry);
            self.gangs.unsettled.insert(id);
        }
    }

    /// Each gang that prepares has its deadline, and none that is decided; each that starts waits for
    /// somebody, or is about to be looked at.
    ///
    /// # Errors
    /// Which is broken.
    pub(crate) fn check_gangs(&self) -> Result<(), String> {
        for (id, entry) in &self.gangs.table {
            let has_deadline = self.deadlines.at(Deadline::Gang(*id)).is_some();
            if has_deadline != (entry.step == Step::Preparing) {
                return Err(format!(
                    "K3: {id} is {:?}, with a deadline: {has_deadline}",
                    entry.step
                ));
            }
            let waits = !entry.members.is_empty() || !entry.awaited.is_empty();
            let looked_at = self.gangs.unsettled.contains(id);
            if entry.step == Step::Starting && !waits && !looked_at {
                return Err(format!("K3: {id} has started and its record stays"));
            }
        }
        Ok(())
    }
}

/// How a task ended, for a sentence.
fn end_of(status: &TaskStatus) -> String {
    let words = match (status.reason, status.message.as_str()) {
        (StatusReason::None, "") => status.state.as_str().replace('_', " "),
        (reason, "") => reason.as_str().replace('_', " "),
        (_, text) => text.to_owned(),
    };
    format!(": {words}")
}

/// What may become of a gang that is not decided.
enum Outlook {
    /// All are prepared.
    Ready,
    /// Some are not yet.
    Open,
    /// It cannot start; why.
    Hopeless(String),
}
