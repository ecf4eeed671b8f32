//! Scripts: commands and time steps above, effects below. A file of `tests/scripts` is a story; run with
//! `UPDATE_SCRIPTS=1` to write the effects anew, then read the difference.
//!
//! | line | meaning |
//! |---|---|
//! | `agent NAME RESOURCES [ATTRIBUTES]` | a new agent registers |
//! | `back AGENT [TASK…]` | it registers anew, listing only these tasks (none named: all it has) |
//! | `replace AGENT` | an agent of that name without id or tasks registers |
//! | `twin NAME` | a second agent of that name, without an id, tries to register |
//! | `cut NAME` / `mute NAME` | the connection of an agent or framework ends / falls silent |
//! | `deafen AGENT` | what it is sent is lost until it registers anew |
//! | `report AGENT FRAMEWORK/TASK STATE` | a status |
//! | `framework NAME ROLE [REPLICA] [takeover] [timeout=SPAN] [want=…]` | a replica `NAME` or `NAME.REPLICA` subscribes |
//! | `demand FW GROUP SHAPE COUNT [within SPAN]` / `want-nothing FW` / `revive FW` / `suppress FW` | its wishes |
//! | `want FW ATTRIBUTE=PATTERN… least:QUANTITIES…` | what it wants to be offered: any of these, at least one of those; `role:ROLE` for another role |
//! | `demand-twice FW GROUP` / `demand-older FW GROUP` | demands that are refused |
//! | `accept FW TASK… with SHAPE [group G]` | launches on all offers of one agent |
//! | `accept-stale FW TASK with SHAPE` | the same with an offer that it does not hold |
//! | `accept-gang FW TASK@AGENT… with SHAPE [group G]` | launches on all offers of these agents, all or none |
//! | `decline FW SPAN` / `renew FW` | all its offers |
//! | `kill FW TASK` / `ack FW AGENT THROUGH` / `snapshot FW` / `end FW` | calls |
//! | `commit FW KEY=VALUE@EXPECTED…` / `list FW PREFIX` | its state store (`KEY=` deletes) |
//! | `agree FW` / `refuse FW WHY…` | answers all inverse offers that it knows |
//! | `op drain AGENT [SPAN]`, `op gone\|deactivate\|activate AGENT`, `op end FW`, `op kill FW/TASK`, `op weight ROLE MILLI`, `op quota ROLE GUARANTEE LIMIT` (`-`: none) | operators |
//! | `op maintain AGENT START DURATION LEAD` (START from now), `op window start\|end\|remove ID` | maintenance windows |
//! | `hold` / `release` | writes wait / complete |
//! | `wait SPAN` | time passes |
//! | `clock +SPAN\|-SPAN` | the wall clock jumps |
//! | `failover` | a new master takes over; every peer is cut |

use super::peers::template;
use super::{AgentPeer, FrameworkPeer, Harness, describe};
use crate::{Command, Config, ReplyTo};
use proffer_types::attributes::parse_attributes;
use proffer_types::demand::Budget;
use proffer_types::demand::DemandGroup;
use proffer_types::maintenance::MaintenanceWindow;
use proffer_types::offer::Offer;
use proffer_types::operator::OperatorCall;
use proffer_types::role::RoleConfig;
use proffer_types::scheduler::Call;
use proffer_types::state_store::{StateCall, StateChange};
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, Constraint, ConstraintRule, DurationMs, Generation, GroupName, InverseOfferId,
    LogIncarnation, OfferCondition, OfferConditions, OfferId, Pattern, PrincipalName, Quantities,
    Resources, RoleName, TaskKey, TaskState, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

struct Script {
    harness: Harness,
    agents: BTreeMap<String, AgentPeer>,
    frameworks: BTreeMap<String, FrameworkPeer>,
    replies: u64,
    deaf: BTreeSet<String>,
}

/// What a framework wants to be offered, for its first role unless another is named.
fn conditions(peer: &FrameworkPeer, words: &[&str]) -> OfferConditions {
    let mut role = peer.info.roles.first().expect("it has a role").clone();
    let mut condition = OfferCondition::default();
    for word in words {
        if let Some(name) = word.strip_prefix("role:") {
            role = RoleName::new(name).expect("a legal role");
        } else if let Some(least) = word.strip_prefix("least:") {
            condition.minimum.push(least.parse().expect("legal amounts"));
        } else {
            let (attribute, pattern) = word.split_once('=').expect("ATTRIBUTE=PATTERN");
            let rule = ConstraintRule::Matches(Pattern::new(pattern).expect("a pattern"));
            condition.any_of.push(vec![Constraint { attribute: attribute.to_owned(), rule }]);
        }
    }
    OfferConditions::from([(role, condition)])
}

