//! Stories of services, through the real SDK driver on a cluster in memory.

mod support;

use proffer_service_core::api::{ServiceStatus, WaitsFor};
use proffer_service_core::command::{ChangeKind, ScaleTo, ServiceCall};
use proffer_service_core::record::RolloutState;
use proffer_types::scheduler::Call;
use proffer_types::{RefusalCode, TaskState};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use support::{Cluster, name, specs};

/// A service whose instances are ready as soon as they run.
fn web(version: &str, instances: u32) -> Json {
    json!({"web": {
        "instances": instances,
        "command": ["/bin/server", version],
        "stop": {"drain": {"linger": "2s"}},
        "rollout": {"min_available_time": "1s", "progress_deadline": "60s"},
    }})
}

fn succeeded(cluster: &Cluster) -> bool {
    cluster.view("web").summary.rollout.state == RolloutState::Succeeded
}

#[test]
fn a_new_service_starts_and_is_good_once_every_slot_was_ready_long_enough() {
    let mut cluster = Cluster::new();
    let reply = cluster.deploy(&web("1", 3)).expect("accepted");
    assert_eq!(reply.services[0].change, ChangeKind::Created);
    assert_eq!(cluster.view("web").summary.status, ServiceStatus::Rolling);
    cluster.run(5);
    let view = cluster.view("web");
    assert!(succeeded(&cluster), "{:?}", view.summary);
    assert_eq!((view.summary.ready, view.summary.available), (3, 3));
    assert_eq!(view.good, Some(1));
    assert_eq!(cluster.published("web").len(), 3);
    assert_eq!(view.endpoints.endpoints, [], "without ports there is nothing to connect to");
    assert_eq!(cluster.running(), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(view.summary.status, ServiceStatus::Running);
}

#[test]
fn a_changed_service_rolls_start_first_and_lingers_before_the_kill() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 4)).expect("accepted");
    cluster.run(5);
    cluster.bench.take_calls();
    let reply = cluster.deploy(&web("2", 4)).expect("accepted");
    assert_eq!(reply.services[0].previous, Some(1));
    let mut unpublished_at = BTreeMap::new();
    for quarter in 0..200u32 {
        cluster.step();
        let view = cluster.view("web");
        assert!(view.summary.ready >= 4, "{} ready", view.summary.ready);
        assert!(cluster.bench.live().len() <= 5, "one above the count");
        let live = cluster.published("web");
        for (task, _, _) in cluster.bench.live() {
            if task.contains(".r1.") && !live.contains(&task) {
                unpublished_at.entry(task).or_insert(quarter);
            }
        }
        for call in cluster.bench.take_calls() {
            if let Call::Kill { task, policy } = call {
                let since = quarter - unpublished_at[task.as_str()];
                assert!(since >= 7, "{task} was killed {since} quarters after it was unpublished");
                assert_eq!(policy.expect("its own").grace.0, 30_000);
            }
        }
    }
    assert!(succeeded(&cluster));
    assert_eq!(cluster.running(), [(0, 2), (1, 2), (2, 2), (3, 2)]);
}

#[test]
fn a_revision_that_crashes_is_rolled_back_and_old_instances_are_left_alone() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 4)).expect("accepted");
    cluster.run(5);
    let before: Vec<String> = cluster.bench.live().into_iter().map(|(task, ..)| task).collect();
    cluster.crashes = Some(".r2.".to_owned());
    cluster.deploy(&web("2", 4)).expect("accepted");
    cluster.run(20);
    let view = cluster.view("web");
    assert_eq!(view.summary.rollout.state, RolloutState::RolledBack);
    assert_eq!(view.summary.rollout.revision, 2);
    assert_eq!(view.summary.revision, 1);
    assert_eq!(view.summary.status, ServiceStatus::Running);
    let note = view.summary.rollout.first_failure.clone().expect("told");
    assert!(note.instance.contains(".r2."), "{note:?}");
    let after: Vec<String> = cluster.bench.live().into_iter().map(|(task, ..)| task).collect();
    assert_eq!(before, after);
}

