//! Checks what somebody wants of reservations and volumes, and says what would be written. Nothing here
//! changes anything.

use crate::limits;
use crate::master::Master;
use crate::registry::{HoldIntent, HoldRecord};
use crate::state::agents::{AgentEntry, Link};
use crate::state::holds::Writing;
use crate::state::roles::Roles;
use proffer_types::hold::{
    AGENT_HOLDS_MAX, Hold, HoldCall, HoldChange, HoldId, HoldKey, HoldKind, HoldStage, HoldState,
    NewReservation, NewVolume, Standing, Use, taken,
};
use proffer_types::resources::Resource;
use proffer_types::{
    AgentId, FrameworkId, OfferId, PrincipalName, Quantity, Refusal, RefusalCode, ReservationId,
    ResourceName, Resources, RoleName, VolumeId, Weight,
};

/// Who wants it (K20).
pub(crate) enum Claimant {
    /// May do everything.
    Operator(PrincipalName),
    /// May change what belongs to its principal.
    Framework(FrameworkId, PrincipalName),
    /// The framework that made it was removed.
    Cluster,
}

impl Claimant {
    pub(super) fn owner(&self) -> Option<PrincipalName> {
        match self {
            Self::Operator(name) | Self::Framework(_, name) => Some(name.clone()),
            Self::Cluster => None,
        }
    }

    pub(super) fn framework(&self) -> Option<FrameworkId> {
        match self {
            Self::Framework(id, _) => Some(*id),
            Self::Operator(_) | Self::Cluster => None,
        }
    }
}

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) struct HoldPlan {
    pub(crate) key: HoldKey,
    pub(crate) writing: Writing,
    /// The last number given, with this one.
    pub(crate) mark: u64,
    /// Offers that stand in its way.
    pub(crate) in_the_way: Vec<OfferId>,
    /// Reservations of the same accept that it rests on.
    pub(crate) on: Vec<HoldId>,
    /// What happens, in a sentence.
    pub(crate) message: String,
}

impl HoldPlan {
    /// What would happen, for who only wants to know.
    pub(crate) fn preview(&self) -> String {
        match self.in_the_way.len() {
            0 => format!("would be done: {}", self.message),
            offers => {
                format!("would be done: {}; {offers} offers would be taken back", self.message)
            }
        }
    }
}

fn wrong(field: &str, message: String) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, field, message)
}

impl Master {
    pub(crate) fn plan_hold(&self, by: &Claimant, call: &HoldCall) -> Result<HoldPlan, Refusal> {
        match call {
            HoldCall::Reserve { agent, new } => self.plan_reservation(by, *agent, new),
            HoldCall::CreateVolume { new } => self.plan_volume(by, new),
            HoldCall::Update { id, change } => self.plan_update(by, *id, change),
            HoldCall::GrowVolume { id, bytes } => self.plan_growth(by, *id, *bytes),
            HoldCall::Remove { id } => self.plan_removal(by, *id),
            HoldCall::Adopt { key } => self.plan_adoption(*key),
        }
    }

    fn plan_reservation(
        &self,
        by: &Claimant,
        agent: AgentId,
        new: &NewReservation,
    ) -> Result<HoldPlan, Refusal> {
        let resources = match new.below {
            None => new.resources.clone(),
            Some(below) => self.on_level(agent, below, &new.resources)?,
        };
        let NewReservation { role, labels, reclaim, .. } = new.clone();
        let number = self.cluster.hold_mark + 1;
        let id = HoldId::Reservation(ReservationId(number));
        let kind = HoldKind::Reservation { role, labels };
        let owner = by.owner().ok_or_else(|| wrong("owner", "is not known".to_owned()))?;
        let framework = by.framework();
        let hold = Hold { id, op: 1, resources, kind, owner, framework, reclaim };
        self.plan_new(agent, hold)
    }

