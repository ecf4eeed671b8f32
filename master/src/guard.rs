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
    use proffer_master_core::Config;
    use proffer_master_core::testing::PlantedPanic;
    use proffer_types::operator::OperatorCall;
    use proffer_types::role::RoleConfig;
    use proffer_types::{PrincipalName, RoleName};

    #[test]
    fn k23_only_what_changed_nothing_is_survived() {
        let (peer, person) = (Sender::Peer(ConnectionId(7)), Sender::Person(ReplyTo(3)));
        assert_eq!(judge(peer, false), Verdict::Cut(ConnectionId(7)));
        assert_eq!(judge(person, false), Verdict::Answer(ReplyTo(3)));
        for (sender, changing) in [(peer, true), (person, true), (Sender::Shell, false)] {
            assert_eq!(judge(sender, changing), Verdict::End);
        }
    }

    fn leading() -> Master {
        let mut harness = proffer_master_core::testing::Harness::new(Config::default());
        harness.end_turn();
        harness.master
    }

    fn set_role(reply_to: ReplyTo) -> Command {
        Command::Operator {
            reply_to,
            principal: PrincipalName::new("token:operator").expect("legal"),
            call: OperatorCall::SetRole {
                role: RoleName::new("eng").expect("legal"),
                config: RoleConfig::default(),
            },
        }
    }

    #[test]
    fn k23_a_panic_in_a_check_is_answered_and_changes_nothing() {
        let (mut master, connections, replies) =
            (leading(), Connections::default(), Replies::default());
        let before = master.state();
        master.plant(PlantedPanic::InCheck);
        let (reply_to, mut answered) = replies.expect().expect("there is room");
        let effects = apply(&mut master, set_role(reply_to), &connections, &replies);
        assert_eq!(effects, Ok(Vec::new()));
        let Ok((OperatorAnswer::Refused(refusal), _)) = answered.try_recv() else {
            panic!("it is refused")
        };
        assert_eq!(refusal.code, RefusalCode::InternalBug);
        assert_eq!(master.state(), before);
        let effects = apply(&mut master, set_role(reply_to), &connections, &replies);
        assert!(!effects.expect("the master goes on").is_empty());
    }

    #[test]
    fn k23_a_panic_in_a_change_ends_the_term() {
        let (mut master, connections, replies) =
            (leading(), Connections::default(), Replies::default());
        master.plant(PlantedPanic::InChange);
        let (reply_to, mut answered) = replies.expect().expect("there is room");
        let ended = apply(&mut master, set_role(reply_to), &connections, &replies);
        assert_eq!(ended, Err("the core panicked: planted InChange".to_owned()));
        assert!(answered.try_recv().is_err(), "nobody can say what became of it");
    }

    #[test]
    fn what_a_panic_says_is_kept() {
        let caught = |panics: fn()| words(catch_unwind(panics).expect_err("it panics").as_ref());
        assert_eq!(caught(|| panic!("one")), "one");
        assert_eq!(caught(|| panic!("number {}", 2)), "number 2");
    }
}
