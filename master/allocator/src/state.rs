//! The allocator's state and the bookkeeping that all its parts share.

use crate::agents::{Agent, Classes};
use crate::amounts::{Amounts, Dimensions, FIXED, SpanList};
use crate::cap::AtCap;
use crate::claims::ClaimEntry;
use crate::conditions::Conditions;
use crate::delta::LeaseId;
use crate::demand::{Buckets, Group, Waiting};
use crate::fair_tree::{FairTree, Queue};
use crate::filters::{Marks, Refusals};
use crate::fit_tree::FitTree;
use crate::headroom::Headroom;
use crate::lend::Lending;
use crate::limits::AtLimit;
use crate::policy::Policy;
use crate::slab::Slab;
use crate::slot_set::SlotSet;
use proffer_types::{AgentId, ClaimId, FrameworkId, GroupName, Resources, RoleName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Decides who is offered what. Fed with [`crate::Delta`]s; see the package's first page.
#[derive(Clone, Debug)]
pub struct Allocator {
    pub(crate) policy: Policy,
    pub(crate) dimensions: Dimensions,
    pub(crate) agents: Slab<Agent>,
    pub(crate) slots: BTreeMap<AgentId, u32>,
    pub(crate) classes: Classes,
    pub(crate) fit: FitTree,
    pub(crate) fair: FairTree,
    pub(crate) frameworks: BTreeMap<FrameworkId, Framework>,
    pub(crate) clients: Slab<Client>,
    pub(crate) groups: Slab<Group>,
    pub(crate) buckets: Buckets,
    pub(crate) refused: Refusals,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    pub(crate) lease_next: u64,
    pub(crate) claims: BTreeMap<ClaimId, ClaimEntry>,
    /// Classical leases by agent slot.
    pub(crate) classical: BTreeSet<(u32, LeaseId)>,
    /// Those of them that are to come back for somebody's demand.
    pub(crate) asked_back: BTreeSet<(u32, LeaseId)>,
    /// Agents that gained something which waiting groups have not been told of.
    pub(crate) dirty: Vec<u32>,
    /// Agents with enough for a classical offer.
    pub(crate) worth: SlotSet,
    /// Of these, such as somebody may take.
    pub(crate) pool: SlotSet,
    /// Of these, such as somebody may take who is owed something.
    pub(crate) owed_pool: SlotSet,
    pub(crate) headroom: Headroom,
    pub(crate) at_limit: AtLimit,
    pub(crate) at_cap: AtCap,
    pub(crate) conditions: Conditions,
    /// Agents with something free that is reserved for a role.
    pub(crate) reserved_at: BTreeMap<RoleName, BTreeSet<u32>>,
    /// Agents with something revocable that is free.
    pub(crate) revocable_at: BTreeSet<u32>,
    /// Stated groups that accept what is revocable.
    pub(crate) accepting: BTreeSet<u32>,
    pub(crate) lending: Lending,
    /// Groups that wait and whose role has something reserved for it, which is not enough or may not be
    /// had now.
    pub(crate) near_reserved: BTreeSet<u32>,
    /// Roles whose limit was set anew: leases may be beyond it.
    pub(crate) lowered: BTreeSet<RoleName>,
    /// Counts gains: what was ruled out holds only until the next one.
    pub(crate) gains: u64,
    pub(crate) marks: Marks,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Framework {
    /// Added and not removed; else the entry stands only for what is still held.
    pub(crate) registered: bool,
    pub(crate) active: bool,
    pub(crate) states_demand: bool,
    /// Scalars in its classical leases, but for what is reserved.
    pub(crate) held: Amounts,
    /// By role; also roles it left while it holds something in them.
    pub(crate) clients: BTreeMap<RoleName, u32>,
    pub(crate) groups: BTreeMap<GroupName, u32>,
}

/// A framework in a role.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) framework: FrameworkId,
    pub(crate) role: RoleName,
    pub(crate) node: u32,
    pub(crate) subscribed: bool,
    pub(crate) suppressed: bool,
    /// What it wants to be offered, if it is choosy.
    pub(crate) condition: Option<u32>,
    pub(crate) present: bool,
    /// Limits above leave it nothing worth a classical offer.
    pub(crate) is_at_limit: bool,
    /// The cap on held offers leaves its framework nothing worth another.
    pub(crate) is_at_cap: bool,
    /// Whether it refused anything since its refusals were last voided.
    pub(crate) has_refused: bool,
    /// Leases, claims and agents with tasks that hold it in the tables.
    pub(crate) holds: u32,
    /// Stated groups that name this role.
    pub(crate) groups: BTreeSet<u32>,
    /// Groups to be tried: highest priority first, then by name.
    pub(crate) awake: BTreeSet<(Reverse<i32>, GroupName, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) slot: u32,
    pub(crate) client: u32,
    pub(crate) group: Option<u32>,
    pub(crate) count: u32,
    pub(crate) plain: Amounts,
    /// Plain too, but may be taken back.
    pub(crate) lent: Amounts,
    pub(crate) spans: SpanList,
    pub(crate) sets: Resources,
    /// It was made out of what its client was owed.
    pub(crate) is_owed: bool,
    /// It was named in [`crate::Turn::rescinds`].
    pub(crate) is_rescinded: bool,
}

impl Default for Allocator {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            dimensions: Dimensions::default(),
            agents: Slab::default(),
            slots: BTreeMap::new(),
            classes: Classes::default(),
            fit: FitTree::new(FIXED),
            fair: FairTree::default(),
            frameworks: BTreeMap::new(),
            clients: Slab::default(),
            groups: Slab::default(),
            buckets: Buckets::default(),
            refused: Refusals::default(),
            leases: BTreeMap::new(),
            lease_next: 1,
            claims: BTreeMap::new(),
            classical: BTreeSet::new(),
            asked_back: BTreeSet::new(),
            dirty: Vec::new(),
            worth: SlotSet::default(),
            pool: SlotSet::default(),
            owed_pool: SlotSet::default(),
            headroom: Headroom::default(),
            at_limit: AtLimit::default(),
            at_cap: AtCap::default(),
            conditions: Conditions::default(),
            reserved_at: BTreeMap::new(),
            revocable_at: BTreeSet::new(),
            accepting: BTreeSet::new(),
            lending: Lending::default(),
            near_reserved: BTreeSet::new(),
            lowered: BTreeSet::new(),
            gains: 0,
            marks: Marks::default(),
        }
    }
}