#[test]
fn a_first_revision_that_crashes_pauses_with_the_reason() {
    let mut cluster = Cluster::new();
    cluster.crashes = Some(".r1.".to_owned());
    cluster.deploy(&web("1", 2)).expect("accepted");
    cluster.run(3);
    let view = cluster.view("web");
    assert_eq!(view.summary.status, ServiceStatus::Paused);
    assert!(view.summary.reason.contains("no earlier good revision"), "{}", view.summary.reason);
    // It is still tried, with growing pauses, and is good once it works.
    cluster.crashes = None;
    cluster.run(30);
    assert!(succeeded(&cluster));
}

#[test]
fn without_progress_a_rollout_fails_at_its_deadline_and_says_what_lacked() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 2)).expect("accepted");
    cluster.run(5);
    let mut file = web("2", 2);
    file["web"]["resources"] = json!({"request": {"cpu": 1000}});
    cluster.deploy(&file).expect("accepted");
    cluster.run(5);
    let waits = &cluster.view("web").waits;
    assert_eq!(waits[0].waits_for, WaitsFor::Capacity, "the worst first: {waits:?}");
    assert_eq!(cluster.view("web").demand_groups.len(), 2, "to be asked about at the master");
    cluster.run(60);
    let view = cluster.view("web");
    assert_eq!(view.summary.rollout.state, RolloutState::RolledBack);
    assert!(view.summary.rollout.reason.contains("wait for capacity"), "{:?}", view.summary);
}

#[test]
fn a_crash_loop_backs_off_per_slot_and_survives_a_failover() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    cluster.crashes = Some("web.1.".to_owned());
    let victim = cluster.bench.live()[1].0.clone();
    cluster.bench.task_becomes(&victim, TaskState::Failed);
    cluster.run(60);
    let view = cluster.view("web");
    assert_eq!(view.summary.status, ServiceStatus::CrashLooping, "{:?}", view.summary);
    let slot = view.waits.iter().find(|wait| wait.slots == "1").expect("waits");
    assert_eq!(slot.waits_for, WaitsFor::BackOff);
    assert!(slot.crashes >= 5, "{slot:?}");
    let crashes = slot.crashes;
    assert_eq!(view.summary.ready, 2, "the other slots serve");
    cluster.kill_framework();
    cluster.run(2);
    let view = cluster.view("web");
    let slot = view.waits.iter().find(|wait| wait.slots == "1").expect("waits");
    assert!(slot.crashes >= crashes - 1 && slot.in_ms.is_some_and(|ms| ms > 5000), "{slot:?}");
}

/// The file's count is an initial value: applying it again does not undo a `scale`.
#[test]
fn the_count_is_a_sub_resource() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 2)).expect("accepted");
    cluster.run(5);
    let scale = |to| ServiceCall::Scale { targets: [(name("web"), to)].into() };
    let reply = cluster.call(scale(ScaleTo::More(3))).expect("accepted");
    assert_eq!((reply.services[0].instances, reply.services[0].revision), (5, 1));
    cluster.run(3);
    assert_eq!(cluster.running().len(), 5);
    let reply = cluster.deploy(&web("1", 2)).expect("accepted");
    assert_eq!(reply.services[0].change, ChangeKind::Unchanged);
    cluster.deploy(&web("2", 2)).expect("accepted");
    cluster.run(30);
    assert_eq!(cluster.running(), [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)]);
    cluster.deploy(&web("2", 1)).expect("accepted");
    cluster.run(10);
    assert_eq!(cluster.running(), [(0, 2)]);
    cluster.call(scale(ScaleTo::Percent(250))).expect("accepted");
    cluster.run(5);
    assert_eq!(cluster.running().len(), 3, "ceil(2.5)");
}

#[test]
fn a_change_in_place_replaces_nothing() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    let before = cluster.bench.live();
    let mut file = web("1", 3);
    file["web"]["labels"] = json!({"team": "checkout"});
    let reply = cluster.deploy(&file).expect("accepted");
    assert_eq!(reply.services[0].revision, 2);
    cluster.run(5);
    assert!(succeeded(&cluster));
    assert_eq!(cluster.bench.live(), before);
}

