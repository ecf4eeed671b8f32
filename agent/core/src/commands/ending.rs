//! What the end of a container is called: every way to end has its own reason.

use crate::checkpoint::{KillCause, KillIntent};
use crate::commands::Report;
use crate::commands::container::launch_failure;
use crate::container::{ContainerExit, Outcome, StopCause};
use proffer_types::task::{Exit, StatusReason, TaskState};

/// What the kernel ends a process with that is over its memory limit.
const SIGKILL: i32 = 9;

/// The terminal report for an exit. An unknown exit is never called success (K14).
pub(crate) fn classify(exit: &ContainerExit, kill: Option<&KillIntent>) -> Report {
    let (state, reason, mut message) = match &exit.outcome {
        Outcome::LaunchFailed { step, errno, message } => {
            let text = launch_failure(step, *errno, message);
            (TaskState::Failed, StatusReason::LaunchFailed, text)
        }
        Outcome::SupervisorLost => supervisor_lost(kill),
        Outcome::Code(_) | Outcome::Signal(_) | Outcome::NeverStarted => match exit.cause {
            StopCause::KillRequested => killed(exit, kill),
            StopCause::GrantExpired => (
                TaskState::Killed,
                StatusReason::StoppedWhileDisconnected,
                "the master was out of reach for longer than the task runs without it".to_owned(),
            ),
            StopCause::Itself => by_itself(exit, kill),
        },
    };
    if state != TaskState::Finished && !exit.stderr_tail.is_empty() {
        message.push('\n');
        message.push_str(&exit.stderr_tail);
    }
    Report { exit: exit_of(exit), ..Report::new(state, reason, message) }
}

fn supervisor_lost(kill: Option<&KillIntent>) -> (TaskState, StatusReason, String) {
    let asked = kill.is_some_and(|kill| match kill.cause {
        KillCause::Framework
        | KillCause::Operator
        | KillCause::Drain
        | KillCause::Maintenance
        | KillCause::Preemption => true,
        KillCause::AliveCheck | KillCause::StartupTimeout => false,
    });
    let state = if asked { TaskState::Killed } else { TaskState::Failed };
    let message = "its supervisor died; everything in the container was killed".to_owned();
    (state, StatusReason::SupervisorLost, message)
}

/// Ended because it was asked to. The cause may be missing: a crash between the order to the
/// supervisor and the checkpoint; then only a framework or an operator can have asked.
fn killed(exit: &ContainerExit, kill: Option<&KillIntent>) -> (TaskState, StatusReason, String) {
    let cause = kill.map_or(KillCause::Framework, |kill| kill.cause);
    let mut message = kill.map(|kill| kill.detail.clone()).unwrap_or_default();
    let waited = exit.forced && kill.is_none_or(|kill| kill.policy.grace.0 > 0);
    if waited {
        let grace = kill.map(|kill| format!(" of {}", kill.policy.grace)).unwrap_or_default();
        message = join(&message, &format!("it did not end within its grace{grace}"));
    }
    let (state, reason) = match cause {
        KillCause::Framework | KillCause::Operator if waited => {
            (TaskState::Killed, StatusReason::KilledAfterGrace)
        }
        KillCause::Framework => (TaskState::Killed, StatusReason::KilledByFramework),
        KillCause::Operator => (TaskState::Killed, StatusReason::KilledByOperator),
        KillCause::Drain => (TaskState::Killed, StatusReason::Drained),
        KillCause::Maintenance => (TaskState::Killed, StatusReason::Maintenance),
        KillCause::Preemption => (TaskState::Killed, StatusReason::Preempted),
        KillCause::AliveCheck => (TaskState::Failed, StatusReason::CheckFailed),
        KillCause::StartupTimeout => (TaskState::Failed, StatusReason::StartupTimeout),
    };
    (state, reason, message)
}

fn by_itself(exit: &ContainerExit, kill: Option<&KillIntent>) -> (TaskState, StatusReason, String) {
    match exit.outcome {
        Outcome::Code(0) => (TaskState::Finished, StatusReason::None, String::new()),
        // The kernel counts what it killed in the group, not whom: only a task that died of such a
        // signal itself ended for want of memory.
        Outcome::Signal(SIGKILL) if exit.out_of_memory => {
            let peak = exit.memory_peak.map(|peak| format!("; most used: {peak}"));
            let message = format!("killed at its memory limit{}", peak.unwrap_or_default());
            (TaskState::Failed, StatusReason::OutOfMemory, message)
        }
        Outcome::Code(code) => {
            let message = with_memory(format!("exit code {code}"), exit);
            (TaskState::Failed, StatusReason::Exited, message)
        }
        Outcome::Signal(signal) => {
            let message = with_memory(format!("ended by signal {signal}"), exit);
            (TaskState::Failed, StatusReason::Signalled, message)
        }
        // A kill that came before the start cancels it.
        Outcome::NeverStarted if kill.is_some() => killed(exit, kill),
        Outcome::NeverStarted | Outcome::LaunchFailed { .. } | Outcome::SupervisorLost => (
            TaskState::Failed,
            StatusReason::LaunchFailed,
            "it was prepared but never told to start".to_owned(),
        ),
    }
}

fn with_memory(message: String, exit: &ContainerExit) -> String {
    if !exit.out_of_memory {
        return message;
    }
    let note = "one of its processes had been killed at the memory limit";
    match exit.memory_peak {
        Some(peak) => format!("{message}; {note}; most used: {peak}"),
        None => format!("{message}; {note}"),
    }
}

