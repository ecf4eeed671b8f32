//! The last things that happened, numbered; older ones are forgotten, and a reader is told so.

use crate::api::{EventKind, ServiceEvent};
use crate::spec::ServiceName;
use proffer_types::{FrameworkEpoch, TaskName, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A ring of events. Cursors are `epoch.number`: the numbers start anew in each epoch.
#[derive(Clone, Debug, Default)]
pub struct EventRing {
    epoch: FrameworkEpoch,
    next: u64,
    events: VecDeque<ServiceEvent>,
}

/// What a reader gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventPage {
    /// The events after his cursor, oldest first.
    pub events: Vec<ServiceEvent>,
    /// His cursor is not known any more: some events are missing before these.
    pub has_gap: bool,
    /// Where he stands afterwards.
    pub cursor: String,
}

impl EventRing {
    /// How many are kept: about an hour of a busy service framework, a few megabytes.
    pub const EVENTS_MAX: usize = 8192;

    /// Begins a new epoch. What was kept stays readable for readers without a cursor.
    pub(crate) fn begin_epoch(&mut self, epoch: FrameworkEpoch) {
        self.epoch = epoch;
        self.next = 0;
    }

    pub(crate) fn push(
        &mut self,
        at: WallTime,
        kind: EventKind,
        service: &ServiceName,
        instance: Option<(u32, &TaskName)>,
        message: impl Into<String>,
    ) {
        self.next += 1;
        self.events.push_back(ServiceEvent {
            cursor: format!("{}.{}", self.epoch, self.next),
            at,
            kind,
            service: service.clone(),
            slot: instance.map(|(slot, _)| slot),
            instance: instance.map(|(_, name)| name.clone()),
            message: message.into(),
        });
        if self.events.len() > Self::EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// The cursor of the newest event.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}.{}", self.epoch, self.next)
    }

    /// Events after `cursor`; all that are kept without one. An unknown cursor is no error: the
    /// reader gets what there is and is told of the gap (K17).
    #[must_use]
    pub fn after(&self, cursor: Option<&str>, limit: usize) -> EventPage {
        let Some(cursor) = cursor else { return self.page(0, false, limit) };
        if cursor == self.cursor() {
            return EventPage { events: Vec::new(), has_gap: false, cursor: self.cursor() };
        }
        match self.events.iter().position(|event| event.cursor == cursor) {
            Some(index) => self.page(index + 1, false, limit),
            // The start of the present epoch is a known place as long as its first event is kept.
            None => match self.events.iter().position(|event| {
                cursor == format!("{}.0", self.epoch) && event.cursor == format!("{}.1", self.epoch)
            }) {
                Some(index) => self.page(index, false, limit),
                None => self.page(0, true, limit),
            },
        }
    }

    /// As [`Self::after`], of one service only. The cursor moves over the others' events, too.
    #[must_use]
    pub fn after_of(&self, cursor: Option<&str>, service: Option<&str>, limit: usize) -> EventPage {
        let Some(service) = service else { return self.after(cursor, limit) };
        let mut page = self.after(cursor, usize::MAX);
        page.events.retain(|event| event.service.as_str() == service);
        if page.events.len() > limit {
            page.events.truncate(limit);
            page.cursor = page.events[limit - 1].cursor.clone();
        }
        page
    }

    /// Takes over what `other` has and this one has not; whether there was anything.
    pub fn mirror(&mut self, other: &Self) -> bool {
        if self.epoch == other.epoch && self.next == other.next {
            return false;
        }
        let known = self.events.back().map(|event| event.cursor.as_str());
        let from = known
            .and_then(|known| other.events.iter().rposition(|event| event.cursor == known))
            .map_or(0, |index| index + 1);
        if from == 0 {
            self.events.clear();
        }
        self.events.extend(other.events.iter().skip(from).cloned());
        while self.events.len() > Self::EVENTS_MAX {
            self.events.pop_front();
        }
        (self.epoch, self.next) = (other.epoch, other.next);
        true
    }

    fn page(&self, from: usize, has_gap: bool, limit: usize) -> EventPage {
        let events: Vec<ServiceEvent> =
            self.events.iter().skip(from).take(limit).cloned().collect();
        let cursor = events.last().map_or_else(|| self.cursor(), |event| event.cursor.clone());
        EventPage { events, has_gap, cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut EventRing, count: usize) {
        let name = ServiceName::new("web").expect("valid");
        for _ in 0..count {
            ring.push(WallTime(0), EventKind::Running, &name, None, "");
        }
    }

    /// The trap of a slow reader: 100 000 events later he resumes exactly or learns of the gap.
    #[test]
    fn a_reader_resumes_exactly_or_learns_of_the_gap() {
        let mut ring = EventRing::default();
        ring.begin_epoch(FrameworkEpoch(3));
        push(&mut ring, 10);
        let page = ring.after(Some("3.4"), 100);
        assert_eq!((page.events.len(), page.has_gap, page.cursor.as_str()), (6, false, "3.10"));
        assert_eq!(ring.after(Some("3.10"), 100).events.len(), 0);
        assert_eq!(ring.after(Some("3.0"), 100).events.len(), 10);
        push(&mut ring, 100_000);
        let page = ring.after(Some("3.4"), usize::MAX);
        assert!(page.has_gap);
        assert_eq!(page.events.len(), EventRing::EVENTS_MAX);
        assert!(ring.after(Some("nonsense"), 1).has_gap);
    }

    #[test]
    fn a_mirror_holds_the_same() {
        let (mut ring, mut mirror) = (EventRing::default(), EventRing::default());
        ring.begin_epoch(FrameworkEpoch(3));
        for count in [3, 1, 9000, 5] {
            push(&mut ring, count);
            assert!(mirror.mirror(&ring));
            assert!(!mirror.mirror(&ring));
            assert_eq!(mirror.after(None, usize::MAX), ring.after(None, usize::MAX));
        }
    }

    #[test]
    fn a_new_epoch_numbers_anew_and_old_cursors_still_count() {
        let mut ring = EventRing::default();
        ring.begin_epoch(FrameworkEpoch(3));
        push(&mut ring, 2);
        ring.begin_epoch(FrameworkEpoch(4));
        push(&mut ring, 1);
        let page = ring.after(Some("3.1"), 10);
        assert_eq!((page.events.len(), page.has_gap), (2, false));
        assert_eq!(page.cursor, "4.1");
    }
}