impl Allocator {
    /// An empty cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows those who look for agents what is free on one.
    pub(crate) fn show(&mut self, slot: u32) {
        self.fit.widen(self.dimensions.len());
        let agent = &self.agents[slot];
        let bit = if agent.usable { Classes::bit(agent.class) } else { 0 };
        self.fit.set(slot, &agent.free, bit);
        self.weigh(slot);
        if self.fair.has_guarantees() {
            self.count_headroom(slot);
        }
        self.sync_reserved(slot);
    }

    /// Notes that an agent may now do for somebody for whom it did not.
    pub(crate) fn gained(&mut self, slot: u32) {
        self.gains += 1;
        let agent = &mut self.agents[slot];
        if !agent.is_dirty {
            agent.is_dirty = true;
            self.dirty.push(slot);
        }
        self.pool_agent(slot);
    }

    pub(crate) fn pool_agent(&mut self, slot: u32) {
        if self.may_offer(&self.agents[slot]) {
            self.pool.insert(slot);
            self.owed_pool.insert(slot);
        }
    }

    /// Every agent may have something for somebody who did not get it before.
    pub(crate) fn pool_all(&mut self) {
        self.pool.add_all(&self.worth);
        self.owed_pool.add_all(&self.worth);
    }

    /// A client's entry, made when it is not there.
    pub(crate) fn client(&mut self, framework: FrameworkId, role: &RoleName) -> u32 {
        let entry = self.frameworks.entry(framework).or_default();
        if let Some(client) = entry.clients.get(role) {
            return *client;
        }
        let client = self.clients.insert(Client {
            framework,
            role: role.clone(),
            node: 0,
            subscribed: false,
            suppressed: false,
            condition: None,
            present: false,
            is_at_limit: false,
            is_at_cap: false,
            has_refused: false,
            holds: 0,
            groups: BTreeSet::new(),
            awake: BTreeSet::new(),
        });
        self.refused.void(client);
        self.clients[client].node = self.fair.add_client(role, framework.0, client);
        let entry = self.frameworks.entry(framework).or_default();
        entry.clients.insert(role.clone(), client);
        client
    }

    /// A group's entry, made when it is not there.
    pub(crate) fn group(&mut self, framework: FrameworkId, name: &GroupName) -> u32 {
        let entry = self.frameworks.entry(framework).or_default();
        if let Some(group) = entry.groups.get(name) {
            return *group;
        }
        let group = self.groups.insert(Group::new(framework, name.clone()));
        entry.groups.insert(name.clone(), group);
        group
    }

    /// Makes presence, queues and groups of a client agree with what is known of it.
    pub(crate) fn settle_client(&mut self, client: u32) {
        let entry = &self.clients[client];
        let (node, was) = (entry.node, entry.present);
        let framework = self.frameworks.get(&entry.framework);
        let is = entry.subscribed && !entry.suppressed && framework.is_some_and(|f| f.active);
        let takes_classical = is && framework.is_some_and(|f| !f.states_demand);
        let (is_at_limit, is_at_cap) = (entry.is_at_limit, entry.is_at_cap);
        if was != is {
            self.clients[client].present = is;
            self.fair.set_present(node, is);
        }
        if is_at_limit && !takes_classical {
            self.leave_limit(client);
        }
        if is_at_cap && !takes_classical {
            self.leave_cap(client);
        }
        let queued = takes_classical && !is_at_limit && !is_at_cap;
        if queued && !self.fair.is_queued(node, Queue::Classical) {
            self.pool_all();
        }
        self.fair.set_queued(node, Queue::Classical, queued);
        self.headroom.stated_changed(&self.fair, node);
        let groups: Vec<u32> = self.clients[client].groups.iter().copied().collect();
        for group in groups {
            self.settle_group(group);
        }
        self.forget_client(client);
    }

