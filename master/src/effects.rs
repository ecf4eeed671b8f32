//! Carries out what the core decided, in order: writes to the store, frames to peers, answers to
//! operators, changes to the view. Never waits; what takes time comes back as a command.

use crate::connections::Connections;
use crate::inbox::Inbox;
use crate::registry_reader::read_state;
use crate::replies::Replies;
use crate::store::leader::Commits;
use crate::store::{OperationId as StoreOperation, Store};
use crate::view::{TurnChanges, ViewWriter};
use proffer_master_core::registry::RegistryChange;
use proffer_master_core::{Command, Effect, OperationId, WriteLane, WriteResult};
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
        let submitted =
            self.commits.submit(StoreOperation(operation.0), lane.into(), changes.into());
        match submitted {
            Ok(()) => After::Continue,
            Err(error) => After::Tell(Command::RegistryWritten {
                operation,
                result: WriteResult::Failed { reason: error.to_string() },
            }),
        }
    }
}