/// Runs a script's commands and writes the effects below each.
fn run(text: &str) -> String {
    let mut script = Script {
        harness: Harness::new(Config::default()),
        agents: BTreeMap::new(),
        frameworks: BTreeMap::new(),
        replies: 0,
        deaf: BTreeSet::new(),
    };
    script.harness.take_effects();
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        let _ = writeln!(out, "{line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        script.line(line);
        for effect in script.listen() {
            let _ = writeln!(out, "    {effect}");
        }
    }
    out
}

impl Script {
    /// Peers take in what left; agents take every launch.
    fn listen(&mut self) -> Vec<String> {
        let effects = self.harness.take_effects();
        for (name, agent) in &mut self.agents {
            if !self.deaf.contains(name) {
                agent.hear_effects(&effects);
            }
        }
        for framework in self.frameworks.values_mut() {
            framework.hear_effects(&effects);
        }
        effects.iter().flat_map(describe).collect()
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["agent", name, resources, attributes @ ..] => {
                let mut agent = AgentPeer::new(name, resources);
                let attributes = parse_attributes(&attributes.join(";")).expect("attributes");
                agent.info.attributes = attributes;
                agent.register(&mut self.harness, |_| true);
                self.agents.insert((*name).to_owned(), agent);
            }
            ["deafen", name] => {
                self.deaf.insert((*name).to_owned());
            }
            ["back", name, tasks @ ..] => {
                self.deaf.remove(*name);
                let agent = self.agents.get_mut(*name).expect("a known agent");
                let all = tasks.is_empty();
                agent.register(&mut self.harness, |record| {
                    all || tasks.contains(&record.status.task.as_str())
                });
            }
            ["replace", name] => {
                let agent = self.agents.get_mut(*name).expect("a known agent");
                agent.id = None;
                agent.register(&mut self.harness, |_| false);
            }
            ["twin", name] => {
                let mut twin = AgentPeer::new(name, "cpus:1");
                twin.register(&mut self.harness, |_| true);
            }
            ["cut", name] => {
                let connection = self.connection(name);
                self.harness.cut(connection);
                self.forget_connection(name);
            }
            ["mute", name] => {
                let connection = self.connection(name);
                self.harness.muted.insert(connection);
            }
            ["report", name, task, state] => self.report(name, task, state),
            ["framework", name, role, rest @ ..] => self.framework(name, role, rest),
            ["op", rest @ ..] => self.operator(rest),
            ["hold"] => self.harness.hold_writes = true,
            ["release"] => self.harness.complete_writes(),
            ["wait", span] => self.harness.wait(DurationMs::parse(span).expect("a span")),
            ["clock", jump] => {
                let span = DurationMs::parse(&jump[1..]).expect("a span").0;
                let wall = &mut self.harness.now.wall.0;
                *wall = if jump.starts_with('-') { *wall - span } else { *wall + span };
            }
            ["failover"] => self.fail_over(),
            [call, name, rest @ ..] => self.call(call, name, rest),
            _ => panic!("not a command: {line}"),
        }
    }

    fn connection(&self, name: &str) -> crate::ConnectionId {
        let agent = self.agents.get(name).and_then(|agent| agent.connection);
        let framework = self.frameworks.get(name).and_then(|framework| framework.connection);
        agent.or(framework).unwrap_or_else(|| panic!("{name} has no connection"))
    }

    fn forget_connection(&mut self, name: &str) {
        if let Some(agent) = self.agents.get_mut(name) {
            agent.connection = None;
        }
        if let Some(framework) = self.frameworks.get_mut(name) {
            framework.connection = None;
            framework.offers.clear();
        }
    }

    fn fail_over(&mut self) {
        self.harness.fail_over();
        let names: Vec<String> =
            self.agents.keys().chain(self.frameworks.keys()).cloned().collect();
        for name in names {
            self.forget_connection(&name);
        }
    }

    fn key(&self, text: &str) -> TaskKey {
        let (framework, name) = text.split_once('/').expect("FRAMEWORK/TASK");
        TaskKey { framework: self.frameworks[framework].id, name: name.parse().expect("legal") }
    }

    fn report(&mut self, agent: &str, task: &str, state: &str) {
        let key = self.key(task);
        let state: TaskState =
            serde_json::from_value(serde_json::Value::from(state)).expect("a state");
        let agent = self.agents.get_mut(agent).expect("a known agent");
        agent.report(&mut self.harness, key.framework, key.name.as_str(), state);
    }

    fn framework(&mut self, name: &str, role: &str, rest: &[&str]) {
        let take_over = rest.contains(&"takeover");
        let timeout = rest.iter().find_map(|word| word.strip_prefix("timeout="));
        let want = rest.iter().find_map(|word| word.strip_prefix("want="));
        let replica = rest.iter().find(|word| **word != "takeover" && !word.contains('='));
        let replica = replica.copied();
        let key = replica.map_or(name.to_owned(), |replica| format!("{name}.{replica}"));
        let mut peer = self
            .frameworks
            .remove(&key)
            .unwrap_or_else(|| FrameworkPeer::new(name, replica.unwrap_or("r1"), role));
        if let Some(timeout) = timeout {
            peer.info.failover_timeout = Some(DurationMs::parse(timeout).expect("a span"));
        }
        peer.conditions = want.map(|want| conditions(&peer, &[want])).unwrap_or_default();
        peer.subscribe(&mut self.harness, take_over);
        self.frameworks.insert(key, peer);
    }

    fn call(&mut self, call: &str, name: &str, rest: &[&str]) {
        let mut peer =
            self.frameworks.remove(name).unwrap_or_else(|| panic!("{call}: no framework {name}"));
        let calls = self.compose(&mut peer, call, rest);
        peer.calls(&mut self.harness, calls);
        self.frameworks.insert(name.to_owned(), peer);
    }

    fn compose(&self, peer: &mut FrameworkPeer, call: &str, rest: &[&str]) -> Vec<Call> {
        let held: Vec<OfferId> = peer.offers.keys().copied().collect();
        match (call, rest) {
            ("demand", [group, shape, count]) => {
                vec![Call::Demand { groups: vec![demand_group(peer, group, shape, count)] }]
            }
            ("demand", [group, shape, count, "priority", priority]) => {
                let priority = priority.parse().expect("a number");
                let group = demand_group(peer, group, shape, count);
                vec![Call::Demand { groups: vec![DemandGroup { priority, ..group }] }]
            }
            ("demand", [group, shape, count, "accepting"]) => {
                let group = demand_group(peer, group, shape, count);
                let revocable = proffer_types::RevocableUse::Accept;
                vec![Call::Demand { groups: vec![DemandGroup { revocable, ..group }] }]
            }
            ("demand", [group, shape, count, "within", span]) => {
                let group = demand_group(peer, group, shape, count);
                let deadline = Some(DurationMs::parse(span).expect("a span"));
                vec![Call::Demand { groups: vec![DemandGroup { deadline, ..group }] }]
            }
            ("want-nothing", []) => vec![Call::Demand { groups: Vec::new() }],
            ("want", words) => vec![Call::OfferConditions { conditions: conditions(peer, words) }],
            ("revive", []) => vec![Call::Revive { roles: BTreeSet::new() }],
            ("budgets", words) => vec![Call::Budgets { budgets: budgets(words) }],
            ("suppress", []) => vec![Call::Suppress { roles: BTreeSet::new() }],
            ("accept", rest) => accept(peer, rest, None),
            ("accept-gang", rest) => accept_gang(peer, rest),
            ("accept-stale", rest) => {
                let stale = peer.offers.values().next().map(|offer| Offer {
                    id: OfferId { sequence: offer.id.sequence + 1000, ..offer.id },
                    ..offer.clone()
                });
                accept(peer, rest, stale)
            }
            ("decline", [span]) => {
                peer.offers.clear();
                let refuse_for = DurationMs::parse(span).expect("a span");
                vec![Call::Decline { offers: held, refuse_for }]
            }
            ("agree", []) => vec![Call::AcceptInverseOffers { offers: asked(peer) }],
            ("refuse", why) => {
                vec![Call::DeclineInverseOffers { offers: asked(peer), reason: why.join(" ") }]
            }
            ("renew", []) => vec![Call::Renew { offers: held }],
            ("kill", [task]) => {
                vec![Call::Kill { task: task.parse().expect("legal"), policy: None }]
            }
            ("ack", [agent, through]) => vec![Call::Acknowledge {
                agent: agent.parse().expect("an agent's id"),
                incarnation: LogIncarnation(u64::from(*through != "0")),
                through: through.parse().expect("a number"),
                except: BTreeSet::new(),
            }],
            ("snapshot", []) => vec![Call::Snapshot],
            ("demand-twice", [group]) => {
                let group = demand_group(peer, group, "cpus:1", "1");
                vec![Call::Demand { groups: vec![group.clone(), group] }]
            }
            ("demand-older", [group]) => {
                let newer = demand_group(peer, group, "cpus:1", "1");
                let newer = DemandGroup { generation: Generation(5), ..newer };
                let older = DemandGroup { generation: Generation(4), ..newer.clone() };
                vec![Call::Demand { groups: vec![newer] }, Call::Demand { groups: vec![older] }]
            }
            ("end", []) => vec![Call::Teardown],
            ("commit", changes) => {
                let changes = changes.iter().map(|text| state_change(text)).collect();
                vec![Call::State { request: peer.number(), call: StateCall::Commit { changes } }]
            }
            ("list", [prefix]) => {
                let list =
                    StateCall::List { prefix: (*prefix).to_owned(), after: None, limit: 100 };
                vec![Call::State { request: peer.number(), call: list }]
            }
            _ => panic!("not a call: {call} {rest:?}"),
        }
    }

    fn operator(&mut self, words: &[&str]) {
        let agent = |name: &str| self.agents[name].id.expect("registered");
        let call = match words {
            ["gone", name] => OperatorCall::MarkAgentGone { agent: agent(name), force: false },
            ["gone", name, "force"] => {
                OperatorCall::MarkAgentGone { agent: agent(name), force: true }
            }
            ["drain", name] => OperatorCall::DrainAgent { agent: agent(name), deadline: None },
            ["drain", name, deadline] => OperatorCall::DrainAgent {
                agent: agent(name),
                deadline: Some(DurationMs::parse(deadline).expect("a span")),
            },
            ["deactivate", name] => OperatorCall::DeactivateAgent(agent(name)),
            ["activate", name] => OperatorCall::ActivateAgent(agent(name)),
            ["maintain", name, start, duration, lead] => {
                let span = |text: &str| DurationMs::parse(text).expect("a span");
                let start = WallTime(self.harness.now.wall.0 + span(start).0);
                OperatorCall::AddMaintenance(MaintenanceWindow {
                    agents: BTreeSet::from([agent(name)]),
                    start,
                    duration: span(duration),
                    lead: span(lead),
                    message: "new disks".to_owned(),
                })
            }
            ["window", verb, id] => {
                let id = id.parse().expect("a window's id");
                match *verb {
                    "start" => OperatorCall::StartMaintenance(id),
                    "end" => OperatorCall::EndMaintenance(id),
                    _ => OperatorCall::RemoveMaintenance(id),
                }
            }
            ["end", name] => OperatorCall::TeardownFramework(self.frameworks[*name].id),
            ["kill", task] => OperatorCall::KillTask(self.key(task)),
            ["weight", role, milli] => OperatorCall::SetRole {
                role: RoleName::new(role).expect("a legal role"),
                config: RoleConfig {
                    weight_milli: milli.parse().expect("a number"),
                    ..RoleConfig::default()
                },
            },
            ["quota", role, guarantee, limit] => {
                let amounts = |text: &str| match text {
                    "-" => Quantities::new(),
                    text => text.parse().expect("legal amounts"),
                };
                let (guarantee, limit) = (amounts(guarantee), amounts(limit));
                OperatorCall::SetRole {
                    role: RoleName::new(role).expect("a legal role"),
                    config: RoleConfig { guarantee, limit, ..RoleConfig::default() },
                }
            }
            _ => panic!("not an operator's call: {words:?}"),
        };
        self.replies += 1;
        self.harness.turn(Command::Operator {
            reply_to: ReplyTo(self.replies),
            principal: PrincipalName::new("token:operator").expect("legal"),
            call,
        });
    }
}