#[test]
fn k11_the_master_knows_how_many_instances_stay_and_what_they_are_worth() {
    let mut cluster = Cluster::new();
    let mut file = web("1", 4);
    file["web"]["availability"] = json!({"min_ready": "60%"});
    file["web"]["priority"] = json!({"class": "critical", "level": 90});
    cluster.deploy(&file).expect("accepted");
    cluster.run(5);
    let budgets = |cluster: &mut Cluster| {
        let said = cluster.bench.master().budgets.iter();
        said.map(|it| (it.name.to_string(), it.min_available)).collect::<Vec<_>>()
    };
    assert_eq!(budgets(&mut cluster), [("web".to_owned(), 3)]);
    let worth = |cluster: &Cluster| {
        let tasks = cluster.bench.context().tasks().live();
        let worth = tasks.map(|task| (task.record.priority, task.record.budget.clone()));
        worth.collect::<std::collections::BTreeSet<_>>()
    };
    let of_launch = worth(&cluster);
    assert_eq!(of_launch.len(), 1, "{of_launch:?}");
    let (priority, budget) = of_launch.into_iter().next().expect("one");
    assert_eq!((priority, budget.expect("said").min_available), (1_000, 3));

    let live = cluster.bench.live();
    let targets = [(name("web"), ScaleTo::Count(2))].into();
    cluster.call(ServiceCall::Scale { targets }).expect("accepted");
    cluster.run(5);
    assert_eq!(budgets(&mut cluster), [("web".to_owned(), 2)], "60% of 2, rounded up");
    file["web"]["instances"] = json!(2);
    file["web"]["availability"] = json!({"min_ready": 1});
    file["web"]["priority"] = json!({"class": "critical", "level": 10});
    cluster.deploy(&file).expect("accepted");
    cluster.run(5);
    assert_eq!(budgets(&mut cluster), [("web".to_owned(), 1)]);
    let after = cluster.bench.live();
    assert!(after.iter().all(|(task, ..)| live.iter().any(|(old, ..)| old == task)), "in place");
    cluster.call(ServiceCall::Remove { service: name("web") }).expect("accepted");
    cluster.run(20);
    assert_eq!(budgets(&mut cluster), [], "it is no more");
}

#[test]
fn a_newer_revision_takes_the_place_of_one_that_is_going_on() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 4)).expect("accepted");
    cluster.run(5);
    cluster.deploy(&web("2", 4)).expect("accepted");
    cluster.run(2);
    cluster.deploy(&web("3", 4)).expect("accepted");
    cluster.run(40);
    assert_eq!(cluster.running(), [(0, 3), (1, 3), (2, 3), (3, 3)]);
    let outcome = |revision: u32| {
        let history = &cluster.view("web").history;
        history.iter().find(|r| r.revision == revision).and_then(|r| r.outcome)
    };
    assert_eq!(outcome(2), Some(RolloutState::Superseded));
    assert_eq!(outcome(3), Some(RolloutState::Succeeded));
}

#[test]
fn a_rollback_is_a_new_revision_and_a_restart_is_none() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 2)).expect("accepted");
    cluster.run(5);
    cluster.deploy(&web("2", 2)).expect("accepted");
    cluster.run(20);
    let rollback = |to| ServiceCall::Rollback { service: name("web"), to, if_revision: None };
    let refusal = cluster.call(rollback(Some(9))).expect_err("unknown");
    assert_eq!((refusal.code, refusal.hint.as_str()), (RefusalCode::NotFound, "known: r1, r2"));
    let reply = cluster.call(rollback(None)).expect("accepted");
    assert_eq!((reply.services[0].revision, reply.services[0].previous), (3, Some(2)));
    cluster.run(20);
    assert_eq!(cluster.running(), [(0, 3), (1, 3)]);
    assert_eq!(cluster.view("web").history[0].rollback_of, Some(1));
    let before = cluster.bench.live();
    cluster.call(ServiceCall::Restart { service: name("web") }).expect("accepted");
    cluster.kill_framework();
    cluster.run(20);
    assert!(succeeded(&cluster));
    assert_eq!(cluster.running(), [(0, 3), (1, 3)], "the same revision");
    let after = cluster.bench.live();
    assert!(before.iter().all(|(task, ..)| after.iter().all(|(other, ..)| other != task)));
}

