//! Notes what the SDK hands to a framework: the edge between the two (I7).

use proffer_sdk_core::{Context, Framework, FrameworkEvent};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{FrameworkEpoch, Monotonic, Now, OfferConditions, TaskStatus};

/// A framework, and what it was told of tasks.
pub struct Watched<F> {
    /// The framework.
    pub inner: F,
    handled: Vec<(FrameworkEpoch, TaskStatus)>,
}

impl<F> Watched<F> {
    /// Around a framework.
    pub fn new(inner: F) -> Self {
        Self { inner, handled: Vec::new() }
    }

    /// What it was told since the last look, and in which epoch.
    pub fn take_handled(&mut self) -> Vec<(FrameworkEpoch, TaskStatus)> {
        std::mem::take(&mut self.handled)
    }
}

impl<F: Framework> Framework for Watched<F> {
    type Input = F::Input;

    fn info(&self) -> FrameworkInfo {
        self.inner.info()
    }

    fn handle(&mut self, event: FrameworkEvent<F::Input>, now: Now, ctx: &mut Context) {
        if let FrameworkEvent::Task { task, .. } = &event {
            self.handled.push((ctx.epoch(), task.record.status.clone()));
        }
        self.inner.handle(event, now, ctx);
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.inner.next_deadline()
    }

    fn wants_raw_offers(&self) -> bool {
        self.inner.wants_raw_offers()
    }

    fn offer_conditions(&self) -> OfferConditions {
        self.inner.offer_conditions()
    }
}
