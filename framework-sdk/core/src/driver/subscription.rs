//! The life of a subscription: connect, subscribe, load, be active, lose it.

use super::Driver;
use crate::command::Output;
use crate::framework::{Framework, Notice};
use crate::link::Phase;
use crate::requests::Force;
use crate::snapshot::Assembly;
use proffer_types::scheduler::{AbsentAgent, Call, Event};
use proffer_types::{
    FrameworkEpoch, FrameworkId, Monotonic, Refusal, RefusalCode, ReplicaId, RoleName,
};
use std::collections::BTreeSet;

impl<F: Framework> Driver<F> {
    pub(super) fn connected(&mut self, connection: u64, now: Monotonic) {
        let is_awaited = matches!(self.link.phase, Phase::Connecting { .. });
        if !self.link.is_current(connection) || !is_awaited {
            return;
        }
        self.link.connected(now);
        self.link.sent(now);
        self.context.counters.connections += 1;
        let call = Call::Subscribe {
            info: self.framework.info(),
            replica: self.config.replica.clone(),
            take_over: std::mem::take(&mut self.config.take_over),
            conditions: self.context.conditions.clone(),
        };
        self.send(vec![call]);
    }

    /// Ends the connection from this side.
    pub(super) fn close(&mut self, why: &str) {
        self.outputs.push_back(Output::Close { connection: self.link.connection });
        self.lose(why);
    }

    /// The connection has ended.
    pub(super) fn lose(&mut self, why: &str) {
        self.link.lost(why, self.context.now.monotonic);
        // The named leader may be the one that died: back to the list.
        self.link.hint = None;
        self.leave_connection();
    }

    pub(super) fn leave_connection(&mut self) {
        self.assembly = None;
        self.early.clear();
        let context = &mut self.context;
        context.is_online = false;
        context.calls.clear();
        context.sent_templates.clear();
        context.lose_accepts();
        context.state.disconnected();
        let held = context.leases.drain();
        if !held.is_empty() {
            let offers = held.into_iter().collect();
            context.tell(Notice::Rescinded { offers, reason: "disconnected".to_owned() });
        }
        if context.is_active {
            context.tell(Notice::Disconnected);
        }
    }

    /// Another replica is active: everything known here is void.
    pub(super) fn stand_by(&mut self, active: ReplicaId) {
        self.link.presented = FrameworkEpoch(0);
        self.forget();
        self.context.tell(Notice::Standby { active });
    }

    fn forget(&mut self) {
        self.assembly = None;
        self.early.clear();
        let context = &mut self.context;
        context.is_active = false;
        context.active_epoch = None;
        context.is_online = false;
        context.calls.clear();
        context.told.clear();
        context.tasks.clear();
        context.absent.clear();
        context.requests.clear();
        context.budgets.clear();
        context.kills.clear();
        context.inverse_offers.clear();
        context.launches.restart(|_, _| false);
        context.state.restart();
        context.acknowledgements.clear();
        context.leases.drain();
        context.ended_without_log.clear();
    }

    /// The master behind the connection does not lead any more. If it says who does, that is
    /// followed; nothing else counts that it says.
    pub(super) fn left_by_leader(&mut self, events: Vec<Event>) {
        let refused = events.into_iter().find_map(|event| {
            let Event::Refused { call, refusal } = event else { return None };
            (call == "subscribe").then_some(refusal)
        });
        match refused {
            Some(refusal) => self.subscribe_refused(refusal),
            None => self.close("the master no longer leads"),
        }
    }

    pub(super) fn subscribed(&mut self, framework: FrameworkId, epoch: FrameworkEpoch) {
        let context = &mut self.context;
        if self.link.phase == Phase::Subscribed && epoch <= context.epoch {
            context.counters.events_out_of_place += 1;
            return;
        }
        // The one of this name was torn down while nobody listened: its epochs, tasks and state say
        // nothing about the one that begins.
        if context.framework.as_ref().is_some_and(|known| *known != framework) {
            self.forget();
        }
        let context = &mut self.context;
        self.link.admitted(Phase::Subscribed);
        self.is_new_epoch = context.active_epoch != Some(epoch);
        self.link.presented = epoch;
        context.framework = Some(framework);
        context.epoch = epoch;
        context.is_online = false;
        context.calls.clear();
        context.lose_accepts();
        if self.is_new_epoch {
            context.requests.clear();
            context.state.restart();
            context.acknowledgements.void_commits(context.state.issued());
            context.inverse_offers.clear();
        }
        context.inverse_offers.begin_stream();
        self.assembly = Some(Assembly::default());
        self.early.clear();
        // Stating demand ends classical offers, so a framework that wants those states none
        // before it has some.
        let states_none = self.context.wants_raw_offers && self.context.requests.begin_stream();
        self.says_demand = if states_none { Force::No } else { Force::Yes };
    }

