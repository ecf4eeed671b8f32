//! Answers: refusals as JSON, files as streams of bounded pieces.

use axum::body::Body;
use axum::http::{Method, Response, Uri, header};
use bytes::Bytes;
use proffer_types::refusal::{Refusal, RefusalCode, excerpt};
use std::fs::File;
use std::io::{self, Read};

/// Bytes read from disk at a time.
pub(super) const PIECE_BYTES: usize = 64 << 10;

pub(super) type Answer = Result<Response<Body>, Box<Refused>>;

/// A refusal on its way to a caller.
#[derive(Debug)]
pub(super) struct Refused(Refusal);

impl axum::response::IntoResponse for Box<Refused> {
    fn into_response(self) -> Response<Body> {
        proffer_net::refusal::http_response(&self.0)
    }
}

impl From<Refusal> for Box<Refused> {
    fn from(refusal: Refusal) -> Self {
        Box::new(Refused(refusal))
    }
}

pub(super) async fn nothing_here(method: Method, uri: Uri) -> Answer {
    std::future::ready(()).await;
    let message = format!("there is nothing at {method} {}", excerpt(uri.path()));
    Err(Refusal::new(RefusalCode::NotFound, "path", message).into())
}

/// Why a path of a sandbox cannot be read.
pub(super) fn unreadable(path: &str, error: &io::Error) -> Refusal {
    let code = if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        RefusalCode::NotFound
    } else if error.kind() == io::ErrorKind::InvalidInput {
        RefusalCode::PermissionDenied
    } else {
        RefusalCode::Unavailable
    };
    Refusal::new(code, "path", format!("{:?}: {error}", excerpt(path)))
}

/// Reads the next piece without holding up other tasks; an empty one is the end.
pub(super) async fn read_piece(mut file: File) -> io::Result<(File, Bytes)> {
    let read = move || {
        let mut buffer = vec![0; PIECE_BYTES];
        let count = file.read(&mut buffer)?;
        buffer.truncate(count);
        Ok((file, Bytes::from(buffer)))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// A file to its present end.
pub(super) fn file_answer(file: File) -> Response<Body> {
    let length = file.metadata().map(|metadata| metadata.len()).ok();
    let left = length.unwrap_or(u64::MAX);
    let pieces = futures_util::stream::try_unfold((file, left), |(file, left)| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let (file, mut piece) = read_piece(file).await?;
        // It may have grown since its length was announced.
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let count = piece.len() as u64;
        Ok((count > 0).then(|| (piece, (file, left - count))))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(OCTETS));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

const OCTETS: &str = "application/octet-stream";
