//! Shares beside the exact solution of progressive filling, computed slowly and in whole fractions
//! (T18, I9): everybody's level rises at one speed, until a resource that he needs is used up or he
//! has all he wants.
//!
//! Whole tasks cannot meet a solution of parts of tasks. How far they may be off follows from one fact:
//! a task goes to the lowest level among those whose next task fits. So nobody is more than one task
//! above the lowest level at that time, and who is stopped was stopped by users no more than one task
//! above him. Both sides of each bound below say just that.

mod cluster;

use cluster::{Cluster, group, role};
use proffer_types::{FrameworkId, Resources, RoleName};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A fraction that is not negative: terms stay small, so that nothing is rounded.
#[derive(Clone, Copy, Debug)]
struct Fraction(u128, u128);

impl Fraction {
    const ZERO: Fraction = Fraction(0, 1);

    fn new(part: u128, whole: u128) -> Self {
        let (mut a, mut b) = (part, whole);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        Self(part / a.max(1), whole / a.max(1))
    }

    fn plus(self, other: Self) -> Self {
        Self::new(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }

    /// Zero where there is less than `other`.
    fn minus(self, other: Self) -> Self {
        let (left, right) = (self.0 * other.1, other.0 * self.1);
        Self::new(left.saturating_sub(right), self.1 * other.1)
    }

    fn times(self, other: Self) -> Self {
        Self::new(self.0 * other.0, self.1 * other.1)
    }

    fn over(self, other: Self) -> Self {
        Self::new(self.0 * other.1, self.1 * other.0)
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.0 * other.1 == other.0 * self.1
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some((self.0 * other.1).cmp(&(other.0 * self.1)))
    }
}

fn least(values: impl IntoIterator<Item = Fraction>) -> Option<Fraction> {
    values.into_iter().reduce(|a, b| if b < a { b } else { a })
}

/// A user of one pool: what a task needs of each resource, how many he wants, his weight.
#[derive(Clone, Debug)]
struct User {
    needs: Vec<u64>,
    wants: u32,
    weight: u64,
}

impl User {
    /// The dominant share of one task.
    fn task(&self, pool: &[u64]) -> Fraction {
        let parts = self.needs.iter().zip(pool).filter(|(_, have)| **have > 0);
        let parts = parts.map(|(need, have)| Fraction::new((*need).into(), (*have).into()));
        parts.fold(Fraction::ZERO, |most, part| if most < part { part } else { most })
    }

    /// His level with so many tasks.
    fn level(&self, pool: &[u64], tasks: Fraction) -> Fraction {
        tasks.times(self.task(pool)).over(Fraction::new(self.weight.into(), 1))
    }