    /// The snapshot that is being told, or a new one that was asked for.
    pub(super) fn open_assembly(&mut self) -> Option<&mut Assembly> {
        let has_ended = self.assembly.as_ref().is_some_and(Assembly::has_ended);
        if has_ended || (self.assembly.is_none() && !self.context.is_online) {
            self.context.counters.events_out_of_place += 1;
            return None;
        }
        Some(self.assembly.get_or_insert_default())
    }

    pub(super) fn snapshot_ended(&mut self, absent: Vec<AbsentAgent>) {
        let Some(assembly) = self.open_assembly() else { return };
        assembly.end(absent);
        if !self.context.is_online {
            return self.become_online();
        }
        if let Some(assembly) = self.assembly.take() {
            self.context.compare_snapshot(assembly);
        }
    }

    /// Once snapshot and state are complete, calls may leave.
    pub(super) fn become_online(&mut self) {
        let is_complete = self.assembly.as_ref().is_some_and(Assembly::has_ended);
        if self.context.is_online || !is_complete || !self.context.state.is_loaded() {
            return;
        }
        let assembly = self.assembly.take().expect("just seen");
        self.context.is_online = true;
        let answers = self.context.inverse_offers.complete();
        self.context.calls.extend(answers);
        if self.is_new_epoch {
            self.context.begin_epoch(assembly);
        } else {
            self.context.tell(Notice::Resumed);
            self.context.compare_snapshot(assembly);
        }
        self.say_again();
        self.context.tell_inverse_offers();
        self.drain();
        for agent in self.context.acknowledgements.agents() {
            if !self.context.absent.contains_key(&agent) {
                self.context.acknowledgements.drop_void(agent);
            }
        }
        while let Some(event) = self.early.pop_front() {
            self.delta(event);
            self.drain();
        }
    }

    /// What a new stream must be told, since the master keeps it no longer than a stream.
    pub(super) fn say_again(&mut self) {
        let context = &mut self.context;
        if context.wants_teardown {
            return context.calls.push(Call::Teardown);
        }
        if context.wants_raw_offers && !context.suppresses_all {
            context.calls.push(Call::Revive { roles: BTreeSet::new() });
        }
        if context.suppresses_all || !context.suppressed.is_empty() {
            let roles: BTreeSet<RoleName> =
                if context.suppresses_all { BTreeSet::new() } else { context.suppressed.clone() };
            context.calls.push(Call::Suppress { roles });
        }
        if !context.budgets.is_empty() {
            context.say_budgets();
        }
        for name in context.kills.keys().cloned().collect::<Vec<_>>() {
            context.repeat_kill(&name);
        }
    }

    pub(super) fn torn_down(&mut self) {
        self.outputs.push_back(Output::Close { connection: self.link.connection });
        self.link.phase = Phase::Ended;
        self.context.is_active = false;
        self.context.is_online = false;
        self.context.told.clear();
        self.context.tell(Notice::TornDown);
        self.drain();
        self.outputs.push_back(Output::Ended);
    }

    pub(super) fn subscribe_refused(&mut self, refusal: Refusal) {
        if let Some(leader) = refusal.leader() {
            self.outputs.push_back(Output::Close { connection: self.link.connection });
            self.link.redirected(leader.to_owned(), self.context.now.monotonic);
            return self.leave_connection();
        }
        if refusal.code == RefusalCode::StaleEpoch {
            self.link.presented = FrameworkEpoch(0);
        }
        self.close(&refusal.to_string());
        self.context.tell(Notice::Refused { call: "subscribe".to_owned(), refusal });
    }
}
