//! The role tree in fair order: who holds what, and who is next. Every role has one inner child,
//! `Direct`, with its own frameworks, so that a role which is parent and client competes fairly
//! with its children. Below `Direct` stand the clients: one for each framework in the role.
//!
//! Siblings are ordered by (dominant share ÷ weight, grants so far, name). Each node keeps queues of
//! the children that wait for something, always in that order.

mod quota;

pub(crate) use quota::{Guaranteed, Named, Owned};

use self::quota::{Quota, Quotas};
use crate::amounts::Amounts;
use crate::share::{Share, dominant, reduced};
use crate::slab::Slab;
use proffer_types::RoleName;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queue {
    /// A place for stated demand.
    Demand = 0,
    /// Classical offers.
    Classical = 1,
    /// Of the first: the roles that are owed something.
    OwedDemand = 2,
    /// Of the second: the roles that are owed something.
    OwedClassical = 3,
}
const QUEUES: [Queue; 4] =
    [Queue::Demand, Queue::Classical, Queue::OwedDemand, Queue::OwedClassical];

impl Queue {
    /// The queue of those in it that are owed something.
    fn owed(self) -> Queue {
        match self {
            Queue::Demand | Queue::OwedDemand => Queue::OwedDemand,
            Queue::Classical | Queue::OwedClassical => Queue::OwedClassical,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Root,
    Role(RoleName),
    Direct,
    /// The framework's id orders equal siblings; the index names the client for the caller.
    Client {
        framework: u64,
        client: u32,
    },
}

#[derive(Clone, Debug)]
struct Node {
    parent: u32,
    place: Place,
    weight_milli: u64,
    charged: Amounts,
    /// Reserved for a role and all below it, and not in use.
    idle: Amounts,
    quota: Option<Box<Quota>>,
    share_is_old: bool,
    children: Vec<u32>,
    /// Clients at or below that could be offered something.
    present: u32,
    present_weight: u64,
    queues: [Vec<u32>; 4],
    queued: [bool; 4],
}

/// What orders a node among its siblings: a table of its own, since searches compare many of them.
#[derive(Clone, Copy, Debug, Default)]
struct Rank {
    /// Up to date in a queue with others; a lone child's is worked out when it is asked for.
    share: Share,
    grants: u64,
    /// Of a client. All other siblings are told apart by their places.
    framework: u64,
}

/// A sibling that is served before a role.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) name: String,
    pub(crate) share_ppm: u64,
    pub(crate) weight_milli: u64,
    /// Shares are equal for their weights.
    pub(crate) is_by_turn: bool,
}

const ROOT: u32 = 0;
const NO_CLIENT: u32 = u32::MAX;
const DEFAULT_WEIGHT_MILLI: u64 = 1000;

#[derive(Clone, Debug)]
pub(crate) struct FairTree {
    nodes: Slab<Node>,
    /// By node.
    ranks: Vec<Rank>,
    /// By node: its client, or [`NO_CLIENT`]. Searches look at many nodes for nothing else.
    client_at: Vec<u32>,
    roles: BTreeMap<RoleName, u32>,
    totals: Amounts,
    /// Dimensions that count for no share.
    excluded: Vec<usize>,
    /// Totals of those that count.
    counted: Amounts,
    basis: Amounts,
    /// The basis changed and the order does not show it yet.
    stale: bool,
    quotas: Quotas,
}

impl Node {
    fn new(parent: u32, place: Place) -> Self {
        Self {
            parent,
            place,
            weight_milli: DEFAULT_WEIGHT_MILLI,
            charged: Amounts::default(),
            idle: Amounts::default(),
            quota: None,
            share_is_old: false,
            children: Vec::new(),
            present: 0,
            present_weight: 0,
            queues: Default::default(),
            queued: [false; 4],
        }
    }
}

impl Rank {
    fn new(place: &Place) -> Self {
        let framework = match place {
            Place::Client { framework, .. } => *framework,
            Place::Root | Place::Role(_) | Place::Direct => 0,
        };
        let nothing = Amounts::default();
        let share = Share::dominant(&nothing, &nothing, DEFAULT_WEIGHT_MILLI);
        Self { share, grants: 0, framework }
    }
}

impl Place {
    /// Among siblings only: clients by framework id, roles by name, `Direct` before roles.
    fn tie_cmp(&self, other: &Place) -> Ordering {
        match (self, other) {
            (Place::Client { framework: a, .. }, Place::Client { framework: b, .. }) => a.cmp(b),
            (Place::Role(a), Place::Role(b)) => a.cmp(b),
            (Place::Direct, Place::Role(_)) => Ordering::Less,
            (Place::Role(_), Place::Direct) => Ordering::Greater,
            (Place::Root | Place::Direct | Place::Client { .. }, _) | (Place::Role(_), _) => {
                Ordering::Equal
            }
        }
    }
}

impl Default for FairTree {
    fn default() -> Self {
        let mut nodes = Slab::default();
        nodes.insert(Node::new(ROOT, Place::Root));
        Self {
            nodes,
            ranks: vec![Rank::new(&Place::Root)],
            client_at: vec![NO_CLIENT],
            roles: BTreeMap::new(),
            totals: Amounts::default(),
            excluded: Vec::new(),
            counted: Amounts::default(),
            basis: Amounts::default(),
            stale: false,
            quotas: Quotas::default(),
        }
    }
}

impl FairTree {
    /// The node of a role, made with all above it when it is not there.
    fn role_node(&mut self, role: &RoleName) -> u32 {
        if let Some(node) = self.roles.get(role) {
            return *node;
        }
        let parent = role.parent().map_or(ROOT, |above| self.role_node(&above));
        let node = self.add(parent, Place::Role(role.clone()));
        self.add(node, Place::Direct);
        self.roles.insert(role.clone(), node);
        node
    }

