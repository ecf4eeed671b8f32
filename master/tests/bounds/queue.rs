//! What the core lets through always fits the queue to the store: a full queue would end the master, so
//! nobody outside may be able to fill it (K9).

use proffer_master::store::commit_queue::{CommitQueue, QueueBudget};
use proffer_master::store::model::CommitMark;
use proffer_master::store::{LeaderToken, Limits, OperationId, Revision};
use proffer_master_core::testing::{AgentPeer, FrameworkPeer, Harness};
use proffer_master_core::{Config, Effect};
use proffer_types::DurationMs;
use proffer_types::attributes::Attribute;

/// A store that answers nothing.
struct Silent {
    queue: CommitQueue,
    taken: usize,
}

impl Silent {
    fn submit(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Persist { operation, lane, changes } = effect else { continue };
            self.queue
                .submit(OperationId(operation.0), lane.into(), changes.into())
                .expect("the core lets no more through than the queue holds");
            self.taken += 1;
        }
    }
}

#[test]
fn k9_a_silent_store_fills_with_neither_commits_nor_lost_agents_nor_new_ones() {
    let mut harness = Harness::new(Config::default());
    let mut frameworks = Vec::new();
    for n in 0..6 {
        let mut framework = FrameworkPeer::new(&format!("svc{n}"), "r1", "eng");
        framework.subscribe(&mut harness, false);
        framework.hear_effects(&harness.take_effects());
        frameworks.push(framework);
    }
    let heavy = |n: usize| {
        let mut agent = AgentPeer::new(&format!("a{n}"), "cpus:1");
        let text = "x".repeat(200 << 10);
        agent.info.attributes.insert("text".to_owned(), Attribute::Text(text));
        agent
    };
    for n in 0..60 {
        let mut agent = heavy(n);
        agent.register(&mut harness, |_| true);
        harness.muted.extend(agent.connection);
    }
    harness.take_effects();

    harness.hold_writes = true;
    let token = LeaderToken { create_revision: Revision(1), lease: 1 };
    let queue =
        CommitQueue::new(token, CommitMark::default(), Limits::ETCD, QueueBudget::default());
    let mut store = Silent { queue, taken: 0 };
    for framework in &mut frameworks {
        let calls = (0..8).map(|_| framework.large_commit()).collect();
        framework.calls(&mut harness, calls);
        store.submit(harness.take_effects());
    }
    harness.wait(DurationMs::from_secs(30));
    store.submit(harness.take_effects());
    for n in 60..300 {
        heavy(n).register(&mut harness, |_| true);
        store.submit(harness.take_effects());
    }
    assert!(store.taken > 60, "only {} writes were taken", store.taken);
}
