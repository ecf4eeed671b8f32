//! Demand groups, and the buckets that groups of one shape and one set of constraints share. What
//! no agent has room for is found out once for a bucket, not for each group in it.

use crate::agents::{Agent, Class, Classes, HOSTNAME};
use crate::amounts::{Amounts, Dimensions, Parts, SpanList, Spans, spans_contain};
use crate::fit_tree::Need;
use crate::policy::{Policy, ScarceNeed};
use crate::slab::Slab;
use crate::slot_set::SlotSet;
use proffer_types::demand::DemandGroup;
use proffer_types::{Constraint, FrameworkId, GroupName};
use std::collections::{BTreeMap, BTreeSet};

/// Where a group stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// Nothing is missing, or nothing may be offered.
    No,
    /// It has to be tried.
    Awake,
    /// No agent has room for its bucket.
    ForRoom,
    /// Agents have room, but each is ruled out for this group: refused, or at `per_agent_max`.
    ForLeave,
    /// Agents have room, but it has to stay free for those who are owed it.
    ForHeadroom,
    /// A limit above its role has no room for one task more.
    ForLimit,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) framework: FrameworkId,
    pub(crate) name: GroupName,
    pub(crate) spec: Option<Spec>,
    /// Tasks that name it.
    pub(crate) launched: u32,
    /// Tasks that its leases hold.
    pub(crate) leased: u32,
    /// Tasks that name it on agents that are not counted.
    pub(crate) out_of_reach: u32,
    /// Those launched and leased, by agent slot.
    pub(crate) by_agent: BTreeMap<u32, u32>,
    /// How many agents have how many of it.
    pub(crate) levels: BTreeMap<u32, u32>,
    pub(crate) waiting: Waiting,
    /// Packed: no slot below this one can take it. Spread: no agent with fewer of it can. Holds as
    /// long as no agent gained anything since.
    pub(crate) lowest: u32,
    pub(crate) lowest_as_of: u64,
}

/// What was stated.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) stated: DemandGroup,
    pub(crate) client: u32,
    pub(crate) bucket: u32,
}

impl Group {
    pub(crate) fn new(framework: FrameworkId, name: GroupName) -> Self {
        Self {
            framework,
            name,
            spec: None,
            launched: 0,
            leased: 0,
            out_of_reach: 0,
            by_agent: BTreeMap::new(),
            levels: BTreeMap::new(),
            waiting: Waiting::No,
            lowest: 0,
            lowest_as_of: 0,
        }
    }

    /// `target − leases − launches`, K10.
    pub(crate) fn unmet(&self) -> u32 {
        let target = self.spec.as_ref().map_or(0, |spec| spec.stated.target);
        target
            .saturating_sub(self.launched)
            .saturating_sub(self.leased)
            .saturating_sub(self.out_of_reach)
    }

    /// Sets how many of it an agent has, and returns how many it had.
    pub(crate) fn set_on_agent(&mut self, slot: u32, tasks: u32) -> u32 {
        let had = match tasks {
            0 => self.by_agent.remove(&slot),
            _ => self.by_agent.insert(slot, tasks),
        };
        let had = had.unwrap_or(0);
        if let Some(agents) = self.levels.get_mut(&had) {
            *agents -= 1;
            if *agents == 0 {
                self.levels.remove(&had);
            }
        }
        if tasks > 0 {
            *self.levels.entry(tasks).or_default() += 1;
        }
        had
    }

    pub(crate) fn on_agent(&self, slot: u32) -> u32 {
        self.by_agent.get(&slot).copied().unwrap_or(0)
    }

    /// It waits for something and is not to be tried until that comes.
    pub(crate) fn is_asleep(&self) -> bool {
        !matches!(self.waiting, Waiting::No | Waiting::Awake)
    }