    fn add(&mut self, parent: u32, place: Place) -> u32 {
        let client = match place {
            Place::Client { client, .. } => client,
            Place::Root | Place::Role(_) | Place::Direct => NO_CLIENT,
        };
        let rank = Rank::new(&place);
        let node = self.nodes.insert(Node::new(parent, place));
        let at = node as usize;
        if at == self.ranks.len() {
            self.ranks.push(rank);
            self.client_at.push(client);
        } else {
            (self.ranks[at], self.client_at[at]) = (rank, client);
        }
        self.nodes[parent].children.push(node);
        node
    }

    /// A node for a framework in a role.
    pub(crate) fn add_client(&mut self, role: &RoleName, framework: u64, client: u32) -> u32 {
        let role = self.role_node(role);
        let direct = self.nodes[role].children[0];
        self.add(direct, Place::Client { framework, client })
    }

    /// Removes a client that holds nothing, is not present and waits for nothing, and the roles
    /// above that nobody needs any more.
    pub(crate) fn remove_client(&mut self, node: u32) {
        let direct = self.remove_leaf(node);
        let role = self.nodes[direct].parent;
        self.prune(role);
    }

    fn remove_leaf(&mut self, node: u32) -> u32 {
        let parent = self.nodes.remove(node).parent;
        self.nodes[parent].children.retain(|child| *child != node);
        parent
    }

    fn prune(&mut self, role: u32) {
        let node = &self.nodes[role];
        let Place::Role(name) = node.place.clone() else { return };
        let direct = node.children[0];
        let is_needed = node.children.len() > 1
            || node.weight_milli != DEFAULT_WEIGHT_MILLI
            || node.quota.as_deref().is_some_and(Quota::is_set)
            || !node.idle.is_zero()
            || !self.nodes[direct].children.is_empty();
        if is_needed {
            return;
        }
        self.release_quota(role);
        self.remove_leaf(direct);
        self.roles.remove(&name);
        let above = self.remove_leaf(role);
        self.prune(above);
    }

    /// Sets what a role's share is divided by.
    pub(crate) fn set_weight(&mut self, role: &RoleName, weight_milli: u64) {
        let node = self.role_node(role);
        let parent = self.nodes[node].parent;
        if self.nodes[node].present > 0 {
            let old = self.nodes[node].weight_milli;
            let sum = &mut self.nodes[parent].present_weight;
            *sum = *sum - old + weight_milli;
        }
        self.update(node, 0, |node| node.weight_milli = weight_milli);
        self.prune(node);
    }

    /// What the cluster has. Equal composition keeps every order, so nothing is done then.
    pub(crate) fn set_totals(&mut self, totals: Amounts) {
        self.counted = totals.clone();
        self.excluded.iter().for_each(|dimension| self.counted.set(*dimension, 0));
        self.totals = totals;
        let basis = reduced(&self.counted);
        if basis != self.basis {
            self.basis = basis;
            self.stale = true;
        }
    }