    /// The same resources, on the level that a reservation makes.
    fn on_level(
        &self,
        agent: AgentId,
        below: ReservationId,
        resources: &Resources,
    ) -> Result<Resources, Refusal> {
        let record = self.applied(HoldId::Reservation(below), "below")?;
        if record.agent != agent {
            let message = format!("{below} is on {}, not on {agent}", record.agent);
            return Err(wrong("below", message));
        }
        let held = record.hold.held();
        let levels = held.entries().first().map(|entry| entry.key.reservations.clone());
        let mut entries = Vec::new();
        for entry in resources.entries() {
            if !entry.key.reservations.is_empty() {
                let message = format!("name a level, and {below} is to be below it");
                return Err(wrong("resources", message));
            }
            let mut entry = entry.clone();
            entry.key.reservations = levels.clone().unwrap_or_default();
            entries.push(entry);
        }
        Resources::from_entries(entries).map_err(|error| wrong("resources", error.to_string()))
    }

    fn plan_volume(&self, by: &Claimant, new: &NewVolume) -> Result<HoldPlan, Refusal> {
        let below = self.applied(HoldId::Reservation(new.on), "on")?;
        let (agent, held) = (below.agent, below.hold.held());
        let disk = held.entries().iter().find(|entry| entry.key.name == ResourceName::Disk);
        let Some(disk) = disk else {
            return Err(wrong("on", format!("{} has no disk", new.on)));
        };
        let entry = Resource { key: disk.key.clone(), quantity: Quantity::Scalar(new.bytes) };
        let resources = Resources::from_entries(vec![entry]).unwrap_or_default();
        let id = HoldId::Volume(VolumeId(self.cluster.hold_mark + 1));
        let container_path = new.container_path.clone();
        let kind = HoldKind::Volume { container_path, shared: new.shared };
        let owner = by.owner().ok_or_else(|| wrong("owner", "is not known".to_owned()))?;
        let (framework, reclaim) = (by.framework(), new.reclaim);
        self.plan_new(agent, Hold { id, op: 1, resources, kind, owner, framework, reclaim })
    }

    /// A hold that was not there before.
    fn plan_new(&self, agent: AgentId, hold: Hold) -> Result<HoldPlan, Refusal> {
        hold.validate()?;
        let entry = self.check_agent_holds(agent)?;
        let in_the_way = self.check_unheld(entry, &hold.resources, &Resources::new())?;
        if let HoldKind::Reservation { role, .. } = &hold.kind {
            self.check_limits(role, &hold.resources, hold.levels().last().map(|it| &it.role))?;
        }
        Ok(HoldPlan { in_the_way, ..self.plan_leased(agent, hold)? })
    }

