//! The agent end to end: a master made by hand over real gRPC, real processes in real containers.
//! The parts that need root and control groups are skipped where there are none, and say so.

#![expect(clippy::unwrap_used, reason = "a test that finds no value has failed")]

mod bed;
mod master;

use bed::{Bed, eventually, get, processes};
use master::{KEY, Master, name, token};
use proffer_agent::Config;
use proffer_agent::containerizer::IsolationLevel;
use proffer_agent::containerizer::linux::IsolationChoice;
use proffer_net::capability::{Right, sign};
use proffer_types::agent::AgentOrder;
use proffer_types::hold::{Hold, HoldId, HoldKind, HoldStage, ReclaimPolicy};
use proffer_types::ids::{ContainerId, ReservationId, VolumeId};
use proffer_types::refusal::RefusalCode;
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::template::{
    Check, CheckKind, ContainerTemplate, KillPolicy, OnDisconnect, PodTemplate, Probe,
};
use proffer_types::units::DurationMs;
use std::collections::BTreeMap;

/// Far in the future.
const NEVER: u64 = 1 << 40;

fn container(number: u64) -> ContainerId {
    token(number).container(master::FRAMEWORK)
}

fn shell(script: &str) -> PodTemplate {
    PodTemplate {
        containers: vec![ContainerTemplate {
            name: "main".to_owned(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            ..ContainerTemplate::default()
        }],
        kill: KillPolicy { signal: 15, grace: DurationMs(5000) },
        on_disconnect: OnDisconnect::Keep,
        labels: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_is_read_survives_its_agent_and_leaves_nothing() {
    let mut master = Master::start().await;
    let bed = Bed::new(master.address);
    let Some(running) = bed.start().await else { return };
    let mut agent = master.admit().await;
    assert_eq!((agent.id, agent.list.len()), (None, 0));
    assert_eq!(agent.info.api_url, format!("http://{}", running.api_address()));

    // A number that no other process has in its command line.
    let marker = format!("86399.{}", std::process::id());
    let script = format!("echo hello from ${{number}}; echo oops >&2; sleep {marker} & wait");
    agent.launch(1, &shell(&script)).await;
    agent.state(1, TaskState::Running).await;
    assert_eq!(agent.states(1), [TaskState::Taken, TaskState::Starting, TaskState::Running], "K1");
    let sleep = format!("sleep\0{marker}");
    eventually("the task runs", || processes(&sleep).len() == 1).await;
    let before = processes(&sleep);

    let logs = format!("/v1/containers/{}/logs", container(1));
    let capability =
        |right, number| format!("Bearer {}", sign(KEY, right, container(number).as_str(), NEVER));
    let proof = capability(Right::Logs, 1);
    let address = running.api_address();
    assert_eq!(get(address, &logs, &proof).await, (200, "hello from 1\n".to_owned()));
    let (_, stderr) = get(address, &format!("{logs}?stream=stderr&tail=1"), &proof).await;
    assert_eq!(stderr, "oops\n");
    let files = format!("/v1/containers/{}/files", container(1));
    assert_eq!(get(address, &files, &proof).await.0, 401, "K20: this right is to its logs");
    let bearer = capability(Right::Files, 1);
    let (status, listing) = get(address, &files, &bearer).await;
    assert_eq!(status, 200);
    assert!(listing.contains(r#"{"name":"stdout","kind":"file","size":13}"#), "{listing}");
    assert_eq!(get(address, &logs, "").await.0, 401, "K20");
    let other = capability(Right::Logs, 2);
    assert_eq!(get(address, &logs, &other).await.0, 401, "K20");

    // The agent dies; its task does not notice.
    let session = agent.session;
    drop(running);
    let running = bed.start_again().await;
    let mut agent = master.admit().await;
    assert!(agent.session > session, "K1: sessions grow over the life of an agent");
    assert_eq!(agent.id.map(|id| id.to_string()).as_deref(), Some("a1"));
    let listed: Vec<_> =
        agent.list.iter().map(|t| (&t.record.status.task, t.record.status.state)).collect();
    assert_eq!(listed, [(&name(1), TaskState::Running)], "I1");
    assert_eq!(processes(&sleep), before, "K14: the same process");

    agent.kill(1).await;
    let killed = agent.state(1, TaskState::Killed).await;
    assert_eq!(killed.reason, StatusReason::KilledByFramework);
    eventually("its processes are gone", || processes(&sleep).is_empty()).await;
    agent.acknowledge(killed.id.unwrap().sequence).await;
    let (status, text) = get(running.api_address(), &logs, &proof).await;
    assert_eq!((status, text.as_str()), (200, "hello from 1\n"), "logs outlive their task");

    running.end_tasks(false).await;
    running.stop().await.unwrap();
    assert_eq!(bed.cgroups(), [""; 0].map(std::path::PathBuf::from), "I12");
    assert_eq!(bed.run_entries(), 0, "I12");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_is_told_with_its_reason_and_last_words() {
    let mut master = Master::start().await;
    let bed = Bed::new(master.address);
    let Some(running) = bed.start().await else { return };
    let mut agent = master.admit().await;

    agent.launch(1, &shell("echo last words >&2; exit 3")).await;
    let failed = agent.ended(1).await;
    assert_eq!((failed.state, failed.reason), (TaskState::Failed, StatusReason::Exited));
    assert_eq!(failed.message, "exit code 3\nlast words");
    assert_eq!(failed.exit.unwrap().code, Some(3));

    agent.launch(2, &shell("exit 0")).await;
    assert_eq!(agent.ended(2).await.state, TaskState::Finished);

    let mut missing = shell("");
    missing.containers[0].command = vec!["/no/such/program".to_owned()];
    agent.launch(3, &missing).await;
    let failed = agent.ended(3).await;
    assert_eq!(failed.reason, StatusReason::LaunchFailed);
    assert!(failed.message.contains("(errno 2)"), "{}", failed.message);

    let mut nobody = shell("exit 0");
    nobody.containers[0].user = Some("no-such-user".to_owned());
    agent.launch(4, &nobody).await;
    let refused = agent.ended(4).await;
    assert_eq!((refused.state, refused.reason), (TaskState::Error, StatusReason::AgentRefused));

    let mut stubborn = shell("trap '' TERM; echo up; while :; do sleep 1; done");
    stubborn.kill.grace = DurationMs(300);
    agent.launch(5, &stubborn).await;
    agent.state(5, TaskState::Running).await;
    let stdout = bed.sandbox(container(5).as_str()).join("stdout");
    eventually("its trap is set", || {
        std::fs::read_to_string(&stdout).is_ok_and(|text| text.contains("up"))
    })
    .await;
    agent.kill(5).await;
    let killed = agent.ended(5).await;
    assert_eq!((killed.state, killed.reason), (TaskState::Killed, StatusReason::KilledAfterGrace));

    agent.launch(6, &shell("exec tail /dev/zero")).await;
    let hog = agent.ended(6).await;
    assert_eq!((hog.state, hog.reason), (TaskState::Failed, StatusReason::OutOfMemory), "{hog:?}");

    agent.launch(7, &shell("tail /dev/zero; exit 3")).await;
    let parent = agent.ended(7).await;
    assert_eq!((parent.state, parent.reason), (TaskState::Failed, StatusReason::Exited));
    assert!(parent.message.starts_with("exit code 3; one of its processes had been killed"));

    running.end_tasks(false).await;
    running.stop().await.unwrap();
    assert_eq!(bed.run_entries(), 0, "I12");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_run_inside_and_report_what_changed() {
    let mut master = Master::start().await;
    let bed = Bed::new(master.address);
    let Some(running) = bed.start().await else { return };
    let mut agent = master.admit().await;
    let mut template = shell("sleep 1; touch up; sleep 86400 & wait");
    template.containers[0].checks = vec![Check {
        kind: CheckKind::Ready,
        probe: Probe::Command {
            command: ["sh", "-c", "test -e \"$PROFFER_SANDBOX/up\""].map(str::to_owned).to_vec(),
        },
        interval: DurationMs(100),
        timeout: DurationMs(2000),
        failures: 1,
        successes: 1,
        limit: DurationMs(0),
    }];
    agent.launch(1, &template).await;
    let ready = agent.status(1, |status| status.ready == Some(true)).await;
    assert_eq!((ready.state, ready.reason), (TaskState::Running, StatusReason::CheckChanged));
    // `dev` ends like this: all tasks, then nothing is left but their sandboxes.
    running.end_tasks(false).await;
    let killed = agent.ended(1).await;
    assert_eq!(killed.reason, StatusReason::KilledByOperator);
    running.stop().await.unwrap();
    assert_eq!(bed.run_entries(), 0);
    assert!(bed.cgroups().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_before_a_master_gave_the_key_and_metrics_need_the_token() {
    let mut master = Master::start().await;
    let bed = Bed::new(master.address);
    let mut config = bed.config();
    config.proof =
        proffer_net::Proof::Token(proffer_net::Token::parse("0123456789abcdef").unwrap());
    let (containerizer, events) = proffer_agent::containerizer::fake::FakeContainerizer::new();
    let running = proffer_agent::start_with(config, std::sync::Arc::new(containerizer), events)
        .await
        .unwrap();
    let address = running.api_address();
    let logs = format!("/v1/containers/{}/logs", container(1));
    let proof = format!("Bearer {}", sign(b"", Right::Logs, container(1).as_str(), NEVER));
    assert_eq!(get(address, &logs, &proof).await.0, 401, "K20: the empty key opens nothing");
    assert_eq!(get(address, "/metrics", "").await.0, 401);
    assert_eq!(get(address, "/nope", "").await.0, 404);
    let mut agent = master.admit().await;
    agent.launch(1, &shell("run")).await;
    agent.state(1, TaskState::Running).await;
    let (status, text) = get(address, "/metrics", "Bearer 0123456789abcdef").await;
    assert_eq!(status, 200);
    assert!(text.contains("proffer_agent_tasks{state=\"running\"} 1"), "{text}");
    assert!(text.contains("proffer_agent_launches_taken_total 1"), "{text}");
    let snapshot = running.snapshot().await.unwrap();
    assert!(snapshot.registered && snapshot.tasks.contains_key(&container(1)));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_is_not_opened_without_tls() {
    let master = Master::start().await;
    let bed = Bed::new(master.address);
    let mut config = bed.config();
    config.listen = "0.0.0.0:0".parse().unwrap();
    let (containerizer, events) = proffer_agent::containerizer::fake::FakeContainerizer::new();
    let refused =
        proffer_agent::start_with(config, std::sync::Arc::new(containerizer), events).await;
    let Err(error) = refused else { panic!("it was opened") };
    assert!(error.to_string().contains("without TLS"), "{error}");
}

/// A reservation of disk for the role of the tests, and a volume on it.
fn reserved_volume() -> [Hold; 2] {
    let reservation = Hold {
        id: HoldId::Reservation(ReservationId(1)),
        op: 1,
        resources: "disk:512MiB".parse().unwrap(),
        kind: HoldKind::Reservation { role: "test".parse().unwrap(), labels: Default::default() },
        owner: "ann".parse().unwrap(),
        framework: None,
        reclaim: ReclaimPolicy::Retain,
    };
    let volume = Hold {
        id: HoldId::Volume(VolumeId(2)),
        resources: reservation.held(),
        kind: HoldKind::Volume { container_path: "state/db".to_owned(), shared: false },
        ..reservation.clone()
    };
    [reservation, volume]
}

/// The life of a volume at a real agent; `config` says how its tasks are isolated.
async fn volume_life(config: impl Fn(&Bed) -> Config) {
    let mut master = Master::start().await;
    let bed = Bed::new(master.address);
    let Some(running) = bed.start_as(config(&bed)).await else { return };
    let mut agent = master.admit().await;
    let [reservation, volume] = reserved_volume();
    for hold in [&reservation, &volume] {
        assert_eq!(agent.hold(AgentOrder::ApplyHold { hold: hold.clone() }).await, None);
    }
    let append =
        |word: &str| shell(&format!("echo {word} >> state/db/log; cat state/db/log >&2; exit 7"));
    agent.launch_with(1, &append("one"), &volume.held()).await;
    assert_eq!(agent.ended(1).await.message, "exit code 7\none");

    // The agent dies at once; what was in the volume is there for the next task.
    drop(running);
    let running = bed.start_again_as(&config).await;
    let mut agent = master.admit().await;
    let listed: Vec<_> = agent.holds.iter().map(|it| (it.hold.id, it.stage)).collect();
    assert_eq!(
        listed,
        [(reservation.id, HoldStage::Applied), (volume.id, HoldStage::Applied)],
        "K18"
    );
    agent.launch_with(2, &append("two"), &volume.held()).await;
    assert_eq!(agent.ended(2).await.message, "exit code 7\none\ntwo");
    agent.launch_with(3, &shell("touch state/db/held; exec sleep 1000"), &volume.held()).await;
    agent.state(3, TaskState::Running).await;
    let refused = agent.hold(AgentOrder::RemoveHold { id: volume.id, op: 2 }).await;
    assert_eq!(refused.unwrap().code, RefusalCode::InUse, "I8");
    assert!(bed.volumes().join("v2/log").exists());
    agent.kill(3).await;
    agent.ended(3).await;
    assert_eq!(agent.hold(AgentOrder::RemoveHold { id: volume.id, op: 2 }).await, None);
    assert!(!bed.volumes().join("v2").exists(), "the data are wiped");
    assert_eq!(agent.hold(AgentOrder::RemoveHold { id: reservation.id, op: 2 }).await, None);
    running.end_tasks(true).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn k18_a_volume_is_mounted_outlives_tasks_and_agents_and_is_wiped_in_the_end() {
    volume_life(Bed::config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k18_without_namespaces_a_volume_is_there_by_a_link() {
    volume_life(|bed| {
        let mut config = bed.config();
        config.isolation = IsolationChoice::Exactly(IsolationLevel::Process);
        config
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k18_a_volume_whose_directory_was_removed_is_lost_and_not_made_anew() {
    let mut master = Master::start().await;
    let bed = Bed::new(master.address);
    let Some(running) = bed.start().await else { return };
    let mut agent = master.admit().await;
    for hold in reserved_volume() {
        assert_eq!(agent.hold(AgentOrder::ApplyHold { hold }).await, None);
    }
    running.stop().await.unwrap();
    std::fs::remove_dir(bed.volumes().join("v2")).unwrap();
    // And one that nobody knows, with something in it.
    std::fs::create_dir(bed.volumes().join("v9")).unwrap();
    std::fs::write(bed.volumes().join("v9/log"), "kept").unwrap();
    let running = bed.start_again().await;
    let agent = master.admit().await;
    let stages: Vec<_> = agent.holds.iter().map(|it| it.stage).collect();
    assert_eq!(stages, [HoldStage::Applied, HoldStage::Lost]);
    assert!(!bed.volumes().join("v2").exists() && bed.volumes().join("v9/log").exists());
    running.stop().await.unwrap();
}