    /// What counts for no share.
    pub(crate) fn exclude(&mut self, dimensions: Vec<usize>) {
        self.excluded = dimensions;
        self.set_totals(self.totals.clone());
    }

    pub(crate) fn totals(&self) -> &Amounts {
        &self.totals
    }

    /// Brings all orders up to date after a change of composition; says how many nodes it touched.
    pub(crate) fn refresh(&mut self) -> u64 {
        if !self.stale {
            return 0;
        }
        self.stale = false;
        for index in 0..self.nodes.end() {
            self.renew_share(index);
        }
        for index in 0..self.nodes.end() {
            for queue in QUEUES {
                let Some(node) = self.nodes.get_mut(index) else { continue };
                if node.queues[queue as usize].len() < 2 {
                    continue;
                }
                let mut waiting = std::mem::take(&mut node.queues[queue as usize]);
                waiting.sort_by(|a, b| self.fair_cmp(*a, *b));
                self.nodes[index].queues[queue as usize] = waiting;
            }
        }
        u64::from(self.nodes.end())
    }

    fn renew_share(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let share = Share::dominant(&node.charged, &self.basis, node.weight_milli);
        self.ranks[index as usize].share = share;
        node.share_is_old = false;
    }

    #[inline]
    fn fair_cmp(&self, a: u32, b: u32) -> Ordering {
        let (left, right) = (&self.ranks[a as usize], &self.ranks[b as usize]);
        left.share.cmp(&right.share).then_with(|| self.turn_cmp(a, b))
    }

    /// Between equal shares: fewer grants so far, then the name.
    fn turn_cmp(&self, a: u32, b: u32) -> Ordering {
        let (left, right) = (&self.ranks[a as usize], &self.ranks[b as usize]);
        let order = left.grants.cmp(&right.grants).then(left.framework.cmp(&right.framework));
        order.then_with(|| self.nodes[a].place.tie_cmp(&self.nodes[b].place))
    }

    /// Whether charging this much more keeps every sum below 2^64.
    pub(crate) fn can_charge(&self, amounts: &Amounts) -> bool {
        self.nodes[ROOT].charged.checked_add(amounts).is_some()
    }

    /// Charges a client and all above it, and counts `grants` grants.
    pub(crate) fn charge(&mut self, client: u32, amounts: &Amounts, grants: u64) {
        self.along_path(client, (grants, false), |node| node.charged.add_all(amounts));
    }

    /// Takes a charge back.
    pub(crate) fn discharge(&mut self, client: u32, amounts: &Amounts) {
        self.along_path(client, (0, true), |node| node.charged.sub_all(amounts));
    }

    /// `falls`: it makes what is consumed smaller.
    fn along_path(
        &mut self,
        client: u32,
        (grants, falls): (u64, bool),
        change: impl Fn(&mut Node),
    ) {
        let mut node = client;
        while node != ROOT {
            self.update(node, grants, &change);
            self.renew_owed(node, falls);
            node = self.nodes[node].parent;
        }
        change(&mut self.nodes[ROOT]);
    }

    /// Changes a node and puts it where it now belongs among its siblings.
    fn update(&mut self, index: u32, grants: u64, change: impl FnOnce(&mut Node)) {
        let node = &self.nodes[index];
        let parent = node.parent;
        let mut from = [None; 4];
        if !self.stale {
            for queue in QUEUES {
                let has_others = self.nodes[parent].queues[queue as usize].len() > 1;
                if node.queued[queue as usize] && has_others {
                    from[queue as usize] = Some(self.position(parent, queue, index));
                }
            }
        }
        self.ranks[index as usize].grants += grants;
        let node = &mut self.nodes[index];
        change(node);
        if from == [None; 4] {
            node.share_is_old = true;
            return;
        }
        self.renew_share(index);
        for queue in QUEUES {
            if let Some(from) = from[queue as usize] {
                self.move_from(parent, queue, from);
            }
        }
    }

    /// Where a queued node stands among its siblings.
    fn position(&self, parent: u32, queue: Queue, index: u32) -> usize {
        let waiting = &self.nodes[parent].queues[queue as usize];
        if self.stale {
            let found = waiting.iter().position(|have| *have == index);
            return found.expect("a queued node is in its parent's queue");
        }
        if waiting[0] == index {
            return 0;
        }
        waiting.partition_point(|have| self.fair_cmp(*have, index).is_lt())
    }

