//! What waits for a place. Requests that agree in everything the allocator looks at form one
//! demand group with an absolute target (K10).

use crate::request::TaskRequest;
use crate::task_table::TaskTable;
use proffer_types::demand::DemandGroup;
use proffer_types::offer::Offer;
use proffer_types::{DurationMs, Generation, GroupName, Monotonic, Refusal, RefusalCode, TaskName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far generations jump when the master knows later ones than this process.
const GENERATION_LEAP: u64 = 1 << 20;

/// Whether a request is part of the demand now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Condition {
    /// The master is asked for a place.
    Demanded,
    /// An absent agent could run a task of that name (K2).
    Held,
    /// It failed and is tried again then.
    NotBefore(Monotonic),
    /// The end of the last task of that name is acknowledged once this commit is durable; until
    /// then the master refuses the name.
    Unsettled(u64),
}

/// A request without a place.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) request: Arc<TaskRequest>,
    pub(crate) group: GroupName,
    /// When it is given up.
    pub(crate) ends: Option<Monotonic>,
    /// First come, first served within a group.
    order: u64,
    /// Launches of it that never ran.
    pub(crate) attempts: u32,
    /// Accepts with it that were refused in a row.
    pub(crate) refusals: u32,
    /// It goes in an accept of its own, since one that held it was refused for good.
    pub(crate) goes_alone: bool,
    pub(crate) condition: Condition,
}

/// Requests of one kind.
#[derive(Clone, Debug)]
struct Group {
    /// As last said; its target and generation are of then.
    said: DemandGroup,
    /// When it is given up.
    ends: Option<Monotonic>,
    queue: BTreeMap<u64, TaskName>,
}

/// All requests without a place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<TaskName, Waiting>,
    /// Groups with at least one demanded request.
    groups: BTreeMap<GroupName, Group>,
    /// Requests whose condition ends by time.
    timed: BTreeSet<(Monotonic, TaskName)>,
    next_order: u64,
    generation: Generation,
    /// Names of the groups as they were said last, in that order.
    said: Vec<GroupName>,
    /// Whether the demand may differ from what was said last.
    is_dirty: bool,
}

impl Requests {
    pub(crate) fn get(&self, name: &TaskName) -> Option<&Waiting> {
        self.waiting.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &TaskName> {
        self.waiting.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request of a name that does not wait yet.
    ///
    /// # Errors
    /// When its demand would be refused.
    pub(crate) fn add(
        &mut self,
        request: Arc<TaskRequest>,
        attempts: u32,
        condition: Condition,
        now: Monotonic,
    ) -> Result<(), Refusal> {
        let ends = request.deadline.map(|deadline| now.after(deadline));
        let group = group_of(&request, ends)?;
        self.next_order += 1;
        let waiting = Waiting {
            group: group.name.clone(),
            ends,
            order: self.next_order,
            attempts,
            refusals: 0,
            goes_alone: false,
            condition: Condition::Held,
            request,
        };
        self.put(waiting, group, condition);
        Ok(())
    }

    /// Puts a request back that [`Requests::take`] gave out.
    pub(crate) fn put_back(&mut self, waiting: Waiting, condition: Condition) {
        let group =
            group_of(&waiting.request, waiting.ends).expect("it was checked when it was added");
        self.put(waiting, group, condition);
    }

    fn put(&mut self, waiting: Waiting, group: DemandGroup, condition: Condition) {
        let name = waiting.request.name.clone();
        let (queued, ends) = ((waiting.order, name.clone()), waiting.ends);
        self.waiting.insert(name.clone(), Waiting { condition, ..waiting });
        match condition {
            Condition::Demanded => {
                let group = self.groups.entry(group.name.clone()).or_insert_with(|| Group {
                    said: group,
                    ends,
                    queue: BTreeMap::new(),
                });
                group.queue.insert(queued.0, queued.1);
                self.is_dirty = true;
            }
            Condition::NotBefore(at) => {
                self.timed.insert((at, name));
            }
            Condition::Held | Condition::Unsettled(_) => {}
        }
    }

    /// Takes a request out.
    pub(crate) fn take(&mut self, name: &TaskName) -> Option<Waiting> {
        let waiting = self.waiting.remove(name)?;
        match waiting.condition {
            Condition::Demanded => {
                let group = self.groups.get_mut(&waiting.group).expect("demanded, so it has one");
                group.queue.remove(&waiting.order);
                if group.queue.is_empty() {
                    self.groups.remove(&waiting.group);
                }
                self.is_dirty = true;
            }
            Condition::NotBefore(at) => {
                self.timed.remove(&(at, name.clone()));
            }
            Condition::Held | Condition::Unsettled(_) => {}
        }
        Some(waiting)
    }

    fn change(&mut self, name: &TaskName, condition: Condition) {
        if let Some(waiting) = self.take(name) {
            self.put_back(waiting, condition);
        }
    }

    /// Requests whose time has come are demanded again.
    pub(crate) fn wake(&mut self, now: Monotonic) {
        while let Some((at, name)) = self.timed.first().cloned()
            && at <= now
        {
            self.change(&name, Condition::Demanded);
        }
    }

    /// When [`Requests::wake`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.timed.first().map(|(at, _)| *at)
    }

    /// Takes a request out of the demand until [`Requests::release_held`].
    pub(crate) fn hold(&mut self, name: &TaskName) {
        self.change(name, Condition::Held);
    }

    /// No agent is absent any more: what was held for that is demanded.
    pub(crate) fn release_held(&mut self) {
        let held: Vec<TaskName> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.condition == Condition::Held)
            .map(|(name, _)| name.clone())
            .collect();
        for name in held {
            self.change(&name, Condition::Demanded);
        }
    }

