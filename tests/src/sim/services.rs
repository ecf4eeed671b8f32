//! What users of the service framework do in a simulation, and the framework itself.

use super::chance::{between, one_in};
use proffer_service_core::command::{ChangeKind, ScaleTo, ServiceChange};
use proffer_service_core::spec::model::Order;
use proffer_service_core::spec::node::{Entry, Mark, Node, Value};
use proffer_service_core::spec::quantity::Amount;
use proffer_service_core::spec::{ServiceName, ServiceSpec, decode};
use proffer_service_core::{
    Answer, ReplyTo, ServiceCall, ServiceCommand, ServiceConfig, ServiceFramework, ServiceReply,
};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{FrameworkName, RoleName};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// The role that pays for all services.
const ROLE: &str = "services";
/// Instances of a service that preemption leaves.
pub const SERVICE_KEPT: u32 = 1;

/// A new process of the framework.
#[must_use]
pub fn framework() -> ServiceFramework {
    let role = RoleName::new(ROLE).expect("a valid role");
    ServiceFramework::new(ServiceConfig {
        info: FrameworkInfo {
            name: FrameworkName::new("service").expect("a valid name"),
            roles: BTreeSet::from([role.clone()]),
            api_url: String::new(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        },
        role,
    })
}

/// Names that are in use.
const NAMES: [&str; 2] = ["api", "web"];

fn name(rng: &mut ChaCha8Rng) -> ServiceName {
    let place = usize::try_from(between(rng, 0, 1)).unwrap_or(0);
    ServiceName::new(NAMES[place]).expect("a valid name")
}

/// A file with one service, of one of a few versions.
fn file(rng: &mut ChaCha8Rng) -> BTreeMap<ServiceName, ServiceSpec> {
    let stop_first = one_in(rng, 300);
    let (order, min_ready, surge) =
        if stop_first { ("stop_first", "50%", 0) } else { ("start_first", "100%", 1) };
    let text = json!({"schema": "service/v1", "services": { name(rng).as_str(): {
        "instances": between(rng, 2, 4),
        "command": ["/bin/serve", format!("v{}", between(rng, 1, 4))],
        "resources": {"request": {"cpu": 0.1, "mem": "16MiB"}},
        "ports": {"http": {}},
        "stop": {"drain": {"linger": "1s"}},
        "availability": {"min_ready": SERVICE_KEPT},
        "rollout": {
            "order": order, "min_ready": min_ready, "surge": surge,
            "min_available_time": "1s", "progress_deadline": "120s",
        },
    }}});
    decode(&node(&text)).expect("the simulation writes its files well").services
}

/// What a user asks for next.
pub fn call(rng: &mut ChaCha8Rng) -> ServiceCall {
    match between(rng, 0, 11) {
        0..=4 => ServiceCall::Deploy {
            services: file(rng),
            if_revision: BTreeMap::new(),
            message: String::new(),
        },
        5 | 6 => {
            let service = name(rng);
            let to = ScaleTo::Count(u32::try_from(between(rng, 1, 5)).unwrap_or(1));
            ServiceCall::Scale { targets: BTreeMap::from([(service, to)]) }
        }
        7 => ServiceCall::Rollback { service: name(rng), to: None, if_revision: None },
        8 => ServiceCall::Restart { service: name(rng) },
        9 => ServiceCall::Stop { service: name(rng) },
        10 => ServiceCall::Start { service: name(rng) },
        _ => ServiceCall::Remove { service: name(rng) },
    }
}

/// Makes a rollout less careful than the user asked for.
pub fn make_impatient(call: &mut ServiceCall) {
    if let ServiceCall::Deploy { services, .. } = call {
        for spec in services.values_mut() {
            spec.rollout.order = Order::StopFirst;
            spec.rollout.min_ready = Amount::parse("25%").expect("a valid amount");
        }
    }
}

/// What a change of a count will be answered once it is stored, for a bug that answers before.
#[must_use]
pub fn early(service: &ServiceFramework, reply: ReplyTo, call: &ServiceCall) -> Option<Answer> {
    let ServiceCall::Scale { targets } = call else { return None };
    let (name, to) = targets.first_key_value()?;
    let summary = &service.views().get(name)?.summary;
    let ScaleTo::Count(instances) = *to else { return None };
    let change = ServiceChange {
        service: name.clone(),
        change: ChangeKind::Scaled,
        revision: summary.revision,
        previous: None,
        rollout: summary.rollout.number,
        instances,
    };
    let result = Ok(ServiceReply { services: vec![change] });
    (summary.instances != instances).then_some(Answer { reply, result })
}

/// The call as it reaches the framework.
#[must_use]
pub fn command(number: u64, call: ServiceCall) -> ServiceCommand {
    ServiceCommand { reply: ReplyTo(number), author: "token:user".to_owned(), call }
}

fn node(json: &Json) -> Node {
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
