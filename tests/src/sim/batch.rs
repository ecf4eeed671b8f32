//! A framework for simulation: runs a number of tasks to completion and remembers which are done in
//! the state store. Small, but it uses launches, kills, commits and acknowledgements for real.

use proffer_sdk_core::{Context, Framework, FrameworkEvent, StateWrite, TaskRequest, Template};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{FrameworkName, Now, ResourceName, Resources, RoleName, TaskName, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// Commands of the simulated user.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Run this many more tasks.
    More(u32),
    /// Kill a live task, the one at this place; it is run again.
    Kill(usize),
    /// Write a value of this many bytes.
    Note(usize),
}

/// See the module's description.
pub struct Batch {
    name: FrameworkName,
    role: RoleName,
    template: Template,
    /// Tasks wanted in all, as far as this replica was told.
    wanted: u32,
    done: BTreeSet<TaskName>,
    tickets: u64,
    active: bool,
}

const WANTED: &str = "wanted";

impl Batch {
    /// A framework named `batch-<number>` with a role of its own.
    #[must_use]
    pub fn new(number: usize, wanted: u32) -> Self {
        Self {
            name: FrameworkName::new(&format!("batch-{number}")).expect("a valid name"),
            role: RoleName::new(&format!("batch/{number}")).expect("a valid role"),
            template: Template::command(["/bin/work", "${task.name}"]).expect("a valid template"),
            wanted,
            done: BTreeSet::new(),
            tickets: 0,
            active: false,
        }
    }

    /// Whether all tasks that were ever asked for are done, as this active replica sees it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.active && self.done.len() as u32 >= self.wanted
    }

    /// Whether this replica is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Done and wanted, for reports.
    #[must_use]
    pub fn progress(&self) -> (usize, u32) {
        (self.done.len(), self.wanted)
    }

    fn names(&self) -> impl Iterator<Item = TaskName> + use<> {
        (0..self.wanted).map(|number| TaskName::new(&format!("t-{number}")).expect("a valid name"))
    }

    fn request(&self, name: TaskName) -> TaskRequest {
        let resources =
            Resources::scalars([(ResourceName::Cpus, 100), (ResourceName::Mem, 16 << 20)]);
        TaskRequest::new(name, self.template.clone(), self.role.clone(), resources)
    }

    /// Asks for everything that is neither done nor on its way.
    fn fill(&self, ctx: &mut Context) {
        if !ctx.is_active() {
            return;
        }
        for name in self.names() {
            if !self.done.contains(&name) && !ctx.is_taken(&name) {
                // A name that is taken meanwhile is on its way: nothing is to be done.
                let _ = ctx.launch(self.request(name));
            }
        }
    }

    fn restore(&mut self, ctx: &mut Context) {
        self.active = true;
        self.done = ctx
            .state_keys("done/")
            .iter()
            .filter_map(|key| TaskName::new(key.strip_prefix("done/")?).ok())
            .collect();
        let kept: Option<u32> =
            ctx.state(WANTED).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
        match kept {
            Some(kept) => self.wanted = kept,
            None => self.keep(ctx, WANTED.to_owned(), self.wanted.to_string().into_bytes()),
        }
        self.fill(ctx);
    }

    fn keep(&mut self, ctx: &mut Context, key: String, value: Vec<u8>) {
        self.tickets += 1;
        // Refused only when not active; the next activation starts from what is stored.
        let _ = ctx.commit(vec![StateWrite { key, value: Some(value) }], self.tickets);
    }
}

impl Framework for Batch {
    type Input = Order;

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo {
            name: self.name.clone(),
            roles: BTreeSet::from([self.role.clone()]),
            api_url: String::new(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        }
    }

    fn handle(&mut self, event: FrameworkEvent<Order>, _now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Active { .. } => self.restore(ctx),
            FrameworkEvent::Task { task, .. } => {
                if task.state() == TaskState::Finished && self.done.insert(task.name().clone()) {
                    let key = format!("done/{}", task.name());
                    self.keep(ctx, key, b"1".to_vec());
                }
                self.fill(ctx);
            }
            FrameworkEvent::Input(Order::More(count)) if self.active => {
                self.wanted += count;
                let value = self.wanted.to_string().into_bytes();
                self.keep(ctx, WANTED.to_owned(), value);
                self.fill(ctx);
            }
            FrameworkEvent::Input(Order::Note(bytes)) if self.active => {
                self.keep(ctx, "note".to_owned(), vec![b'n'; bytes]);
            }
            FrameworkEvent::Input(Order::Kill(place)) => {
                let name = ctx.tasks().live().nth(place).map(|task| task.name().clone());
                if let Some(name) = name {
                    ctx.kill(&name, None);
                }
            }
            FrameworkEvent::Standby { .. } | FrameworkEvent::TornDown => self.active = false,
            FrameworkEvent::Agent { .. } | FrameworkEvent::LaunchFailed { .. } => self.fill(ctx),
            FrameworkEvent::Input(Order::More(_) | Order::Note(_))
            | FrameworkEvent::Resumed
            | FrameworkEvent::Disconnected
            | FrameworkEvent::StateCommitted { .. }
            | FrameworkEvent::StateRefused { .. }
            | FrameworkEvent::Refused { .. }
            | FrameworkEvent::Offers { .. }
            | FrameworkEvent::Rescinded { .. }
            | FrameworkEvent::AcceptAnswered { .. }
            | FrameworkEvent::Timer => {}
        }
    }
}