    /// Drops a client that nobody needs.
    pub(crate) fn forget_client(&mut self, client: u32) {
        let entry = &self.clients[client];
        if entry.subscribed || entry.holds > 0 || !entry.groups.is_empty() {
            return;
        }
        let entry = self.clients.remove(client);
        self.fair.remove_client(entry.node);
        if let Some(framework) = self.frameworks.get_mut(&entry.framework) {
            framework.clients.remove(&entry.role);
        }
        self.forget_framework(entry.framework);
    }

    /// Drops the entry of a framework that was removed and holds nothing.
    pub(crate) fn forget_framework(&mut self, framework: FrameworkId) {
        let unneeded = |f: &Framework| !f.registered && f.clients.is_empty() && f.groups.is_empty();
        if self.frameworks.get(&framework).is_some_and(unneeded) {
            self.frameworks.remove(&framework);
        }
    }

    /// Makes a group's place among the waiting agree with what it lacks.
    pub(crate) fn settle_group(&mut self, group: u32) {
        let entry = &self.groups[group];
        let Some(spec) = &entry.spec else {
            if entry.is_unneeded() {
                let entry = self.groups.remove(group);
                if let Some(framework) = self.frameworks.get_mut(&entry.framework) {
                    framework.groups.remove(&entry.name);
                }
                self.forget_framework(entry.framework);
            }
            return;
        };
        let wanted = entry.unmet() > 0 && self.clients[spec.client].present;
        match (wanted, entry.waiting) {
            (true, Waiting::No) => self.set_waiting(group, Waiting::Awake),
            (false, Waiting::No) => {}
            (false, _) => self.set_waiting(group, Waiting::No),
            (true, _) => {}
        }
    }

    /// Moves a stated group to another kind of waiting.
    pub(crate) fn set_waiting(&mut self, group: u32, waiting: Waiting) {
        let entry = &mut self.groups[group];
        let was = std::mem::replace(&mut entry.waiting, waiting);
        if was == waiting {
            return;
        }
        let spec = entry.spec.as_ref().expect("only stated groups wait");
        let (client, bucket) = (spec.client, spec.bucket);
        if matches!(waiting, Waiting::No | Waiting::Awake) {
            self.near_reserved.remove(&group);
        } else {
            self.note_reserved(group);
        }
        let entry = &self.groups[group];
        let spec = entry.spec.as_ref().expect("only stated groups wait");
        let key = (Reverse(spec.stated.priority), entry.name.clone(), group);
        match was {
            Waiting::No => {}
            Waiting::Awake => {
                let entry = &mut self.clients[client];
                entry.awake.remove(&key);
                if entry.awake.is_empty() {
                    self.fair.set_queued(entry.node, Queue::Demand, false);
                }
            }
            Waiting::ForRoom => {
                self.buckets.get_mut(bucket).for_room.remove(&group);
            }
            Waiting::ForLeave => {
                self.buckets.get_mut(bucket).for_leave.remove(&group);
                self.buckets.watch(bucket);
            }
            Waiting::ForHeadroom => {
                self.headroom.waiting.remove(&group);
                self.buckets.get_mut(bucket).for_leave.remove(&group);
                self.buckets.watch(bucket);
            }
            Waiting::ForLimit => {
                self.at_limit.remove_group(&self.fair, self.clients[client].node, group);
            }
        }
        match waiting {
            Waiting::No => {}
            Waiting::Awake => {
                let entry = &mut self.clients[client];
                entry.awake.insert(key);
                self.fair.set_queued(entry.node, Queue::Demand, true);
            }
            Waiting::ForRoom => {
                self.buckets.get_mut(bucket).for_room.insert(group);
            }
            Waiting::ForLeave => {
                self.buckets.get_mut(bucket).for_leave.insert(group);
                self.buckets.watch(bucket);
            }
            Waiting::ForHeadroom => {
                self.headroom.waiting.insert(group);
                self.buckets.get_mut(bucket).for_leave.insert(group);
                self.buckets.watch(bucket);
            }
            Waiting::ForLimit => {
                self.at_limit.add_group(&self.fair, self.clients[client].node, group);
            }
        }
    }

    /// Wakes the groups of a client that wait for leave: one of its refusals ended.
    pub(crate) fn wake_refusing(&mut self, client: u32) {
        self.gains += 1;
        let groups: Vec<u32> = self.clients[client].groups.iter().copied().collect();
        for group in groups {
            let waits_for_leave =
                matches!(self.groups[group].waiting, Waiting::ForLeave | Waiting::ForHeadroom);
            if waits_for_leave || self.near_reserved.contains(&group) {
                self.set_waiting(group, Waiting::Awake);
            }
        }
    }
}
