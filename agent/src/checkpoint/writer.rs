//! Owns the one thread that writes. Writes that wait while the disk works are committed together.

use super::{CheckpointError, CheckpointStore};
use proffer_agent_core::checkpoint::Write;
use proffer_agent_core::command::WriteId;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Writes that may wait for the disk; when full, the agent's loop waits, too: it can promise
/// nothing anyway.
const QUEUE_SIZE: usize = 1024;
/// Writes in one commit: bounds the time until the first of them is answered.
const GROUP_MAX: usize = 256;

/// How far the disk is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The last durable write.
    pub through: WriteId,
    /// Set when a write failed; nothing follows.
    pub failed: Option<Arc<CheckpointError>>,
}

/// Hands writes to the thread. Dropping it ends the thread and closes the file.
pub struct CheckpointWriter {
    queue: mpsc::Sender<(WriteId, Vec<Write>)>,
    progress: watch::Receiver<Progress>,
}

impl CheckpointWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(store: CheckpointStore) -> std::io::Result<Self> {
        let (queue, mut waiting) = mpsc::channel(QUEUE_SIZE);
        let (told, progress) = watch::channel(Progress::default());
        std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            while let Some(group) = next_group(&mut waiting) {
                let through = group.last().map_or(0, |(op, _)| *op);
                let result = store.commit(group.iter().flat_map(|(_, writes)| writes));
                let failed = result.err().map(Arc::new);
                let ended = failed.is_some();
                told.send_modify(|progress| match failed {
                    Some(error) => progress.failed = Some(error),
                    None => progress.through = through,
                });
                if ended {
                    return;
                }
            }
        })?;
        Ok(Self { queue, progress })
    }

    /// Adds a write behind all others. Waits when the disk is far behind.
    pub async fn submit(&self, op: WriteId, writes: Vec<Write>) {
        // An ended thread has told why, and that ends the agent.
        let _ = self.queue.send((op, writes)).await;
    }

    /// Where to learn how far the disk is.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

type Group = Vec<(WriteId, Vec<Write>)>;

fn next_group(waiting: &mut mpsc::Receiver<(WriteId, Vec<Write>)>) -> Option<Group> {
    let mut group = vec![waiting.blocking_recv()?];
    while group.len() < GROUP_MAX {
        match waiting.try_recv() {
            Ok(next) => group.push(next),
            Err(_) => break,
        }
    }
    Some(group)
}
