//! A link to a server that can be told to swallow the next answer and then break.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct LossyLink {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// How many answers are still to be swallowed, each with its connection.
    to_swallow: AtomicU64,
    swallowed: AtomicU64,
}

impl LossyLink {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, state, accepting }
    }

    /// The next answer on any connection is lost, and the connection with it.
    pub(crate) fn lose_next_answer(&self) {
        self.state.to_swallow.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.state.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for LossyLink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from_server.read(&mut buffer).await?;
            // Pings and window updates are not answers to calls: they are short.
            let swallow = |left: u64| left.checked_sub(1);
            let state_of = &state.to_swallow;
            let is_answer = count > 40;
            if is_answer
                && state_of.fetch_update(Ordering::SeqCst, Ordering::SeqCst, swallow).is_ok()
            {
                state.swallowed.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            if count == 0 {
                return Ok::<(), std::io::Error>(());
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    // Whatever ends first ends the connection.
    tokio::select! {
        _ = requests => {}
        _ = answers => {}
    }
}