    /// His tasks, in parts, at a level: no more than he wants.
    fn tasks_at(&self, pool: &[u64], level: Fraction) -> Fraction {
        let wanted = Fraction::new(self.wants.into(), 1);
        let tasks = level.times(Fraction::new(self.weight.into(), 1)).over(self.task(pool));
        if wanted < tasks { wanted } else { tasks }
    }
}

/// The exact solution: tasks in parts. `room` is what may be used of a pool whose size shares are
/// measured by. Every step raises all that are not stopped to the lowest level at which somebody has all
/// he wants or a resource is used up.
fn progressive_filling(pool: &[u64], room: &[Fraction], users: &[User]) -> Vec<Fraction> {
    let mut tasks = vec![Fraction::ZERO; users.len()];
    let mut rising: Vec<usize> = (0..users.len()).collect();
    while !rising.is_empty() {
        let speed =
            |at: usize| Fraction::new(users[at].weight.into(), 1).over(users[at].task(pool));
        // All that rise are at one level: by how much more may it rise?
        let level = users[rising[0]].level(pool, tasks[rising[0]]);
        let satisfied = rising.iter().map(|at| {
            let wanted = Fraction::new(users[*at].wants.into(), 1);
            users[*at].level(pool, wanted)
        });
        let left = |resource: usize| {
            let used = users.iter().zip(&tasks).fold(Fraction::ZERO, |sum, (user, tasks)| {
                sum.plus(tasks.times(Fraction::new(user.needs[resource].into(), 1)))
            });
            room[resource].minus(used)
        };
        let drawn = |resource: usize| {
            rising.iter().fold(Fraction::ZERO, |sum, at| {
                let need = Fraction::new(users[*at].needs[resource].into(), 1);
                sum.plus(speed(*at).times(need))
            })
        };
        let used_up = (0..pool.len())
            .filter(|resource| Fraction::ZERO < drawn(*resource))
            .map(|resource| level.plus(left(resource).over(drawn(resource))));
        let next = least(satisfied.chain(used_up)).expect("somebody rises");
        for at in &rising {
            tasks[*at] = users[*at].tasks_at(pool, next);
        }
        let is_full = |resource: &usize| left_of(room, users, &tasks, *resource) == Fraction::ZERO;
        let full: Vec<usize> = (0..pool.len()).filter(is_full).collect();
        rising.retain(|at| {
            tasks[*at] < Fraction::new(users[*at].wants.into(), 1)
                && full.iter().all(|resource| users[*at].needs[*resource] == 0)
        });
    }
    tasks
}

fn left_of(room: &[Fraction], users: &[User], tasks: &[Fraction], resource: usize) -> Fraction {
    let used = users.iter().zip(tasks).fold(Fraction::ZERO, |sum, (user, tasks)| {
        sum.plus(tasks.times(Fraction::new(user.needs[resource].into(), 1)))
    });
    room[resource].minus(used)
}

const NAMES: [&str; 5] = ["cpus", "gpus", "licences", "tokens", "slots"];

fn text(amounts: &[u64]) -> String {
    let parts = NAMES.iter().zip(amounts).filter(|(_, amount)| **amount > 0);
    parts.map(|(name, amount)| format!("{name}:{amount}")).collect::<Vec<_>>().join(";")
}

/// One agent, a role for each user; tasks are decided one by one with [`Cluster::turn`].
fn pool_of(pool: &[u64], users: &[User]) -> (Cluster, Vec<FrameworkId>) {
    let mut cluster = Cluster::new();
    let mut ids = Vec::new();
    for (id, user) in (1u64..).zip(users) {
        let name = format!("u{id}");
        cluster.weight(&name, user.weight * 1000);
        let framework = cluster.framework(id, &name);
        cluster.demand(framework, vec![group("g", &name, &text(&user.needs), user.wants)]);
        ids.push(framework);
    }
    cluster.agent(&text(pool));
    (cluster, ids)
}

/// Small and huge ones, and users that need nothing of a resource.
fn flat() -> impl Strategy<Value = (Vec<u64>, Vec<User>)> {
    let pool = prop::collection::vec(prop_oneof![4 => 10u64..60, 1 => 500u64..900], 1..=5);
    pool.prop_flat_map(|pool| {
        let need = prop_oneof![3 => Just(0u64), 6 => 1u64..5, 1 => 5u64..30];
        let needs = prop::collection::vec(need, pool.len());
        let wants = prop_oneof![1 => 0u32..12, 2 => Just(1000u32)];
        let user = (needs, wants, prop::sample::select(vec![1u64, 1, 1, 2, 3, 10]));
        let user = user.prop_filter("a task needs something", |(needs, ..)| {
            needs.iter().any(|need| *need > 0)
        });
        let user = user.prop_map(|(needs, wants, weight)| User { needs, wants, weight });
        (Just(pool), prop::collection::vec(user, 1..=8))
    })
}

fn whole(number: u64) -> Fraction {
    Fraction::new(number.into(), 1)
}

/// What is left of a pool when a task of every user, and one more, are taken off.
fn short_of_a_task_each(pool: &[u64], users: &[User], of: &User) -> Vec<Fraction> {
    let amount = |(resource, have): (usize, &u64)| {
        let taken: u64 = users.iter().map(|user| user.needs[resource]).sum();
        whole(have.saturating_sub(taken + of.needs[resource]))
    };
    pool.iter().enumerate().map(amount).collect()
}

fn tasks_of(cluster: &Cluster, ids: &[FrameworkId]) -> Vec<Fraction> {
    ids.iter().map(|id| whole(cluster.tasks_of(*id).into())).collect()
}

fn cases(least: u32) -> ProptestConfig {
    ProptestConfig { cases: ProptestConfig::default().cases.max(least), ..Default::default() }
}

proptest! {
    #![proptest_config(cases(4000))]

    /// The reference is right: it wastes nothing, gives nobody more than he wants, and everybody who
    /// waits has a resource that is used up and of which nobody above his level has any.
    #[test]
    fn the_exact_solution_is_the_max_min_fair_one((pool, users) in flat()) {
        let room: Vec<Fraction> = pool.iter().map(|have| whole(*have)).collect();
        let tasks = progressive_filling(&pool, &room, &users);
        for (user, mine) in users.iter().zip(&tasks) {
            prop_assert!(*mine <= whole(user.wants.into()));
            let level = user.level(&pool, *mine);
            let is_bottleneck = |resource: usize| {
                user.needs[resource] > 0
                    && left_of(&room, &users, &tasks, resource) == Fraction::ZERO
                    && users.iter().zip(&tasks).all(|(other, theirs)| {
                        other.needs[resource] == 0 || other.level(&pool, *theirs) <= level
                    })
            };
            prop_assert!(
                *mine == whole(user.wants.into()) || (0..pool.len()).any(is_bottleneck)
            );
        }
    }

    /// Until somebody's task does not fit any more, nobody is more than one task above the exact
    /// solution; and the lowest level is at least the exact one of a pool that is a task of each smaller.
    #[test]
    fn t18_levels_are_within_one_task_of_progressive_filling((pool, users) in flat()) {
        let room: Vec<Fraction> = pool.iter().map(|have| whole(*have)).collect();
        let exact = progressive_filling(&pool, &room, &users);
        let (mut cluster, ids) = pool_of(&pool, &users);
        let waits = |user: &User, tasks: Fraction| tasks < whole(user.wants.into());
        let fits = |tasks: &[Fraction], user: &User| {
            user.needs.iter().enumerate().all(|(resource, need)| {
                whole(*need) <= left_of(&room, &users, tasks, resource)
            })
        };
        loop {
            let tasks = tasks_of(&cluster, &ids);
            for (user, (mine, theirs)) in users.iter().zip(tasks.iter().zip(&exact)) {
                prop_assert!(*mine <= theirs.plus(whole(1)), "{mine:?} of {theirs:?}: {user:?}");
            }
            let mut waiting = users.iter().zip(&tasks).filter(|(user, mine)| waits(user, **mine));
            let lowest_of = |all: &[Fraction]| {
                let unmet = users.iter().zip(all).filter(|(user, mine)| waits(user, **mine));
                least(unmet.map(|(user, mine)| user.level(&pool, *mine)))
            };
            let stopped = waiting.find(|(user, _)| !fits(&tasks, user));
            if let Some((first, _)) = stopped {
                let smaller = short_of_a_task_each(&pool, &users, first);
                let lowest = lowest_of(&progressive_filling(&pool, &smaller, &users));
                prop_assert!(lowest <= lowest_of(&tasks), "{lowest:?} above that of {tasks:?}");
                break;
            }
            let mut turn = cluster.turn(1);
            while turn.decisions.is_empty() && turn.more {
                turn = cluster.turn(1);
            }
            if turn.decisions.is_empty() {
                prop_assert!(lowest_of(&tasks).is_none(), "all fit and some wait: {:?}", tasks);
                break;
            }
        }
    }

    /// At the end, who waits was stopped by users no more than one task above his level: he has a
    /// resource that does not hold one more task of his beside theirs, cut to that.
    #[test]
    fn t18_nobody_waits_for_the_sake_of_those_above_him((pool, users) in flat()) {
        let (mut cluster, ids) = pool_of(&pool, &users);
        cluster.settle();
        let tasks = tasks_of(&cluster, &ids);
        for (user, mine) in users.iter().zip(&tasks) {
            let level = user.level(&pool, *mine);
            let held = |resource: usize| {
                users.iter().zip(&tasks).fold(Fraction::ZERO, |sum, (other, theirs)| {
                    let most = level.times(whole(other.weight)).over(other.task(&pool));
                    let most = most.plus(whole(1));
                    let counted = if most < *theirs { most } else { *theirs };
                    sum.plus(counted.times(whole(other.needs[resource])))
                })
            };
            let is_bottleneck = |resource: usize| {
                user.needs[resource] > 0
                    && whole(pool[resource]) < held(resource).plus(whole(user.needs[resource]))
            };
            prop_assert!(
                *mine == whole(user.wants.into()) || (0..pool.len()).any(is_bottleneck),
                "{user:?} waits at {level:?}: {tasks:?}"
            );
        }
    }
}

/// The roles of a tree, by name, with their weights and what their own frameworks want.
type Tree = BTreeMap<String, (u64, u32)>;

const PLACES: [&str; 9] = ["a", "a/x", "a/y", "a/y/1", "a/y/2", "b", "b/z", "c/w/v", "c/w/u"];

fn tree() -> impl Strategy<Value = (Vec<u64>, Tree)> {
    let place = (prop::bool::weighted(0.7), prop::sample::select(vec![1u64, 1, 2, 3, 7]), 0u32..40);
    let tree = prop::collection::vec(place, PLACES.len()).prop_map(|places| {
        let used = PLACES.iter().zip(places).filter(|(_, (is_used, ..))| *is_used);
        used.map(|(name, (_, weight, wants))| ((*name).to_owned(), (weight, wants))).collect()
    });
    (prop::collection::vec(1u64..20, 1..6), tree)
}

/// A place in a tree: its weight, what is wanted, had and waited for below it, and its parts.
struct Node {
    name: String,
    weight: u64,
    wanted: u64,
    had: u64,
    parts: Vec<Node>,
}

fn node(name: &str, tree: &Tree, had: &BTreeMap<String, u64>) -> Node {
    let own = tree.get(name).map(|(_, wants)| Node {
        name: format!("{name}/."),
        weight: 1,
        wanted: u64::from(*wants),
        had: had.get(name).copied().unwrap_or(0),
        parts: Vec::new(),
    });
    let depth = if name.is_empty() { 0 } else { name.split('/').count() };
    let mut below: Vec<String> = tree
        .keys()
        .filter(|other| name.is_empty() || other.starts_with(&format!("{name}/")))
        .map(|other| other.split('/').take(depth + 1).collect::<Vec<_>>().join("/"))
        .collect();
    below.dedup();
    let below = below.iter().map(|child| node(child, tree, had));
    let parts: Vec<Node> = own.into_iter().chain(below).collect();
    Node {
        name: name.to_owned(),
        weight: tree.get(name).map_or(1, |(weight, _)| *weight),
        wanted: parts.iter().map(|part| part.wanted).sum(),
        had: parts.iter().map(|part| part.had).sum(),
        parts,
    }
}

/// What each part gets of `amount` when all rise at the speed of their weights up to what they want.
fn water(amount: u64, parts: &[Node]) -> Vec<Fraction> {
    let as_user = |part: &Node| User {
        needs: vec![1],
        wants: u32::try_from(part.wanted).expect("small"),
        weight: part.weight,
    };
    let users: Vec<User> = parts.iter().map(as_user).collect();
    // Measured by one: shares are amounts.
    progressive_filling(&[1], &[whole(amount)], &users)
}

/// Level by level: each part has at most one task more than its exact part of what its parent has, and
/// at least its exact part of that less one task of each.
fn check_levels(node: &Node) -> Result<(), TestCaseError> {
    let upper = water(node.had, &node.parts);
    let lower = water(node.had.saturating_sub(node.parts.len() as u64), &node.parts);
    for ((part, most), least) in node.parts.iter().zip(&upper).zip(&lower) {
        let had = whole(part.had);
        prop_assert!(had <= most.plus(whole(1)), "{}: {} beside {most:?}", part.name, part.had);
        prop_assert!(*least <= had, "{}: {} beside {least:?}", part.name, part.had);
        check_levels(part)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(2000))]

