//! Owns the queues into the loop. Results of writes have a lane of their own and go first, so that
//! load from outside never delays what was promised (K7).

use proffer_master_core::Command;
use proffer_types::Refusal;
use std::time::Instant;
use tokio::sync::mpsc;

/// Commands from outside that may wait. When full, whoever sends waits, and so does its peer.
const OUTSIDE_MAX: usize = 4096;
/// Results of the store and the lease that may wait; the store waits when full.
const INSIDE_MAX: usize = 4096;

/// Sends commands to the loop. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    outside: mpsc::Sender<(Instant, Command)>,
    inside: mpsc::Sender<Command>,
}

/// What the loop takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Take {
    /// Everything.
    All,
    /// Results of the store and the lease only: whoever is outside waits (K8).
    Inside,
}

/// The loop's end.
pub(crate) struct Queues {
    outside: mpsc::Receiver<(Instant, Command)>,
    inside: mpsc::Receiver<Command>,
}

/// A new pair of queues.
pub(crate) fn queues() -> (Inbox, Queues) {
    let (outside, from_outside) = mpsc::channel(OUTSIDE_MAX);
    let (inside, from_inside) = mpsc::channel(INSIDE_MAX);
    (Inbox { outside, inside }, Queues { outside: from_outside, inside: from_inside })
}

impl Inbox {
    /// A command from outside.
    ///
    /// # Errors
    /// When this master does not lead any more.
    pub(crate) async fn send(&self, command: Command) -> Result<(), Refusal> {
        self.outside.send((Instant::now(), command)).await.map_err(|_| Refusal::not_leader(None))
    }

    /// A result from the store or the lease.
    pub(crate) async fn send_inside(&self, command: Command) -> Result<(), Refusal> {
        self.inside.send(command).await.map_err(|_| Refusal::not_leader(None))
    }
}

impl Queues {
    /// Waits for a command, at most until `deadline`. `None`: the deadline was reached.
    pub(crate) async fn next(&mut self, take: Take, deadline: Option<Instant>) -> Next {
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(command) = self.inside.recv() => Next::Command(command),
            () = sleep => Next::Deadline,
            received = self.outside.recv(), if take == Take::All => match received {
                Some((_, command)) => Next::Command(command),
                None => Next::Ended,
            },
        }
    }

    /// A command that is there already, results first.
    pub(crate) fn try_next(&mut self, take: Take) -> Option<(Option<Instant>, Command)> {
        if let Ok(command) = self.inside.try_recv() {
            return Some((None, command));
        }
        if take == Take::Inside {
            return None;
        }
        self.outside.try_recv().ok().map(|(at, command)| (Some(at), command))
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inside.len() + self.outside.len()
    }
}

/// What the loop does next.
pub(crate) enum Next {
    /// Apply this.
    Command(Command),
    /// Something is due.
    Deadline,
    /// Nobody can send any more.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::DurationMs;

    #[tokio::test]
    async fn k8_while_only_inside_counts_what_is_outside_waits() {
        let (inbox, mut queues) = queues();
        let tick = Command::Tick { inbox_lag: DurationMs(0) };
        inbox.send(tick.clone()).await.expect("the loop lives");
        assert!(queues.try_next(Take::Inside).is_none());
        let next = queues.next(Take::Inside, Some(Instant::now())).await;
        assert!(matches!(next, Next::Deadline));
        inbox.send_inside(Command::Suspended).await.expect("the loop lives");
        let (_, first) = queues.try_next(Take::Inside).expect("the lease speaks");
        assert_eq!(first, Command::Suspended);
        let (arrived, waited) = queues.try_next(Take::All).expect("it was not lost");
        assert!(arrived.is_some());
        assert_eq!(waited, tick);
    }
}