fn asked(peer: &FrameworkPeer) -> Vec<InverseOfferId> {
    peer.inverse_offers.keys().copied().collect()
}

fn demand_group(peer: &FrameworkPeer, name: &str, shape: &str, count: &str) -> DemandGroup {
    DemandGroup {
        name: name.parse().expect("a legal group"),
        generation: Generation(1),
        role: peer.info.roles.first().cloned().expect("it has one"),
        shape: shape.parse().expect("legal resources"),
        fixed_ports: false,
        target: count.parse().expect("a number"),
        constraints: Vec::new(),
        priority: 0,
        per_agent_max: None,
        spread: false,
        gang_size: 1,
        deadline: None,
        revocable: proffer_types::RevocableUse::Refuse,
    }
}

/// `TASK… with SHAPE [group G] [priority P] [keep N]`, on the offers of the first agent.
fn accept(peer: &mut FrameworkPeer, rest: &[&str], instead: Option<Offer>) -> Vec<Call> {
    let at = rest.iter().position(|word| *word == "with").expect("accept TASK… with SHAPE");
    let shape: Resources = rest[at + 1].parse().expect("legal resources");
    let group = rest.get(at + 3).copied();
    let first = peer.offers.values().next().cloned();
    let mut offers: Vec<Offer> = peer
        .offers
        .values()
        .filter(|offer| first.as_ref().is_some_and(|first| first.agent == offer.agent))
        .cloned()
        .collect();
    if let Some(instead) = instead {
        offers = vec![instead];
    } else {
        for offer in &offers {
            peer.offers.remove(&offer.id);
        }
    }
    let number = |word: &str| {
        let at = rest.iter().position(|have| *have == word)?;
        rest[at + 1].parse::<i32>().ok()
    };
    let (priority, keep) = (number("priority").unwrap_or(0), number("keep"));
    let launch = |name: &&str| TaskLaunch {
        priority,
        budget: keep.map(|keep| Budget {
            name: GroupName::new("kept").expect("valid"),
            min_available: keep.unsigned_abs(),
        }),
        ..peer.launch(name, shape.clone(), group)
    };
    let tasks = rest[..at].iter().map(launch).collect();
    let accept = peer.accept(&offers, tasks);
    let template = template();
    vec![Call::Template { digest: template.digest(), template }, Call::Accept(accept)]
}

