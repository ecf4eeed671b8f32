//! Carries out what the core decided, in order: writes to the store, frames to peers, answers to
//! operators, changes to the view. Never waits; what takes time comes back as a command.

use crate::connections::Connections;
use crate::inbox::Inbox;
use crate::metrics::LoopMetrics;
use crate::registry_reader::read_state;
use crate::replies::Replies;
use crate::store::leader::Commits;
use crate::store::{OperationId as StoreOperation, Store};
use crate::view::{TurnChanges, ViewWriter};
use proffer_master_core::registry::RegistryChange;
use proffer_master_core::{Command, Effect, OperationId, WriteLane, WriteResult};
use proffer_types::operator::Change;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Everything that effects reach.
pub(crate) struct Performer {
    pub(crate) runtime: Handle,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commits: Commits,
    pub(crate) connections: Arc<Connections>,
    pub(crate) replies: Arc<Replies>,
    pub(crate) view: Arc<ViewWriter>,
    pub(crate) inbox: Inbox,
    pub(crate) metrics: LoopMetrics,
}

/// What the loop has to do itself after an effect.
pub(crate) enum After {
    /// Nothing.
    Continue,
    /// The store does not take a write: tell the core.
    Tell(Command),
    /// The term is over.
    Stop(String),
}

impl Performer {
    pub(crate) fn perform(&self, effect: Effect) -> After {
        match effect {
            Effect::Persist { operation, lane, changes } => {
                return self.persist(operation, lane, changes);
            }
            Effect::ReadState { operation, framework, list } => {
                let (store, inbox) = (Arc::clone(&self.store), self.inbox.clone());
                // At most `STATE_OPERATIONS_MAX` a framework are under way: the core counts them.
                self.runtime.spawn(async move {
                    let result = read_state(&store, framework, &list).await;
                    drop(inbox.send_inside(Command::StateRead { operation, result }).await);
                });
            }
            Effect::SendAgent { connection, frame } => {
                self.connections.send_agent(connection, frame);
            }
            Effect::SendFramework { connection, frame } => {
                self.connections.send_framework(connection, frame);
            }
            Effect::Reply { reply_to, answer, at } => self.replies.answer(reply_to, answer, at),
            Effect::Close { connection, refusal } => self.connections.close(connection, refusal),
            Effect::Publish { first, changes, deltas } => {
                changes.iter().for_each(log_contradiction);
                self.view.publish(TurnChanges { first, changes, deltas });
            }
            Effect::Stop { reason } => return After::Stop(reason),
        }
        After::Continue
    }

    fn persist(
        &self,
        operation: OperationId,
        lane: WriteLane,
        changes: Vec<RegistryChange>,
    ) -> After {
        self.metrics.submitted(operation.0);
        let submitted =
            self.commits.submit(StoreOperation(operation.0), lane.into(), changes.into());
        match submitted {
            Ok(()) => After::Continue,
            Err(error) => {
                self.metrics.completed(operation.0);
                let result = WriteResult::Failed { reason: error.to_string() };
                After::Tell(Command::RegistryWritten { operation, result })
            }
        }
    }
}

/// What the core's own checks have found is a bug of ours: it stands in the log of the process too (K23).
fn log_contradiction(change: &Change) {
    if let Change::Event(row) = change
        && ["agent_frozen", "drift"].contains(&row.kind.as_str())
    {
        tracing::error!(kind = row.kind, subject = row.subject, "{}", row.message);
    }
}