fn exit_of(exit: &ContainerExit) -> Option<Exit> {
    let (code, signal) = match exit.outcome {
        Outcome::Code(code) => (Some(code), None),
        Outcome::Signal(signal) => (None, Some(signal)),
        Outcome::LaunchFailed { .. } | Outcome::NeverStarted | Outcome::SupervisorLost => {
            return None;
        }
    };
    Some(Exit {
        code,
        signal,
        out_of_memory: exit.out_of_memory,
        memory_peak: exit.memory_peak,
        ran_for: exit.ran_for,
    })
}

fn join(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { format!("{first}; {second}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::template::KillPolicy;
    use proffer_types::units::{Bytes, DurationMs};

    fn exit(outcome: Outcome, cause: StopCause) -> ContainerExit {
        ContainerExit {
            outcome,
            cause,
            forced: false,
            out_of_memory: false,
            memory_peak: None,
            ran_for: DurationMs(10),
            stderr_tail: String::new(),
        }
    }

    fn kill(cause: KillCause, grace_ms: u64) -> KillIntent {
        let policy = KillPolicy { signal: 15, grace: DurationMs(grace_ms) };
        KillIntent { cause, policy, detail: String::new() }
    }

    #[test]
    fn every_way_to_end_has_its_own_reason() {
        use StatusReason as R;
        use TaskState as S;
        let by_itself = |outcome| classify(&exit(outcome, StopCause::Itself), None);
        let failed = Outcome::LaunchFailed {
            step: "execve /bin/x".to_owned(),
            errno: 2,
            message: String::new(),
        };
        let cases = [
            (by_itself(Outcome::Code(0)), S::Finished, R::None),
            (by_itself(Outcome::Code(3)), S::Failed, R::Exited),
            (by_itself(Outcome::Signal(11)), S::Failed, R::Signalled),
            (by_itself(failed), S::Failed, R::LaunchFailed),
            (by_itself(Outcome::NeverStarted), S::Failed, R::LaunchFailed),
            (by_itself(Outcome::SupervisorLost), S::Failed, R::SupervisorLost),
        ];
        for (report, state, reason) in cases {
            assert_eq!((report.state, report.reason), (state, reason), "{report:?}");
        }
        let report = by_itself(Outcome::LaunchFailed {
            step: "execve /bin/x".to_owned(),
            errno: 2,
            message: String::new(),
        });
        assert_eq!(report.message, "execve /bin/x (errno 2)");
    }

    #[test]
    fn a_kill_is_called_by_its_cause_and_by_its_grace() {
        use KillCause as C;
        use StatusReason as R;
        use TaskState as S;
        let cases = [
            (C::Framework, false, S::Killed, R::KilledByFramework),
            (C::Operator, false, S::Killed, R::KilledByOperator),
            (C::Framework, true, S::Killed, R::KilledAfterGrace),
            (C::Drain, false, S::Killed, R::Drained),
            (C::Drain, true, S::Killed, R::Drained),
            (C::Maintenance, true, S::Killed, R::Maintenance),
            (C::AliveCheck, true, S::Failed, R::CheckFailed),
            (C::StartupTimeout, false, S::Failed, R::StartupTimeout),
        ];
        for (cause, forced, state, reason) in cases {
            let killed =
                ContainerExit { forced, ..exit(Outcome::Signal(9), StopCause::KillRequested) };
            let report = classify(&killed, Some(&kill(cause, 500)));
            assert_eq!((report.state, report.reason), (state, reason), "{cause:?}");
        }
        let at_once =
            ContainerExit { forced: true, ..exit(Outcome::Signal(9), StopCause::KillRequested) };
        let report = classify(&at_once, Some(&kill(C::Framework, 0)));
        assert_eq!(report.reason, R::KilledByFramework, "no grace was given, so none ran out");
    }

    #[test]
    fn a_task_that_ends_by_itself_before_its_kill_acts_is_not_called_killed() {
        let report = classify(
            &exit(Outcome::Code(0), StopCause::Itself),
            Some(&kill(KillCause::Framework, 500)),
        );
        assert_eq!(report.state, TaskState::Finished);
    }

    #[test]
    fn memory_is_named_with_its_peak_and_the_last_words_follow() {
        let hog = ContainerExit {
            out_of_memory: true,
            memory_peak: Some(Bytes(64 << 20)),
            stderr_tail: "allocating".to_owned(),
            ..exit(Outcome::Signal(9), StopCause::Itself)
        };
        let report = classify(&hog, None);
        assert_eq!(report.reason, StatusReason::OutOfMemory);
        assert_eq!(report.message, "killed at its memory limit; most used: 64MiB\nallocating");
        assert!(report.exit.expect("it ran").out_of_memory);
    }

    #[test]
    fn a_child_that_was_killed_for_memory_is_not_the_end_of_its_task() {
        let after_hog = |outcome| ContainerExit {
            out_of_memory: true,
            memory_peak: Some(Bytes(64 << 20)),
            ..exit(outcome, StopCause::Itself)
        };
        let report = classify(&after_hog(Outcome::Code(3)), None);
        assert_eq!(report.reason, StatusReason::Exited);
        assert_eq!(
            report.message,
            "exit code 3; one of its processes had been killed at the memory limit; most used: 64MiB"
        );
        let report = classify(&after_hog(Outcome::Signal(11)), None);
        assert_eq!(report.reason, StatusReason::Signalled);
        let report = classify(&after_hog(Outcome::Code(0)), None);
        assert_eq!((report.state, report.reason), (TaskState::Finished, StatusReason::None));
    }
}