/// `NAME=COUNT` each.
fn budgets(words: &[&str]) -> Vec<Budget> {
    let budget = |word: &&str| {
        let (name, count) = word.split_once('=').expect("a name and a count");
        let name = GroupName::new(name).expect("valid");
        Budget { name, min_available: count.parse().expect("a count") }
    };
    words.iter().map(budget).collect()
}

/// One operation for each agent, in the order of their ids, with the first offer on it.
fn accept_gang(peer: &mut FrameworkPeer, rest: &[&str]) -> Vec<Call> {
    let at = rest.iter().position(|word| *word == "with").expect("accept-gang … with SHAPE");
    let shape: Resources = rest[at + 1].parse().expect("legal resources");
    let group = rest.get(at + 3).copied();
    let mut tasks: BTreeMap<AgentId, Vec<TaskLaunch>> = BTreeMap::new();
    for word in &rest[..at] {
        let (name, agent) = word.split_once('@').expect("TASK@AGENT");
        let agent = agent.parse().expect("an agent's id");
        tasks.entry(agent).or_default().push(peer.launch(name, shape.clone(), group));
    }
    let launches = tasks.into_iter().map(|(agent, tasks)| {
        let offer = peer.offers.values().find(|offer| offer.agent == agent);
        (offer.expect("an offer on it").clone(), tasks)
    });
    let launches: Vec<(Offer, Vec<TaskLaunch>)> = launches.collect();
    for (offer, _) in &launches {
        peer.offers.remove(&offer.id);
    }
    let accept = peer.accept_all(launches);
    let template = template();
    vec![Call::Template { digest: template.digest(), template }, Call::Accept(accept)]
}

/// `KEY=VALUE[@EXPECTED]`; an empty value deletes.
fn state_change(text: &str) -> StateChange {
    let (text, expected) = match text.rsplit_once('@') {
        Some((text, expected)) => (text, Some(expected.parse().expect("a version"))),
        None => (text, None),
    };
    let (key, value) = text.split_once('=').expect("KEY=VALUE");
    let value = (!value.is_empty()).then(|| value.as_bytes().to_vec());
    StateChange { key: key.to_owned(), expected, value }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says that scripts change")]
fn every_script_goes_as_it_is_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the scripts are part of the package") {
        let path = entry.expect("the folder is readable").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let written = std::fs::read_to_string(&path).expect("a script is text");
        let found = run(&written);
        if found == written {
            continue;
        }
        if update {
            std::fs::write(&path, found).expect("the folder is writable");
        } else {
            let first = found.lines().zip(written.lines()).find(|(a, b)| a != b);
            wrong.push(format!("{}: {first:?}", path.display()));
        }
    }
    assert!(count >= 10, "only {count} scripts in {}", folder.display());
    assert!(wrong.is_empty(), "found, written: {wrong:#?}");
}