    pub(crate) fn is_unneeded(&self) -> bool {
        self.spec.is_none() && self.launched == 0 && self.leased == 0 && self.out_of_reach == 0
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct BucketKey {
    shape: Amounts,
    fixed: SpanList,
    constraints: Vec<Constraint>,
}

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    key: BucketKey,
    groups: u32,
    need: Need,
    scarce: ScarceNeed,
    need_only: bool,
    /// Bits of passing classes: those with nothing scarce but what it needs, and the others.
    bits: [u64; 2],
    /// By class: whether it passes the constraints, and then whether it has something scarce that the
    /// bucket does not need.
    passes: Vec<Option<bool>>,
    by_host: bool,
    /// Agents whose host name passes, when there is a pattern for it.
    hosts: Option<SlotSet>,
    /// Not known to be without room.
    pub(crate) has_room: bool,
    pub(crate) for_room: BTreeSet<u32>,
    /// With those that wait for headroom.
    pub(crate) for_leave: BTreeSet<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    index: BTreeMap<BucketKey, u32>,
    buckets: Slab<Bucket>,
    with_room: u32,
    need_only: bool,
    /// Buckets with a pattern for the host name.
    by_pattern: BTreeSet<u32>,
    /// Buckets that an agent's gain may concern: without room, or with groups that wait for leave.
    pub(crate) watching: BTreeSet<u32>,
}

impl Bucket {
    /// What one task needs.
    pub(crate) fn shape(&self) -> &Amounts {
        &self.key.shape
    }

    /// The very ranges that one task needs, when they matter.
    pub(crate) fn fixed(&self) -> &[(usize, Spans)] {
        &self.key.fixed
    }

    /// The scarce dimension that its tasks are packed by.
    pub(crate) fn packed_by(&self) -> Option<usize> {
        self.scarce.packed_by
    }

    /// What to look for, one pass after the other: agents with something scarce come last for those
    /// who do not need it, or not at all. Bits of classes may be shared, so each hit is checked with
    /// [`Bucket::is_in_pass`].
    pub(crate) fn passes(&self) -> impl Iterator<Item = (bool, Need)> + '_ {
        let passes = [false, true].into_iter().zip(self.bits);
        passes.map(|(is_wasteful, bits)| (is_wasteful, self.need.with_classes(bits)))
    }

    /// Whether a class passes the constraints and belongs into this pass.
    pub(crate) fn is_in_pass(&self, class: u32, is_wasteful: bool) -> bool {
        self.passes.get(class as usize) == Some(&Some(is_wasteful))
    }

    /// Whether agents of a class have something scarce that is not needed.
    pub(crate) fn wastes(&self, class: &Class) -> bool {
        !class.key.scarce.is_subset(&self.scarce.all)
    }

    /// The need in any class.
    pub(crate) fn need(&self) -> Need {
        self.need.with_classes(self.bits[0] | self.bits[1])
    }

    pub(crate) fn in_class(&self, class: u32) -> bool {
        self.passes.get(class as usize).is_some_and(Option::is_some)
    }

    /// What the search tree cannot tell: exact class, host, and fixed ranges.
    pub(crate) fn suits(&self, agent: &Agent) -> bool {
        self.in_class(agent.class)
            && self.suits_host(agent)
            && self.key.fixed.iter().all(|(dimension, wanted)| {
                agent.book_of(*dimension).is_some_and(|book| spans_contain(&book.free, wanted))
            })
    }

    pub(crate) fn suits_host(&self, agent: &Agent) -> bool {
        match &self.hosts {
            _ if !self.by_host => true,
            Some(hosts) => hosts.contains(agent.slot),
            None => self.passes_host(agent),
        }
    }

    fn passes_host(&self, agent: &Agent) -> bool {
        let attributes = agent.hostname.iter().map(|host| (HOSTNAME.to_owned(), host.clone()));
        let attributes = attributes.collect();
        let mut rules = self.key.constraints.iter().filter(|rule| rule.attribute == HOSTNAME);
        rules.all(|rule| rule.holds(&attributes))
    }

    fn judge_host(&mut self, agent: &Agent) {
        let passes = self.passes_host(agent);
        let hosts = self.hosts.get_or_insert_default();
        match passes {
            true => hosts.insert(agent.slot),
            false => hosts.remove(agent.slot),
        }
    }

    fn judge(&mut self, class: u32, entry: &Class) {
        let mut rules = self.key.constraints.iter().filter(|rule| rule.attribute != HOSTNAME);
        let passes = rules.all(|rule| rule.holds(&entry.key.attributes));
        let at = class as usize;
        if self.passes.len() <= at {
            self.passes.resize(at + 1, None);
        }
        let is_wasteful = self.wastes(entry);
        let passes = passes && !(is_wasteful && self.need_only);
        self.passes[at] = passes.then_some(is_wasteful);
        if passes {
            self.bits[usize::from(is_wasteful)] |= Classes::bit(class);
        }
    }
}

