//! What is on its way to the store is bounded, whatever peers ask for and however many of them fall
//! silent (K9, F68).

use super::{AgentPeer, FrameworkPeer, Harness};
use crate::{Config, Effect, WriteLane, limits};
use proffer_types::scheduler::Event;
use proffer_types::state_store::StateAnswer;
use proffer_types::{DurationMs, Refusal, RefusalCode};

fn framework(harness: &mut Harness, name: &str) -> FrameworkPeer {
    let mut framework = FrameworkPeer::new(name, "r1", "eng");
    framework.subscribe(harness, false);
    framework.hear_effects(&harness.take_effects());
    framework
}

fn state_bytes(effects: &[Effect]) -> usize {
    let mut bytes = 0;
    for effect in effects {
        if let Effect::Persist { lane: WriteLane::FrameworkState, changes, .. } = effect {
            bytes += changes.iter().map(|change| change.stored_bytes()).sum::<usize>();
        }
    }
    bytes
}

fn agent_writes(effects: &[Effect]) -> usize {
    let is_agent = |change: &crate::registry::RegistryChange| {
        matches!(change.key, crate::registry::RecordKey::Agent(_))
    };
    effects
        .iter()
        .filter(|effect| {
            matches!(effect, Effect::Persist { changes, .. } if changes.iter().any(is_agent))
        })
        .count()
}

fn state_refusals(effects: &[Effect]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for effect in effects {
        let Effect::SendFramework { frame, .. } = effect else { continue };
        for event in &frame.events {
            if let Event::State { answer: StateAnswer::Refused(refusal), .. } = event {
                refusals.push(refusal.clone());
            }
        }
    }
    refusals
}

#[test]
fn k9_commits_of_one_framework_on_their_way_are_bounded() {
    let mut harness = Harness::new(Config::default());
    let mut svc = framework(&mut harness, "svc");
    harness.hold_writes = true;
    let calls = (0..32).map(|_| svc.large_commit()).collect();
    svc.calls(&mut harness, calls);
    let effects = harness.take_effects();
    let bytes = state_bytes(&effects);
    assert!(bytes > 1 << 20 && bytes <= limits::STATE_WRITES_FRAMEWORK_BYTES_MAX, "{bytes}");
    let refusals = state_refusals(&effects);
    assert_eq!(refusals.len(), 28);
    assert!(
        refusals.iter().all(|r| r.code == RefusalCode::Unavailable && r.field == "state"),
        "{refusals:?}"
    );
    // The registry is written as ever.
    AgentPeer::new("one", "cpus:1").register(&mut harness, |_| true);
    assert_eq!(agent_writes(&harness.take_effects()), 1);
    // What was refused may come again.
    harness.complete_writes();
    harness.take_effects();
    let call = svc.large_commit();
    svc.call(&mut harness, call);
    assert_eq!(state_refusals(&harness.take_effects()), []);
}

#[test]
fn k9_commits_of_all_frameworks_on_their_way_are_bounded() {
    let mut harness = Harness::new(Config::default());
    let mut frameworks: Vec<FrameworkPeer> =
        (0..8).map(|n| framework(&mut harness, &format!("svc{n}"))).collect();
    harness.hold_writes = true;
    for svc in &mut frameworks {
        let calls = (0..4).map(|_| svc.large_commit()).collect();
        svc.calls(&mut harness, calls);
    }
    let effects = harness.take_effects();
    let bytes = state_bytes(&effects);
    assert!(bytes <= limits::STATE_WRITES_BYTES_MAX, "{bytes}");
    assert!(!state_refusals(&effects).is_empty());
}

#[test]
fn f68_many_lost_agents_are_written_some_at_a_time() {
    const AGENTS: usize = 400;
    let mut harness = Harness::new(Config::default());
    for n in 0..AGENTS {
        let mut agent = AgentPeer::new(&format!("a{n}"), "cpus:1");
        agent.register(&mut harness, |_| true);
        harness.muted.extend(agent.connection);
        harness.take_effects();
    }
    harness.hold_writes = true;
    harness.wait(DurationMs::from_secs(30));
    let effects = harness.take_effects();
    assert_eq!(agent_writes(&effects), limits::SPARE_WRITES_MAX);
    let told = effects.iter().any(|effect| {
        matches!(effect, Effect::Publish { changes, .. } if changes.iter().any(|change|
            matches!(change, proffer_types::operator::Change::Event(event)
                if event.kind == "store_behind")))
    });
    assert!(told, "nobody is told why the others are not unreachable yet");
    // The writes come back, and with them the rest has its turn.
    harness.complete_writes();
    harness.wait(DurationMs::from_secs(2));
    assert_eq!(agent_writes(&harness.take_effects()), AGENTS - limits::SPARE_WRITES_MAX);
}

#[test]
fn k9_steady_load_does_not_keep_a_lost_agent_from_its_turn() {
    let mut harness = Harness::new(Config::default());
    let mut lost = AgentPeer::new("lost", "cpus:1");
    lost.register(&mut harness, |_| true);
    harness.muted.extend(lost.connection);
    harness.hold_writes = true;
    for n in 0..=limits::SPARE_WRITES_MAX {
        AgentPeer::new(&format!("a{n}"), "cpus:1").register(&mut harness, |_| true);
    }
    harness.take_effects();
    harness.wait(DurationMs::from_secs(20));
    assert_eq!(agent_writes(&harness.take_effects()), 1);
}