    /// The end of the last task of that name waits for a commit: so does its request.
    pub(crate) fn await_commit(&mut self, name: &TaskName, commit: u64) {
        if self.get(name).is_some_and(|waiting| waiting.condition != Condition::Held) {
            self.change(name, Condition::Unsettled(commit));
        }
    }

    /// All commits up to `settled` are answered; those refused were replaced by later ones.
    pub(crate) fn settle(&mut self, settled: u64) {
        let settles = |waiting: &Waiting| matches!(waiting.condition, Condition::Unsettled(c) if c <= settled);
        let names: Vec<TaskName> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| settles(waiting))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.change(&name, Condition::Demanded);
        }
    }

    /// Forgets all requests. Generations go on, so that nothing older can be taken for newer.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            next_order: self.next_order,
            generation: self.generation,
            is_dirty: true,
            ..Self::default()
        };
    }

    /// Requests that `offer` may serve, first come first served, at most `count_max` of a group; of
    /// all groups of its role when it names none.
    pub(crate) fn candidates(&self, offer: &Offer, count_max: usize) -> Vec<TaskName> {
        let queue =
            |group: &Group| group.queue.values().take(count_max).cloned().collect::<Vec<_>>();
        if let Some(name) = &offer.group {
            return self.groups.get(name).map(queue).unwrap_or_default();
        }
        let mut groups: Vec<&Group> = self
            .groups
            .values()
            .filter(|group| {
                group.said.role == offer.role
                    && group.said.constraints.iter().all(|rule| rule.holds(&offer.attributes))
            })
            .collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.said.priority));
        groups.into_iter().flat_map(queue).collect()
    }

    /// On a new stream nothing has been said; whether there is nothing to say either.
    pub(crate) fn begin_stream(&mut self) -> bool {
        self.said.clear();
        self.groups.is_empty()
    }

    /// Something happened that may change the demand.
    pub(crate) fn touch(&mut self) {
        self.is_dirty = true;
    }

    /// The whole demand, when it differs from what was said last or `is_forced`.
    pub(crate) fn demand(
        &mut self,
        tasks: &TaskTable,
        force: Force,
        now: Monotonic,
    ) -> Option<Vec<DemandGroup>> {
        if !self.is_dirty && force == Force::No {
            return None;
        }
        self.is_dirty = false;
        if force == Force::No && self.groups.is_empty() && self.said.is_empty() {
            return None;
        }
        let mut has_changed = !self.groups.keys().eq(&self.said);
        for (name, group) in &mut self.groups {
            let waiting = u32::try_from(group.queue.len()).unwrap_or(u32::MAX);
            let target = waiting.saturating_add(tasks.met_in(name));
            if group.said.target != target || group.said.generation == Generation(0) {
                self.generation = self.generation.next();
                group.said.target = target;
                group.said.generation = self.generation;
                has_changed = true;
            }
        }
        if !has_changed && force == Force::No {
            return None;
        }
        self.said = self.groups.keys().cloned().collect();
        // What is left is said each time, also when nothing is: the master gives up, nobody else.
        let left = |ends: Monotonic| DurationMs(ends.since(now).0.max(1));
        let say =
            |group: &Group| DemandGroup { deadline: group.ends.map(left), ..group.said.clone() };
        Some(self.groups.values().map(say).collect())
    }

    /// The master gave a group up. Its requests are taken out and returned.
    pub(crate) fn expired(&mut self, group: &GroupName) -> Vec<TaskName> {
        self.is_dirty = true;
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let names: Vec<TaskName> = group.queue.values().cloned().collect();
        for name in &names {
            self.take(name);
        }
        names
    }

    /// The master refused the demand as a whole. Requests of the group it names are taken out and
    /// returned; an older generation is outbid.
    pub(crate) fn refused(&mut self, refusal: &Refusal) -> Vec<TaskName> {
        self.is_dirty = true;
        if refusal.code == RefusalCode::StaleEpoch {
            self.generation = Generation(self.generation.0.saturating_add(GENERATION_LEAP));
            self.groups.values_mut().for_each(|group| group.said.generation = Generation(0));
            return Vec::new();
        }
        let named = refusal.field.strip_prefix("groups[").and_then(|rest| {
            let index: usize = rest.split_once(']')?.0.parse().ok()?;
            self.said.get(index).cloned()
        });
        let Some(group) = named.and_then(|name| self.groups.get(&name)) else {
            self.is_dirty = false;
            return Vec::new();
        };
        let names: Vec<TaskName> = group.queue.values().cloned().collect();
        for name in &names {
            self.take(name);
        }
        names
    }

    /// Both indices agree with the requests.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, waiting) in &self.waiting {
            let queued = self
                .groups
                .get(&waiting.group)
                .is_some_and(|group| group.queue.get(&waiting.order) == Some(name));
            if queued != (waiting.condition == Condition::Demanded) {
                return Err(format!(
                    "request {name} is {:?} but queued: {queued}",
                    waiting.condition
                ));
            }
        }
        let queued: usize = self.groups.values().map(|group| group.queue.len()).sum();
        let demanded = self
            .waiting
            .values()
            .filter(|waiting| waiting.condition == Condition::Demanded)
            .count();
        if queued != demanded || self.groups.values().any(|group| group.queue.is_empty()) {
            return Err(format!("{queued} requests are queued, {demanded} are demanded"));
        }
        Ok(())
    }
}

