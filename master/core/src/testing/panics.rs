//! K23: of every call that is checked, a panic while it is checked leaves the state as it was, and a
//! panic after that is known for what it is.

use super::peers::template;
use super::{AgentPeer, FrameworkPeer, Harness, PlantedPanic};
use crate::{Command, Config, ReplyTo};
use proffer_types::agent::{AgentMessage, AgentUp};
use proffer_types::operator::OperatorCall;
use proffer_types::role::RoleConfig;
use proffer_types::scheduler::{Call, SchedulerUp};
use proffer_types::state_store::StateCall;
use proffer_types::{AgentSession, DurationMs, LogIncarnation, PrincipalName, TaskKey};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A master with an agent, a framework that holds an offer, and a task.
struct Scene {
    harness: Harness,
    agent: AgentPeer,
    framework: FrameworkPeer,
}

impl Scene {
    fn new() -> Self {
        let mut harness = Harness::new(Config::default());
        let mut agent = AgentPeer::new("one", "cpus:8;mem:16GiB");
        agent.register(&mut harness, |_| true);
        let mut framework = FrameworkPeer::new("svc", "r1", "eng");
        framework.subscribe(&mut harness, false);
        framework.hear_effects(&harness.take_effects());
        let template = template();
        let digest = template.digest();
        framework.calls(&mut harness, vec![Call::Template { digest, template }]);
        framework.hear_effects(&harness.take_effects());
        let mut scene = Self { harness, agent, framework };
        scene.launch("first");
        scene
    }

    fn accept(&mut self, name: &str) -> Call {
        let offers: Vec<_> = self.framework.offers.values().cloned().collect();
        let shape = "cpus:1;mem:1GiB".parse().expect("legal");
        let tasks = vec![self.framework.launch(name, shape, None)];
        Call::Accept(self.framework.accept(&offers, tasks))
    }

    fn launch(&mut self, name: &str) {
        let accept = self.accept(name);
        self.framework.offers.clear();
        self.framework.calls(&mut self.harness, vec![accept]);
        self.framework.hear_effects(&self.harness.take_effects());
        assert_eq!(self.framework.offers.len(), 1, "what was not used is offered again");
    }

    fn calls(&mut self) -> Vec<Command> {
        let offers: Vec<_> = self.framework.offers.keys().copied().collect();
        let other = proffer_types::template::PodTemplate {
            labels: [("other".to_owned(), "yes".to_owned())].into(),
            ..template()
        };
        let list = StateCall::List { prefix: String::new(), after: None, limit: 1 };
        let task = "first".parse().expect("legal");
        let calls = vec![
            self.accept("second"),
            Call::Demand { groups: Vec::new() },
            Call::Template { digest: other.digest(), template: other },
            Call::Decline { offers: offers.clone(), refuse_for: DurationMs(0) },
            Call::Renew { offers },
            Call::Suppress { roles: BTreeSet::new() },
            Call::Revive { roles: BTreeSet::new() },
            Call::Kill { task, policy: None },
            Call::State { request: 1, call: list },
            Call::State { request: 2, call: StateCall::Commit { changes: Vec::new() } },
            Call::Teardown,
        ];
        let connection = self.framework.connection.expect("it is connected");
        let epoch = self.framework.epoch;
        let in_frame = |call| SchedulerUp { epoch, calls: vec![call] };
        calls
            .into_iter()
            .map(|call| Command::SchedulerFrame { connection, frame: in_frame(call) })
            .collect()
    }

    fn operator_calls(&self) -> Vec<Command> {
        let agent = self.agent.id.expect("it is registered");
        let key = TaskKey { framework: self.framework.id, name: "first".parse().expect("legal") };
        let role = "eng".parse().expect("legal");
        let principal = PrincipalName::new("token:operator").expect("legal");
        [
            OperatorCall::MarkAgentGone { agent, force: true },
            OperatorCall::DrainAgent { agent, deadline: None },
            OperatorCall::DeactivateAgent(agent),
            OperatorCall::ActivateAgent(agent),
            OperatorCall::TeardownFramework(self.framework.id),
            OperatorCall::KillTask(key),
            OperatorCall::SetRole { role, config: RoleConfig::default() },
        ]
        .map(|call| Command::Operator { reply_to: ReplyTo(1), principal: principal.clone(), call })
        .into()
    }

    fn openings(&mut self) -> Vec<Command> {
        let replica = self.harness.connect(crate::Peer::Framework, "token:test");
        let subscribe = Call::Subscribe {
            info: self.framework.info.clone(),
            replica: "r2".parse().expect("legal"),
            take_over: true,
            conditions: Default::default(),
        };
        let frame = SchedulerUp { epoch: self.framework.epoch, calls: vec![subscribe] };
        let connection = self.agent.connection.expect("it is connected");
        let register = AgentUp {
            agent: self.agent.id,
            session: AgentSession(self.agent.session.0 + 1),
            master_epoch: self.agent.master_epoch,
            messages: vec![AgentMessage::Register {
                info: self.agent.info.clone(),
                log: LogIncarnation(1),
                knows_gangs: true,
            }],
        };
        vec![
            Command::SchedulerFrame { connection: replica, frame },
            Command::AgentFrame { connection, frame: register },
        ]
    }

    /// Whether the master says that it was changing when `command` met the panic, and what it knows then.
    fn meet(&self, planted: PlantedPanic, command: Command) -> (bool, String) {
        let mut master = self.harness.master.clone();
        master.plant(planted);
        let shown = format!("{command:?}");
        let now = self.harness.now;
        let applied = catch_unwind(AssertUnwindSafe(|| master.apply(command, now)));
        assert!(applied.is_err(), "{shown} is not checked");
        (master.was_changing(), master.state())
    }
}

#[test]
fn k23_a_panic_in_a_check_leaves_the_state_as_it_was() {
    let mut scene = Scene::new();
    let mut commands = scene.calls();
    commands.extend(scene.operator_calls());
    commands.extend(scene.openings());
    let before = scene.harness.master.state();
    for command in commands {
        let shown = format!("{command:?}");
        let (was_changing, after) = scene.meet(PlantedPanic::InCheck, command.clone());
        assert!(!was_changing, "{shown}");
        assert!(after == before, "{shown} changed something before it was checked");
        let (was_changing, _) = scene.meet(PlantedPanic::InChange, command);
        assert!(was_changing, "{shown}");
    }
}

#[test]
fn k23_what_is_not_a_check_counts_as_a_change() {
    let mut harness = Harness::new(Config::default());
    let connection = harness.connect(crate::Peer::Agent, "cert:agents");
    assert!(harness.master.was_changing(), "a connection was opened");
    harness.cut(connection);
    assert!(harness.master.was_changing(), "and closed");
}
