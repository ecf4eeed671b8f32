//! A framework on the real SDK that launches what it is told to and notes when each task is seen
//! to run, counted from the moment at which it was meant to be asked for.

use anyhow::Result;
use proffer_sdk::types::{FrameworkName, Now, Resources, RoleName, TaskName, TaskState};
use proffer_sdk::{
    Context, Framework, FrameworkEvent, FrameworkInfo, Handle, Options, TaskRequest, Template, run,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Launch this many tasks; they were meant to be asked for at `intended`.
pub struct Ask {
    /// How many.
    pub count: usize,
    /// When the load had them on its plan: earlier than now, if anything was slow.
    pub intended: Instant,
}

/// What all frameworks have seen.
#[derive(Default)]
pub struct Seen {
    state: Mutex<State>,
}

/// As of one moment.
#[derive(Default, Clone)]
pub struct State {
    /// Frameworks that are active.
    pub active: usize,
    /// Milliseconds from intention to running, in the order in which tasks were seen to run.
    pub running_after_ms: Vec<f64>,
    /// When the last of them was seen.
    pub last: Option<Instant>,
    /// Launches that were dropped on their way and asked for again.
    pub retried: usize,
    /// What went wrong: a task that ended, a launch that was refused.
    pub faults: Vec<String>,
}

impl Seen {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How many tasks have been seen to run, and how many faults.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.active, state.running_after_ms.len(), state.faults.len())
    }

    /// Takes what was noted; the count of active frameworks stays.
    #[must_use]
    pub fn take(&self) -> State {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let active = state.active;
        std::mem::replace(&mut state, State { active, ..State::default() })
    }
}

struct Load {
    name: FrameworkName,
    role: RoleName,
    template: Template,
    shape: Resources,
    next: u64,
    intended: BTreeMap<TaskName, Instant>,
    seen: Arc<Seen>,
}

/// Starts framework `number`, in a role of its own.
///
/// # Errors
/// When a name or the shape is none.
pub fn start(
    number: usize,
    shape: &Resources,
    options: Options,
    seen: &Arc<Seen>,
) -> Result<Handle<Ask>> {
    let refused = |refusal| anyhow::anyhow!("{refusal}");
    let load = Load {
        name: FrameworkName::new(&format!("load-{number}")).map_err(refused)?,
        role: RoleName::new(&format!("load-{number}")).map_err(refused)?,
        template: Template::command(["/bin/true"]).map_err(refused)?,
        shape: shape.clone(),
        next: 0,
        intended: BTreeMap::new(),
        seen: Arc::clone(seen),
    };
    Ok(run(load, options))
}

impl Framework for Load {
    type Input = Ask;

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo::new(self.name.clone(), self.role.clone())
    }

    fn handle(&mut self, event: FrameworkEvent<Ask>, _now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Active { .. } => self.seen.change(|state| state.active += 1),
            FrameworkEvent::Input(ask) => (0..ask.count).for_each(|_| self.ask(ask.intended, ctx)),
            // It never ran, and the SDK asks for it again: it only takes longer.
            FrameworkEvent::Task { retried: true, .. } => {
                self.seen.change(|state| state.retried += 1);
            }
            FrameworkEvent::Task { task, .. } => self.note(task.name(), task.state()),
            FrameworkEvent::LaunchFailed { name, refusal } => {
                self.seen.change(|state| state.faults.push(format!("{name}: {refusal}")));
            }
            FrameworkEvent::Refused { call, refusal } => {
                self.seen.change(|state| state.faults.push(format!("{call}: {refusal}")));
            }
            FrameworkEvent::Resumed
            | FrameworkEvent::Disconnected
            | FrameworkEvent::Agent { .. }
            | FrameworkEvent::StateCommitted { .. }
            | FrameworkEvent::StateRefused { .. }
            | FrameworkEvent::Offers { .. }
            | FrameworkEvent::Rescinded { .. }
            | FrameworkEvent::Hold(_)
            | FrameworkEvent::AcceptAnswered { .. }
            | FrameworkEvent::InverseOffers { .. }
            | FrameworkEvent::InverseOffersRescinded { .. }
            | FrameworkEvent::Standby { .. }
            | FrameworkEvent::TornDown
            | FrameworkEvent::Timer => {}
        }
    }
}

impl Load {
    fn ask(&mut self, intended: Instant, ctx: &mut Context) {
        self.next += 1;
        let Ok(name) = TaskName::new(&format!("t{}", self.next)) else { return };
        let (template, role) = (self.template.clone(), self.role.clone());
        let request = TaskRequest::new(name.clone(), template, role, self.shape.clone());
        match ctx.launch(request.fresh_name()) {
            Ok(()) => drop(self.intended.insert(name, intended)),
            Err(refusal) => {
                self.seen.change(|state| state.faults.push(format!("{name}: {refusal}")));
            }
        }
    }

    fn note(&mut self, name: &TaskName, state: TaskState) {
        if state == TaskState::Running {
            // A repeated status finds nothing here and is not counted again.
            let Some(intended) = self.intended.remove(name) else { return };
            let now = Instant::now();
            self.seen.change(|seen| {
                seen.running_after_ms.push((now - intended).as_secs_f64() * 1e3);
                seen.last = Some(now);
            });
        } else if state.is_terminal() {
            self.seen.change(|seen| seen.faults.push(format!("{name} ended: {state:?}")));
        }
    }
}
