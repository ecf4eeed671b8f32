//! Guarantees and limits in the role tree.
//!
//! `consumed(role)` is what is charged to it and all below it, and what is reserved for them and idle.
//! `owed(role) = max(guarantee − consumed, sum of what is owed to its children)`, each dimension by
//! itself: what a child is owed comes out of what its parent is owed. What the top roles are owed
//! together has to stay free of everybody else.

use super::{FairTree, Node, Place, Queue, ROOT};
use crate::amounts::Amounts;
use crate::headroom::ALL;
use proffer_types::RoleName;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Amounts of the dimensions that are named; zero counts.
pub(crate) type Named = SmallVec<[(usize, u64); 4]>;

#[derive(Clone, Debug, Default)]
pub(super) struct Quota {
    guarantee: Named,
    limit: Named,
    owed: Amounts,
    /// Sum over the children.
    owed_below: Amounts,
    /// `owed − owed_below`, as it is counted for its set of agents.
    own: Amounts,
    /// Where it is to be kept free; `None` until that was found out: anywhere.
    agents: Option<usize>,
    is_relieved: bool,
}

impl Quota {
    pub(super) fn is_set(&self) -> bool {
        !self.guarantee.is_empty() || !self.limit.is_empty()
    }

    fn is_owed(&self) -> bool {
        !self.owed.is_zero()
    }

    /// Whether something is owed to the role that is not owed to one of its children.
    fn has_slack(&self) -> bool {
        self.owed.iter().any(|(dimension, owed)| owed > self.owed_below.get(dimension))
    }
}

/// An amount that is reserved for a role. It counts for that role and all above it already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned<'a> {
    pub(crate) owner: &'a RoleName,
    pub(crate) dimension: usize,
    pub(crate) value: u64,
}

/// A limit, and how far it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limited {
    pub(crate) dimension: usize,
    pub(crate) limit: u64,
    pub(crate) consumed: u64,
}

/// What the whole tree knows of quotas.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas {
    guarantees: u32,
    limits: u32,
    /// Roles with limits that may have more room than before.
    relieved: Vec<u32>,
    /// What is owed, by set of agents.
    owed_to: Vec<Amounts>,
    /// Sets of agents of roles that are no more.
    released: Vec<usize>,
    /// Something became owed, or to be had by more clients, since this was last asked.
    owed_grew: bool,
    /// Roles that are owed more, beside what is owed to their children.
    owed_more: BTreeSet<u32>,
}

impl Quotas {
    fn sum(&mut self, set: usize) -> &mut Amounts {
        if self.owed_to.len() <= set {
            self.owed_to.resize(set + 1, Amounts::default());
        }
        &mut self.owed_to[set]
    }
}

/// What a client may take out of guarantees above it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guaranteed {
    /// Dimensions with a guarantee somewhere above.
    named: SmallVec<[usize; 4]>,
    pub(crate) room: Amounts,
}

impl Guaranteed {
    /// Whether a task lies within guarantees, as far as its dimensions have one; at least one has.
    pub(crate) fn covers(&self, shape: &Amounts) -> bool {
        let mut wanted =
            self.named.iter().map(|d| (shape.get(*d), self.room.get(*d))).filter(|(w, _)| *w > 0);
        let fits = |(wanted, room): (u64, u64)| wanted <= room;
        wanted.next().is_some_and(fits) && wanted.all(fits)
    }

    pub(crate) fn is_named(&self, dimension: usize) -> bool {
        self.named.contains(&dimension)
    }
}

/// What limits above a client leave it: dimensions that are not named are not limited.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitRoom(Named);

impl LimitRoom {
    pub(crate) fn get(&self, dimension: usize) -> u64 {
        let found = self.0.iter().find(|(have, _)| *have == dimension);
        found.map_or(u64::MAX, |(_, room)| *room)
    }

    fn lower(&mut self, dimension: usize, room: u64) {
        match self.0.iter_mut().find(|(have, _)| *have == dimension) {
            Some((_, have)) => *have = room.min(*have),
            None => self.0.push((dimension, room)),
        }
    }
}

impl Node {
    fn consumed(&self, dimension: usize) -> u64 {
        self.charged.get(dimension).saturating_add(self.idle.get(dimension))
    }