/// Whether the demand is said although nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Force {
    No,
    Yes,
}

/// The group of a request, with target and generation zero.
fn group_of(request: &TaskRequest, ends: Option<Monotonic>) -> Result<DemandGroup, Refusal> {
    let mut group = DemandGroup {
        name: GroupName::new("unnamed").expect("is a word"),
        generation: Generation(0),
        role: request.role.clone(),
        shape: request.shape()?,
        fixed_ports: !request.fixed_ports().is_empty(),
        target: 0,
        constraints: request.constraints.clone(),
        priority: request.priority_waiting.unwrap_or(request.priority),
        per_agent_max: request.per_agent_max,
        spread: request.spread,
        gang_size: 1,
        deadline: request.deadline,
        revocable: request.revocable,
    };
    group.validate().map_err(|refusal| refusal.within("demand"))?;
    // Those that are given up at one moment go together.
    group.deadline = ends.map(|ends| DurationMs(ends.0));
    // Named by content: the next replica names the same group for the same requests, so the
    // master counts the launches of this one towards its target (K10).
    let content = serde_json::to_vec(&group).expect("plain data serialises");
    group.name = GroupName::new(&format!("{}-{:016x}", request.group, fnv1a(&content)))
        .map_err(|refusal| refusal.within("group"))?;
    Ok(group)
}

