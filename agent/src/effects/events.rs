//! What containers report by themselves, put into the core's words: with the last lines of their
//! standard error where they failed, and the most memory they used.

use crate::containerizer::{
    ContainerError, ContainerEvent, ContainerExit, ContainerId as RealId, Outcome, StopCause,
};
use crate::effects::containers::Shared;
use crate::sandbox::{Directory, tail};
use crate::work_dir::WorkDir;
use proffer_agent_core::Command;
use proffer_agent_core::container as core;
use proffer_types::ids::ContainerId;
use proffer_types::units::{Bytes, DurationMs};
use std::sync::Arc;
use tokio::sync::mpsc;

/// How much of a failed task's last words goes into its status.
const TAIL_LINES_MAX: usize = 10;
const TAIL_BYTES_MAX: u64 = 2048;

/// Passes on what containers report, in order, until the agent ends.
pub(crate) async fn report(mut events: mpsc::Receiver<ContainerEvent>, shared: Arc<Shared>) {
    let work = async {
        while let Some(event) = events.recv().await {
            if let Some(command) = command_of(event, &shared).await {
                // The loop ends before its containers do.
                let _ = shared.commands.send(command).await;
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = work => {}
    }
}

/// An event as a command; `None` when it is about no container of ours.
async fn command_of(event: ContainerEvent, shared: &Shared) -> Option<Command> {
    match event {
        ContainerEvent::Started { id, pid, started_at: _ } => {
            Some(Command::Started { container: core_id(&id)?, pid })
        }
        ContainerEvent::Exited { id, exit } => {
            let container = core_id(&id)?;
            // All its output is on disk by now: who follows it may come to an end.
            shared.live.remove(&container);
            let exit = core_exit(&id, &exit, shared).await;
            Some(Command::Exited { container, exit })
        }
    }
}

/// The core's name of a container.
pub(crate) fn core_id(id: &RealId) -> Option<ContainerId> {
    let container = ContainerId::new(id.as_str());
    if let Err(refusal) = &container {
        tracing::warn!(%id, %refusal, "a container has a name that is none of ours");
    }
    container.ok()
}

/// An exit in the core's words.
pub(crate) async fn core_exit(
    id: &RealId,
    exit: &ContainerExit,
    shared: &Shared,
) -> core::ContainerExit {
    let usage = shared.containerizer.usage(id).await.ok();
    let ran_for = match (exit.started_at, exit.exited_at) {
        (Some(from), Some(to)) => DurationMs(to.0.saturating_sub(from.0) / 1_000_000),
        (None, _) | (_, None) => DurationMs(0),
    };
    let succeeded = exit.outcome == Outcome::Code(0);
    let stderr_tail =
        if succeeded { String::new() } else { last_words(id, &shared.work_dir).await };
    core::ContainerExit {
        outcome: outcome_of(&exit.outcome),
        cause: match exit.cause {
            StopCause::Itself => core::StopCause::Itself,
            StopCause::KillRequested => core::StopCause::KillRequested,
            StopCause::GrantExpired => core::StopCause::GrantExpired,
        },
        forced: exit.forced,
        out_of_memory: exit.oom_killed,
        memory_peak: usage.and_then(|usage| usage.memory_peak_bytes).map(Bytes),
        ran_for,
        stderr_tail,
    }
}

fn outcome_of(outcome: &Outcome) -> core::Outcome {
    match outcome {
        Outcome::Code(code) => core::Outcome::Code(*code),
        Outcome::Signal(signal) => core::Outcome::Signal(*signal),
        Outcome::LaunchFailed { step, errno } => core::Outcome::LaunchFailed {
            step: step.clone(),
            errno: *errno,
            message: errno_text(*errno),
        },
        Outcome::NeverStarted => core::Outcome::NeverStarted,
        Outcome::SupervisorLost => core::Outcome::SupervisorLost,
    }
}

fn errno_text(errno: i32) -> String {
    if errno == 0 { String::new() } else { nix::errno::Errno::from_raw(errno).desc().to_owned() }
}

/// The end of what it wrote to standard error, or to standard output if there is nothing.
async fn last_words(id: &RealId, work_dir: &WorkDir) -> String {
    let sandbox = work_dir.sandboxes().join(id.as_str());
    let read = move || {
        let end_of = |name: &str| -> std::io::Result<String> {
            let mut file = Directory::open(&sandbox)?.file(name)?;
            tail(&mut file, TAIL_LINES_MAX, TAIL_BYTES_MAX)
        };
        let words = end_of("stderr").unwrap_or_default();
        if words.is_empty() { end_of("stdout").unwrap_or_default() } else { words }
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// Why a container could not be prepared.
pub(crate) fn core_failure(error: &ContainerError) -> core::PrepareFailure {
    match error {
        ContainerError::InvalidSpec { .. } | ContainerError::CannotEnforce { .. } => {
            core::PrepareFailure::Refused { message: error.to_string() }
        }
        ContainerError::LaunchFailed { id: _, step, errno } => core::PrepareFailure::Failed {
            step: step.clone(),
            errno: *errno,
            message: errno_text(*errno),
        },
        ContainerError::Io { action, path, source } => core::PrepareFailure::Failed {
            step: format!("{action} {}", path.display()),
            errno: source.raw_os_error().unwrap_or(0),
            message: source.to_string(),
        },
        ContainerError::Exists { .. }
        | ContainerError::Unknown { .. }
        | ContainerError::WrongState { .. }
        | ContainerError::Supervisor { .. }
        | ContainerError::Cgroup { .. } => core::PrepareFailure::Failed {
            step: "prepare".to_owned(),
            errno: 0,
            message: error.to_string(),
        },
    }
}
