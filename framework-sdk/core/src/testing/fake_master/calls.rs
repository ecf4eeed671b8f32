//! What a framework says to the fake master, and the answers.

use super::{FakeMaster, Known, STATE_PAGE};
use crate::testing::fake_agent::Standing;
use proffer_types::demand::DemandGroup;
use proffer_types::offer::{Accept, Operation};
use proffer_types::scheduler::{Call, Event, TaskRecord};
use proffer_types::state_store::{StateAnswer, StateCall, StateChange, StateEntry, change_bytes};
use proffer_types::task::{IsolationLevel, StatusReason, TaskStatus};
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, GangId, Monotonic, Refusal, RefusalCode, Resources, TaskName, TaskState, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

impl FakeMaster {
    pub(super) fn call(&mut self, call: Call) {
        match call {
            Call::Demand { groups } => self.demand(groups),
            Call::Template { digest, .. } => {
                self.templates.insert(digest);
            }
            Call::Accept(accept) => {
                let number = accept.accept;
                let refusal = self.accept(&accept).err();
                self.say(Event::Accepted { accept: number, refusal, holds: Vec::new() });
            }
            Call::Decline { offers, .. } => {
                for offer in offers {
                    self.offers.remove(&offer);
                }
            }
            Call::Kill { task, .. } => self.kill(&task),
            Call::Acknowledge { agent, incarnation, through, except } => {
                if incarnation.0 == 0 {
                    self.occupied.remove(&agent);
                    self.known.retain(|_, known| known.record.status.agent != agent);
                } else if let Some(agent) = self.agents.get_mut(&agent)
                    && agent.standing == Standing::Registered
                {
                    for record in agent.acknowledge(through, &except) {
                        let (name, token) = (&record.status.task, record.status.token);
                        if self.known.get(name).is_some_and(|k| k.record.status.token == token) {
                            self.known.remove(name);
                        }
                    }
                }
            }
            Call::Snapshot => self.snapshot(),
            Call::State { request, call } if self.holds_state => {
                self.held_state.push((request, call));
            }
            Call::State { request, call } => {
                let answer = self.state_call(call);
                self.say(Event::State { request, answer });
            }
            Call::Teardown => {
                self.is_torn_down = true;
                self.say(Event::TornDown);
                self.active = None;
            }
            Call::OfferConditions { conditions } => self.conditions = conditions,
            Call::Budgets { budgets } => self.budgets = budgets,
            Call::Subscribe { .. }
            | Call::AcceptInverseOffers { .. }
            | Call::DeclineInverseOffers { .. }
            | Call::Renew { .. }
            | Call::Suppress { .. }
            | Call::Revive { .. }
            | Call::Heartbeat => {}
        }
    }

    pub(super) fn demand(&mut self, groups: Vec<DemandGroup>) {
        self.has_stated_demand = true;
        if let Some(refusal) = self.refused_demand.take_if(|_| !groups.is_empty()) {
            return self.say(Event::Refused { call: "demand".to_owned(), refusal });
        }
        for group in &groups {
            let known = self.demand.get(&group.name);
            if let Some(known) = known
                && (group.generation < known.generation
                    || (group.generation == known.generation && group.target != known.target))
            {
                self.violations.push(format!("K10: {known:?} was followed by {group:?}"));
            }
        }
        let end = |group: &DemandGroup| Some(WallTime(self.now.0 + group.deadline?.0));
        let ends = groups.iter().filter_map(|group| Some((group.name.clone(), end(group)?)));
        self.demand_ends = ends.collect();
        self.demand = groups.into_iter().map(|group| (group.name.clone(), group)).collect();
    }

    pub(super) fn accept(&mut self, accept: &Accept) -> Result<(), Refusal> {
        let mut left: BTreeMap<AgentId, Resources> = BTreeMap::new();
        for (id, version) in &accept.offers {
            let offer = self.offers.get(id).ok_or_else(|| {
                Refusal::new(RefusalCode::OfferNotHeld, "offers", format!("{id} is not held"))
            })?;
            let agent = &self.agents[&offer.agent];
            if agent.version != *version {
                return Err(Refusal::new(RefusalCode::AgentChanged, "offers", "has changed"));
            }
            left.insert(offer.agent, offer.resources.clone());
        }
        let mut booked: Vec<(AgentId, TaskRecord)> = Vec::new();
        for operation in &accept.operations {
            let Operation::Launch { agent, tasks } = operation else {
                return Err(Refusal::new(RefusalCode::NotSupported, "operations", "is no launch"));
            };
            for launch in tasks {
                booked.push((*agent, self.check_launch(*agent, launch, &mut left)?));
            }
        }
        for (id, _) in &accept.offers {
            self.offers.remove(id);
        }
        let agents: BTreeSet<AgentId> = booked.iter().map(|(agent, _)| *agent).collect();
        self.last_gang += 1;
        let id = GangId { epoch: self.epoch, sequence: self.last_gang };
        let gang = (agents.len() > 1).then_some(id);
        for (agent, record) in booked {
            self.book(agent, TaskRecord { gang, ..record });
        }
        Ok(())
    }