#[test]
fn stop_keeps_the_count_and_rm_forgets_everything() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    cluster.call(ServiceCall::Stop { service: name("web") }).expect("accepted");
    cluster.run(5);
    assert_eq!(cluster.running(), []);
    assert_eq!(cluster.view("web").summary.status, ServiceStatus::Stopped);
    cluster.call(ServiceCall::Start { service: name("web") }).expect("accepted");
    cluster.run(5);
    assert_eq!(cluster.running().len(), 3);
    cluster.call(ServiceCall::Remove { service: name("web") }).expect("accepted");
    cluster.run(5);
    assert_eq!(cluster.running(), []);
    assert!(cluster.bench.framework().views().is_empty());
    assert_eq!(cluster.bench.context().state_keys(""), Vec::<String>::new());
    let refusal = cluster.call(ServiceCall::Stop { service: name("web") }).expect_err("gone");
    assert_eq!(refusal.code, RefusalCode::NotFound);
}

#[test]
fn an_older_revision_than_expected_is_a_conflict() {
    let mut cluster = Cluster::new();
    let deploy = |version: &str, expected| ServiceCall::Deploy {
        services: specs(&web(version, 1)),
        if_revision: BTreeMap::from([(name("web"), expected)]),
        message: String::new(),
    };
    cluster.call(deploy("1", 0)).expect("it does not exist");
    let refusal = cluster.call(deploy("2", 0)).expect_err("it does");
    assert_eq!(refusal.code, RefusalCode::VersionConflict);
    assert!(refusal.message.contains("token:dev"), "{refusal}");
    cluster.call(deploy("2", 1)).expect("as expected");
}

#[test]
fn one_refused_service_leaves_all_of_a_file_undone() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 2)).expect("accepted");
    cluster.run(5);
    let mut file = web("2", 2);
    file["web"]["rollout"] = json!({"order": "stop_first", "min_ready": "50%"});
    file["api"] = file["web"].clone();
    cluster
        .call(ServiceCall::Scale { targets: [(name("web"), ScaleTo::Count(1))].into() })
        .expect("ok");
    cluster.run(3);
    // At the count of one, ceil(50%) is one: no instance may stop.
    let refusal = cluster.deploy(&file).expect_err("no progress is possible");
    assert!(refusal.field.starts_with("services.web"), "{refusal}");
    assert_eq!(cluster.bench.framework().views().len(), 1);
}

/// K2: while an agent is awaited, nothing takes the place of what it may hold, also in a process
/// that knows nothing of it.
#[test]
fn an_awaited_agent_keeps_its_slots() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    let launched = cluster.bench.master().launched().len();
    cluster.bench.fail_over();
    cluster.kill_framework();
    cluster.bench.advance(proffer_types::DurationMs(5_000));
    assert_eq!(cluster.bench.master().launched().len(), launched);
    for agent in cluster.bench.master().agents() {
        cluster.bench.master().return_agent(agent);
        cluster.bench.settle();
    }
    cluster.run(5);
    assert_eq!(cluster.bench.master().launched().len(), launched, "nothing was missing");
    assert_eq!(cluster.view("web").summary.ready, 3);
}

#[test]
fn a_lost_agent_is_unpublished_at_once_replaced_later_and_the_older_instance_stays() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    let (_, agent, _) = cluster.bench.live()[0].clone();
    let lost: Vec<String> = cluster
        .bench
        .live()
        .into_iter()
        .filter(|(_, on, _)| *on == agent)
        .map(|(task, ..)| task)
        .collect();
    cluster.bench.master().lose_agent(agent);
    cluster.run(1);
    let ready = cluster.view("web").summary.ready;
    assert_eq!(ready as usize, 3 - lost.len(), "unpublished at once");
    cluster.run(50);
    assert_eq!(cluster.view("web").summary.ready, ready, "not replaced before 60s");
    cluster.run(20);
    assert_eq!(cluster.view("web").summary.ready, 3, "replaced elsewhere");
    cluster.bench.master().return_agent(agent);
    cluster.run(20);
    let live: Vec<String> = cluster.bench.live().into_iter().map(|(task, ..)| task).collect();
    assert_eq!(live.len(), 3);
    assert!(lost.iter().all(|task| live.contains(task)), "the older ones stay: {live:?}");
}

