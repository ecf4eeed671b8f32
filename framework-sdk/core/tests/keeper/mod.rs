//! A framework for tests: runs each of its names to completion once, with what is done in the state
//! store, and writes down all it is told.
#![allow(dead_code, clippy::wildcard_enum_match_arm, reason = "each test uses a part of it")]

use proffer_sdk_core::{Context, Framework, FrameworkEvent, StateWrite, TaskRequest, Template};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{
    DurationMs, FrameworkName, InverseOfferId, LaunchToken, Now, Refusal, RefusalCode,
    ResourceName, Resources, RoleName, TaskName, TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Launch(TaskName),
    WithPorts(TaskName),
    Huge(TaskName),
    /// Huge, and only for so long.
    HugeWithin(TaskName, DurationMs),
    Kill(TaskName),
    Teardown,
    /// Answers all that it is asked to give up.
    Agree,
    Keep(String),
    /// So many of its tasks are to stay.
    Available(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    names: Vec<TaskName>,
    events: Vec<FrameworkEvent<Order>>,
    refusals: Vec<Refusal>,
    given_up: Vec<(String, RefusalCode)>,
    /// Ends told in this epoch, by name and launch.
    told_ends: BTreeSet<(TaskName, LaunchToken, TaskState)>,
    pub(crate) violations: Vec<String>,
}

pub(crate) fn info() -> FrameworkInfo {
    FrameworkInfo {
        name: FrameworkName::new("keeper").expect("valid"),
        roles: BTreeSet::from([role()]),
        api_url: String::new(),
        failover_timeout: None,
        labels: BTreeMap::new(),
    }
}

fn role() -> RoleName {
    RoleName::new("eng").expect("valid")
}

fn request(name: &TaskName) -> TaskRequest {
    let resources = Resources::scalars([(ResourceName::Cpus, 1000), (ResourceName::Mem, 1 << 30)]);
    let template = Template::command(["/bin/true"]).expect("valid");
    TaskRequest::new(name.clone(), template, role(), resources)
}

impl Keeper {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| TaskName::new(name).expect("valid")).collect(),
            events: Vec::new(),
            refusals: Vec::new(),
            given_up: Vec::new(),
            told_ends: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    pub(crate) fn given_up(&self) -> &[(String, RefusalCode)] {
        &self.given_up
    }

    pub(crate) fn ends(&self) -> Vec<String> {
        let finished = |event: &FrameworkEvent<Order>| match event {
            FrameworkEvent::Task { task, .. } if task.state() == TaskState::Finished => {
                Some(task.name().to_string())
            }
            _ => None,
        };
        self.events.iter().filter_map(finished).collect()
    }

    pub(crate) fn states_of(&self, name: &str) -> Vec<TaskState> {
        let state = |event: &FrameworkEvent<Order>| match event {
            FrameworkEvent::Task { task, .. } if task.name().as_str() == name => Some(task.state()),
            _ => None,
        };
        self.events.iter().filter_map(state).collect()
    }

    /// What it was asked to give up, and what no more, in their order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let words = |event: &FrameworkEvent<Order>| match event {
            FrameworkEvent::InverseOffers { offers } => {
                Some(offers.iter().map(|it| format!("+{}", it.id)).collect::<Vec<_>>())
            }
            FrameworkEvent::InverseOffersRescinded { offers } => {
                Some(offers.iter().map(|id| format!("-{id}")).collect())
            }
            _ => None,
        };
        self.events.iter().filter_map(words).flatten().collect()
    }

    pub(crate) fn retried(&self) -> usize {
        let retried =
            |e: &&FrameworkEvent<Order>| matches!(e, FrameworkEvent::Task { retried: true, .. });
        self.events.iter().filter(retried).count()
    }

    pub(crate) fn activations(&self) -> usize {
        let active = |e: &&FrameworkEvent<Order>| matches!(e, FrameworkEvent::Active { .. });
        self.events.iter().filter(active).count()
    }

    pub(crate) fn refused(&self) -> Vec<RefusalCode> {
        self.refusals.iter().map(|refusal| refusal.code).collect()
    }

    pub(crate) fn last(&self) -> Option<&FrameworkEvent<Order>> {
        self.events.last()
    }

    fn launch_missing(&mut self, ctx: &mut Context) {
        for name in &self.names {
            let is_done = ctx.state(&format!("done/{name}")).is_some();
            if !is_done && !ctx.is_taken(name) && ctx.tasks().get(name).is_none() {
                self.refusals.extend(ctx.launch(request(name)).err());
            }
        }
    }

    fn task_changed(&mut self, task: &proffer_sdk_core::Task, ctx: &mut Context) {
        if task.is_live() {
            return;
        }
        let name = task.name().clone();
        if !self.told_ends.insert((name.clone(), task.token(), task.state())) {
            self.violations.push(format!("I7: end of {name} was told twice: {task:?}"));
        }
        // Told once more, since the answer to its commit was lost with its epoch; or the end of an
        // earlier launch, told late by an agent that was out of reach.
        let key = format!("done/{name}");
        if ctx.state(&key).is_some() {
            return;
        }
        if task.state() == TaskState::Finished {
            ctx.commit(vec![StateWrite::put(key, "1")], 1).expect("active and within bounds");
        } else if self.names.contains(&name) && !ctx.is_taken(&name) {
            ctx.launch(request(&name)).expect("active, and its name is free");
        }
    }
}