    fn is_owed(&self) -> bool {
        self.quota.as_deref().is_some_and(Quota::is_owed)
    }
}

impl FairTree {
    /// Sets what a role is guaranteed and limited to.
    pub(crate) fn set_quota(&mut self, role: &RoleName, guarantee: Named, limit: Named) {
        let index = self.role_node(role);
        let quota = self.nodes[index].quota.get_or_insert_default();
        self.quotas.guarantees -= u32::from(!quota.guarantee.is_empty());
        self.quotas.limits -= u32::from(!quota.limit.is_empty());
        self.quotas.guarantees += u32::from(!guarantee.is_empty());
        self.quotas.limits += u32::from(!limit.is_empty());
        if !quota.is_relieved {
            quota.is_relieved = true;
            self.quotas.relieved.push(index);
        }
        (quota.guarantee, quota.limit) = (guarantee, limit);
        let mut at = index;
        while at != ROOT {
            self.nodes[at].quota.get_or_insert_default();
            self.renew_owed(at, false);
            at = self.nodes[at].parent;
        }
        self.prune(index);
    }

    /// Whether any role has a guarantee: headroom is then to be counted.
    pub(crate) fn has_guarantees(&self) -> bool {
        self.quotas.guarantees > 0
    }

    /// Whether anything is owed to anybody.
    pub(crate) fn is_owing(&self) -> bool {
        self.owed_in_all().is_some_and(|owed| !owed.is_zero())
    }

    /// What all top roles are owed together.
    pub(crate) fn owed_in_all(&self) -> Option<&Amounts> {
        self.nodes[ROOT].quota.as_deref().map(|quota| &quota.owed_below)
    }

    /// What is owed to roles that go by a set of agents.
    pub(crate) fn owed_to(&self, set: usize) -> Amounts {
        self.quotas.owed_to.get(set).cloned().unwrap_or_default()
    }

    /// Says on which set of agents a role needs what it is owed, and returns the set so far.
    pub(crate) fn set_agents(&mut self, index: u32, set: usize) -> Option<usize> {
        let quota = self.nodes[index].quota.get_or_insert_default();
        let own = quota.own.clone();
        let was = quota.agents.replace(set);
        self.quotas.sum(was.unwrap_or(ALL)).sub_all(&own);
        self.quotas.sum(set).add_all(&own);
        was
    }

    /// A role goes, to which nothing is owed any more.
    pub(super) fn release_quota(&mut self, index: u32) {
        let quota = self.nodes[index].quota.take();
        self.quotas.released.extend(quota.and_then(|quota| quota.agents));
    }

    /// All roles need what they are owed anywhere.
    pub(crate) fn forget_agent_sets(&mut self) {
        let moved = self.quotas.owed_to.drain(..);
        let sum = moved.fold(Amounts::default(), |mut sum, part| {
            sum.add_all(&part);
            sum
        });
        self.quotas.owed_to.push(sum);
        self.quotas.released.clear();
        for (_, node) in self.nodes.iter_mut() {
            if let Some(quota) = &mut node.quota {
                quota.agents = None;
            }
        }
    }

