//! The end of a turn: allocate, send what was gathered for each peer, publish the changes.

use crate::command::Peer;
use crate::effect::{ConnectionId, Effect};
use crate::limits;
use crate::master::Master;
use crate::state::changes::{Noted, RowKey};
use crate::state::connections::ConnectionKind;
use crate::state::frameworks::FrameworkEntry;
use crate::state::outbox::{Item, Rest};
use proffer_allocator::{Delta, LeaseId};
use proffer_types::agent::{AgentDown, AgentOrder};
use proffer_types::operator::Change;
use proffer_types::scheduler::{Absence, AbsentAgent, Event, SchedulerDown};
use proffer_types::{
    AgentId, Cursor, FrameworkEpoch, FrameworkId, Now, OfferId, Refusal, RefusalCode, TaskKey,
    TaskName, Weight,
};

impl Master {
    /// Tells a framework's active replica something. Without one it is not told: the next
    /// subscription starts with everything anew.
    pub(crate) fn tell(&mut self, framework: FrameworkId, event: Event) {
        if let Some(outbox) = self.frameworks.outbox(framework) {
            outbox.push(event);
        }
    }

    /// Tells it before everything else that waits.
    pub(crate) fn urge(&mut self, framework: FrameworkId, event: Event) {
        if let Some(outbox) = self.frameworks.outbox(framework) {
            outbox.urge(event);
        }
    }

    /// A task changed: its framework is told its newest state.
    pub(crate) fn tell_task(&mut self, key: &TaskKey) {
        if let Some(outbox) = self.frameworks.outbox(key.framework) {
            outbox.touch(&key.name);
        }
    }

    /// Its framework is told a task's state once more, unless it is about to be told anyway.
    pub(crate) fn tell_task_again(&mut self, key: &TaskKey) {
        if let Some(outbox) = self.frameworks.outbox(key.framework) {
            outbox.remind(&key.name);
        }
    }

    /// Tells a connection without a subscription something.
    pub(crate) fn tell_direct(&mut self, connection: ConnectionId, event: Event) {
        self.direct.entry(connection).or_default().push(event);
    }

    /// Tells a framework that a call without an own answer was refused.
    pub(crate) fn refuse_call(&mut self, framework: FrameworkId, call: &str, refusal: Refusal) {
        self.tell(framework, Event::Refused { call: call.to_owned(), refusal });
    }

    /// Gathers an order for an agent.
    pub(crate) fn order(&mut self, agent: AgentId, order: AgentOrder) {
        self.agents.order(agent, order);
    }

    /// Sends what was gathered for a connection, then ends it.
    pub(crate) fn close(&mut self, connection: ConnectionId, refusal: Refusal) {
        self.flush_direct(connection);
        self.effect(Effect::Close { connection, refusal });
    }

    pub(crate) fn end_of_turn(&mut self, budget: u32, now: Now) {
        if !self.may_act() {
            return;
        }
        self.settle_gangs(now);
        self.reclaim();
        self.recount_vacated(now);
        self.settle_claims(now);
        self.allocate(budget, now);
        self.end_vain_claims(now);
        self.flush(now);
        self.publish(now);
    }

    fn allocate(&mut self, budget: u32, now: Now) {
        let mut left = u64::from(budget);
        let mut given_back = false;
        loop {
            // Also one whose offers were just taken back has room again.
            self.sync_clogged();
            if !self.claims.table.is_empty() {
                self.tell_allocator(Delta::ClaimsHold);
            }
            let turn = self.allocator.offers(left, now.monotonic);
            left = left.saturating_sub(turn.steps_used.max(1));
            self.counters.allocation_steps += turn.steps_used;
            self.allocation_unfinished = turn.more;
            for decision in turn.decisions {
                let framework = decision.framework;
                if let Some(claim) = decision.claim {
                    self.claim_met(claim);
                }
                match self.make_offer(decision, now) {
                    Some(offer) => self.gather_offer(framework, offer),
                    // Somebody else may have it, next turn.
                    None => given_back = true,
                }
            }
            // One that is full now is passed over from here on.
            self.sync_clogged();
            if turn.rescinds.is_empty() && turn.beyond_limits.is_empty() {
                break;
            }
            for (leases, reason) in
                [(turn.rescinds, "demand_changed"), (turn.beyond_limits, "limit_lowered")]
            {
                let epoch = self.epoch();
                let id = |lease: &LeaseId| OfferId { epoch, sequence: lease.0 };
                let ids: Vec<OfferId> = leases.iter().map(id).collect();
                self.rescind(&ids, reason);
            }
            if left == 0 {
                self.allocation_unfinished = true;
                break;
            }
        }
        self.allocation_unfinished |= given_back;
    }

