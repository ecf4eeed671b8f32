//! Peers of the harness: they remember what they were told and answer when asked.

use super::Harness;
use crate::{Command, ConnectionId, Effect, Peer};
use proffer_types::agent::{AgentInfo, AgentLaunch, AgentMessage, AgentOrder, AgentTask, AgentUp};
use proffer_types::hold::{AgentHold, HoldStage, Standing, Use};
use proffer_types::inverse_offer::InverseOffer;
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::scheduler::{Call, Event, FrameworkInfo, SchedulerUp, TaskRecord};
use proffer_types::state_store::{StateCall, StateChange};
use proffer_types::task::{IsolationLevel, StatusReason, TaskStatus};
use proffer_types::template::{
    ContainerTemplate, KillPolicy, OnDisconnect, PodTemplate, TaskLaunch,
};
use proffer_types::{
    AgentId, AgentName, AgentSession, Attributes, ClaimMark, DurationMs, FrameworkEpoch,
    FrameworkId, GangId, GroupName, HoldId, InverseOfferId, LaunchToken, LogIncarnation,
    MasterEpoch, OfferConditions, OfferId, Refusal, RefusalCode, ReplicaId, Resources, RoleName,
    StatusId, TaskName, TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

/// An agent that takes every launch.
#[derive(Clone, Debug)]
pub struct AgentPeer {
    /// What it says of itself.
    pub info: AgentInfo,
    /// Its id, once it was told.
    pub id: Option<AgentId>,
    /// Its registration.
    pub session: AgentSession,
    /// Its connection; `None` when cut.
    pub connection: Option<ConnectionId>,
    /// The master that registered it.
    pub master_epoch: MasterEpoch,
    /// Every task that it has taken and not forgotten.
    pub tasks: BTreeMap<(FrameworkId, TaskName), TaskRecord>,
    /// Its reservations and volumes.
    pub holds: BTreeMap<HoldId, AgentHold>,
    /// Orders about them that it has not carried out.
    pub hold_orders: Vec<AgentOrder>,
    /// Every launch that it was sent, taken or not.
    pub launched: Vec<TaskRecord>,
    /// What its tasks are to make room for.
    pub claims: BTreeMap<(FrameworkId, TaskName), ClaimMark>,
    sequences: BTreeMap<FrameworkId, u64>,
}

impl AgentPeer {
    /// An agent that has not registered.
    ///
    /// # Panics
    /// When `name` or `resources` are not legal.
    #[must_use]
    pub fn new(name: &str, resources: &str) -> Self {
        Self {
            info: AgentInfo {
                name: AgentName::new(name).expect("a legal name"),
                hostname: name.to_owned(),
                address: "127.0.0.1".to_owned(),
                api_url: String::new(),
                resources: resources.parse().expect("legal resources"),
                attributes: Attributes::new(),
                version: "0".to_owned(),
                isolation: IsolationLevel::Full,
                boot_id: "boot".to_owned(),
                insecure: false,
            },
            id: None,
            session: AgentSession(0),
            connection: None,
            master_epoch: MasterEpoch(0),
            tasks: BTreeMap::new(),
            holds: BTreeMap::new(),
            hold_orders: Vec::new(),
            launched: Vec::new(),
            claims: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// Connects and registers, listing the tasks for which `lists` holds.
    pub fn register(&mut self, harness: &mut Harness, lists: impl Fn(&TaskRecord) -> bool) {
        let connection = harness.connect(Peer::Agent, "cert:agents");
        self.connection = Some(connection);
        self.session = AgentSession(self.session.0 + 1);
        self.tasks.retain(|_, record| lists(record));
        self.hold_orders.clear();
        let holds = self.holds.values().cloned().collect();
        let tasks = self
            .tasks
            .values()
            .map(|record| AgentTask {
                record: record.clone(),
                acknowledged: false,
                claim: self
                    .claims
                    .get(&(record.status.framework, record.status.task.clone()))
                    .cloned(),
            })
            .collect();
        let messages = vec![
            AgentMessage::Register {
                info: self.info.clone(),
                log: LogIncarnation(1),
                knows_gangs: true,
            },
            AgentMessage::Tasks { tasks },
            AgentMessage::Holds { holds },
            AgentMessage::RegisterEnd,
        ];
        self.master_epoch = MasterEpoch(0);
        self.send(harness, messages);
        self.hear(harness);
    }

    /// Registers as a version that says nothing of reservations and volumes, nor of gangs.
    pub fn register_as_first_version(&mut self, harness: &mut Harness) {
        let connection = harness.connect(Peer::Agent, "cert:agents");
        self.connection = Some(connection);
        self.session = AgentSession(self.session.0 + 1);
        let messages = vec![
            AgentMessage::Register {
                info: self.info.clone(),
                log: LogIncarnation(1),
                knows_gangs: false,
            },
            AgentMessage::RegisterEnd,
        ];
        self.master_epoch = MasterEpoch(0);
        self.send(harness, messages);
        self.hear(harness);
    }

    /// Sends messages on its connection and ends the turn.
    pub fn send(&self, harness: &mut Harness, messages: Vec<AgentMessage>) {
        let Some(connection) = self.connection else { return };
        let frame = AgentUp {
            agent: self.id,
            session: self.session,
            master_epoch: self.master_epoch,
            messages,
        };
        harness.turn(Command::AgentFrame { connection, frame });
    }

    /// Takes in what it was sent.
    pub fn hear(&mut self, harness: &Harness) {
        self.hear_effects(&harness.effects);
    }

    /// Takes in what it was sent.
    pub fn hear_effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            let Effect::SendAgent { connection, frame } = effect else { continue };
            if Some(*connection) != self.connection || frame.session != self.session {
                continue;
            }
            for order in &frame.orders {
                self.obey(frame.agent, frame.master_epoch, order);
            }
        }
    }

    fn obey(&mut self, id: AgentId, master_epoch: MasterEpoch, order: &AgentOrder) {
        match order {
            AgentOrder::Registered { .. } => {
                self.id = Some(id);
                self.master_epoch = master_epoch;
            }
            AgentOrder::Refused { gone: true, .. } => {
                self.id = None;
                self.tasks.clear();
            }
            AgentOrder::Launch { tasks } => {
                for task in tasks {
                    self.take(id, task, None);
                }
            }
            AgentOrder::Prepare { gang, tasks } => {
                for task in tasks {
                    self.take(id, task, Some(*gang));
                }
            }
            AgentOrder::StartGang { gang } => {
                self.decide(*gang, TaskState::Taken, StatusReason::None);
            }
            AgentOrder::AbortGang { gang, .. } => {
                self.decide(*gang, TaskState::Dropped, StatusReason::GangAborted);
            }
            AgentOrder::Acknowledge { framework, through, except, .. } => {
                self.tasks.retain(|(owner, _), record| {
                    let done = record.status.id.is_some_and(|id| {
                        id.sequence <= *through && !except.contains(&id.sequence)
                    });
                    !(owner == framework && done && record.status.state.is_terminal())
                });
            }
            AgentOrder::ApplyHold { .. } | AgentOrder::RemoveHold { .. } => {
                self.hold_orders.push(order.clone());
            }
            AgentOrder::Preempt { claim, tasks, grace } => {
                for task in tasks {
                    let mark = ClaimMark { claim: claim.clone(), left: *grace };
                    self.claims.insert((task.framework, task.name.clone()), mark);
                }
            }
            AgentOrder::DropClaim { claim } => {
                self.claims.retain(|_, mark| mark.claim.id != *claim);
            }
            AgentOrder::Refused { .. }
            | AgentOrder::Grant { .. }
            | AgentOrder::Template { .. }
            | AgentOrder::Kill { .. }
            | AgentOrder::EndFramework { .. } => {}
        }
    }

    fn take(&mut self, id: AgentId, task: &AgentLaunch, gang: Option<GangId>) {
        let (state, reason) = match gang {
            None => (TaskState::Taken, StatusReason::None),
            Some(_) => (TaskState::Staging, StatusReason::GangPreparing),
        };
        let record = TaskRecord {
            status: TaskStatus {
                id: None,
                framework: task.framework,
                task: task.launch.name.clone(),
                token: task.launch.token,
                agent: id,
                state,
                reason,
                message: String::new(),
                exit: None,
                ready: None,
                at: Default::default(),
                isolation: IsolationLevel::Full,
            },
            template: task.launch.template,
            resources: task.launch.resources.clone(),
            role: task.role.clone(),
            variables: task.launch.variables.clone(),
            labels: task.launch.labels.clone(),
            group: task.launch.group.clone(),
            agent_name: self.info.name.clone(),
            address: self.info.address.clone(),
            priority: task.launch.priority,
            budget: task.launch.budget.clone(),
            gang,
        };
        let key = (task.framework, task.launch.name.clone());
        let known = self.launched.iter().any(|old| old.status == record.status);
        if !known {
            self.launched.push(record.clone());
            self.tasks.insert(key, record);
        }
    }

    /// What waits for its gang starts or ends; it is told with the next list or report.
    fn decide(&mut self, gang: GangId, state: TaskState, reason: StatusReason) {
        let agent = self.id.expect("registered before");
        let waiting = self.tasks.values_mut().filter(|record| {
            record.gang == Some(gang) && record.status.state == TaskState::Staging
        });
        for record in waiting {
            let sequence = self.sequences.entry(record.status.framework).or_default();
            *sequence += 1;
            let incarnation = LogIncarnation(1);
            record.status.id = Some(StatusId { agent, incarnation, sequence: *sequence });
            record.status.state = state;
            record.status.reason = reason;
        }
    }

    /// Carries out the orders about holds against its own totals, and says so.
    pub fn carry_out_holds(&mut self, harness: &mut Harness) {
        for order in std::mem::take(&mut self.hold_orders) {
            let message = match order {
                AgentOrder::ApplyHold { hold } => {
                    let (id, op) = (hold.id, hold.op);
                    let others = self.holds.values().filter(|it| it.hold.id != id);
                    let booked = others.map(|it| (&it.hold, Use::Offered));
                    let all = booked.chain([(&hold, Use::Offered)]);
                    let refusal = (!Standing::of(&self.info.resources, all).unfit.is_empty())
                        .then(|| Refusal::new(RefusalCode::ResourcesStale, "resources", "no room"));
                    if refusal.is_none() {
                        self.holds.insert(id, AgentHold { hold, stage: HoldStage::Applied });
                    }
                    AgentMessage::HoldDone { id, op, refusal }
                }
                AgentOrder::RemoveHold { id, op } => {
                    self.holds.remove(&id);
                    AgentMessage::HoldDone { id, op, refusal: None }
                }
                AgentOrder::Registered { .. }
                | AgentOrder::Refused { .. }
                | AgentOrder::Grant { .. }
                | AgentOrder::Template { .. }
                | AgentOrder::Launch { .. }
                | AgentOrder::Prepare { .. }
                | AgentOrder::StartGang { .. }
                | AgentOrder::AbortGang { .. }
                | AgentOrder::Kill { .. }
                | AgentOrder::Acknowledge { .. }
                | AgentOrder::Preempt { .. }
                | AgentOrder::DropClaim { .. }
                | AgentOrder::EndFramework { .. } => continue,
            };
            self.send(harness, vec![message]);
        }
    }

    /// Reports a new state of one of its tasks.
    ///
    /// # Panics
    /// When it has no such task or was never registered.
    pub fn report(
        &mut self,
        harness: &mut Harness,
        framework: FrameworkId,
        task: &str,
        state: TaskState,
    ) {
        let name = TaskName::new(task).expect("a legal name");
        let sequence = self.sequences.entry(framework).or_default();
        *sequence += 1;
        let id = StatusId {
            agent: self.id.expect("registered before"),
            incarnation: LogIncarnation(1),
            sequence: *sequence,
        };
        let record = self.tasks.get_mut(&(framework, name)).expect("it has the task");
        record.status.id = Some(id);
        record.status.state = state;
        let is_prepared = state == TaskState::Staging;
        record.status.reason =
            if is_prepared { StatusReason::GangPrepared } else { StatusReason::None };
        let status = record.status.clone();
        self.send(harness, vec![AgentMessage::Statuses { statuses: vec![status] }]);
    }
}

/// A framework replica.
#[derive(Clone, Debug)]
pub struct FrameworkPeer {
    /// What it says of itself.
    pub info: FrameworkInfo,
    /// Which replica.
    pub replica: ReplicaId,
    /// What it subscribes with.
    pub conditions: OfferConditions,
    /// Who it is to the master.
    pub principal: String,
    /// Its connection; `None` when cut.
    pub connection: Option<ConnectionId>,
    /// Its id, once it was told.
    pub id: FrameworkId,
    /// Its epoch, once it was told.
    pub epoch: FrameworkEpoch,
    /// The offers that it holds.
    pub offers: BTreeMap<OfferId, Offer>,
    /// What it is asked to give up.
    pub inverse_offers: BTreeMap<InverseOfferId, InverseOffer>,
    /// The newest status of each task that it was told.
    pub statuses: BTreeMap<TaskName, TaskStatus>,
    token: u64,
    numbers: u64,
}

impl FrameworkPeer {
    /// A replica that has not subscribed.
    ///
    /// # Panics
    /// When a name is not legal.
    #[must_use]
    pub fn new(name: &str, replica: &str, role: &str) -> Self {
        Self {
            info: FrameworkInfo {
                name: name.parse().expect("a legal name"),
                roles: BTreeSet::from([RoleName::new(role).expect("a legal role")]),
                api_url: String::new(),
                failover_timeout: None,
                labels: BTreeMap::new(),
            },
            replica: replica.parse().expect("a legal replica"),
            conditions: OfferConditions::new(),
            principal: "token:test".to_owned(),
            connection: None,
            id: FrameworkId(0),
            epoch: FrameworkEpoch(0),
            offers: BTreeMap::new(),
            inverse_offers: BTreeMap::new(),
            statuses: BTreeMap::new(),
            token: 0,
            numbers: 0,
        }
    }

    /// Connects and subscribes.
    pub fn subscribe(&mut self, harness: &mut Harness, take_over: bool) {
        let connection = harness.connect(Peer::Framework, &self.principal);
        self.connection = Some(connection);
        self.offers.clear();
        let (info, replica) = (self.info.clone(), self.replica.clone());
        self.call(
            harness,
            Call::Subscribe { info, replica, take_over, conditions: self.conditions.clone() },
        );
    }

    /// Makes one call and ends the turn.
    pub fn call(&mut self, harness: &mut Harness, call: Call) {
        self.calls(harness, vec![call]);
    }

    /// Makes calls in one frame and ends the turn.
    pub fn calls(&mut self, harness: &mut Harness, calls: Vec<Call>) {
        let Some(connection) = self.connection else { return };
        let frame = SchedulerUp { epoch: self.epoch, calls };
        harness.turn(Command::SchedulerFrame { connection, frame });
    }

    /// Takes in what it was sent.
    pub fn hear_effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::SendFramework { connection, frame }
                    if Some(*connection) == self.connection =>
                {
                    for event in &frame.events {
                        self.hear_event(event);
                    }
                }
                Effect::Close { connection, .. } if Some(*connection) == self.connection => {
                    self.connection = None;
                    self.offers.clear();
                }
                Effect::SendFramework { .. }
                | Effect::Close { .. }
                | Effect::Persist { .. }
                | Effect::ReadState { .. }
                | Effect::SendAgent { .. }
                | Effect::Reply { .. }
                | Effect::Publish { .. }
                | Effect::Stop { .. } => {}
            }
        }
    }

    fn hear_event(&mut self, event: &Event) {
        match event {
            Event::Subscribed { framework, epoch, .. } => {
                if *epoch != self.epoch {
                    self.token = 0;
                }
                self.id = *framework;
                self.epoch = *epoch;
                self.statuses.clear();
                self.inverse_offers.clear();
            }
            Event::Offers { offers } => {
                self.offers.extend(offers.iter().map(|offer| (offer.id, offer.clone())));
            }
            Event::Rescinded { offers, .. } => {
                self.offers.retain(|id, _| !offers.contains(id));
            }
            Event::InverseOffers { offers } => {
                self.inverse_offers.extend(offers.iter().map(|offer| (offer.id, offer.clone())));
            }
            Event::InverseOffersRescinded { offers, .. } => {
                self.inverse_offers.retain(|id, _| !offers.contains(id));
            }
            Event::Status(status) => self.note(status),
            Event::Task(record) => self.note(&record.status),
            Event::SnapshotPage { tasks } => {
                for record in tasks {
                    self.note(&record.status);
                }
            }
            Event::Standby { .. }
            | Event::DemandExpired { .. }
            | Event::SnapshotAbsent { .. }
            | Event::SnapshotEnd { .. }
            | Event::AgentResolved { .. }
            | Event::Accepted { .. }
            | Event::Hold(_)
            | Event::State { .. }
            | Event::Refused { .. }
            | Event::Superseded { .. }
            | Event::TornDown
            | Event::Heartbeat => {}
        }
    }

    fn note(&mut self, status: &TaskStatus) {
        self.statuses.insert(status.task.clone(), status.clone());
    }

    /// The framework's next number for an accept or a state call.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A commit of some 940 KiB, over the same keys each time.
    pub fn large_commit(&mut self) -> Call {
        let change = |key: usize| StateChange {
            key: format!("k{key}"),
            expected: None,
            value: Some(vec![0; 64 << 10]),
        };
        let call = StateCall::Commit { changes: (0..15).map(change).collect() };
        Call::State { request: self.number(), call }
    }

    /// A launch with a fresh token.
    ///
    /// # Panics
    /// When a name is not legal.
    pub fn launch(&mut self, name: &str, resources: Resources, group: Option<&str>) -> TaskLaunch {
        self.token += 1;
        TaskLaunch {
            name: TaskName::new(name).expect("a legal name"),
            token: LaunchToken { session: self.epoch, sequence: self.token },
            template: template().digest(),
            resources,
            variables: BTreeMap::new(),
            labels: BTreeMap::new(),
            group: group.map(|group| GroupName::new(group).expect("a legal group")),
            priority: 0,
            budget: None,
        }
    }

    /// An accept of offers on one agent that launches tasks there.
    pub fn accept(&mut self, offers: &[Offer], tasks: Vec<TaskLaunch>) -> Accept {
        Accept {
            accept: self.number(),
            offers: offers.iter().map(|offer| (offer.id, offer.agent_version)).collect(),
            operations: offers
                .first()
                .map(|offer| Operation::Launch { agent: offer.agent, tasks })
                .into_iter()
                .collect(),
            refuse_for: DurationMs(0),
        }
    }

    /// An accept that launches on each offer what is beside it: a gang, if they are on several agents.
    pub fn accept_all(&mut self, launches: Vec<(Offer, Vec<TaskLaunch>)>) -> Accept {
        Accept {
            accept: self.number(),
            offers: launches.iter().map(|(offer, _)| (offer.id, offer.agent_version)).collect(),
            operations: launches
                .into_iter()
                .map(|(offer, tasks)| Operation::Launch { agent: offer.agent, tasks })
                .collect(),
            refuse_for: DurationMs(0),
        }
    }
}

/// The template that tests launch.
#[must_use]
pub fn template() -> PodTemplate {
    PodTemplate {
        containers: vec![ContainerTemplate {
            name: "main".to_owned(),
            command: vec!["/bin/true".to_owned()],
            ..ContainerTemplate::default()
        }],
        kill: KillPolicy::default(),
        on_disconnect: OnDisconnect::Keep,
        labels: BTreeMap::new(),
    }
}
