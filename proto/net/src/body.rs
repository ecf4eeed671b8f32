//! Owns the bounds on what a caller sends: so many bytes, in so much time. Streams of gRPC have their
//! own bounds per message and may last.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// The largest body of an HTTP call: a service file with many services is some hundred kB.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// How long a caller may take to send it.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// A body was cut off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Too long.
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Too slow.
    #[error("the body did not arrive within {seconds} s", seconds = limit.as_secs())]
    TooSlow {
        /// The bound.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// A body with bounds.
pub struct BoundedBody {
    inner: Incoming,
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl BoundedBody {
    /// Bounds a body by [`BODY_BYTES_MAX`] and [`BODY_TIME_MAX`].
    #[must_use]
    pub fn new(inner: Incoming) -> Self {
        let deadline = Box::pin(tokio::time::sleep(BODY_TIME_MAX));
        Self { inner, left: BODY_BYTES_MAX, deadline }
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            ready!(self.deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(BodyError::TooSlow { limit: BODY_TIME_MAX })));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(BodyError::Broken)?;
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                self.left = 0;
                return Poll::Ready(Some(Err(BodyError::TooLarge { limit: BODY_BYTES_MAX })));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