    pub(super) fn check_launch(
        &mut self,
        agent: AgentId,
        launch: &TaskLaunch,
        left: &mut BTreeMap<AgentId, Resources>,
    ) -> Result<TaskRecord, Refusal> {
        if let Some(refusal) = self.refused_launches.get(&launch.name) {
            return Err(refusal.clone());
        }
        let refuse = |code, message: &str| Err(Refusal::new(code, "tasks", message));
        if launch.token.session != self.framework_epoch || launch.token <= self.token_mark {
            self.violations.push(format!("K1: token of {} was used", launch.name));
            return refuse(RefusalCode::TokenReused, "was used");
        }
        if !self.templates.contains(&launch.template) {
            return refuse(RefusalCode::UnknownTemplate, "was not sent");
        }
        let Some(offered) = left.get_mut(&agent) else {
            return refuse(RefusalCode::InvalidArgument, "is not an agent of the offers");
        };
        *offered = offered.checked_sub(&launch.resources).map_err(|error| {
            Refusal::new(RefusalCode::InsufficientResources, "tasks", error.to_string())
        })?;
        if self.known.contains_key(&launch.name) {
            return refuse(RefusalCode::AlreadyExists, "lives, or its end is not acknowledged");
        }
        self.token_mark = launch.token;
        let at = &self.agents[&agent];
        let role = self.info.as_ref().and_then(|info| info.roles.first().cloned());
        Ok(TaskRecord {
            status: TaskStatus {
                id: None,
                framework: self.framework,
                task: launch.name.clone(),
                token: launch.token,
                agent,
                state: TaskState::Staging,
                reason: StatusReason::None,
                message: String::new(),
                exit: None,
                ready: None,
                at: self.now,
                isolation: IsolationLevel::default(),
            },
            template: launch.template,
            resources: launch.resources.clone(),
            role: role.expect("a framework has a role"),
            variables: launch.variables.clone(),
            labels: launch.labels.clone(),
            group: launch.group.clone(),
            agent_name: at.name.clone(),
            address: "127.0.0.1".to_owned(),
            priority: launch.priority,
            budget: launch.budget.clone(),
            gang: None,
        })
    }

    pub(super) fn book(&mut self, agent: AgentId, record: TaskRecord) {
        let name = record.status.task.clone();
        // The truth, which a master that has just started does not know: it could not refuse this.
        if self.agents.values().any(|a| a.standing != Standing::Gone && a.may_run(&name)) {
            self.violations.push(format!("I2: {name} was launched while it may run"));
        }
        self.launched.push((name.clone(), record.status.token));
        self.occupied.insert(agent);
        let at = self.agents.get_mut(&agent).expect("its offer was held");
        at.on_the_way.push(record.clone());
        // An ended task of that name makes way: the framework knows of its end, or it would not
        // have used the name again.
        if let Some(older) = self.known.insert(name, Known { record })
            && let Some(agent) = self.agents.get_mut(&older.record.status.agent)
        {
            agent.dismiss(&older.record);
        }
    }

    pub(super) fn kill(&mut self, name: &TaskName) {
        let held = self.agents.values_mut().find(|agent| agent.tasks.contains_key(name));
        let Some(agent) = held else { return };
        if agent.standing != Standing::Registered {
            self.kills_kept.insert(name.clone());
        } else if let Some(record) = agent.report(name, TaskState::Killed, self.now) {
            self.learn(record);
        }
    }

    pub(super) fn state_call(&mut self, call: StateCall) -> StateAnswer {
        match call {
            StateCall::List { prefix, after, .. } => {
                let all = self.state.iter().filter(|(key, _)| {
                    key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after)
                });
                let entry = |(key, (version, value)): (&String, &(u64, Vec<u8>))| StateEntry {
                    key: key.clone(),
                    version: *version,
                    value: value.clone(),
                };
                let entries: Vec<StateEntry> = all.map(entry).collect();
                let more = entries.len() > STATE_PAGE;
                StateAnswer::Page { entries: entries.into_iter().take(STATE_PAGE).collect(), more }
            }
            StateCall::Commit { changes } => {
                if let Err(refusal) = self.check_budget(&changes) {
                    return StateAnswer::Refused(refusal);
                }
                for change in &changes {
                    let version = self.state.get(&change.key).map_or(0, |(version, _)| *version);
                    if change.expected.is_some_and(|expected| expected != version) {
                        return StateAnswer::Refused(Refusal::new(
                            RefusalCode::VersionConflict,
                            change.key.clone(),
                            format!("has version {version}"),
                        ));
                    }
                }
                self.rate.spend(&self.budget, Monotonic(self.now.0));
                let mut versions = Vec::new();
                for change in changes {
                    self.state_version += 1;
                    match change.value {
                        Some(value) => {
                            self.state.insert(change.key, (self.state_version, value));
                            versions.push(self.state_version);
                        }
                        None => {
                            self.state.remove(&change.key);
                            versions.push(0);
                        }
                    }
                }
                StateAnswer::Committed { versions }
            }
        }
    }

    /// The budgets of the real one, refused in the same words.
    fn check_budget(&self, changes: &[StateChange]) -> Result<(), Refusal> {
        let named = changes.iter().map(|it| (it.key.as_str(), it.value.as_deref()));
        self.budget.check_changes(named)?;
        let size = |key: &str, value: &[u8]| change_bytes(key, Some(value)) as u64;
        let all = self.state.iter().map(|(key, (_, value))| size(key, value));
        let before = (all.sum(), self.state.len() as u64);
        let (mut bytes, mut keys) = before;
        for change in changes {
            if let Some((_, old)) = self.state.get(&change.key) {
                bytes -= size(&change.key, old);
                keys -= 1;
            }
            if let Some(value) = &change.value {
                bytes += size(&change.key, value);
                keys += 1;
            }
        }
        self.budget.check_growth(before, (bytes, keys))?;
        self.rate.check(&self.budget, Monotonic(self.now.0))
    }
}