    /// Offers made one after another leave as one event.
    fn gather_offer(&mut self, framework: FrameworkId, offer: proffer_types::offer::Offer) {
        if let Some(outbox) = self.frameworks.outbox(framework) {
            outbox.push_offer(offer);
        }
    }

    /// A framework that holds much or reads little gets no new offers, until it has made room (K15).
    fn sync_clogged(&mut self) {
        let mut changed = std::mem::take(&mut self.frameworks.unweighed);
        changed.extend(&self.frameworks.unsent);
        for id in changed {
            let Some(entry) = self.frameworks.get(id) else { continue };
            let full = self.is_full(entry);
            if entry.stream.is_some() && full != entry.clogged {
                self.set_clogged(id, full);
            }
        }
    }

    pub(crate) fn is_full(&self, entry: &FrameworkEntry) -> bool {
        let waiting = entry.stream.as_ref().map_or(0, |stream| stream.outbox.backlog());
        entry.offers.len() >= self.config.offers_held_max as usize
            || waiting >= limits::OUTBOX_OFFERS_STOP
    }

    /// Sends what was gathered for every peer.
    fn flush(&mut self, now: Now) {
        for agent in std::mem::take(&mut self.agents.unsent) {
            self.flush_agent(agent, now);
        }
        for connection in self.direct.keys().copied().collect::<Vec<_>>() {
            self.flush_direct(connection);
        }
        for framework in std::mem::take(&mut self.frameworks.unsent) {
            self.frameworks.unweighed.insert(framework);
            self.flush_framework(framework);
            self.cut_if_it_reads_nothing(framework, now);
        }
    }

    fn flush_agent(&mut self, id: AgentId, now: Now) {
        let (epoch, grant) = (self.epoch(), self.grant(now.monotonic));
        let Some(agent) = self.agents.get_mut(id) else { return };
        let mut orders = std::mem::take(&mut agent.outgoing);
        let Some(connection) = agent.connection() else { return };
        if orders.is_empty() {
            return;
        }
        // What remains of the lease is known only now that the orders leave.
        for order in &mut orders {
            if let AgentOrder::Grant { grant: left } | AgentOrder::Registered { grant: left, .. } =
                order
            {
                *left = grant;
            }
        }
        let session = agent.session;
        for orders in weighed(orders, limits::FRAME_WEIGHT_MAX) {
            let frame = AgentDown { agent: id, session, master_epoch: epoch, orders };
            self.effect(Effect::SendAgent { connection, frame });
        }
    }

    fn flush_direct(&mut self, connection: ConnectionId) {
        let Some(events) = self.direct.remove(&connection) else { return };
        if self.connections.get(connection).is_none() {
            return;
        }
        let frame = SchedulerDown { master_epoch: self.epoch(), epoch: FrameworkEpoch(0), events };
        self.effect(Effect::SendFramework { connection, frame });
    }

    /// Sends as much as the framework's credits allow.
    pub(crate) fn flush_framework(&mut self, id: FrameworkId) {
        loop {
            let mut events = Vec::new();
            let mut weight = 0;
            while events.len() < limits::FRAME_EVENTS_MAX && weight < limits::FRAME_WEIGHT_MAX {
                let Some(event) = self.next_event(id) else { break };
                weight += event.weight();
                events.push(event);
            }
            let Some(entry) = self.frameworks.get(id) else { return };
            let Some(stream) = entry.stream.as_ref() else { return };
            let connection = stream.connection;
            if events.is_empty() {
                return;
            }
            let frame = SchedulerDown { master_epoch: self.epoch(), epoch: entry.epoch(), events };
            self.effect(Effect::SendFramework { connection, frame });
        }
    }

