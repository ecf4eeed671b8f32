//! A service framework on the SDK's cluster in memory, and files written as JSON.
#![allow(dead_code, reason = "each test file uses its part")]

use proffer_sdk_core::testing::Bench;
use proffer_service_core::api::{InstanceView, ServiceView};
use proffer_service_core::command::{ServiceCall, ServiceReply};
use proffer_service_core::spec::node::{Entry, Mark, Node, Value};
use proffer_service_core::spec::{ServiceName, ServiceSpec, decode};
use proffer_service_core::{ReplyTo, ServiceCommand, ServiceConfig, ServiceFramework};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{DurationMs, FrameworkName, Refusal, RoleName, TaskName, TaskState};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// A document written as JSON.
pub(crate) fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    mark: Mark::default(),
                    value: node(value),
                })
                .collect(),
        ),
    };
    Node { mark: Mark::default(), value }
}

/// The services of a file with these services.
pub(crate) fn specs(services: &Json) -> BTreeMap<ServiceName, ServiceSpec> {
    let file = json!({"schema": "service/v1", "services": services});
    decode(&node(&file)).expect("a test writes its files well").services
}

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("valid")
}

pub(crate) fn framework() -> ServiceFramework {
    let role = RoleName::new("services").expect("valid");
    ServiceFramework::new(ServiceConfig {
        info: FrameworkInfo {
            name: FrameworkName::new("service").expect("valid"),
            roles: BTreeSet::from([role.clone()]),
            api_url: String::new(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        },
        role,
    })
}

/// A cluster with a service framework, on which instances run as soon as they are taken.
pub(crate) struct Cluster {
    pub(crate) bench: Bench<ServiceFramework>,
    /// Tasks whose name holds this crash as soon as they run.
    pub(crate) crashes: Option<String>,
    replies: u64,
}

impl Cluster {
    /// Three agents of 64 cores.
    pub(crate) fn new() -> Self {
        let mut bench = Bench::new(framework());
        for agent in ["one", "two", "three"] {
            bench.agent(agent, "cpus:64;mem:64GiB;ports:[31000-31999]");
        }
        bench.settle();
        Self { bench, crashes: None, replies: 0 }
    }

    pub(crate) fn call(&mut self, call: ServiceCall) -> Result<ServiceReply, Refusal> {
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        let command = ServiceCommand { reply, author: "token:dev".to_owned(), call };
        self.bench.input(command);
        // A call that comes during a cut waits for the next connection, as a client would.
        for _ in 0..6_000 {
            let answers = self.bench.framework_mut().take_answers();
            if let Some(answer) = answers.into_iter().find(|answer| answer.reply == reply) {
                return answer.result;
            }
            self.bench.advance(DurationMs(10));
        }
        panic!("no answer");
    }

    /// Calls without waiting for the answer.
    pub(crate) fn ask(&mut self, call: ServiceCall) -> ReplyTo {
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        self.bench.input(ServiceCommand { reply, author: "token:dev".to_owned(), call });
        reply
    }

    pub(crate) fn deploy(&mut self, services: &Json) -> Result<ServiceReply, Refusal> {
        self.call(ServiceCall::Deploy {
            services: specs(services),
            if_revision: BTreeMap::new(),
            message: String::new(),
        })
    }

    /// A quarter of a second: what was taken runs, or crashes.
    pub(crate) fn step(&mut self) {
        for (task, _, state) in self.bench.live() {
            let is_reachable = matches!(state, TaskState::Taken);
            if !is_reachable {
                continue;
            }
            let task_name = TaskName::new(&task).expect("listed");
            self.bench.master().check_task(&task_name, true);
            if self.crashes.as_ref().is_some_and(|part| task.contains(part)) {
                self.bench.master().move_task(&task_name, TaskState::Failed);
            }
        }
        self.bench.advance(DurationMs(250));
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            self.step();
        }
    }

    /// The process ends without a word; another one starts without memory.
    pub(crate) fn kill_framework(&mut self) {
        self.bench.restart(framework());
        self.bench.settle();
        self.bench.advance(DurationMs(1));
    }

    /// Instances that are served to.
    pub(crate) fn published(&self, service: &str) -> BTreeSet<String> {
        let is_published = |it: &&InstanceView| it.published;
        let view = self.view(service);
        view.instances.iter().filter(is_published).map(|it| it.name.to_string()).collect()
    }

    pub(crate) fn view(&self, service: &str) -> &ServiceView {
        self.bench.framework().views().get(&name(service)).expect("there is such a service")
    }

    /// Live tasks as `slot revision`, ascending.
    pub(crate) fn running(&self) -> Vec<(u32, u32)> {
        let mut running: Vec<(u32, u32)> = self
            .bench
            .live()
            .into_iter()
            .map(|(task, _, _)| {
                let name: proffer_service_core::instance::InstanceName =
                    task.parse().expect("an instance");
                (name.slot, name.revision)
            })
            .collect();
        running.sort_unstable();
        running
    }
}