/// The history stays bounded, also when no rollout ever ends.
#[test]
fn old_revisions_are_forgotten() {
    let mut cluster = Cluster::new();
    for version in 0..12 {
        let mut file = web(&version.to_string(), 2);
        file["web"]["history"] = json!({"keep": 3});
        cluster.deploy(&file).expect("accepted");
        if version == 0 {
            cluster.run(5);
        }
    }
    let known = |cluster: &Cluster| -> Vec<u32> {
        cluster.view("web").history.iter().map(|revision| revision.revision).collect()
    };
    assert_eq!(known(&cluster), [12, 11, 10, 1], "the good one stays");
    cluster.run(20);
    assert_eq!(known(&cluster), [12, 11, 10]);
    assert_eq!(cluster.bench.context().state_keys("revision/").len(), 3);
}

/// A record of a newer program is not half understood: nothing is started, nothing is ended (K5).
#[test]
fn a_newer_format_is_refused_in_words() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 2)).expect("accepted");
    cluster.run(5);
    let before = cluster.bench.live();
    let newer = cluster.bench.master().state("service/web").expect("stored").to_vec();
    let newer = String::from_utf8(newer).expect("JSON").replacen("\"format\":1", "\"format\":2", 1);
    cluster.bench.master().set_state("service/web", newer.into_bytes());
    cluster.kill_framework();
    cluster.run(5);
    let fault = cluster.bench.framework().fault().expect("refused");
    assert_eq!(fault.code, RefusalCode::NewerFormat);
    assert_eq!(cluster.bench.live(), before);
    let refusal = cluster.deploy(&web("2", 2)).expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::NewerFormat);
}

/// A file may leave the count to the service; whether a rollout can step is then asked at submit.
#[test]
fn without_a_count_in_the_file_the_present_one_decides() {
    let mut cluster = Cluster::new();
    let mut file = web("1", 3);
    file["web"]["rollout"] = json!({"order": "stop_first", "min_ready": "66%"});
    cluster.deploy(&file).expect("one of three may stop");
    file["web"].as_object_mut().expect("a mapping").remove("instances");
    file["web"]["command"] = json!(["/bin/server", "2"]);
    cluster.deploy(&file).expect("there are three");
    file["api"] = file["web"].take();
    file.as_object_mut().expect("a mapping").remove("web");
    let refusal = cluster.deploy(&file).expect_err("a new service has one instance");
    assert_eq!(refusal.field, "services.api.rollout.min_ready");
}

/// K2: a framework that has just begun knows of nothing that runs on agents which have not reported; it
/// does not say that nothing serves.
#[test]
fn k2_endpoints_are_complete_when_every_agent_was_heard_of() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    assert!(cluster.view("web").endpoints.complete);
    cluster.bench.fail_over();
    cluster.run(1);
    assert!(cluster.view("web").endpoints.complete, "this process remembers");
    cluster.kill_framework();
    cluster.run(1);
    assert_eq!(cluster.published("web").len(), 0);
    assert!(!cluster.view("web").endpoints.complete);
    for agent in cluster.bench.master().agents() {
        cluster.bench.master().return_agent(agent);
    }
    cluster.run(5);
    assert_eq!(cluster.published("web").len(), 3);
    assert!(cluster.view("web").endpoints.complete);
}

/// A new master that has not heard of its agents yet is no reason to stop serving: what was ready
/// stays in the endpoints, and nothing is started or ended.
#[test]
fn a_master_failover_alone_takes_nothing_out_of_the_endpoints() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1", 3)).expect("accepted");
    cluster.run(5);
    let launched = cluster.bench.master().launched().len();
    let published = cluster.published("web");
    cluster.bench.fail_over();
    cluster.bench.advance(proffer_types::DurationMs(5_000));
    assert_eq!(cluster.published("web"), published);
    for agent in cluster.bench.master().agents() {
        cluster.bench.master().return_agent(agent);
    }
    cluster.run(5);
    assert_eq!(cluster.published("web"), published);
    assert_eq!(cluster.bench.master().launched().len(), launched);
}
