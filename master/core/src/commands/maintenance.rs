//! Maintenance windows. Only their beginning is looked up on the wall clock: from then on they go forward
//! by spans, each step durable before it is taken, so that no jump of a clock opens one twice.

use crate::effect::{ReplyTo, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{Record, RecordKey, RegistryChange};
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::pending::Continuation;
use crate::state::windows::{Progress, WindowEntry, WindowRecord};
use proffer_types::maintenance::{MaintenanceWindow, Unavailability};
use proffer_types::{AgentId, DurationMs, Now, Refusal, RefusalCode, WallTime, WindowId};

/// The wall clock is looked at this often, however far the next beginning is: it may jump.
const CLOCK_CHECK: DurationMs = DurationMs::from_secs(30);

impl Master {
    pub(crate) fn add_maintenance(
        &mut self,
        reply_to: ReplyTo,
        window: MaintenanceWindow,
        now: Now,
    ) -> Result<(), Refusal> {
        self.check(|master| master.check_window(&window, now))?;
        self.cluster.window_mark.0 += 1;
        let id = self.cluster.window_mark;
        let record = WindowRecord { window, progress: Progress::Scheduled };
        let changes = vec![self.cluster_change(), put(id, &record)];
        let then = Continuation::Maintenance(id, Some(record), Some(reply_to));
        self.persist(WriteLane::Registry, changes, then);
        Ok(())
    }

    fn check_window(&self, window: &MaintenanceWindow, now: Now) -> Result<(), Refusal> {
        window.validate()?;
        for id in &window.agents {
            if self.agents.get(*id).is_none() {
                return Err(self.unknown_agent(*id));
            }
        }
        if end_of(window) <= now.wall {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "start",
                "the whole window lies in the past",
            ));
        }
        if self.windows.len() >= limits::WINDOWS_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "maintenance",
                format!("{} windows are planned", limits::WINDOWS_MAX),
            ));
        }
        Ok(())
    }

    /// An operator wants it to begin now.
    pub(crate) fn start_maintenance(
        &mut self,
        reply_to: ReplyTo,
        id: WindowId,
    ) -> Result<(), Refusal> {
        let record = self.check(|master| {
            let entry = master.idle_window(id)?;
            match entry.record.progress {
                Progress::Open => Err(begun(id, "has begun already")),
                Progress::Scheduled | Progress::Emptying { .. } => {
                    Ok(WindowRecord { progress: Progress::Open, ..entry.record.clone() })
                }
            }
        })?;
        self.write_window(id, Some(record), Some(reply_to));
        Ok(())
    }

    /// An operator has finished.
    pub(crate) fn end_maintenance(
        &mut self,
        reply_to: ReplyTo,
        id: WindowId,
    ) -> Result<(), Refusal> {
        self.check(|master| match master.idle_window(id)?.record.progress {
            Progress::Open => Ok(()),
            Progress::Scheduled | Progress::Emptying { .. } => {
                Err(begun(id, "has not begun").hint(format!("maintenance remove {id} forgets it")))
            }
        })?;
        self.write_window(id, None, Some(reply_to));
        Ok(())
    }

    /// An operator has thought again.
    pub(crate) fn remove_maintenance(
        &mut self,
        reply_to: ReplyTo,
        id: WindowId,
    ) -> Result<(), Refusal> {
        self.check(|master| match master.idle_window(id)?.record.progress {
            Progress::Scheduled | Progress::Emptying { .. } => Ok(()),
            Progress::Open => {
                Err(begun(id, "has begun").hint(format!("maintenance end {id} ends it")))
            }
        })?;
        self.write_window(id, None, Some(reply_to));
        Ok(())
    }

    fn idle_window(&self, id: WindowId) -> Result<&WindowEntry, Refusal> {
        let entry = self.windows.get(&id).ok_or_else(|| {
            let known = id <= self.cluster.window_mark && id != WindowId(0);
            let (code, what) = if known {
                (RefusalCode::Removed, "has ended or was removed")
            } else {
                (RefusalCode::NotFound, "is not known")
            };
            Refusal::new(code, "maintenance", format!("window {id} {what}"))
        })?;
        if entry.is_writing {
            let message = format!("a change of {id} is being written");
            return Err(Refusal::new(RefusalCode::Unavailable, "maintenance", message)
                .hint("try again in a moment"));
        }
        Ok(entry)
    }

    fn write_window(
        &mut self,
        id: WindowId,
        record: Option<WindowRecord>,
        reply_to: Option<ReplyTo>,
    ) {
        if let Some(entry) = self.windows.get_mut(&id) {
            entry.is_writing = true;
        }
        let change = match &record {
            Some(record) => put(id, record),
            None => RegistryChange::delete(RecordKey::Maintenance(id)),
        };
        let then = Continuation::Maintenance(id, record, reply_to);
        self.persist(WriteLane::Registry, vec![change], then);
    }

    /// The window is durable as it was written; its agents follow.
    pub(crate) fn window_written(
        &mut self,
        id: WindowId,
        record: Option<WindowRecord>,
        reply_to: Option<ReplyTo>,
        now: Now,
    ) {
        let before = self.windows.remove(&id);
        let mut agents = before.map(|entry| entry.record.window.agents).unwrap_or_default();
        let message = match record {
            Some(record) => {
                agents.extend(&record.window.agents);
                let words = describe(id, &record);
                self.windows.insert(id, WindowEntry { record, is_writing: false });
                words
            }
            None => format!("{id} is over"),
        };
        self.event("maintenance", id.to_string(), message.clone(), now);
        self.arm_window(id, now);
        self.arm_schedule(now);
        for agent in agents {
            self.sync_windows(agent, now);
        }
        if let Some(reply_to) = reply_to {
            self.reply_done(reply_to, message);
        }
    }

    /// What its windows mean for an agent may have changed.
    fn sync_windows(&mut self, id: AgentId, now: Now) {
        let ids = self.windows.iter().filter(|(_, it)| it.record.window.agents.contains(&id));
        let ids = ids.map(|(window, _)| *window).collect();
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.windows = ids;
        let planned = self.unavailability(id);
        let in_window = self.window_of(id).is_some();
        let Some(agent) = self.agents.get_mut(id) else { return };
        let changed = agent.unavailability != planned || agent.in_window != in_window;
        agent.unavailability = planned;
        agent.in_window = in_window;
        if changed {
            // Offers of before say nothing of it.
            self.rescind_agent(id, "agent_changed");
        }
        self.row(RowKey::Agent(id));
        self.sync_vacate(id, now);
        self.sync_usable(id);
    }

    /// Of the windows that have begun, the one that has come furthest, then the earliest.
    pub(crate) fn window_of(&self, id: AgentId) -> Option<&WindowEntry> {
        let windows = self.agents.get(id)?.windows.iter().filter_map(|id| self.windows.get(id));
        windows.filter(|it| it.has_begun()).min_by_key(|it| {
            let is_open = it.record.progress == Progress::Open;
            (!is_open, it.record.window.start)
        })
    }

    fn unavailability(&self, id: AgentId) -> Option<Unavailability> {
        let windows = self.agents.get(id)?.windows.iter().filter_map(|id| self.windows.get(id));
        windows.map(|it| it.record.window.unavailability()).min()
    }

    /// Takes stored windows over, with the agents as they were read.
    pub(crate) fn load_windows(&mut self) {
        let agents: Vec<AgentId> = self.agents.table.keys().copied().collect();
        for (window, entry) in &self.windows {
            for id in &entry.record.window.agents {
                if let Some(agent) = self.agents.table.get_mut(id) {
                    agent.windows.insert(*window);
                }
            }
        }
        for id in agents {
            let (planned, in_window) = (self.unavailability(id), self.window_of(id).is_some());
            if let Some(agent) = self.agents.get_mut(id) {
                agent.unavailability = planned;
                agent.in_window = in_window;
            }
        }
    }

    /// Spans of windows that have begun run from now on, in full.
    pub(crate) fn arm_windows(&mut self, now: Now) {
        let ids: Vec<WindowId> = self.windows.keys().copied().collect();
        for id in ids {
            self.arm_window(id, now);
        }
        self.arm_schedule(now);
    }

    fn arm_window(&mut self, id: WindowId, now: Now) {
        let span = self.windows.get(&id).and_then(|entry| match entry.record.progress {
            Progress::Scheduled => None,
            Progress::Emptying { opens_in } => Some(opens_in),
            Progress::Open => Some(entry.record.window.duration),
        });
        match span {
            Some(span) => self.deadlines.set(Deadline::Window(id), now.monotonic.after(span)),
            None => self.deadlines.clear(Deadline::Window(id)),
        }
    }

    /// Looks at the wall clock when the next window is to begin, and now and then before.
    fn arm_schedule(&mut self, now: Now) {
        let scheduled = self.windows.values().filter(|it| !it.has_begun() && !it.is_writing);
        let begin = scheduled.map(|it| lead_begins(&it.record.window)).min();
        match begin {
            Some(begin) => {
                let left = DurationMs(begin.0.saturating_sub(now.wall.0)).min(CLOCK_CHECK);
                self.deadlines
                    .set(Deadline::Schedule, now.monotonic.after(left.max(DurationMs(1))));
            }
            None => self.deadlines.clear(Deadline::Schedule),
        }
    }

    /// Windows whose lead has come begin; one that lies in the past as a whole was missed.
    pub(crate) fn look_at_schedule(&mut self, now: Now) {
        let due: Vec<(WindowId, WindowRecord)> = self
            .windows
            .iter()
            .filter(|(_, it)| !it.has_begun() && !it.is_writing)
            .filter(|(_, it)| {
                let window = &it.record.window;
                lead_begins(window) <= now.wall && now.wall < end_of(window)
            })
            .map(|(id, it)| {
                let window = it.record.window.clone();
                let left = DurationMs(window.start.0.saturating_sub(now.wall.0)).min(window.lead);
                (*id, WindowRecord { window, progress: Progress::Emptying { opens_in: left } })
            })
            .collect();
        for (id, record) in due {
            self.write_window(id, Some(record), None);
        }
        let missed = self.windows.values().filter(|it| !it.has_begun() && !it.is_writing);
        let waits = missed.into_iter().any(|it| end_of(&it.record.window) > now.wall);
        if waits {
            self.arm_schedule(now);
        } else {
            self.deadlines.set(Deadline::Schedule, now.monotonic.after(CLOCK_CHECK));
        }
    }

    /// The span of a window is over: it begins, or it ends.
    pub(crate) fn window_due(&mut self, id: WindowId, now: Now) {
        let Some(entry) = self.windows.get(&id) else { return };
        if entry.is_writing {
            let later = now.monotonic.after(DurationMs::from_secs(1));
            return self.deadlines.set(Deadline::Window(id), later);
        }
        let record = match entry.record.progress {
            Progress::Emptying { .. } => {
                Some(WindowRecord { progress: Progress::Open, ..entry.record.clone() })
            }
            Progress::Scheduled => return,
            Progress::Open => None,
        };
        self.write_window(id, record, None);
    }
}

fn put(id: WindowId, record: &WindowRecord) -> RegistryChange {
    let stored = Record::Maintenance(Box::new(record.clone()));
    RegistryChange::put(RecordKey::Maintenance(id), stored)
}

fn begun(id: WindowId, what: &str) -> Refusal {
    Refusal::new(RefusalCode::InUse, "maintenance", format!("window {id} {what}"))
}

fn lead_begins(window: &MaintenanceWindow) -> WallTime {
    WallTime(window.start.0.saturating_sub(window.lead.0))
}

fn end_of(window: &MaintenanceWindow) -> WallTime {
    WallTime(window.start.0.saturating_add(window.duration.0))
}

fn describe(id: WindowId, record: &WindowRecord) -> String {
    let window = &record.window;
    let count = window.agents.len();
    match record.progress {
        Progress::Scheduled => format!("{id}: {count} agents are planned to be maintained"),
        Progress::Emptying { opens_in } => {
            format!("{id}: frameworks have {opens_in} to leave {count} agents")
        }
        Progress::Open => format!("{id} has begun: {count} agents are out of use"),
    }
}