    /// A stream that reads nothing ends here and now: its offers go back and the next replica takes over,
    /// whenever its connection notices (K15).
    fn cut_if_it_reads_nothing(&mut self, id: FrameworkId, now: Now) {
        let Some(stream) = self.frameworks.get(id).and_then(|entry| entry.stream.as_ref()) else {
            return;
        };
        if stream.outbox.events() <= limits::OUTBOX_EVENTS_MAX {
            return;
        }
        let connection = stream.connection;
        let refusal = Refusal::new(
            RefusalCode::BudgetExceeded,
            "stream",
            format!("more than {} events wait unread", limits::OUTBOX_EVENTS_MAX),
        )
        .hint("read faster; the next subscription starts with a snapshot");
        self.close(connection, refusal);
        self.replica_disconnected(id, connection, now);
    }

    /// Takes the next event for which there is a credit.
    fn next_event(&mut self, id: FrameworkId) -> Option<Event> {
        loop {
            let stream = self.frameworks.get_mut(id)?.stream.as_mut()?;
            if stream.outbox.credits == 0 {
                return None;
            }
            let event = match stream.outbox.take()? {
                Item::Event(event) => Some(*event),
                Item::Task(name) => self.task_event(id, name),
                Item::Snapshot(Rest::Tasks { after }) => {
                    Some(self.snapshot_event(id, after.as_ref()))
                }
                Item::Snapshot(Rest::Absent { after }) => {
                    Some(self.snapshot_absent(id, Some(after)))
                }
            };
            if let Some(event) = event {
                let stream = self.frameworks.get_mut(id)?.stream.as_mut()?;
                stream.outbox.credits -= 1;
                return Some(event);
            }
        }
    }

    /// The newest state of a task: the full record when the stream has not seen it. An end that the
    /// master itself decided is forgotten when it leaves: a complete snapshot without the task says the
    /// same again (K2).
    fn task_event(&mut self, framework: FrameworkId, name: TaskName) -> Option<Event> {
        let subscription = self.frameworks.get(framework)?.subscriptions;
        let key = TaskKey { framework, name };
        let task = self.tasks.get_mut(&key)?;
        let event = if task.told_in == subscription {
            Event::Status(task.record.status.clone())
        } else {
            task.told_in = subscription;
            Event::Task(Box::new(task.record.clone()))
        };
        if task.is_terminal() && task.record.status.id.is_none() {
            self.forget_task(&key);
        }
        Some(event)
    }

    fn snapshot_event(&mut self, framework: FrameworkId, after: Option<&TaskName>) -> Event {
        let subscription =
            self.frameworks.get(framework).map(|entry| entry.subscriptions).unwrap_or_default();
        let mut weight = 0;
        let page: Vec<TaskKey> = self
            .tasks
            .after(framework, after)
            .take(limits::SNAPSHOT_PAGE_TASKS)
            .take_while(|(_, task)| {
                let is_first = weight == 0;
                weight += task.record.weight();
                is_first || weight <= limits::LIST_WEIGHT_MAX
            })
            .map(|(key, _)| key.clone())
            .collect();
        let Some(last) = page.last().map(|key| key.name.clone()) else {
            return self.snapshot_absent(framework, None);
        };
        let mut tasks = Vec::with_capacity(page.len());
        for key in page {
            let Some(task) = self.tasks.get_mut(&key) else { continue };
            task.told_in = subscription;
            tasks.push(task.record.clone());
            if task.is_terminal() && task.record.status.id.is_none() {
                self.forget_task(&key);
            }
        }
        if let Some(outbox) = self.frameworks.outbox(framework) {
            outbox.snapshot_goes_on(Rest::Tasks { after: Some(last) });
        }
        Event::SnapshotPage { tasks }
    }

