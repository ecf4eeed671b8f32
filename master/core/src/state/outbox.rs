//! What waits for a framework's stream: events in order, and for tasks only their keys, so that a slow
//! reader gets the newest state of each task once (K15).

use crate::limits;
use proffer_types::offer::Offer;
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, TaskName, Weight};
use std::collections::{BTreeMap, VecDeque};

/// Offers in one event: some 32 KiB, unless agents say much of themselves.
const OFFERS_PER_EVENT_MAX: usize = 64;

/// One thing to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Event(Box<Event>),
    /// The newest state of a task.
    Task(TaskName),
    /// A snapshot, or what is left of it.
    Snapshot(Rest),
}

/// What is left of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// The tasks after this name, then the absent agents.
    Tasks { after: Option<TaskName> },
    /// The absent agents after this one, then the end.
    Absent { after: AgentId },
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Outbox {
    /// Events that the stream still takes.
    pub(crate) credits: u32,
    /// Goes before everything else: how the stream begins, and what the framework is asked to give up, so
    /// that it never judges its tasks without knowing that.
    urgent: VecDeque<Event>,
    items: BTreeMap<u64, Item>,
    next: u64,
    places: BTreeMap<TaskName, u64>,
    events: usize,
    /// Of the event with offers that was added last.
    offers_weight: usize,
    /// A snapshot waits its turn.
    snapshot_queued: bool,
    /// What is left of a snapshot that is being sent; it goes before everything else.
    snapshot_rest: Option<Rest>,
}

impl Outbox {
    pub(crate) fn new(credits: u32) -> Self {
        Self { credits, ..Self::default() }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.events += 1;
        self.put(Item::Event(Box::new(event)));
    }

    /// Adds an event that goes before everything but earlier ones of its kind.
    pub(crate) fn urge(&mut self, event: Event) {
        self.events += 1;
        self.urgent.push_back(event);
    }

    /// Adds an offer, to the event before it when that holds offers too.
    pub(crate) fn push_offer(&mut self, offer: Offer) {
        if let Some(Item::Event(last)) = self.items.get_mut(&self.next)
            && let Event::Offers { offers } = last.as_mut()
            && offers.len() < OFFERS_PER_EVENT_MAX
            && self.offers_weight + offer.weight() <= limits::LIST_WEIGHT_MAX
        {
            self.offers_weight += offer.weight();
            offers.push(offer);
        } else {
            self.offers_weight = offer.weight();
            self.push(Event::Offers { offers: vec![offer] });
        }
    }

    /// The task changed. One that waits already moves to the end, so that statuses of one log leave
    /// in ascending order.
    pub(crate) fn touch(&mut self, task: &TaskName) {
        let is_in_rest = match &self.snapshot_rest {
            Some(Rest::Tasks { after }) => after.as_ref().is_none_or(|sent| task > sent),
            Some(Rest::Absent { .. }) | None => false,
        };
        if self.snapshot_queued || is_in_rest {
            return;
        }
        let place = self.put(Item::Task(task.clone()));
        if let Some(old) = self.places.insert(task.clone(), place) {
            self.items.remove(&old);
        }
    }

    /// The task is to be told again as it is. One that waits already keeps its place: behind newer
    /// statuses of its log it would come out of order.
    pub(crate) fn remind(&mut self, task: &TaskName) {
        if !self.places.contains_key(task) {
            self.touch(task);
        }
    }

    /// Asks for all tasks again; what waits for single tasks is covered by it.
    pub(crate) fn snapshot(&mut self) {
        for place in std::mem::take(&mut self.places).into_values() {
            self.items.remove(&place);
        }
        self.snapshot_rest = None;
        if !self.snapshot_queued {
            self.snapshot_queued = true;
            self.put(Item::Snapshot(Rest::Tasks { after: None }));
        }
    }

    /// A page was sent and there is more.
    pub(crate) fn snapshot_goes_on(&mut self, rest: Rest) {
        self.snapshot_rest = Some(rest);
    }

    pub(crate) fn take(&mut self) -> Option<Item> {
        if let Some(event) = self.urgent.pop_front() {
            self.events -= 1;
            return Some(Item::Event(Box::new(event)));
        }
        if let Some(rest) = self.snapshot_rest.take() {
            return Some(Item::Snapshot(rest));
        }
        let (_, item) = self.items.pop_first()?;
        match &item {
            Item::Event(_) => self.events -= 1,
            Item::Task(name) => {
                self.places.remove(name);
            }
            Item::Snapshot(_) => self.snapshot_queued = false,
        }
        Some(item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.items.is_empty() && self.snapshot_rest.is_none()
    }

    /// Events that wait, tasks not counted.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Everything that waits.
    pub(crate) fn backlog(&self) -> usize {
        self.urgent.len() + self.items.len()
    }

    fn put(&mut self, item: Item) -> u64 {
        self.next += 1;
        self.items.insert(self.next, item);
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TaskName {
        TaskName::new(text).expect("valid")
    }

    #[test]
    fn a_task_waits_once_and_at_the_place_of_its_newest_change() {
        // K15: statuses of one log leave in ascending order.
        let mut outbox = Outbox::new(10);
        outbox.touch(&name("a"));
        outbox.push(Event::Heartbeat);
        outbox.touch(&name("b"));
        outbox.touch(&name("a"));
        assert_eq!(outbox.take(), Some(Item::Event(Box::new(Event::Heartbeat))));
        assert_eq!(outbox.take(), Some(Item::Task(name("b"))));
        assert_eq!(outbox.take(), Some(Item::Task(name("a"))));
        assert_eq!(outbox.take(), None);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_urgent_goes_before_a_snapshot_that_is_half_sent() {
        let mut outbox = Outbox::new(10);
        outbox.snapshot();
        assert_eq!(outbox.take(), Some(Item::Snapshot(Rest::Tasks { after: None })));
        let rest = Rest::Tasks { after: Some(name("m")) };
        outbox.snapshot_goes_on(rest.clone());
        outbox.urge(Event::TornDown);
        outbox.urge(Event::Heartbeat);
        assert!(!outbox.is_empty() && outbox.events() == 2);
        assert_eq!(outbox.take(), Some(Item::Event(Box::new(Event::TornDown))));
        assert_eq!(outbox.take(), Some(Item::Event(Box::new(Event::Heartbeat))));
        assert_eq!(outbox.take(), Some(Item::Snapshot(rest)));
        assert!(outbox.is_empty() && outbox.events() == 0);
    }

    #[test]
    fn what_a_snapshot_will_show_does_not_wait_beside_it() {
        let mut outbox = Outbox::new(10);
        outbox.touch(&name("a"));
        outbox.snapshot();
        outbox.touch(&name("b"));
        assert_eq!(outbox.take(), Some(Item::Snapshot(Rest::Tasks { after: None })));
        let rest = Rest::Tasks { after: Some(name("m")) };
        outbox.snapshot_goes_on(rest.clone());
        outbox.touch(&name("c"));
        outbox.touch(&name("x"));
        assert_eq!(outbox.take(), Some(Item::Snapshot(rest)));
        assert_eq!(outbox.take(), Some(Item::Task(name("c"))));
        assert_eq!(outbox.take(), None);
    }
}