    fn move_from(&mut self, parent: u32, queue: Queue, from: usize) {
        let mut waiting = std::mem::take(&mut self.nodes[parent].queues[queue as usize]);
        let node = waiting[from];
        let precedes = |have: &u32| self.fair_cmp(*have, node).is_lt();
        let (before, after) = (&waiting[..from], &waiting[from + 1..]);
        if after.first().is_some_and(precedes) {
            let steps = after.partition_point(precedes);
            waiting[from..=from + steps].rotate_left(1);
        } else if before.last().is_some_and(|have| !precedes(have)) {
            let to = before.partition_point(precedes);
            waiting[to..=from].rotate_right(1);
        }
        self.nodes[parent].queues[queue as usize] = waiting;
    }

    /// Puts a client into a queue, or takes it out, and the nodes above as far as they are concerned.
    pub(crate) fn set_queued(&mut self, client: u32, queue: Queue, is_queued: bool) {
        let mut index = client;
        while index != ROOT && self.nodes[index].queued[queue as usize] != is_queued {
            let parent = self.nodes[index].parent;
            self.set_in_queue(index, queue, is_queued);
            self.sync_owed(index);
            if self.nodes[parent].queues[queue as usize].len() != usize::from(is_queued) {
                break;
            }
            index = parent;
        }
    }

    /// Puts a node into a queue of its parent, or takes it out.
    fn set_in_queue(&mut self, index: u32, queue: Queue, is_queued: bool) {
        let parent = self.nodes[index].parent;
        if is_queued {
            self.renew_shares_beside(parent, queue, index);
            let waiting = &self.nodes[parent].queues[queue as usize];
            let at = if self.stale {
                waiting.len()
            } else {
                waiting.partition_point(|have| self.fair_cmp(*have, index).is_lt())
            };
            self.nodes[parent].queues[queue as usize].insert(at, index);
        } else {
            let at = self.position(parent, queue, index);
            self.nodes[parent].queues[queue as usize].remove(at);
        }
        self.nodes[index].queued[queue as usize] = is_queued;
    }

    /// A queue is about to have more than one entry: their shares must be up to date.
    fn renew_shares_beside(&mut self, parent: u32, queue: Queue, index: u32) {
        let first = self.nodes[parent].queues[queue as usize].first().copied();
        for node in first.into_iter().chain([index]) {
            if self.nodes[node].share_is_old {
                self.renew_share(node);
            }
        }
    }

    /// Whether a client could be offered something; only such siblings divide an entitlement.
    pub(crate) fn set_present(&mut self, client: u32, is_present: bool) {
        let mut index = client;
        while index != ROOT {
            let node = &mut self.nodes[index];
            let was = node.present > 0;
            node.present = if is_present { node.present + 1 } else { node.present - 1 };
            let (is, weight, parent) = (node.present > 0, node.weight_milli, node.parent);
            if was != is {
                let sum = &mut self.nodes[parent].present_weight;
                *sum = if is { *sum + weight } else { *sum - weight };
            }
            index = parent;
        }
    }

    pub(crate) fn is_queued(&self, client: u32, queue: Queue) -> bool {
        self.nodes[client].queued[queue as usize]
    }

    pub(crate) fn is_empty(&self, queue: Queue) -> bool {
        self.nodes[ROOT].queues[queue as usize].is_empty()
    }

    /// The client that is next.
    pub(crate) fn first(&self, queue: Queue) -> Option<u32> {
        debug_assert!(!self.stale, "orders are refreshed before they are read");
        let mut node = ROOT;
        while let Some(next) = self.nodes[node].queues[queue as usize].first() {
            node = *next;
            if let Some(client) = self.client_of(node) {
                return Some(client);
            }
        }
        None
    }

    fn client_of(&self, node: u32) -> Option<u32> {
        let client = self.client_at[node as usize];
        (client != NO_CLIENT).then_some(client)
    }

    /// The first client in fair order that `accept` takes.
    pub(crate) fn first_that(
        &self,
        queue: Queue,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        debug_assert!(!self.stale, "orders are refreshed before they are read");
        self.first_below(ROOT, queue, accept)
    }

    fn first_below(
        &self,
        index: u32,
        queue: Queue,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        self.nodes[index].queues[queue as usize].iter().find_map(|child| {
            match self.client_of(*child) {
                Some(client) => accept(client).then_some(client),
                None => self.first_below(*child, queue, accept),
            }
        })
    }