/// FNV-1a: stable across versions and machines, which `DefaultHasher` does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::request;

    const NOW: Monotonic = Monotonic(1_000);

    fn add(requests: &mut Requests, request: TaskRequest) {
        requests.add(Arc::new(request), 0, Condition::Demanded, NOW).expect("valid");
    }

    #[test]
    fn equal_requests_are_one_group_and_the_target_is_absolute() {
        let mut requests = Requests::default();
        add(&mut requests, request("a"));
        add(&mut requests, request("b"));
        add(&mut requests, request("c").priority(1));
        let tasks = TaskTable::default();
        let said = requests.demand(&tasks, Force::No, NOW).expect("changed");
        let mut targets: Vec<u32> = said.iter().map(|group| group.target).collect();
        targets.sort_unstable();
        assert_eq!(targets, [1, 2]);
        assert_eq!(requests.demand(&tasks, Force::No, NOW), None);
        assert_eq!(requests.demand(&tasks, Force::Yes, NOW), Some(said.clone()));

        requests.take(&TaskName::new("a").expect("valid"));
        let later = requests.demand(&tasks, Force::No, NOW).expect("changed");
        let two = said.iter().find(|group| group.target == 2).expect("there");
        let same = later.iter().find(|group| group.name == two.name).expect("there");
        assert_eq!(same.target, 1);
        assert!(same.generation > two.generation, "K10: the generation grows");
        assert_eq!(requests.check(), Ok(()));
    }

    #[test]
    fn what_is_held_or_waits_for_its_time_is_not_demanded() {
        let mut requests = Requests::default();
        let held = Arc::new(request("a"));
        requests.add(held, 0, Condition::Held, NOW).expect("valid");
        let later = Arc::new(request("b"));
        requests.add(later, 0, Condition::NotBefore(Monotonic(10)), NOW).expect("valid");
        assert_eq!(requests.demand(&TaskTable::default(), Force::Yes, NOW), Some(Vec::new()));
        requests.wake(Monotonic(9));
        assert_eq!(requests.next_deadline(), Some(Monotonic(10)));
        requests.wake(Monotonic(10));
        requests.release_held();
        let said = requests.demand(&TaskTable::default(), Force::No, NOW).expect("changed");
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].target, 2);
        assert_eq!(requests.check(), Ok(()));
    }

    #[test]
    fn what_is_left_of_a_deadline_is_said_each_time() {
        let mut requests = Requests::default();
        add(&mut requests, request("a").deadline(DurationMs(500)));
        add(&mut requests, request("b").deadline(DurationMs(500)));
        add(&mut requests, request("c"));
        let left = |requests: &mut Requests, now| {
            let said = requests.demand(&TaskTable::default(), Force::Yes, Monotonic(now));
            let said = said.expect("forced").into_iter();
            let mut left: Vec<_> = said.map(|group| (group.target, group.deadline)).collect();
            left.sort();
            left
        };
        let two = |left| vec![(1, None), (2, Some(DurationMs(left)))];
        assert_eq!(left(&mut requests, 1_000), two(500));
        assert_eq!(left(&mut requests, 1_400), two(100));
        assert_eq!(left(&mut requests, 2_000), two(1));
        let group = requests.get(&TaskName::new("a").expect("valid")).expect("waits").group.clone();
        assert_eq!(requests.expired(&group).len(), 2);
        assert_eq!(requests.expired(&group).len(), 0);
        assert_eq!(left(&mut requests, 2_000), [(1, None)]);
        assert_eq!(requests.check(), Ok(()));
    }
}
