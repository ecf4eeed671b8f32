//! What readers see: published after each turn of the framework, read without entering its loop.

use proffer_service_core::ServiceFramework;
use proffer_service_core::api::{ServiceSummary, ServiceView};
use proffer_service_core::events::{EventPage, EventRing};
use proffer_service_core::spec::{ServiceName, did_you_mean};
use proffer_types::{Refusal, RefusalCode};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::watch;

type Views = BTreeMap<ServiceName, Published>;

/// A view and since when it stands. Equal only to itself; shown with what is counted down gone on.
#[derive(Clone)]
pub(crate) struct Published {
    view: Arc<ServiceView>,
    since: Instant,
}

impl Published {
    /// As it was published: for what is not counted down.
    pub(crate) fn view(&self) -> &ServiceView {
        &self.view
    }

    /// As it is now.
    pub(crate) fn now(&self) -> ServiceView {
        self.view.seen_after(self.while_ms())
    }

    /// At a glance, as it is now.
    fn summary_now(&self) -> ServiceSummary {
        self.view.summary.seen_after(self.while_ms())
    }

    fn while_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view, &other.view)
    }
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.now().serialize(serializer)
    }
}

/// The present views and the last events.
pub(crate) struct Board {
    inner: RwLock<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    views: Arc<Views>,
    views_changed: u64,
    events: EventRing,
    is_active: bool,
    fault: Option<Refusal>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { inner: RwLock::new(Inner::default()), changes: watch::Sender::new(0) }
    }

    /// Takes over what the framework has to show. Called by its loop: short, and nothing in it
    /// waits but for readers who copy an `Arc`.
    pub(crate) fn publish(&self, framework: &ServiceFramework) {
        let changed = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            let views_differ = inner.views_changed != framework.views_changed();
            if views_differ {
                inner.views = Arc::new(take_over(&inner.views, framework));
                inner.views_changed = framework.views_changed();
            }
            let has_news = inner.events.mirror(framework.events());
            let state_differs = inner.is_active != framework.is_active()
                || inner.fault.as_ref() != framework.fault();
            inner.is_active = framework.is_active();
            inner.fault = framework.fault().cloned();
            views_differ || has_news || state_differs
        };
        if changed {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    /// Wakes whenever something changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changes.subscribe();
        changes.mark_changed();
        changes
    }

    /// Whether there is anything to look at: a framework without its state knows of no service, and
    /// must not be taken at its word.
    pub(crate) fn ready(&self) -> Result<(), Refusal> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = &inner.fault {
            return Err(fault.clone());
        }
        if inner.is_active {
            return Ok(());
        }
        let message = "the service framework is not active: no master has answered it yet, or \
                       another replica is active";
        Err(Refusal::new(RefusalCode::Unavailable, "", message).hint("try again"))
    }

    /// All at a glance, as they are now.
    pub(crate) fn summaries_now(&self) -> Vec<ServiceSummary> {
        self.views().values().map(Published::summary_now).collect()
    }

    /// The same as published: equal as long as nothing but time has gone on.
    pub(crate) fn summaries(&self) -> Vec<ServiceSummary> {
        self.views().values().map(|it| it.view.summary.clone()).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Result<Published, Refusal> {
        self.ready()?;
        let views = self.views();
        let name = ServiceName::new(name)?;
        views.get(&name).cloned().ok_or_else(|| {
            let near = did_you_mean(name.as_str(), views.keys().map(ServiceName::as_str));
            let hint = near.map_or_else(
                || "`proffer ls` lists the services there are".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            Refusal::new(RefusalCode::NotFound, name.as_str(), "is not a service").hint(hint)
        })
    }

    /// A page of events, of one service or of all.
    pub(crate) fn events(
        &self,
        after: Option<&str>,
        service: Option<&str>,
        limit: usize,
    ) -> EventPage {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.events.after_of(after, service, limit)
    }

    pub(crate) fn views(&self) -> Arc<Views> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner).views)
    }
}

/// What stands unchanged keeps its moment.
fn take_over(known: &Views, framework: &ServiceFramework) -> Views {
    let since = Instant::now();
    let published = |(name, view): (&ServiceName, &Arc<ServiceView>)| {
        let new = Published { view: Arc::clone(view), since };
        let same = known.get(name).filter(|known| **known == new);
        (name.clone(), same.cloned().unwrap_or(new))
    };
    framework.views().iter().map(published).collect()
}
