//! Calls to the master, and how their failures end the program.

use crate::args::Global;
use crate::exit::{ExitCode, Failure};
use crate::token;
use futures_util::{Stream, StreamExt};
use hyper::Method;
use proffer_net::tls::ClientTlsFiles;
use proffer_net::{ClientError, Endpoint, HttpClient};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const STALE_NOTE: &str =
    "note: the master cannot reach its store right now; what it tells may be out of date";

/// A way to the masters that the flags name.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
    /// Whose services are meant.
    framework: Option<String>,
    told: Arc<AtomicBool>,
}

/// Where to call, with which proof.
pub(crate) fn endpoint(global: &Global) -> Result<Endpoint, Failure> {
    let tls = global
        .tls_ca
        .as_ref()
        .map(|ca| ClientTlsFiles { ca: ca.clone(), identity: global.identity() });
    Endpoint::parse(&global.masters.join(","))
        .map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))?
        .with_proof(token::shown(global)?)
        .with_tls(tls.as_ref())
        .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))
}

impl Client {
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let framework = global.framework.clone();
        Ok(Self { framework, ..Self::of(&endpoint(global)?) })
    }

    /// A client for one address and token, as `dev` has them.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self { http: HttpClient::new(endpoint), framework: None, told: Arc::default() }
    }

    /// The service framework that `--framework` names.
    pub(crate) fn framework(&self) -> Option<&str> {
        self.framework.as_deref()
    }

    /// The path with the framework whose services are meant.
    fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match &self.framework {
            Some(name) if path.starts_with("/v1/services") => {
                let name = crate::percent::encode(name);
                let separator = if path.contains('?') { '&' } else { '?' };
                format!("{path}{separator}framework={name}").into()
            }
            Some(_) | None => path.into(),
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.told(self.http.get(&self.path(path)).await)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        self.call(Method::PUT, path, body).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        self.call(Method::PATCH, path, body).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::DELETE, path, Vec::new()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        self.told(self.http.bytes(method, &self.path(path), body).await)
    }

    /// A body as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Chunks, Failure> {
        let stream = self.told(self.http.stream(&self.path(path)).await)?;
        Ok(Chunks(Box::pin(stream.map(|chunk| chunk.map(|bytes| bytes.to_vec())))))
    }

    /// Says once for each time that the leader loses touch that its answers may be old.
    fn told<T>(&self, answer: Result<T, ClientError>) -> Result<T, Failure> {
        let answer = answer.map_err(failure)?;
        let is_stale = self.http.is_stale();
        if !self.told.swap(is_stale, Ordering::Relaxed) && is_stale {
            crate::output::note(STALE_NOTE);
        }
        Ok(answer)
    }

    /// Server-sent events of a path that can be read now.
    ///
    /// # Errors
    /// When it cannot: there is no master, nothing to see, or not for this caller.
    pub(crate) async fn follow(&self, path: &str) -> Result<Followed, Failure> {
        let mut followed = self.follow_patiently(path);
        followed.events = Some(followed.open().await?);
        Ok(followed)
    }

    /// The same, beginning when there is something to begin with.
    pub(crate) fn follow_patiently(&self, path: &str) -> Followed {
        let client = self.clone();
        let path = self.path(path).into_owned();
        Followed { client, path, last_id: None, events: None, heard: Instant::now() }
    }
}

/// Events of a stream that is taken up again where it broke: a master or a framework that is away for a
/// moment comes back.
pub(crate) struct Followed {
    client: Client,
    path: String,
    last_id: Option<String>,
    events: Option<Events>,
    heard: Instant,
}

/// How long masters that do not answer are asked again while something is followed.
const OUTAGE_MAX: Duration = Duration::from_secs(30);
/// Between two attempts.
const ASK_AGAIN: Duration = Duration::from_millis(200);

type Events = Pin<Box<dyn Stream<Item = Result<proffer_net::client::Event, ClientError>> + Send>>;

impl Followed {
    /// The data of the next event.
    ///
    /// # Errors
    /// When what is followed is not there (any more), or nobody has answered for too long.
    pub(crate) async fn next(&mut self) -> Result<String, Failure> {
        loop {
            let Some(events) = &mut self.events else {
                match self.open().await {
                    Ok(events) => self.events = Some(events),
                    Err(failure) if self.may_pass(&failure) => tokio::time::sleep(ASK_AGAIN).await,
                    Err(failure) => return Err(failure),
                }
                continue;
            };
            match events.next().await {
                Some(Ok(event)) => {
                    self.heard = Instant::now();
                    self.last_id = event.id.or(self.last_id.take());
                    return Ok(event.data);
                }
                Some(Err(_)) | None => {
                    self.events = None;
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<Events, Failure> {
        let events = self.client.http.events(&self.path, self.last_id.as_deref()).await;
        Ok(Box::pin(self.client.told(events)?))
    }

    /// A master that starts again on this machine leaves its token a moment after it listens.
    fn may_pass(&self, failure: &Failure) -> bool {
        let no_token_yet = failure.code == ExitCode::Denied && !self.client.http.shows_token();
        (failure.code == ExitCode::Error || no_token_yet) && self.heard.elapsed() < OUTAGE_MAX
    }
}

/// Bytes of a body.
pub(crate) struct Chunks(Pin<Box<dyn Stream<Item = Result<Vec<u8>, ClientError>> + Send>>);

impl Chunks {
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        self.0.next().await.transpose().map_err(failure)
    }
}

fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Refused { refusal, .. } => Failure::from(refusal),
        ClientError::Unreachable { tried, reason } => {
            Failure::new(ExitCode::Error, format!("no master answers at {tried}"))
                .cause(reason)
                .hint("start one with `proffer dev`, or name it with --masters or PROFFER_ADDR")
        }
        ClientError::Answer { method, path, reason } => {
            Failure::new(ExitCode::Error, format!("{method} {path}: the answer cannot be used"))
                .cause(reason)
        }
    }
}