    /// Ends complete, or names the agents that may still hold tasks (K2), those after `after`.
    fn snapshot_absent(&mut self, framework: FrameworkId, after: Option<AgentId>) -> Event {
        let mut found = self
            .occupancy
            .agents_after(framework, after)
            .filter_map(|agent| Some(AbsentAgent { agent, absence: self.absence(agent)? }));
        let absent: Vec<AbsentAgent> = found.by_ref().take(limits::SNAPSHOT_PAGE_ABSENT).collect();
        let is_last = found.next().is_none();
        drop(found);
        let cursor = self.cursor();
        if let Some(stream) =
            self.frameworks.get_mut(framework).and_then(|entry| entry.stream.as_mut())
        {
            if after.is_none() {
                stream.unresolved.clear();
            }
            let unresolved = absent.iter().filter(|absent| absent.absence != Absence::Gone);
            stream.unresolved.extend(unresolved.map(|absent| absent.agent));
            if let Some(last) = absent.last().filter(|_| !is_last) {
                stream.outbox.snapshot_goes_on(Rest::Absent { after: last.agent });
                return Event::SnapshotAbsent { absent };
            }
        }
        Event::SnapshotEnd { cursor, absent }
    }

    /// Emits the change list of the turn (K6).
    fn publish(&mut self, now: Now) {
        for ((kind, subject), message) in std::mem::take(&mut self.troubles) {
            self.event(kind, subject, message, now);
        }
        if self.changes.is_empty() && self.deltas.is_empty() {
            return;
        }
        let first = Cursor { change: self.changes.published + 1, ..self.cursor() };
        let noted = self.changes.take();
        let changes: Vec<Change> = noted
            .into_iter()
            .map(|noted| match noted {
                Noted::Event(event) => Change::Event(event),
                Noted::Row(key) => self.compose(key, now),
                Noted::TaskEnded(row) => Change::Task(*row),
                Noted::TaskRemoved(key) => Change::TaskRemoved(key),
            })
            .collect();
        let deltas = std::mem::take(&mut self.deltas);
        self.effect(Effect::Publish { first, changes, deltas });
    }

    pub(crate) fn compose(&mut self, key: RowKey, now: Now) -> Change {
        match key {
            RowKey::Agent(id) => self.agent_row(id).map_or(Change::AgentRemoved(id), Change::Agent),
            RowKey::Framework(id) => {
                self.framework_row(id).map_or(Change::FrameworkRemoved(id), Change::Framework)
            }
            RowKey::Demand(key) => {
                self.demand_row(&key, now).map_or(Change::DemandRemoved(key), Change::Demand)
            }
            RowKey::Task(key) => match self.tasks.get(&key) {
                Some(task) => Change::Task(task.record.clone()),
                None => Change::TaskRemoved(key),
            },
            RowKey::Offer(id) => match self.offers.get(id) {
                Some(entry) => Change::Offer(entry.offer.clone()),
                None => Change::OfferRemoved(id),
            },
            RowKey::Role(name) => Change::Role(self.role_row(name)),
            RowKey::Hold(key) => self.hold_row(key).map_or(Change::HoldRemoved(key), Change::Hold),
        }
    }

    /// Whether the connection may speak in this conversation.
    pub(crate) fn is_peer(&self, connection: ConnectionId, peer: Peer) -> bool {
        self.connections.get(connection).is_some_and(|entry| match entry.kind {
            ConnectionKind::Agents(_) => peer == Peer::Agent,
            ConnectionKind::Replica | ConnectionKind::ReplicaOf(_) => peer == Peer::Framework,
        })
    }
}

/// Splits a list into parts that are no heavier than `most`, or hold one item.
pub(crate) fn weighed<T: Weight>(items: Vec<T>, most: usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let weight = item.weight();
        match parts.last_mut() {
            Some(part) if weight <= left => {
                left -= weight;
                part.push(item);
            }
            Some(_) | None => {
                left = most.saturating_sub(weight);
                parts.push(vec![item]);
            }
        }
    }
    parts
}
