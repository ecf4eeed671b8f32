//! Watches: the change list as a stream of frames, resumable by cursor (K17). A reader has no queue of
//! its own: it reads the published history, and one that falls behind it gets a reset and a snapshot
//! in the same stream.

use super::reads::Reads;
use crate::view::ViewReader;
use futures_util::Stream;
use proffer_proto::pb;
use proffer_types::operator::Change;
use proffer_types::{Cursor, Refusal, RefusalCode};
use prost::Message;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Changes in one frame: some hundred kilobytes.
const FRAME_CHANGES_MAX: usize = 500;
/// Bytes from which on a frame is closed; readers take four times as many.
const FRAME_BYTES: usize = 1 << 20;
/// Frames between the watch and the transport.
const TRANSPORT_FRAMES: usize = 4;

const KINDS: [&str; 8] = ["agent", "framework", "demand", "task", "offer", "role", "hold", "event"];

/// Frames for gRPC.
pub(crate) type FrameStream = Pin<Box<dyn Stream<Item = Result<pb::WatchFrame, Status>> + Send>>;

/// Starts a watch.
pub(crate) async fn frames(reads: &Reads, ask: &pb::WatchRequest) -> Result<FrameStream, Refusal> {
    let kinds = Kinds::new(&ask.kinds)?;
    // A cursor that does not read is an unknown one: it gets a reset, never an error.
    let cursor = ask.cursor.parse().ok();
    reads.view(None).await?;
    let (sender, receiver) = mpsc::channel(TRANSPORT_FRAMES);
    tokio::spawn(follow(reads.view.clone(), cursor, kinds, sender));
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

struct Kinds(BTreeSet<&'static str>);

impl Kinds {
    fn new(asked: &[String]) -> Result<Self, Refusal> {
        let mut kinds = BTreeSet::new();
        for name in asked {
            let known = KINDS.iter().find(|kind| *kind == name).ok_or_else(|| {
                let message =
                    format!("{:?} is no kind of change", proffer_types::refusal::excerpt(name));
                Refusal::new(RefusalCode::InvalidArgument, "kinds", message)
                    .hint(format!("one of {}", KINDS.join(", ")))
            })?;
            kinds.insert(*known);
        }
        Ok(Self(kinds))
    }

    fn want(&self, change: &Change) -> bool {
        let kind = match change {
            Change::Agent(_) | Change::AgentRemoved(_) => "agent",
            Change::Framework(_) | Change::FrameworkRemoved(_) => "framework",
            Change::Demand(_) | Change::DemandRemoved(_) => "demand",
            Change::Task(_) | Change::TaskRemoved(_) => "task",
            Change::Offer(_) | Change::OfferRemoved(_) => "offer",
            Change::Role(_) => "role",
            Change::Hold(_) | Change::HoldRemoved(_) => "hold",
            Change::Event(_) => "event",
        };
        self.0.is_empty() || self.0.contains(kind)
    }
}

type Sender = mpsc::Sender<Result<pb::WatchFrame, Status>>;

async fn follow(view: ViewReader, mut cursor: Option<Cursor>, kinds: Kinds, sender: Sender) {
    let mut moved = view.watch();
    loop {
        moved.mark_unchanged();
        let now = view.load();
        let since = cursor.and_then(|cursor| now.changes_since(cursor, FRAME_CHANGES_MAX));
        let behind = match since {
            Some((changes, end)) => {
                if !changes.is_empty()
                    && send(cursor, end, &changes, &kinds, &sender).await.is_err()
                {
                    return;
                }
                cursor = Some(end);
                end != now.cursor
            }
            None => {
                if snapshot(&now, &kinds, &sender).await.is_err() {
                    return;
                }
                cursor = Some(now.cursor);
                false
            }
        };
        drop(now);
        if !behind {
            tokio::select! {
                changed = moved.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    }
}

/// Changes that are to be one frame: few enough for its reader, and not too heavy (I15).
#[derive(Default)]
struct Frame {
    changes: Vec<pb::Change>,
    bytes: usize,
}

impl Frame {
    fn add(&mut self, change: &Change) {
        let change = pb::Change::from(change);
        self.bytes += change.encoded_len();
        self.changes.push(change);
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= FRAME_CHANGES_MAX || self.bytes >= FRAME_BYTES
    }

    async fn leave(&mut self, cursor: String, reset: bool, sender: &Sender) -> Result<(), ()> {
        let Self { changes, .. } = std::mem::take(self);
        sender.send(Ok(pb::WatchFrame { cursor, reset, changes })).await.map_err(drop)
    }
}

async fn send(
    from: Option<Cursor>,
    end: Cursor,
    changes: &[Arc<Change>],
    kinds: &Kinds,
    sender: &Sender,
) -> Result<(), ()> {
    let mut frame = Frame::default();
    let mut at = from.unwrap_or_default();
    for change in changes {
        at.change += 1;
        if kinds.want(change) {
            frame.add(change);
        }
        if frame.is_full() && at != end {
            frame.leave(at.to_string(), false, sender).await?;
        }
    }
    frame.leave(end.to_string(), false, sender).await
}

async fn snapshot(view: &crate::view::View, kinds: &Kinds, sender: &Sender) -> Result<(), ()> {
    let mut frame = Frame::default();
    let mut reset = true;
    for change in view.as_changes().filter(|change| kinds.want(change)) {
        frame.add(&change);
        if frame.is_full() {
            frame.leave(String::new(), reset, sender).await?;
            reset = false;
        }
    }
    frame.leave(view.cursor.to_string(), reset, sender).await
}
