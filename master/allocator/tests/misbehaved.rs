//! Two badly behaved frameworks beside a well-behaved one: one declines whatever it is offered for a
//! second, one holds every offer until its time is over. Counted in virtual time: how many tasks the
//! well-behaved one launches, with and without them.

mod cluster;

use cluster::{Cluster, PLENTY, group};
use proffer_allocator::{Delta, LeaseId, Use};
use proffer_types::{FrameworkId, GroupName, Resources};
use std::collections::{BTreeMap, VecDeque};

const AGENTS: usize = 30;
const SECONDS: u64 = 600;
/// How long an offer may be held.
const OFFER_MS: u64 = 10_000;
const TASK_MS: u64 = 30_000;
const GOOD: FrameworkId = FrameworkId(1);
const DECLINES: FrameworkId = FrameworkId(2);
const HOARDS: FrameworkId = FrameworkId(3);

/// How the well-behaved framework comes by its tasks.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Good {
    StatesDemand,
    TakesOffers,
}

/// What came of the well-behaved one.
#[derive(Debug)]
struct Outcome {
    launched: u64,
    waited_longest_ms: u64,
}

/// A task of one cpu comes every second. The cluster has 120, the tasks need 30: less than a third.
struct Story {
    cluster: Cluster,
    good: Good,
    /// When each task came that waits.
    waiting: VecDeque<u64>,
    running: VecDeque<(u64, Use)>,
    held: BTreeMap<LeaseId, u64>,
    outcome: Outcome,
}

impl Story {
    fn new(good: Good, with_bad_ones: bool) -> Self {
        let mut cluster = Cluster::new();
        for _ in 0..AGENTS {
            cluster.agent("cpus:4;mem:4GiB");
        }
        // Who comes first has everything to begin with.
        let bad: &[FrameworkId] = if with_bad_ones { &[DECLINES, HOARDS] } else { &[] };
        for framework in bad {
            cluster.framework(framework.0, "*");
        }
        let outcome = Outcome { launched: 0, waited_longest_ms: 0 };
        let (waiting, running) = (VecDeque::new(), VecDeque::new());
        let held = BTreeMap::new();
        Self { cluster, good, waiting, running, held, outcome }
    }

    fn run(mut self) -> Outcome {
        self.decide();
        self.cluster.framework(GOOD.0, "*");
        for second in 1..=SECONDS {
            self.cluster.now.0 += 1_000;
            let now = self.cluster.now.0;
            while self.running.front().is_some_and(|(end, _)| *end <= now) {
                let (_, held) = self.running.pop_front().expect("looked at");
                self.cluster.tell(&Delta::Released(held));
            }
            let over: Vec<LeaseId> =
                self.held.iter().filter(|(_, end)| **end <= now).map(|(id, _)| *id).collect();
            for lease in over {
                self.held.remove(&lease);
                self.cluster.give_back(lease);
            }
            self.waiting.push_back(now);
            self.state(second);
            self.decide();
        }
        self.outcome
    }

    /// The target counts what runs (K10).
    fn state(&mut self, second: u64) {
        if self.good == Good::StatesDemand {
            let target = u32::try_from(self.waiting.len() + self.running.len()).expect("few");
            self.cluster.demand(GOOD, vec![group("g", "*", "cpus:1;mem:1GiB", target)]);
        } else if second == 1 {
            self.cluster.tell(&Delta::Demand { framework: GOOD, groups: None });
        }
    }

    fn decide(&mut self) {
        // Bounded as a turn of the master is: who declines at once is offered again another time.
        for _ in 0..20 {
            let turn = self.cluster.turn(PLENTY);
            for decision in &turn.decisions {
                match decision.framework {
                    GOOD => self.launch(decision.lease),
                    DECLINES => self.cluster.decline(decision.lease, 1_000),
                    _ => {
                        self.held.insert(decision.lease, self.cluster.now.0 + OFFER_MS);
                    }
                }
            }
            for lease in &turn.rescinds {
                self.held.remove(lease);
                self.cluster.give_back(*lease);
            }
            if turn.decisions.is_empty() && turn.rescinds.is_empty() {
                return;
            }
        }
    }

    /// Launches as many of those that wait as fit, and gives the rest back.
    fn launch(&mut self, lease: LeaseId) {
        let decision = self.cluster.leases[&lease].clone();
        let now = self.cluster.now.0;
        let one: Resources = "cpus:1;mem:1GiB".parse().expect("valid");
        let mut rest = decision.resources;
        self.cluster.give_back(lease);
        while let Ok(left) = rest.checked_sub(&one)
            && let Some(came) = self.waiting.pop_front()
        {
            rest = left;
            let is_stated = decision.group.is_some();
            let held = Use {
                agent: decision.agent,
                framework: GOOD,
                role: decision.role.clone(),
                resources: one.clone(),
                group: decision.group.clone(),
                tasks: u32::from(is_stated),
            };
            self.cluster.tell(&Delta::Allocated(held.clone()));
            self.running.push_back((now + TASK_MS, held));
            self.outcome.launched += 1;
            self.outcome.waited_longest_ms = self.outcome.waited_longest_ms.max(now - came);
        }
        if decision.group.is_none() && !rest.is_empty() {
            // It has nothing to launch now: until the next task comes.
            let until = proffer_types::Monotonic(now + 1_000);
            self.cluster.tell(&Delta::Filtered {
                framework: GOOD,
                role: decision.role,
                agent: decision.agent,
                resources: rest,
                until,
            });
        }
    }
}

#[test]
fn i9_badly_behaved_frameworks_take_less_than_a_tenth_of_anothers_launches() {
    for (good, longest_ms) in [(Good::StatesDemand, 0), (Good::TakesOffers, OFFER_MS)] {
        let alone = Story::new(good, false).run();
        let beside = Story::new(good, true).run();
        println!("{good:?}: alone {alone:?}, beside them {beside:?}");
        assert_eq!(alone.launched, SECONDS, "alone everything is launched as it comes");
        assert!(beside.launched * 10 >= alone.launched * 9, "{good:?}: {beside:?}");
        assert!(beside.waited_longest_ms <= longest_ms, "{good:?}: {beside:?}");
    }
}

/// The two are as bad as they are meant to be: what they are offered they have.
#[test]
fn the_badly_behaved_frameworks_hold_what_nobody_asks_for() {
    let mut story = Story::new(Good::StatesDemand, true);
    story.decide();
    let held = story.cluster.leased(HOARDS);
    assert_eq!(held.to_string(), "cpus:120;mem:120GiB");
    let name = GroupName::new("g").expect("valid");
    assert_eq!(story.cluster.allocator.unmet(GOOD, &name), 0);
}
