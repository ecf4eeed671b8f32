//! Owns what becomes of a panic in the core (K23). One that came before anything was changed refuses the
//! call that led to it and leaves the core as it was; one in the middle of a change ends the term, and the
//! next one recovers from what is stored.

use crate::connections::Connections;
use crate::replies::Replies;
use proffer_master_core::{Command, ConnectionId, Effect, Master, ReplyTo};
use proffer_types::operator::OperatorAnswer;
use proffer_types::{Cursor, Refusal, RefusalCode};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Who gave a command, and so who is told that it met a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    Peer(ConnectionId),
    Person(ReplyTo),
    /// The shell itself: there is nobody to refuse, so the term ends.
    Shell,
}

impl Sender {
    fn of(command: &Command) -> Self {
        match command {
            Command::AgentFrame { connection, .. }
            | Command::SchedulerFrame { connection, .. }
            | Command::CallsRefused { connection, .. }
            | Command::ConnectionOpened { connection, .. } => Self::Peer(*connection),
            Command::Operator { reply_to, .. } => Self::Person(*reply_to),
            Command::LeadershipGained { .. }
            | Command::LeaseConfirmed { .. }
            | Command::Suspended
            | Command::ConnectionClosed { .. }
            | Command::Heard { .. }
            | Command::FrameworkDrained { .. }
            | Command::RegistryWritten { .. }
            | Command::StateRead { .. }
            | Command::Tick { .. }
            | Command::EndOfTurn { .. } => Self::Shell,
        }
    }
}

/// Applies `command`.
///
/// # Errors
/// Why the term must end: the core panicked while it changed, or at a command of the shell's own.
pub(crate) fn apply(
    master: &mut Master,
    command: Command,
    connections: &Connections,
    replies: &Replies,
) -> Result<Vec<Effect>, String> {
    let sender = Sender::of(&command);
    let applied = catch_unwind(AssertUnwindSafe(|| master.apply(command, crate::term::now())));
    let panic = match applied {
        Ok(effects) => return Ok(effects),
        Err(panic) => words(panic.as_ref()),
    };
    let refusal = Refusal::new(RefusalCode::InternalBug, "", format!("the master's core: {panic}"))
        .hint("please report it; nothing was changed");
    match judge(sender, master.was_changing()) {
        Verdict::End => return Err(format!("the core panicked: {panic}")),
        Verdict::Cut(connection) => connections.close(connection, refusal),
        Verdict::Answer(reply_to) => {
            replies.answer(reply_to, OperatorAnswer::Refused(refusal), Cursor::default());
        }
    }
    tracing::error!(?sender, %panic, "a command met a bug before it changed anything; refused");
    Ok(Vec::new())
}

#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    /// The core cannot be trusted any more.
    End,
    Cut(ConnectionId),
    Answer(ReplyTo),
}

fn judge(sender: Sender, was_changing: bool) -> Verdict {
    match sender {
        Sender::Peer(connection) if !was_changing => Verdict::Cut(connection),
        Sender::Person(reply_to) if !was_changing => Verdict::Answer(reply_to),
        Sender::Peer(_) | Sender::Person(_) | Sender::Shell => Verdict::End,
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    proffer_types::refusal::excerpt(text.unwrap_or("it did not say why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k23_only_what_changed_nothing_is_survived() {
        let (peer, person) = (Sender::Peer(ConnectionId(7)), Sender::Person(ReplyTo(3)));
        assert_eq!(judge(peer, false), Verdict::Cut(ConnectionId(7)));
        assert_eq!(judge(person, false), Verdict::Answer(ReplyTo(3)));
        for (sender, changing) in [(peer, true), (person, true), (Sender::Shell, false)] {
            assert_eq!(judge(sender, changing), Verdict::End);
        }
    }

    #[test]
    fn what_a_panic_says_is_kept() {
        let caught = |panics: fn()| words(catch_unwind(panics).expect_err("it panics").as_ref());
        assert_eq!(caught(|| panic!("one")), "one");
        assert_eq!(caught(|| panic!("number {}", 2)), "number 2");
    }
}