    /// Sets of agents of roles that went since this was last asked.
    pub(crate) fn take_released(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.quotas.released)
    }

    /// The sets of agents of guaranteed roles above a client, as bits.
    pub(crate) fn sets_above(&self, client: u32) -> u64 {
        let quotas =
            self.roles_above(client).filter_map(|index| self.nodes[index].quota.as_deref());
        quotas.fold(0, |sets, quota| sets | 1 << quota.agents.unwrap_or(ALL))
    }

    /// The roles above a client that have guarantees.
    pub(crate) fn guaranteed_above(&self, client: u32) -> impl Iterator<Item = u32> + '_ {
        self.roles_above(client).filter(|index| {
            let quota = self.nodes[*index].quota.as_deref();
            quota.is_some_and(|quota| !quota.guarantee.is_empty())
        })
    }

    /// All clients in a role and below it; `None` when there is no such role any more.
    pub(crate) fn clients_below(&self, role: u32) -> Option<Vec<u32>> {
        let node = self.nodes.get(role)?;
        if !matches!(node.place, Place::Role(_)) {
            return None;
        }
        let (mut clients, mut rest) = (Vec::new(), node.children.clone());
        while let Some(index) = rest.pop() {
            let node = &self.nodes[index];
            match node.place {
                Place::Client { client, .. } => clients.push(client),
                Place::Root | Place::Role(_) | Place::Direct => rest.extend(&node.children),
            }
        }
        Some(clients)
    }

    /// Whether there is something that [`FairTree::take_owed_grew`] or [`FairTree::take_relieved`]
    /// would tell.
    pub(crate) fn has_news(&self) -> bool {
        self.quotas.owed_grew || !self.quotas.relieved.is_empty()
    }

    /// Whether something became owed since this was last asked.
    pub(crate) fn take_owed_grew(&mut self) -> bool {
        std::mem::take(&mut self.quotas.owed_grew)
    }

    /// Roles that are owed more since this was last asked. Some may be no more.
    pub(crate) fn take_owed_more(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.quotas.owed_more)
    }

    /// Roles with limits whose room may have grown since this was last asked.
    pub(crate) fn take_relieved(&mut self) -> Vec<u32> {
        let relieved = std::mem::take(&mut self.quotas.relieved);
        for index in &relieved {
            if let Some(quota) = self.nodes.get_mut(*index).and_then(|node| node.quota.as_mut()) {
                quota.is_relieved = false;
            }
        }
        relieved
    }

    /// What became idle for a role is consumed by it and all above it.
    pub(crate) fn add_idle(&mut self, role: &RoleName, amounts: &Amounts) {
        let index = self.role_node(role);
        self.change_idle(index, false, |idle| idle.add_all(amounts));
    }

    /// The opposite of [`FairTree::add_idle`].
    pub(crate) fn remove_idle(&mut self, role: &RoleName, amounts: &Amounts) {
        let index = self.role_node(role);
        self.change_idle(index, true, |idle| idle.sub_all(amounts));
        self.prune(index);
    }

    fn change_idle(&mut self, role: u32, falls: bool, change: impl Fn(&mut Amounts)) {
        let mut index = role;
        while index != ROOT {
            change(&mut self.nodes[index].idle);
            self.renew_owed(index, falls);
            index = self.nodes[index].parent;
        }
    }

    /// Makes what a role is owed agree with what it consumes. Its children are up to date.
    pub(super) fn renew_owed(&mut self, index: u32, falls: bool) {
        let node = &self.nodes[index];
        let Some(quota) = node.quota.as_deref() else { return };
        let mut owed = quota.owed_below.clone();
        for (dimension, guarantee) in &quota.guarantee {
            let missing = guarantee.saturating_sub(node.consumed(*dimension));
            owed.set(*dimension, missing.max(owed.get(*dimension)));
        }
        let is_relief = falls && !quota.limit.is_empty() && !quota.is_relieved;
        let parent = node.parent;
        let quota = self.nodes[index].quota.as_mut().expect("looked at above");
        quota.is_relieved |= is_relief;
        let mut own = owed.clone();
        own.sub_all(&quota.owed_below);
        let before = std::mem::replace(&mut quota.owed, owed);
        let owed = &quota.owed;
        let own_before = std::mem::replace(&mut quota.own, own);
        if own_before != quota.own {
            let sum = self.quotas.sum(quota.agents.unwrap_or(ALL));
            sum.sub_all(&own_before);
            sum.add_all(&quota.own);
        }
        let grew = |now: &Amounts, before: &Amounts| now.iter().any(|(d, v)| v > before.get(d));
        let own_grew = grew(&quota.own, &own_before);
        self.quotas.owed_grew |= grew(owed, &before) || own_grew;
        if own_grew {
            self.quotas.owed_more.insert(index);
        }
        let owed = (before != *owed).then(|| owed.clone());
        if is_relief {
            self.quotas.relieved.push(index);
        }
        if let Some(owed) = owed {
            let above = &mut self.nodes[parent].quota.get_or_insert_default().owed_below;
            above.sub_all(&before);
            above.add_all(&owed);
            self.sync_owed(index);
        }
    }

    /// Puts a node into the queues of those who are owed something, or takes it out.
    pub(super) fn sync_owed(&mut self, index: u32) {
        let is_owed = self.nodes[index].is_owed();
        for queue in [Queue::Demand, Queue::Classical] {
            let wanted = is_owed && self.nodes[index].queued[queue as usize];
            if self.nodes[index].queued[queue.owed() as usize] != wanted {
                self.set_in_queue(index, queue.owed(), wanted);
            }
        }
    }

    /// The first client in fair order, among those that something may be owed to, that `accept`
    /// takes.
    pub(crate) fn first_owed(
        &self,
        queue: Queue,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        debug_assert!(!self.stale, "orders are refreshed before they are read");
        self.first_owed_below(ROOT, false, queue, accept)
    }

    /// `has_slack`: something is owed above that anybody below may have.
    fn first_owed_below(
        &self,
        index: u32,
        has_slack: bool,
        queue: Queue,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let node = &self.nodes[index];
        let own_slack = || node.quota.as_deref().is_some_and(Quota::has_slack);
        let has_slack = has_slack || own_slack();
        let which = if has_slack { queue } else { queue.owed() };
        node.queues[which as usize].iter().find_map(|child| match self.nodes[*child].place {
            Place::Client { client, .. } => accept(client).then_some(client),
            Place::Root | Place::Role(_) | Place::Direct => {
                self.first_owed_below(*child, has_slack, queue, accept)
            }
        })
    }

    /// What a client may take out of guarantees above it: as much as makes what is owed in all
    /// smaller.
    pub(crate) fn guaranteed(&self, client: u32) -> Guaranteed {
        let mut found = Guaranteed::default();
        if self.quotas.guarantees == 0 {
            return found;
        }
        let mut index = client;
        while index != ROOT {
            let node = &self.nodes[index];
            index = node.parent;
            let Some(quota) = node.quota.as_deref() else { continue };
            let mut room = Amounts::default();
            for (dimension, owed) in quota.owed.iter() {
                // What is owed to its other children it cannot have.
                let others = quota.owed_below.get(dimension) - found.room.get(dimension);
                room.set(dimension, owed - others);
            }
            found.room = room;
            for (dimension, _) in &quota.guarantee {
                if !found.named.contains(dimension) {
                    found.named.push(*dimension);
                }
            }
        }
        found
    }

    /// The lowest role above a client that is itself guaranteed some of `amounts` and lacks as much.
    pub(crate) fn creditor(&self, client: u32, amounts: &Amounts) -> Option<&RoleName> {
        if self.quotas.guarantees == 0 {
            return None;
        }
        self.roles_above(client).find_map(|index| {
            let node = &self.nodes[index];
            let Place::Role(name) = &node.place else { return None };
            let guarantee = &node.quota.as_deref()?.guarantee;
            let wanted = guarantee.iter().map(|(d, most)| (*d, *most, amounts.get(*d)));
            let mut wanted = wanted.filter(|(_, _, wanted)| *wanted > 0).peekable();
            let is_owed = wanted.peek().is_some()
                && wanted.all(|(d, most, wanted)| node.consumed(d).saturating_add(wanted) <= most);
            is_owed.then_some(name)
        })
    }

    /// What a role is guaranteed: dimension, guarantee and what it consumes of it.
    pub(crate) fn guarantees_of(
        &self,
        role: &RoleName,
    ) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let node = self.roles.get(role).map(|index| &self.nodes[*index]);
        node.into_iter().flat_map(|node| {
            let guarantees = node.quota.iter().flat_map(|quota| &quota.guarantee);
            guarantees.map(|(d, guarantee)| (*d, *guarantee, node.consumed(*d)))
        })
    }

    /// Whether a role above a client consumes more of something in `amounts` than its limit, set lower
    /// since, allows.
    pub(crate) fn is_beyond_limit(&self, client: u32, amounts: &Amounts) -> bool {
        self.quotas.limits > 0
            && self.roles_above(client).any(|index| {
                let node = &self.nodes[index];
                let limits = node.quota.iter().flat_map(|quota| &quota.limit);
                let mut named = limits.filter(|(dimension, _)| amounts.get(*dimension) > 0);
                named.any(|(dimension, limit)| node.consumed(*dimension) > *limit)
            })
    }

    /// The first role above a client whose limit has no room for `amounts` more.
    pub(crate) fn limiting(&self, client: u32, amounts: &Amounts) -> Option<u32> {
        if self.quotas.limits == 0 {
            return None;
        }
        self.roles_above(client).find(|index| {
            let node = &self.nodes[*index];
            let quota = node.quota.as_deref();
            quota.is_some_and(|quota| !self.has_room(node, &quota.limit, amounts))
        })
    }

    /// Whether a limit above a client has no room for what is plain and what is reserved for roles. What
    /// is reserved counts already, but for the roles below the one that it is reserved for.
    pub(crate) fn limits_cut(&self, client: u32, plain: &Amounts, reserved: &[Owned<'_>]) -> bool {
        self.roles_above(client).any(|index| {
            let node = &self.nodes[index];
            let (Some(quota), Place::Role(name)) = (node.quota.as_deref(), &node.place) else {
                return false;
            };
            let mut more = plain.clone();
            for entry in reserved.iter().filter(|entry| !entry.owner.is_within(name)) {
                more.add(entry.dimension, entry.value);
            }
            !self.has_room(node, &quota.limit, &more)
        })
    }

    fn has_room(&self, node: &Node, limit: &Named, amounts: &Amounts) -> bool {
        limit.iter().all(|(dimension, limit)| {
            let more = amounts.get(*dimension);
            more == 0 || node.consumed(*dimension).saturating_add(more) <= *limit
        })
    }

    /// Whether any role has a limit.
    pub(crate) fn has_limits(&self) -> bool {
        self.quotas.limits > 0
    }

    /// What limits above a client leave it beside what it gets of what is reserved.
    pub(crate) fn limit_room(&self, client: u32, reserved: &[Owned<'_>]) -> LimitRoom {
        let mut room = LimitRoom::default();
        if self.quotas.limits == 0 {
            return room;
        }
        for index in self.roles_above(client) {
            let node = &self.nodes[index];
            let (Some(quota), Place::Role(name)) = (node.quota.as_deref(), &node.place) else {
                continue;
            };
            for (dimension, limit) in &quota.limit {
                let more = reserved
                    .iter()
                    .filter(|entry| entry.dimension == *dimension && !entry.owner.is_within(name));
                let more = more.fold(0, |sum: u64, entry| sum.saturating_add(entry.value));
                let used = node.consumed(*dimension).saturating_add(more);
                room.lower(*dimension, limit.saturating_sub(used));
            }
        }
        room
    }

    /// The roles above a client, and what else has no place of its own among siblings.
    pub(crate) fn roles_above(&self, client: u32) -> impl Iterator<Item = u32> + '_ {
        let mut index = client;
        std::iter::from_fn(move || {
            index = self.nodes[index].parent;
            (index != ROOT).then_some(index)
        })
    }

    /// Name of a role, and the dimensions with limits: each with what is consumed.
    pub(crate) fn limits_of(&self, index: u32) -> Option<(&RoleName, Vec<Limited>)> {
        let node = self.nodes.get(index)?;
        let Place::Role(name) = &node.place else { return None };
        let limits = node.quota.iter().flat_map(|quota| &quota.limit);
        let limits = limits.map(|(dimension, limit)| Limited {
            dimension: *dimension,
            limit: *limit,
            consumed: node.consumed(*dimension),
        });
        Some((name, limits.collect()))
    }

    /// Roles without a parent.
    pub(crate) fn top_roles(&self) -> impl Iterator<Item = &RoleName> {
        self.roles.keys().filter(|role| role.parent().is_none())
    }

    /// A role's node, if it has one.
    pub(crate) fn node_of(&self, role: &RoleName) -> Option<u32> {
        self.roles.get(role).copied()
    }

    /// What a role and all below it consume, and what it is owed.
    pub(crate) fn consumed_and_owed(&self, role: &RoleName) -> (Amounts, Amounts) {
        let Some(index) = self.roles.get(role) else { return Default::default() };
        let node = &self.nodes[*index];
        let mut consumed = node.charged.clone();
        consumed.add_all(&node.idle);
        (consumed, node.quota.as_deref().map(|quota| quota.owed.clone()).unwrap_or_default())
    }
}
