//! One connection to one master: frames out, frames in, until it ends. Decides nothing.

use futures_util::StreamExt;
use proffer_net::Endpoint;
use proffer_net::client::Address;
use proffer_proto::convert::bounds::FRAME_BYTES_MAX;
use proffer_proto::pb;
use proffer_proto::pb::scheduler_service_client::SchedulerServiceClient;
use proffer_proto::status::from_status;
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use proffer_types::{Refusal, RefusalCode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Frames that wait for the network. When full, the driver is not asked for more, so that demand
/// and acknowledgements are put together meanwhile (K15).
const FRAMES_OUT_MAX: usize = 16;

/// What a connection reports.
pub(crate) enum Report {
    /// A frame arrived.
    Frame(Box<SchedulerDown>),
    /// The master refused the stream in words.
    Rejected(Refusal),
    /// It has ended.
    Ended(String),
}

/// The sending side; dropping it ends the connection.
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) frames: mpsc::Sender<pb::SchedulerUp>,
    end: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Begins a connection in a task of its own. It reports to `reports` until it ends or the returned
/// value is dropped.
pub(crate) fn open(
    number: u64,
    endpoint: &Endpoint,
    address: Address,
    reports: mpsc::Sender<(u64, Report)>,
) -> Connection {
    let (frames, out) = mpsc::channel(FRAMES_OUT_MAX);
    let end = CancellationToken::new();
    let endpoint = endpoint.clone().with_addresses(vec![address]);
    let ended = end.clone();
    tokio::spawn(async move {
        let last = tokio::select! {
            last = converse(number, &endpoint, out, &reports) => last,
            () = ended.cancelled() => return,
        };
        // The loop may be gone; then nobody wants to know.
        let _ = reports.send((number, last)).await;
    });
    Connection { number, frames, end }
}

async fn converse(
    number: u64,
    endpoint: &Endpoint,
    out: mpsc::Receiver<pb::SchedulerUp>,
    reports: &mpsc::Sender<(u64, Report)>,
) -> Report {
    let mut client = SchedulerServiceClient::new(proffer_net::client::channel(endpoint))
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let mut stream = match client.connect(ReceiverStream::new(out)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return end_of(&status),
    };
    loop {
        match stream.next().await {
            None => return Report::Ended("the master ended the stream".to_owned()),
            Some(Err(status)) => return end_of(&status),
            Some(Ok(frame)) => match SchedulerDown::try_from(frame) {
                Err(refusal) => return Report::Ended(format!("unreadable frame: {refusal}")),
                Ok(frame) => {
                    if reports.send((number, Report::Frame(Box::new(frame)))).await.is_err() {
                        return Report::Ended("stopped".to_owned());
                    }
                }
            },
        }
    }
}

/// A connection that breaks shows as `Unavailable`, or as `Unknown` with "h2 protocol error".
fn end_of(status: &tonic::Status) -> Report {
    let refusal = from_status(status);
    if matches!(refusal.code, RefusalCode::Unavailable | RefusalCode::Other) {
        return Report::Ended(refusal.to_string());
    }
    Report::Rejected(refusal)
}

/// A frame as it is sent.
pub(crate) fn encode(frame: &SchedulerUp) -> pb::SchedulerUp {
    pb::SchedulerUp::from(frame)
}