impl Framework for Keeper {
    type Input = Order;

    fn info(&self) -> FrameworkInfo {
        info()
    }

    fn handle(&mut self, event: FrameworkEvent<Order>, _now: Now, ctx: &mut Context) {
        self.events.push(event.clone());
        match event {
            FrameworkEvent::Active { .. } => {
                self.told_ends.clear();
                self.launch_missing(ctx);
            }
            FrameworkEvent::Task { task, .. } => self.task_changed(&task, ctx),
            FrameworkEvent::Input(Order::Launch(name)) => {
                self.refusals.extend(ctx.launch(request(&name)).err());
            }
            FrameworkEvent::Input(Order::WithPorts(name)) => {
                let request = request(&name).port("http").port("admin");
                self.refusals.extend(ctx.launch(request).err());
            }
            FrameworkEvent::Input(Order::Huge(name)) => {
                let mut request = request(&name);
                request.resources = Resources::scalars([(ResourceName::Cpus, 1_000_000)]);
                self.refusals.extend(ctx.launch(request).err());
            }
            FrameworkEvent::Input(Order::HugeWithin(name, deadline)) => {
                let mut request = request(&name).deadline(deadline);
                request.resources = Resources::scalars([(ResourceName::Cpus, 1_000_000)]);
                self.refusals.extend(ctx.launch(request).err());
            }
            FrameworkEvent::Input(Order::Kill(name)) => {
                assert!(ctx.kill(&name, None), "{name} waits or lives");
            }
            FrameworkEvent::Input(Order::Available(count)) => {
                ctx.keep_available("tasks", count).expect("a valid name");
            }
            FrameworkEvent::Input(Order::Teardown) => ctx.teardown(),
            FrameworkEvent::Input(Order::Agree) => {
                let asked: Vec<InverseOfferId> = ctx.inverse_offers().keys().copied().collect();
                ctx.accept_inverse_offers(&asked);
            }
            FrameworkEvent::Input(Order::Keep(why)) => {
                let asked: Vec<InverseOfferId> = ctx.inverse_offers().keys().copied().collect();
                ctx.decline_inverse_offers(&asked, &why);
            }
            FrameworkEvent::StateRefused { refusal, .. } => {
                self.violations.push(format!("nobody else writes, but: {refusal}"));
            }
            FrameworkEvent::LaunchFailed { name, refusal } => {
                self.given_up.push((name.to_string(), refusal.code));
            }
            _ => {}
        }
    }
}
