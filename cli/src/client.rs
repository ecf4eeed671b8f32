//! Calls to the master, and how their failures end the program.

use crate::args::Global;
use crate::exit::{ExitCode, Failure};
use crate::token;
use futures_util::{Stream, StreamExt};
use hyper::Method;
use proffer_net::tls::ClientTlsFiles;
use proffer_net::{ClientError, Endpoint, HttpClient};
use serde::de::DeserializeOwned;
use std::pin::Pin;

/// A way to the masters that the flags name.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
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
        Ok(Self { http: HttpClient::new(&endpoint(global)?) })
    }

    /// A client for one address and token, as `dev` has them.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self { http: HttpClient::new(endpoint) }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.http.get(path).await.map_err(failure)
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

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::DELETE, path, Vec::new()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        self.http.bytes(method, path, body).await.map_err(failure)
    }

    /// A body as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Chunks, Failure> {
        let stream = self.http.stream(path).await.map_err(failure)?;
        Ok(Chunks(Box::pin(stream.map(|chunk| chunk.map(|bytes| bytes.to_vec())))))
    }

    /// The data of server-sent events.
    pub(crate) async fn events(&self, path: &str) -> Result<Events, Failure> {
        let stream = self.http.events(path, None).await.map_err(failure)?;
        Ok(Events(Box::pin(stream.map(|event| event.map(|event| event.data)))))
    }
}

/// Bytes of a body.
pub(crate) struct Chunks(Pin<Box<dyn Stream<Item = Result<Vec<u8>, ClientError>> + Send>>);

impl Chunks {
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        self.0.next().await.transpose().map_err(failure)
    }
}

/// Events of a stream.
pub(crate) struct Events(Pin<Box<dyn Stream<Item = Result<String, ClientError>> + Send>>);

impl Events {
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
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