    /// The same out of leases that end with it.
    pub(super) fn plan_leased(&self, agent: AgentId, hold: Hold) -> Result<HoldPlan, Refusal> {
        hold.validate()?;
        self.check_agent_holds(agent)?;
        if self.holds.count_at(agent) >= AGENT_HOLDS_MAX || !self.hold_count_fits() {
            let message = format!("{agent} or the cluster has as many as it may have");
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "agent", message));
        }
        let id = hold.id;
        self.check_kinds(agent, &hold)?;
        let message = format!("{id} on {agent}: {} become {}", hold.resources, hold.held());
        let record =
            HoldRecord { agent, op: hold.op, hold, intent: HoldIntent::Pending, before: None };
        let (key, mark) = (HoldKey { agent, id }, id.number());
        let writing = Writing::Put(Box::new(record));
        Ok(HoldPlan { key, writing, mark, in_the_way: Vec::new(), on: Vec::new(), message })
    }

    /// What is reserved counts against the limits of its role and of all above it, but for those against
    /// which it counts already: of the role it is reserved for or leased to, and above.
    pub(super) fn check_limits(
        &self,
        role: &RoleName,
        resources: &Resources,
        counted: Option<&RoleName>,
    ) -> Result<(), Refusal> {
        let counts = |above: &RoleName| {
            counted.is_some_and(|role| Roles::path(role).any(|known| known == *above))
        };
        for above in Roles::path(role).filter(|above| !counts(above)) {
            let entry = self.roles.table.get(&above);
            let Some(config) = entry.and_then(|entry| entry.config.as_ref()) else { continue };
            let (has, under_way) = (self.allocator.consumed(&above), self.under_way_for(&above));
            let over = config.limit.iter().find(|(name, limit)| {
                let wanted: u64 = under_way.iter().map(|resources| resources.scalar(name)).sum();
                let known = has.scalar(name).saturating_add(wanted);
                let sum = known.saturating_add(resources.scalar(name));
                resources.scalar(name) > 0 && sum > *limit
            });
            if let Some((name, limit)) = over {
                let limit = name.display_scalar(limit);
                let message = format!("{above} may have {limit} of {name} in all");
                return Err(Refusal::new(RefusalCode::LimitExceeded, "role", message));
            }
        }
        Ok(())
    }

    /// What is reserved for a role or below and is kept from everybody now: the allocator knows nothing
    /// of it.
    fn under_way_for(&self, role: &RoleName) -> Vec<&Resources> {
        let records = self.holds.table.values().filter_map(|entry| {
            let record = entry.record()?;
            let offered = entry.writing.is_none() && record.intent == HoldIntent::Applied;
            Some(record).filter(|_| !offered)
        });
        let of_role = records.filter(|record| match &record.hold.kind {
            HoldKind::Reservation { role: of, .. } => Roles::path(of).any(|it| it == *role),
            HoldKind::Volume { .. } => false,
        });
        of_role.map(|record| &record.hold.resources).collect()
    }

    /// What is offered of an agent must fit what readers take of one offer (I15).
    fn check_kinds(&self, agent: AgentId, hold: &Hold) -> Result<(), Refusal> {
        let (booked, _) = self.booked_at(agent);
        let others = booked.into_iter().filter(|(other, _)| other.id != hold.id);
        let Some(entry) = self.agents.get(agent) else { return Ok(()) };
        let standing =
            Standing::of(&entry.record.info.resources, others.chain([(hold, Use::Offered)]));
        let kinds = standing.total.entries().len();
        let weight = standing.total.weight();
        if kinds <= limits::AGENT_KINDS_MAX && weight <= limits::AGENT_TOTAL_WEIGHT_MAX {
            return Ok(());
        }
        let message = format!("{agent} would have {kinds} kinds of resources of {weight} bytes");
        Err(Refusal::new(RefusalCode::BudgetExceeded, "resources", message)
            .hint("reservations that are alike in role, owner and labels count once"))
    }

    fn plan_update(
        &self,
        by: &Claimant,
        id: HoldId,
        change: &HoldChange,
    ) -> Result<HoldPlan, Refusal> {
        let record = self.applied(id, "id")?;
        self.check_owner(by, &record.hold)?;
        let mut hold = Hold { op: record.op + 1, ..record.hold.clone() };
        match (&mut hold.kind, change) {
            (HoldKind::Reservation { role, labels }, change) => {
                *role = change.role.clone().unwrap_or_else(|| role.clone());
                *labels = change.labels.clone().unwrap_or_else(|| labels.clone());
            }
            (HoldKind::Volume { .. }, HoldChange { role: None, labels: None, .. }) => {}
            (HoldKind::Volume { .. }, HoldChange { role, .. }) => {
                let field = if role.is_some() { "change.role" } else { "change.labels" };
                return Err(wrong(field, format!("{id} is a volume; its reservation has them")));
            }
        }
        if let HoldKind::Reservation { role, .. } = &hold.kind {
            self.check_limits(role, &hold.resources, record.hold.role())?;
        }
        hold.owner = change.owner.clone().unwrap_or(hold.owner);
        hold.reclaim = change.reclaim.unwrap_or(hold.reclaim);
        self.plan_change(record, hold, &Resources::new(), &Resources::new())
    }

    fn plan_growth(
        &self,
        by: &Claimant,
        volume: VolumeId,
        bytes: u64,
    ) -> Result<HoldPlan, Refusal> {
        self.plan_growth_of(by, volume, bytes, &Resources::new())
    }

    /// `leased` is held by leases that end with it.
    pub(super) fn plan_growth_of(
        &self,
        by: &Claimant,
        volume: VolumeId,
        bytes: u64,
        leased: &Resources,
    ) -> Result<HoldPlan, Refusal> {
        let id = HoldId::Volume(volume);
        let record = self.applied(id, "id")?;
        self.check_owner(by, &record.hold)?;
        let mut entries: Vec<Resource> = record.hold.resources.entries().to_vec();
        let Some(Resource { quantity: Quantity::Scalar(now), .. }) = entries.first_mut() else {
            return Err(wrong("id", format!("{id} has no size")));
        };
        if bytes <= *now {
            let message = format!("{volume} has {now} bytes already and does not shrink");
            return Err(wrong("bytes", message));
        }
        let mut addition = record.hold.resources.entries().to_vec();
        addition[0].quantity = Quantity::Scalar(bytes - *now);
        *now = bytes;
        let resources = Resources::from_entries(entries).unwrap_or_default();
        let addition = Resources::from_entries(addition).unwrap_or_default();
        let hold = Hold { op: record.op + 1, resources, ..record.hold.clone() };
        self.plan_change(record, hold, &addition, leased)
    }

    /// A change of one that nobody uses, which takes `addition` more.
    fn plan_change(
        &self,
        record: &HoldRecord,
        hold: Hold,
        addition: &Resources,
        leased: &Resources,
    ) -> Result<HoldPlan, Refusal> {
        hold.validate().map_err(|refusal| refusal.within("change"))?;
        let (agent, id) = (record.agent, hold.id);
        let entry = self.check_agent_holds(agent)?;
        let needs = record.hold.held().checked_add(addition);
        let needs = needs.map_err(|error| wrong("id", error.to_string()))?;
        self.check_volume_unused(entry, id)?;
        let in_the_way = self.check_unheld(entry, &needs, leased)?;
        self.check_kinds(agent, &hold)?;
        let message = format!("{id} on {agent}: {} becomes {}", record.hold.held(), hold.held());
        let before = Some(record.hold.clone());
        let op = hold.op;
        let writing = HoldRecord { agent, hold, intent: HoldIntent::Pending, before, op };
        let (key, mark) = (HoldKey { agent, id }, self.cluster.hold_mark);
        Ok(HoldPlan {
            key,
            writing: Writing::Put(Box::new(writing)),
            mark,
            in_the_way,
            on: Vec::new(),
            message,
        })
    }

    pub(crate) fn plan_removal(&self, by: &Claimant, id: HoldId) -> Result<HoldPlan, Refusal> {
        self.plan_removal_of(by, id, &Resources::new())
    }

    /// `leased` is held by leases that end with it.
    pub(super) fn plan_removal_of(
        &self,
        by: &Claimant,
        id: HoldId,
        leased: &Resources,
    ) -> Result<HoldPlan, Refusal> {
        let record = self.settled(id, "id")?;
        self.check_owner(by, &record.hold)?;
        let (agent, mark) = (record.agent, self.cluster.hold_mark);
        let key = HoldKey { agent, id };
        let plan = |writing: Writing, in_the_way: Vec<OfferId>, message: String| {
            Ok(HoldPlan { key, writing, mark, in_the_way, on: Vec::new(), message })
        };
        let removing = || {
            let (intent, op) = (HoldIntent::Removing, record.op + 1);
            Writing::Put(Box::new(HoldRecord { intent, op, ..record.clone() }))
        };
        match self.hold_state(key) {
            HoldState::Applied => {}
            HoldState::Lost => {
                let reported = self.agents.get(agent).filter(|it| it.link != Link::Gone);
                return match reported {
                    // Its agent has a word of it yet.
                    Some(entry) if entry.reported.contains_key(&id) => {
                        plan(removing(), Vec::new(), format!("{id} on {agent} is forgotten"))
                    }
                    Some(entry) if !entry.is_registered() => Err(self.not_there(agent)),
                    Some(_) | None => {
                        plan(Writing::Delete, Vec::new(), format!("{id} is forgotten; it was lost"))
                    }
                };
            }
            HoldState::Quarantined => {
                let message = format!("{id} on {agent} is quarantined");
                return Err(Refusal::new(RefusalCode::InUse, "id", message).hint("adopt it first"));
            }
            state @ (HoldState::Pending | HoldState::Removing) => {
                return Err(self.under_way(id, state));
            }
        }
        let entry = self.check_agent_holds(agent)?;
        self.check_volume_unused(entry, id)?;
        let in_the_way = self.check_unheld(entry, &record.hold.held(), leased).map_err(|it| {
            let message = format!("{id} is in use: {}", it.message);
            Refusal::new(RefusalCode::InUse, "id", message)
                .hint("a task, a reservation below it or a volume is on it")
        })?;
        let what = match id {
            HoldId::Reservation(_) => {
                format!("{id} on {agent}: {} become {}", record.hold.held(), record.hold.resources)
            }
            HoldId::Volume(_) => format!("{id} on {agent} is destroyed with its data"),
        };
        plan(removing(), in_the_way, what)
    }

    fn plan_adoption(&self, key: HoldKey) -> Result<HoldPlan, Refusal> {
        let HoldKey { agent, id } = key;
        let entry = self.check_agent_holds(agent)?;
        let it = entry.reported.get(&id).filter(|_| self.holds.quarantined.contains(&key));
        let it = it.ok_or_else(|| {
            let message = format!("{agent} has no quarantined {id}");
            Refusal::new(RefusalCode::NotFound, "id", message)
        })?;
        let intent = match it.stage {
            HoldStage::Applied => HoldIntent::Applied,
            HoldStage::Lost => HoldIntent::Lost,
            HoldStage::Removing => {
                let message = format!("{agent} is removing {id}");
                return Err(Refusal::new(RefusalCode::Unavailable, "id", message));
            }
        };
        if let Some(known) = self.holds.get(id) {
            let record = known.record();
            let here = record.is_some_and(|record| record.agent == agent);
            let lost = record.is_some_and(|record| {
                self.hold_state(HoldKey { agent: record.agent, id }) == HoldState::Lost
            });
            if known.writing.is_some() || !(here || lost) {
                let message = format!("{id} is also on another agent, or is being written");
                return Err(Refusal::new(RefusalCode::AlreadyExists, "id", message));
            }
        }
        let op = self.holds.get(id).and_then(|known| known.record()).map_or(0, |record| record.op);
        let (hold, mark) = (it.hold.clone(), self.cluster.hold_mark.max(id.number()));
        let message = format!("{id} on {agent} is adopted: {}", hold.held());
        let op = op.max(hold.op);
        let record = HoldRecord { agent, hold, intent, before: None, op };
        let writing = Writing::Put(Box::new(record));
        Ok(HoldPlan { key, writing, mark, in_the_way: Vec::new(), on: Vec::new(), message })
    }

    /// A hold whose record is not being written.
    fn settled(&self, id: HoldId, field: &str) -> Result<&HoldRecord, Refusal> {
        let entry = self.holds.get(id).ok_or_else(|| {
            if id.number() <= self.cluster.hold_mark && id.number() != 0 {
                let message = format!("{id} was removed, or is of the other kind");
                Refusal::new(RefusalCode::Removed, field, message)
            } else {
                Refusal::new(RefusalCode::NotFound, field, format!("there is no {id}"))
            }
        })?;
        match (&entry.durable, &entry.writing) {
            (Some(record), None) => Ok(record),
            (_, _) => Err(self.under_way(id, HoldState::Pending)),
        }
    }

    /// One that is there.
    fn applied(&self, id: HoldId, field: &str) -> Result<&HoldRecord, Refusal> {
        let record = self.settled(id, field)?;
        match self.hold_state(HoldKey { agent: record.agent, id }) {
            HoldState::Applied => Ok(record),
            state @ (HoldState::Pending | HoldState::Removing) => {
                Err(Refusal { field: field.to_owned(), ..self.under_way(id, state) })
            }
            state @ (HoldState::Lost | HoldState::Quarantined) => {
                let message = format!("{id} is {}", state.as_str());
                Err(Refusal::new(RefusalCode::Unavailable, field, message))
            }
        }
    }

    fn under_way(&self, id: HoldId, state: HoldState) -> Refusal {
        Refusal::new(RefusalCode::Unavailable, "id", format!("{id} is {}", state.as_str()))
            .hint("try again when that is over")
    }

    fn check_owner(&self, by: &Claimant, hold: &Hold) -> Result<(), Refusal> {
        match by {
            Claimant::Operator(_) | Claimant::Cluster => Ok(()),
            Claimant::Framework(_, principal) if *principal == hold.owner => Ok(()),
            Claimant::Framework(..) => {
                let message = format!("{} belongs to {}", hold.id, hold.owner);
                Err(Refusal::new(RefusalCode::PermissionDenied, "resources", message))
            }
        }
    }

    fn not_there(&self, id: AgentId) -> Refusal {
        Refusal::new(RefusalCode::Unavailable, "agent", format!("{id} is not connected"))
            .hint("reservations and volumes are made and removed by the agent itself")
    }

    /// An agent that is there and carries out such orders.
    fn check_agent_holds(&self, id: AgentId) -> Result<&AgentEntry, Refusal> {
        let agent = self.agents.get(id).ok_or_else(|| self.unknown_agent(id))?;
        if agent.link == Link::Gone {
            return Err(Refusal::new(RefusalCode::Removed, "agent", format!("{id} is gone")));
        }
        if agent.connection().is_none() {
            return Err(self.not_there(id));
        }
        self.check_agent_idle(id)?;
        if !agent.knows_holds {
            let message = format!("{id} is of a version without reservations and volumes");
            return Err(Refusal::new(RefusalCode::NotSupported, "agent", message));
        }
        Ok(agent)
    }

    /// No task may have what is to be taken; offers that have it are named, as few as it needs, the
    /// youngest first.
    fn check_unheld(
        &self,
        agent: &AgentEntry,
        needs: &Resources,
        leased: &Resources,
    ) -> Result<Vec<OfferId>, Refusal> {
        let lacking = |message: String| {
            Refusal::new(RefusalCode::InsufficientResources, "resources", message)
        };
        let unused = agent
            .total
            .checked_sub(&agent.allocated)
            .map_err(|error| lacking(format!("tasks use more than there is: {error}")))?;
        unused.checked_sub(needs).map_err(|error| lacking(error.to_string()))?;
        let offered = agent.offered.checked_sub(leased).unwrap_or_default();
        let mut free = unused.checked_sub(&offered).unwrap_or_default();
        let shared = needs.filtered(|entry| entry.key.shared);
        let mut in_the_way = Vec::new();
        for id in agent.offers.iter().rev() {
            if free.contains(needs) && shared.is_empty() {
                break;
            }
            let Some(offer) = self.offers.get(*id).map(|entry| &entry.offer) else { continue };
            let Ok(of_offer) = taken(&offer.resources) else { continue };
            let helps = of_offer
                .entries()
                .iter()
                .any(|entry| needs.entries().iter().any(|need| need.key == entry.key));
            if helps && let Ok(more) = free.checked_add(&of_offer) {
                free = more;
                in_the_way.push(*id);
            }
        }
        Ok(in_the_way)
    }

    /// A shared volume is in nobody's books: its users are looked for.
    fn check_volume_unused(&self, agent: &AgentEntry, id: HoldId) -> Result<(), Refusal> {
        let HoldId::Volume(volume) = id else { return Ok(()) };
        let uses = |resources: &Resources| {
            let mut entries = resources.entries().iter();
            entries.any(|entry| entry.key.volume.as_ref().is_some_and(|it| it.id == volume))
        };
        let user = agent.tasks.iter().find(|key| {
            self.tasks
                .get(key)
                .is_some_and(|task| !task.is_terminal() && uses(&task.record.resources))
        });
        match user {
            None => Ok(()),
            Some(task) => {
                Err(Refusal::new(RefusalCode::InUse, "id", format!("{task} uses {volume}")))
            }
        }
    }
}