impl Buckets {
    /// The bucket of a shape under constraints.
    pub(crate) fn join(
        &mut self,
        parts: Parts,
        stated: &DemandGroup,
        scarce: ScarceNeed,
        classes: &Classes,
        agents: &Slab<Agent>,
    ) -> u32 {
        let fixed = if stated.fixed_ports { parts.spans } else { SpanList::new() };
        let key = BucketKey { shape: parts.plain, fixed, constraints: stated.constraints.clone() };
        if let Some(bucket) = self.index.get(&key) {
            self.buckets[*bucket].groups += 1;
            return *bucket;
        }
        let mut bucket = Bucket {
            need: Need::new(&key.shape, 0),
            by_host: key.constraints.iter().any(|rule| rule.attribute == HOSTNAME),
            hosts: None,
            key: key.clone(),
            groups: 1,
            scarce,
            need_only: self.need_only,
            bits: [0; 2],
            passes: Vec::new(),
            has_room: true,
            for_room: BTreeSet::new(),
            for_leave: BTreeSet::new(),
        };
        for (class, entry) in classes.classes.iter() {
            bucket.judge(class, entry);
        }
        let mut of_hosts = key.constraints.iter().filter(|rule| rule.attribute == HOSTNAME);
        let by_pattern = of_hosts.any(|rule| rule.pattern().is_some());
        if by_pattern {
            bucket.hosts = Some(SlotSet::default());
            agents.iter().for_each(|(_, agent)| bucket.judge_host(agent));
        }
        let id = self.buckets.insert(bucket);
        if by_pattern {
            self.by_pattern.insert(id);
        }
        self.index.insert(key, id);
        self.with_room += 1;
        id
    }

    /// Keeps a bucket as if one more group were in it, until [`Buckets::leave`].
    pub(crate) fn keep(&mut self, id: u32) {
        self.buckets[id].groups += 1;
    }

    pub(crate) fn leave(&mut self, id: u32) {
        let bucket = &mut self.buckets[id];
        bucket.groups -= 1;
        if bucket.groups == 0 {
            let bucket = self.buckets.remove(id);
            self.index.remove(&bucket.key);
            self.with_room -= u32::from(bucket.has_room);
            self.watching.remove(&id);
            self.by_pattern.remove(&id);
        }
    }

    /// An agent is new, or its host name: patterns look at it once.
    pub(crate) fn judge_host(&mut self, agent: &Agent) {
        for id in &self.by_pattern {
            self.buckets[*id].judge_host(agent);
        }
    }

    /// The policy changed. Agents join their classes anew after this.
    pub(crate) fn set_need_only(&mut self, policy: &Policy, dimensions: &Dimensions) {
        self.need_only = policy.scarce_for_need_only;
        for (_, bucket) in self.buckets.iter_mut() {
            bucket.scarce = policy.need_of(dimensions, &bucket.key.shape);
            bucket.need_only = self.need_only;
        }
    }

    /// Judges every class anew.
    pub(crate) fn judge_all(&mut self, classes: &Classes) {
        for (_, bucket) in self.buckets.iter_mut() {
            bucket.bits = [0; 2];
            bucket.passes.clear();
            for (class, entry) in classes.classes.iter() {
                bucket.judge(class, entry);
            }
        }
    }

    /// A class is new: it is judged once by every bucket.
    pub(crate) fn judge_class(&mut self, class: u32, entry: &Class) {
        for (_, bucket) in self.buckets.iter_mut() {
            bucket.judge(class, entry);
        }
    }

    /// Whether any bucket may have room.
    pub(crate) fn any_room(&self) -> bool {
        self.with_room > 0
    }

    pub(crate) fn set_room(&mut self, id: u32, has_room: bool) {
        let bucket = &mut self.buckets[id];
        if bucket.has_room != has_room {
            bucket.has_room = has_room;
            if has_room {
                self.with_room += 1;
            } else {
                self.with_room -= 1;
            }
        }
        self.watch(id);
    }

    /// Notes or forgets the bucket's interest in gains.
    pub(crate) fn watch(&mut self, id: u32) {
        let bucket = &self.buckets[id];
        if !bucket.has_room || !bucket.for_leave.is_empty() {
            self.watching.insert(id);
        } else {
            self.watching.remove(&id);
        }
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Bucket {
        &mut self.buckets[id]
    }
}

impl std::ops::Index<u32> for Buckets {
    type Output = Bucket;
    fn index(&self, id: u32) -> &Bucket {
        &self.buckets[id]
    }
}
