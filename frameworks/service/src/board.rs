//! What readers see: published after each turn of the framework, read without entering its loop.

use proffer_service_core::ServiceFramework;
use proffer_service_core::api::{ServiceSummary, ServiceView};
use proffer_service_core::events::{EventPage, EventRing};
use proffer_service_core::spec::{ServiceName, did_you_mean};
use proffer_types::{Refusal, RefusalCode};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

type Views = BTreeMap<ServiceName, Arc<ServiceView>>;

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
                inner.views = Arc::new(framework.views().clone());
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

    pub(crate) fn summaries(&self) -> Vec<ServiceSummary> {
        self.views().values().map(|view| view.summary.clone()).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<ServiceView>, Refusal> {
        self.ready()?;
        let views = self.views();
        let name = ServiceName::new(name)?;
        views.get(&name).cloned().ok_or_else(|| {
            let near = did_you_mean(name.as_str(), views.keys().map(ServiceName::as_str));
            let hint = near.map(|near| format!("did you mean {near}?")).unwrap_or_default();
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
