//! The end of a program: SIGINT, SIGTERM and the end of its terminal ask for it, a second one insists.

use crate::output;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals within this time of the first one are the first one.
const TOGETHER: Duration = Duration::from_millis(300);

/// What is said when someone insists: what is left then, and how to mend it.
#[derive(Clone, Default)]
pub(crate) struct LastWords(Arc<Mutex<String>>);

impl LastWords {
    pub(crate) fn set(&self, words: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    fn say(&self) {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !words.is_empty() {
            output::note(&words);
        }
    }
}

/// A token that the first SIGINT, SIGTERM or SIGHUP cancels. The second one ends the process by its default
/// action, so that a program that hangs can be ended by hand; it says its last words before.
pub(crate) fn on_signal(last_words: LastWords) -> CancellationToken {
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
        ) else {
            tracing::warn!("signals cannot be caught: the program ends at once when asked to");
            return;
        };
        let number = tokio::select! {
            _ = interrupt.recv() => nix::sys::signal::Signal::SIGINT,
            _ = terminate.recv() => nix::sys::signal::Signal::SIGTERM,
            _ = hang_up.recv() => nix::sys::signal::Signal::SIGHUP,
        };
        asked.cancel();
        // What comes together is one wish: `timeout`, for example, signals a process and then its group.
        tokio::time::sleep(TOGETHER).await;
        for signal in [&mut interrupt, &mut terminate] {
            let _ = tokio::time::timeout(Duration::ZERO, signal.recv()).await;
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        last_words.say();
        // 128 + number, as shells show a program that a signal ended.
        force_end(128 + number as i32);
    });
    token
}

#[expect(clippy::disallowed_methods, reason = "the second signal insists; this is the program")]
fn force_end(code: i32) -> ! {
    std::process::exit(code)
}