    fn path(&self, client: u32) -> Vec<u32> {
        let mut path = vec![client];
        let mut index = client;
        while index != ROOT {
            index = self.nodes[index].parent;
            path.push(index);
        }
        path.reverse();
        path
    }

    /// Which of two clients comes first in fair order.
    pub(crate) fn cmp(&self, a: u32, b: u32) -> Ordering {
        let (a, b) = (self.path(a), self.path(b));
        let parted = a.iter().zip(&b).find(|(a, b)| a != b);
        parted.map_or(Ordering::Equal, |(a, b)| {
            let fresh =
                |node: &Node| Share::dominant(&node.charged, &self.basis, node.weight_milli);
            let (left, right) = (&self.nodes[*a], &self.nodes[*b]);
            fresh(left).cmp(&fresh(right)).then_with(|| self.turn_cmp(*a, *b))
        })
    }

    /// Whether a client's share of the cluster is below what its weight entitles it to among all
    /// that could be offered something, level by level. Rounded down to 2^-64 of the cluster: a
    /// threshold of policy, not an order.
    pub(crate) fn is_below_entitlement(&self, client: u32) -> bool {
        let (part, whole) = dominant(&self.nodes[client].charged, &self.counted);
        (u128::from(part) << 64) / u128::from(whole) < self.entitlement(client)
    }

    fn entitlement(&self, client: u32) -> u128 {
        self.path(client).windows(2).fold(1u128 << 64, |entitled, pair| {
            let (above, below) = (&self.nodes[pair[0]], &self.nodes[pair[1]]);
            entitled * u128::from(below.weight_milli) / u128::from(above.present_weight.max(1))
        })
    }

    /// The siblings of a role, and of the roles above it, that are served before: lowest level first, in
    /// no order within one. Only such as could be offered something.
    pub(crate) fn before(&self, role: u32) -> Vec<Before> {
        let mut found = Vec::new();
        let mut index = role;
        while index != ROOT {
            let node = &self.nodes[index];
            let share_of =
                |node: &Node| Share::dominant(&node.charged, &self.basis, node.weight_milli);
            let mine = share_of(node);
            for at in &self.nodes[node.parent].children {
                let other = &self.nodes[*at];
                let by_share = share_of(other).cmp(&mine);
                let by_turn = by_share == Ordering::Equal && self.turn_cmp(*at, index).is_lt();
                if other.present > 0 && (by_share.is_lt() || by_turn) {
                    let name = match &other.place {
                        Place::Role(name) => format!("role {name}"),
                        Place::Root | Place::Direct | Place::Client { .. } => {
                            "what its parent's own frameworks hold".to_owned()
                        }
                    };
                    found.push(Before {
                        name,
                        share_ppm: self.ppm(&other.charged),
                        weight_milli: other.weight_milli,
                        is_by_turn: by_turn,
                    });
                }
            }
            index = node.parent;
        }
        found
    }

    pub(crate) fn weight_milli(&self, node: u32) -> u64 {
        self.nodes[node].weight_milli
    }

    /// What a role and all below it are charged, and its share in millionths.
    pub(crate) fn role(&self, role: &RoleName) -> Option<(&Amounts, u64)> {
        let node = &self.nodes[*self.roles.get(role)?];
        Some((&node.charged, self.ppm(&node.charged)))
    }

    /// What a client is charged, and its share in millionths.
    pub(crate) fn client(&self, client: u32) -> (&Amounts, u64) {
        let node = &self.nodes[client];
        (&node.charged, self.ppm(&node.charged))
    }

    /// The entitlement of a client or role in millionths; of one that is not there, what it would be.
    pub(crate) fn entitlement_ppm(&self, node: u32) -> u64 {
        let entitled = self.path(node).windows(2).fold(1u128 << 64, |entitled, pair| {
            let (above, below) = (&self.nodes[pair[0]], &self.nodes[pair[1]]);
            let absent = if below.present == 0 { below.weight_milli } else { 0 };
            let all = above.present_weight.saturating_add(absent);
            entitled * u128::from(below.weight_milli) / u128::from(all.max(1))
        });
        u64::try_from((entitled * 1_000_000) >> 64).unwrap_or(u64::MAX)
    }

    fn ppm(&self, charged: &Amounts) -> u64 {
        let (part, whole) = dominant(charged, &self.counted);
        u64::try_from(u128::from(part) * 1_000_000 / u128::from(whole)).unwrap_or(u64::MAX)
    }
}
