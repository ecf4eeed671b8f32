//! An open-loop load client for rollouts. Requests leave at times fixed beforehand, however slow the
//! answers are; latency counts from the intended time; nothing is ever sent twice. It knows where to
//! go from the watched endpoints alone, as a client of a service would.

use crate::wire::Api;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// What is asked for and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// Requests a second.
    pub rate: u32,
    /// Every so many-th request asks for an answer that takes a second; 0: none does.
    pub slow_every: u64,
    /// Longest wait for one answer.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Requests sent.
    pub sent: u64,
    /// Answered with 200 and the whole body.
    pub answered: u64,
    /// The rest, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Answers by the revision that gave them.
    pub by_revision: BTreeMap<String, u64>,
    /// Requests on connections that had carried one before.
    pub on_kept: u64,
    /// From intended time to the end of the answer, ascending; requests for slow answers left out.
    pub latencies: Vec<Duration>,
}

impl Report {
    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The latency that `part` of a hundred requests stayed below.
    #[must_use]
    pub fn percentile(&self, part: usize) -> Duration {
        let at = (self.latencies.len() * part / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

/// A running load.
pub struct Load {
    stop: oneshot::Sender<()>,
    runner: std::thread::JoinHandle<Report>,
}

struct Shared {
    plan: Plan,
    endpoints: Mutex<Vec<SocketAddr>>,
    idle: Mutex<BTreeMap<SocketAddr, Vec<TcpStream>>>,
    report: Mutex<Report>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Begins as soon as there is an endpoint.
    ///
    /// # Panics
    /// Without threads.
    #[must_use]
    pub fn start(api: Api, plan: Plan) -> Self {
        let (stop, stopped) = oneshot::channel();
        let runner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(run(api, plan, stopped))
        });
        Self { stop, runner }
    }

    /// Sends no more, waits for what is open, and reports.
    ///
    /// # Panics
    /// When the client itself failed.
    #[must_use]
    pub fn end(self) -> Report {
        // A client that has ended by itself is reported by its join.
        let _ = self.stop.send(());
        self.runner.join().expect("the load client runs to its end")
    }
}

async fn run(api: Api, plan: Plan, mut stopped: oneshot::Receiver<()>) -> Report {
    let shared = Arc::new(Shared {
        plan,
        endpoints: Mutex::default(),
        idle: Mutex::default(),
        report: Mutex::default(),
    });
    let watcher = tokio::spawn(watch(api, Arc::clone(&shared)));
    while locked(&shared.endpoints).is_empty() && stopped.try_recv().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begin = Instant::now();
    let gap = Duration::from_secs(1) / shared.plan.rate;
    let mut requests = JoinSet::new();
    for number in 0_u64.. {
        let intended = begin + gap * u32::try_from(number).unwrap_or(u32::MAX);
        tokio::select! {
            () = sleep_until(intended) => {}
            _ = &mut stopped => break,
        }
        requests.spawn(request(Arc::clone(&shared), number, intended));
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    watcher.abort();
    let mut report = locked(&shared.report).clone();
    report.latencies.sort_unstable();
    report
}

async fn request(shared: Arc<Shared>, number: u64, intended: Instant) {
    let slow = shared.plan.slow_every > 0 && number.is_multiple_of(shared.plan.slow_every);
    // Pairs of fresh and kept, so that both kinds meet every endpoint and the slow path.
    let keep = (number / 2) % 2 == 1;
    let patience = shared.plan.patience;
    let outcome = match timeout(patience, carry(&shared, number, slow, keep)).await {
        Ok(outcome) => outcome,
        Err(_) => Err("no answer in time".to_owned()),
    };
    let mut report = locked(&shared.report);
    report.sent += 1;
    match outcome {
        Ok(revision) => {
            report.answered += 1;
            *report.by_revision.entry(revision).or_default() += 1;
            if !slow {
                report.latencies.push(intended.elapsed());
            }
        }
        Err(kind) => *report.failures.entry(kind).or_default() += 1,
    }
}

async fn carry(shared: &Shared, number: u64, slow: bool, keep: bool) -> Result<String, String> {
    let address = {
        let endpoints = locked(&shared.endpoints);
        let count = u64::try_from(endpoints.len()).unwrap_or(u64::MAX);
        let at = number.checked_rem(count).ok_or("no endpoint")?;
        endpoints[usize::try_from(at).unwrap_or(0)]
    };
    let kept = if keep { take_idle(shared, address) } else { None };
    let (mut stream, what) = match kept {
        Some(stream) => {
            locked(&shared.report).on_kept += 1;
            (stream, "kept")
        }
        None => {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| format!("connect: {}", error.kind()))?;
            // Without it a request would wait for the acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            (stream, "fresh")
        }
    };
    let path = if slow { "/slow/1" } else { "/" };
    let connection = if keep { "keep-alive" } else { "close" };
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\n\r\n");
    let failed = |step: &str, error: &std::io::Error| format!("{what}: {step}: {}", error.kind());
    stream.write_all(head.as_bytes()).await.map_err(|error| failed("send", &error))?;
    let (head, body) = read_answer(&mut stream).await.map_err(|error| failed("receive", &error))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("{what}: status {status}"));
    }
    if keep && !head.to_ascii_lowercase().contains("connection: close") {
        locked(&shared.idle).entry(address).or_default().push(stream);
    }
    // "hello from slot 0 r1: …"
    let revision = body.split_whitespace().nth(4).unwrap_or("?").trim_end_matches(':');
    Ok(revision.to_owned())
}

/// An idle connection. One that the server has closed in good order is no longer one.
fn take_idle(shared: &Shared, address: SocketAddr) -> Option<TcpStream> {
    let mut idle = locked(&shared.idle);
    let streams = idle.get_mut(&address)?;
    while let Some(stream) = streams.pop() {
        let mut byte = [0];
        match stream.try_read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(stream),
            Ok(_) | Err(_) => {}
        }
    }
    None
}

async fn read_answer(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let cut = |why| std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why);
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
            });
            let length: usize = length.ok_or_else(|| cut("no length"))?;
            if bytes.len() >= end + 4 + length {
                let body = &bytes[end + 4..end + 4 + length];
                return Ok((head, String::from_utf8_lossy(body).into_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(cut("closed before its end"));
        }
    }
}

/// Keeps the endpoints as the service framework publishes them. A broken watch is begun anew; what
/// was known stays meanwhile.
async fn watch(api: Api, shared: Arc<Shared>) {
    loop {
        // The reason is in the program's own log; the next try follows.
        let _ = watch_once(&api, &shared).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn watch_once(api: &Api, shared: &Shared) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(api.address).await?;
    let head = format!(
        "GET /v1/services/{}/endpoints?watch=1 HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        shared.plan.service, api.address, api.token
    );
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.strip_prefix("data:") else { continue };
            let Ok(view) = serde_json::from_str::<Value>(data.trim()) else { continue };
            publish(shared, &view);
        }
    }
}

fn publish(shared: &Shared, view: &Value) {
    let Some(rows) = view["endpoints"].as_array() else { return };
    let address = |row: &Value| {
        format!("{}:{}", row["address"].as_str()?, row["port"]).parse::<SocketAddr>().ok()
    };
    let endpoints: Vec<SocketAddr> = rows.iter().filter_map(address).collect();
    locked(&shared.idle).retain(|address, _| endpoints.contains(address));
    *locked(&shared.endpoints) = endpoints;
}
