//! The JSON of `/v1`, pinned: one sample of each row.

use proffer_proto::pb;
use proffer_types::agent::AgentInfo;
use proffer_types::attributes::parse_attributes;
use proffer_types::demand::DemandGroup;
use proffer_types::explanation::{Explanation, FunnelStep, Subject};
use proffer_types::inverse_offer::{InverseAnswer, VacateReason};
use proffer_types::maintenance::{Unavailability, WindowPhase, WindowRow};
use proffer_types::offer::Offer;
use proffer_types::operator::{
    AgentCondition, AgentRow, Change, ClaimRow, DemandRow, EventRow, FrameworkRow, Overview,
    RoleRow, VacateHolder, Vacating,
};
use proffer_types::role::RoleConfig;
use proffer_types::scheduler::{FrameworkInfo, TaskRecord};
use proffer_types::task::{Exit, IsolationLevel, StatusReason, TaskState, TaskStatus};
use proffer_types::*;
use std::collections::{BTreeMap, BTreeSet};

fn resources(text: &str) -> Resources {
    text.parse().expect("valid")
}

fn name<N: std::str::FromStr<Err = Refusal>>(text: &str) -> N {
    text.parse().unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn agent() -> AgentRow {
    AgentRow {
        id: AgentId(12),
        info: AgentInfo {
            name: name("rack1-4"),
            hostname: "rack1-4.example".to_owned(),
            address: "10.0.1.4".to_owned(),
            api_url: "http://10.0.1.4:7071".to_owned(),
            resources: resources("cpus:9;mem:18GiB;ports:[31000-31099];cpus(eng):2"),
            attributes: parse_attributes("zone:a;disks:{hdd,ssd}").expect("valid"),
            version: "0.1.0".to_owned(),
            isolation: IsolationLevel::Full,
            boot_id: "b00t".to_owned(),
            insecure: false,
        },
        condition: AgentCondition::Active,
        since: WallTime(1_790_000_000_000),
        session: AgentSession(1_048_577),
        version: AgentVersion(3),
        allocated: resources("cpus:0.5;mem:64MiB;ports:[31000-31000]"),
        offered: Resources::new(),
        tasks_active: 1,
        total: resources("cpus:9;mem:18GiB;cpus(eng):2"),
        vacating: Some(Vacating {
            reason: VacateReason::Drain,
            deadline: Some(DurationMs::from_secs(600)),
            is_binding: false,
            holders: vec![VacateHolder {
                framework: FrameworkId(7),
                tasks: 1,
                answer: InverseAnswer::Declined { reason: "no room elsewhere".to_owned() },
            }],
        }),
        windows: vec![WindowRow {
            id: WindowId(3),
            phase: WindowPhase::Scheduled,
            start: WallTime(1_790_000_000_000),
            duration: DurationMs::from_secs(3600),
            lead: DurationMs::from_secs(900),
            message: "new disks".to_owned(),
        }],
        claims: vec![ClaimRow {
            id: name("p4-17"),
            framework: FrameworkId(7),
            group: name("web"),
            role: name("eng/web"),
            resources: resources("cpus:0.5;mem:64MiB"),
            creditor: Some(name("eng")),
            victims: vec![name("f3/batch.0")],
            until: WallTime(1_790_000_030_000),
        }],
    }
}

fn demand() -> DemandGroup {
    DemandGroup {
        name: name("web"),
        generation: Generation(2),
        role: name("eng/web"),
        shape: resources("cpus:0.5;mem:64MiB"),
        fixed_ports: false,
        target: 3,
        constraints: vec![Constraint {
            attribute: "zone".to_owned(),
            rule: ConstraintRule::In(BTreeSet::from(["a".to_owned(), "b".to_owned()])),
        }],
        priority: 0,
        per_agent_max: Some(1),
        spread: true,
        gang_size: 1,
        deadline: None,
        revocable: RevocableUse::Accept,
    }
}

fn framework() -> FrameworkRow {
    FrameworkRow {
        id: FrameworkId(7),
        info: FrameworkInfo {
            name: name("service"),
            roles: BTreeSet::from([name("eng/web")]),
            api_url: "http://127.0.0.1:7080".to_owned(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        },
        principal: name("token:service"),
        connected: true,
        replica: name("r-1"),
        standbys: vec![name("r-2")],
        epoch: FrameworkEpoch(4),
        since: WallTime(1_790_000_000_000),
        allocated: resources("cpus:1;mem:128MiB"),
        offered: resources("cpus:0.5;mem:64MiB"),
        suppressed: BTreeSet::new(),
        tasks_active: 2,
        state_bytes: 420,
        state_keys: 3,
    }
}

fn demand_row() -> DemandRow {
    DemandRow {
        framework: FrameworkId(7),
        group: demand(),
        unmet: 1,
        waiting_since: Some(WallTime(1_790_000_001_000)),
    }
}

fn task() -> TaskRecord {
    TaskRecord {
        status: TaskStatus {
            id: Some(StatusId { agent: AgentId(12), incarnation: LogIncarnation(1), sequence: 5 }),
            framework: FrameworkId(7),
            task: name("web.0"),
            token: LaunchToken { session: FrameworkEpoch(4), sequence: 9 },
            agent: AgentId(12),
            state: TaskState::Failed,
            reason: StatusReason::OutOfMemory,
            message: "killed at its memory limit of 64MiB".to_owned(),
            exit: Some(Exit {
                code: None,
                signal: Some(9),
                out_of_memory: true,
                memory_peak: Some(Bytes(64 << 20)),
                ran_for: DurationMs(1500),
            }),
            ready: Some(false),
            at: WallTime(1_790_000_002_000),
            isolation: IsolationLevel::Full,
        },
        template: TemplateDigest([0xab; 32]),
        resources: resources("cpus:0.5;mem:64MiB;ports:[31000-31000]"),
        role: name("eng/web"),
        variables: BTreeMap::from([("port.web".to_owned(), "31000".to_owned())]),
        labels: BTreeMap::from([("revision".to_owned(), "2".to_owned())]),
        group: Some(name("web")),
        agent_name: name("rack1-4"),
        address: "10.0.1.4".to_owned(),
        priority: 0,
        budget: None,
        gang: None,
    }
}

fn offer() -> Offer {
    Offer {
        id: OfferId { epoch: MasterEpoch(3), sequence: 17 },
        framework: FrameworkId(7),
        role: name("eng/web"),
        agent: AgentId(12),
        agent_name: name("rack1-4"),
        address: "10.0.1.4".to_owned(),
        agent_version: AgentVersion(3),
        resources: resources("cpus:0.5;mem:64MiB"),
        attributes: parse_attributes("zone:a").expect("valid"),
        group: Some(name("web")),
        count: 1,
        expires_in: DurationMs(30_000),
        unavailability: Some(Unavailability {
            start: WallTime(1_790_000_000_000),
            duration: DurationMs::from_secs(3600),
        }),
    }
}

fn role() -> RoleRow {
    RoleRow {
        name: name("eng/web"),
        config: RoleConfig {
            weight_milli: 2000,
            guarantee: "cpus:2".parse().expect("valid"),
            limit: "cpus:4;gpus:0".parse().expect("valid"),
        },
        allocated: resources("cpus:1;mem:128MiB"),
        dominant_share_ppm: 111_111,
        frameworks: vec![FrameworkId(7)],
        consumed: resources("cpus:1;mem:128MiB"),
        owed: resources("cpus:1"),
    }
}

fn event() -> EventRow {
    EventRow {
        at: WallTime(1_790_000_002_000),
        kind: "task_failed".to_owned(),
        subject: "f7/web.0".to_owned(),
        message: "killed at its memory limit of 64MiB".to_owned(),
    }
}

#[test]
fn rows() {
    insta::assert_json_snapshot!("agent", pb::AgentRow::from(agent()));
    insta::assert_json_snapshot!("framework", pb::FrameworkRow::from(framework()));
    insta::assert_json_snapshot!("demand_row", pb::DemandRow::from(demand_row()));
    insta::assert_json_snapshot!("task", pb::TaskRow::from(task()));
    insta::assert_json_snapshot!("offer", pb::OfferRow::from(offer()));
    insta::assert_json_snapshot!("role", pb::RoleRow::from(role()));
    insta::assert_json_snapshot!("event", pb::EventRow::from(event()));
}

#[test]
fn answers() {
    let overview = Overview {
        cursor: name("1.3.99"),
        total: resources("cpus:9;mem:18GiB"),
        allocated: resources("cpus:1;mem:128MiB"),
        offered: Resources::new(),
        agents: BTreeMap::from([("active".to_owned(), 1)]),
        frameworks: BTreeMap::from([("connected".to_owned(), 1)]),
        tasks: BTreeMap::from([("running".to_owned(), 2)]),
        offers: 1,
        unmet: 1,
        insecure: false,
        stale: false,
    };
    insta::assert_json_snapshot!("overview", pb::Overview::from(overview));
    let explanation = Explanation {
        subject: Subject::Demand(FrameworkId(7), name("web")),
        summary: "no agent has 0.5 cpus left".to_owned(),
        funnel: vec![
            FunnelStep { rule: "active".to_owned(), remaining: 1 },
            FunnelStep { rule: "cpus 0.5".to_owned(), remaining: 0 },
        ],
        nearest_miss: "a12 lacks cpus:0.25".to_owned(),
        hints: vec!["add an agent".to_owned()],
    };
    let why =
        pb::WhyResponse { cursor: "1.3.99".to_owned(), explanation: Some(explanation.into()) };
    insta::assert_json_snapshot!("why", why);
    let frame = pb::WatchFrame {
        cursor: "1.3.100".to_owned(),
        reset: false,
        changes: vec![
            Change::TaskRemoved(TaskKey { framework: FrameworkId(7), name: name("web.0") }).into(),
            Change::Event(event()).into(),
        ],
    };
    insta::assert_json_snapshot!("watch", frame);
    let empty = pb::ListTasksResponse { cursor: "1.3.99".to_owned(), ..Default::default() };
    insta::assert_json_snapshot!("empty_list", empty);
    let refusal =
        Refusal::new(RefusalCode::NotFound, "id", "there is no agent a99").hint("known: a12");
    insta::assert_json_snapshot!("refusal", pb::Refusal::from(refusal.clone()));
    // What `proffer-types` writes is the same text: a reader need not know which one wrote it.
    assert_eq!(
        serde_json::to_value(&refusal).expect("plain"),
        serde_json::to_value(pb::Refusal::from(refusal)).expect("plain"),
    );
}

#[test]
fn input_takes_numbers_or_strings_and_refuses_unknown_fields() {
    let config: pb::RoleConfig =
        serde_json::from_str(r#"{"weight_milli": 2000}"#).expect("a number");
    assert_eq!(config.weight_milli, 2000);
    let same: pb::RoleConfig = serde_json::from_str(r#"{"weight_milli": "2000"}"#).expect("text");
    assert_eq!(same, config);
    let error = serde_json::from_str::<pb::RoleConfig>(r#"{"wait": 1}"#).expect_err("unknown");
    let error = error.to_string();
    for known in ["wait", "weight_milli", "guarantee", "limit"] {
        assert!(error.contains(known), "{error}");
    }
    let none = serde_json::from_str::<pb::RoleConfig>(r#"{"weight_milli": -1}"#);
    assert!(none.is_err());
}