    /// The tree is filled level by level, also where a role is parent and client, on any number of
    /// agents: all that is wanted, or all that there is.
    #[test]
    fn t18_a_tree_is_filled_level_by_level((agents, tree) in tree()) {
        let mut cluster = Cluster::new();
        let mut ids = BTreeMap::new();
        for (id, (name, (weight, wants))) in (1u64..).zip(&tree) {
            cluster.weight(name, weight * 1000);
            let framework = cluster.framework(id, name);
            cluster.demand(framework, vec![group("g", name, "cpus:1", *wants)]);
            ids.insert(name.clone(), framework);
        }
        for cpus in &agents {
            cluster.agent(&format!("cpus:{cpus}"));
        }
        cluster.settle();
        let had = ids.iter().map(|(name, id)| (name.clone(), u64::from(cluster.tasks_of(*id))));
        let top = node("", &tree, &had.collect());
        prop_assert_eq!(top.had, top.wanted.min(agents.iter().sum()));
        check_levels(&top)?;
        for name in tree.keys() {
            let consumed = cluster.allocator.allocated(&role(name));
            let below = |other: &RoleName| other.is_within(&role(name));
            let leases = cluster.leases.values().filter(|lease| below(&lease.role));
            let held = Resources::sum(leases.map(|lease| &lease.resources)).expect("adds up");
            prop_assert_eq!(consumed, held, "{}", name);
        }
    }
}
