//! Asks a container once, as a check wants it: HTTP or TCP over the loopback address, or a command
//! inside. Always answers, at the latest at the timeout.

use crate::containerizer::{ContainerId as RealId, Containerizer, ExecExit, ExecRequest};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use proffer_agent_core::Command;
use proffer_agent_core::container::ProbeRequest;
use proffer_types::ids::ContainerId;
use proffer_types::units::DurationMs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Probes at a time. One check has one in flight; above this they wait for each other, which only
/// makes them later.
const PROBES_MAX: usize = 128;
/// Output kept of a command: a line to show.
const OUTPUT_BYTES_MAX: u32 = 512;

/// One question.
pub(crate) struct Question {
    pub(crate) container: ContainerId,
    pub(crate) check: u32,
    pub(crate) probe: u64,
    pub(crate) request: ProbeRequest,
    pub(crate) timeout: DurationMs,
}

/// Runs probes beside the loop.
pub(crate) struct Prober {
    containerizer: Arc<dyn Containerizer>,
    commands: mpsc::Sender<Command>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Prober {
    pub(crate) fn new(
        containerizer: Arc<dyn Containerizer>,
        commands: mpsc::Sender<Command>,
        stop: CancellationToken,
    ) -> Self {
        Self { containerizer, commands, slots: Arc::new(Semaphore::new(PROBES_MAX)), stop }
    }

    /// Begins a probe.
    pub(crate) fn ask(&self, question: Question) {
        let containerizer = Arc::clone(&self.containerizer);
        let (commands, slots) = (self.commands.clone(), Arc::clone(&self.slots));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let work = async {
                let _slot = slots.acquire().await;
                let answer = answer(&question, containerizer.as_ref()).await;
                let (passed, detail) = match answer {
                    Ok(detail) => (true, detail),
                    Err(detail) => (false, detail),
                };
                let Question { container, check, probe, .. } = question;
                let result = Command::ProbeResult { container, check, probe, passed, detail };
                // The loop ends before its probes do.
                let _ = commands.send(result).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// What was seen: `Ok` when it passes. Who reads why it does not also wants to know what was asked.
async fn answer(question: &Question, containerizer: &dyn Containerizer) -> Result<String, String> {
    let seen = look(question, containerizer).await;
    seen.map_err(|seen| match &question.request {
        ProbeRequest::Tcp { port } => format!("tcp 127.0.0.1:{port}: {seen}"),
        ProbeRequest::Http { port, path, .. } => {
            format!("GET http://127.0.0.1:{port}{path}: {seen}")
        }
        ProbeRequest::Command { command } => format!("`{}`: {seen}", command.join(" ")),
    })
}

async fn look(question: &Question, containerizer: &dyn Containerizer) -> Result<String, String> {
    let timeout = Duration::from_millis(question.timeout.0);
    let asked = async {
        match &question.request {
            ProbeRequest::Tcp { port } => connect(*port).await.map(|_| "connected".to_owned()),
            ProbeRequest::Http { port, path, status } => http(*port, path, status).await,
            ProbeRequest::Command { command } => {
                exec(&question.container, command, timeout, containerizer).await
            }
        }
    };
    // A command is ended by its own timeout, and the supervisor says so; this is for the rest.
    let patience = match question.request {
        ProbeRequest::Command { .. } => timeout + Duration::from_secs(5),
        ProbeRequest::Http { .. } | ProbeRequest::Tcp { .. } => timeout,
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}", question.timeout)),
    }
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| error.to_string())
}

async fn http(port: u16, path: &str, status: &[u16]) -> Result<String, String> {
    let stream = TokioIo::new(connect(port).await?);
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(said)?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, format!("127.0.0.1:{port}"))
        .header(hyper::header::USER_AGENT, "proffer-check")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    // It ends with `sender`, at the latest when this probe is given up.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(said)?;
    let code = response.status().as_u16();
    let passes =
        if status.is_empty() { (200..400).contains(&code) } else { status.contains(&code) };
    if passes { Ok(format!("status {code}")) } else { Err(format!("status {code}")) }
}

async fn exec(
    container: &ContainerId,
    command: &[String],
    timeout: Duration,
    containerizer: &dyn Containerizer,
) -> Result<String, String> {
    let id = RealId::new(container.as_str()).map_err(|error| error.to_string())?;
    let request = ExecRequest {
        argv: command.to_vec(),
        env: Vec::new(),
        timeout,
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let output = containerizer.exec(&id, request).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.output);
    let said = text.trim();
    let with = |what: String| if said.is_empty() { what } else { format!("{what}: {said}") };
    match output.exit {
        ExecExit::Code(0) => Ok("exit code 0".to_owned()),
        ExecExit::Code(code) => Err(with(format!("exit code {code}"))),
        ExecExit::Signal(signal) => Err(with(format!("ended by signal {signal}"))),
        ExecExit::TimedOut => Err(with("it did not end in time".to_owned())),
        ExecExit::LaunchFailed { step, errno } => Err(format!("{step} (errno {errno})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerizer::fake::FakeContainerizer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn ask(request: ProbeRequest) -> Result<String, String> {
        let (containerizer, _events) = FakeContainerizer::new();
        let container = ContainerId::new("f1-1-1").unwrap();
        let timeout = DurationMs(2000);
        let question = Question { container, check: 0, probe: 1, request, timeout };
        answer(&question, &containerizer).await
    }

    async fn serve(listener: TcpListener, text: &'static str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let count = stream.read(&mut request).await.unwrap();
        assert!(request[..count].starts_with(b"GET /ready HTTP/1.1\r\n"));
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn http_goes_by_the_status_and_tcp_by_the_connection() {
        let cases = [
            ("HTTP/1.1 204 No Content\r\n\r\n", vec![], Ok("status 204")),
            ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", vec![], Err("/ready: status 503")),
            ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", vec![503], Ok("status 503")),
        ];
        for (text, status, expected) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(serve(listener, text));
            let path = "/ready".to_owned();
            let seen = ask(ProbeRequest::Http { port, path, status }).await;
            match expected {
                Ok(expected) => assert_eq!(seen.as_deref(), Ok(expected)),
                Err(end) => assert!(seen.as_ref().is_err_and(|it| it.ends_with(end)), "{seen:?}"),
            }
            server.await.unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(ask(ProbeRequest::Tcp { port }).await.is_ok());
        drop(listener);
        assert!(ask(ProbeRequest::Tcp { port }).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_closes_or_talks_nonsense_fails_and_does_not_hang() {
        for text in ["", "nonsense\r\n\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(serve(listener, text));
            let path = "/ready".to_owned();
            assert!(ask(ProbeRequest::Http { port, path, status: vec![] }).await.is_err());
            server.await.unwrap();
        }
    }
}
