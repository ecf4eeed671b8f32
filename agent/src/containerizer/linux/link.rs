//! Owns the conversation with one supervisor: requests matched with answers, statuses passed on.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_supervisor::frame;
use proffer_supervisor::wire::{Body, Frame, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Requests waiting for the link's task. When full, the asker waits.
const REQUESTS_WAITING_MAX: usize = 16;

/// Statuses waiting for whoever watches. A supervisor announces at most four in its life.
const STATUSES_WAITING_MAX: usize = 16;

/// A supervisor does nothing that takes long; one that does not answer for this is not well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

struct Request {
    body: Body,
    answer: oneshot::Sender<Body>,
}

/// One connection to a supervisor. Dropping it does not close it; the token does.
#[derive(Clone)]
pub(super) struct Link {
    requests: mpsc::Sender<Request>,
}

impl Link {
    /// Starts to serve a connection. The statuses nobody asked for come out of the receiver, which
    /// ends with the connection.
    pub(super) fn start(
        stream: UnixStream,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<Status>) {
        let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (statuses, out) = mpsc::channel(STATUSES_WAITING_MAX);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(stream, waiting, statuses) => {}
            }
        });
        (Self { requests }, out)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When the connection ended or nothing came.
    pub(super) async fn ask(&self, body: Body) -> Result<Body, NoAnswer> {
        self.ask_for(body, ANSWER_TIMEOUT).await
    }

    /// The same with another patience.
    pub(super) async fn ask_for(&self, body: Body, patience: Duration) -> Result<Body, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let conversation = async {
            let request = Request { body, answer };
            self.requests.send(request).await.map_err(|_| NoAnswer::Ended)?;
            answered.await.map_err(|_| NoAnswer::Ended)
        };
        let answer = tokio::time::timeout(patience, conversation).await;
        answer.unwrap_or(Err(NoAnswer::TimedOut(patience)))
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The supervisor has ended, or this process gave the container up.
    #[error("the connection to it ended")]
    Ended,
    /// It holds the connection and says nothing.
    #[error("it did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

async fn serve(
    stream: UnixStream,
    mut requests: mpsc::Receiver<Request>,
    statuses: mpsc::Sender<Status>,
) {
    let (reader, mut writer) = stream.into_split();
    let (frames_in, mut frames) = mpsc::channel(STATUSES_WAITING_MAX);
    let read = read_frames(reader, frames_in);
    let converse = async {
        let mut waiting: BTreeMap<u64, oneshot::Sender<Body>> = BTreeMap::new();
        let mut next_id = 1_u64;
        let mut bytes = Vec::new();
        let mut asking = true;
        loop {
            tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => deliver(frame, &mut waiting, &statuses),
                    None => return,
                },
                request = requests.recv(), if asking => match request {
                    Some(request) => {
                        bytes.clear();
                        frame::encode(next_id, request.body, &mut bytes);
                        waiting.insert(next_id, request.answer);
                        next_id += 1;
                        if writer.write_all(&bytes).await.is_err() {
                            // The reader sees the end too, and may still hold last words.
                            waiting.clear();
                            asking = false;
                        }
                    }
                    // Nobody asks any more, but somebody may still watch.
                    None => asking = false,
                },
            }
        }
    };
    tokio::join!(read, converse);
}

/// On its own, so that a cancelled select never loses half a frame.
async fn read_frames(mut reader: OwnedReadHalf, frames: mpsc::Sender<Frame>) {
    let mut buffer = Vec::new();
    loop {
        match frame::take(&mut buffer) {
            Ok(Some(frame)) => {
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
            Ok(None) => match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Err(error) => {
                tracing::warn!(%error, "a supervisor is not understood, the connection ends");
                return;
            }
        }
    }
}

fn deliver(
    frame: Frame,
    waiting: &mut BTreeMap<u64, oneshot::Sender<Body>>,
    statuses: &mpsc::Sender<Status>,
) {
    let Some(body) = frame.body else { return };
    if frame.request_id != 0 {
        if let Some(answer) = waiting.remove(&frame.request_id) {
            // Whoever asked may have given up.
            let _ = answer.send(body);
        }
    } else if let Body::Status(status) = body {
        // Never waits: a full queue means that nobody watches any more.
        let _ = statuses.try_send(status);
    }
}
