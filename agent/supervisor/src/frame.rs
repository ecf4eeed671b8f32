//! Owns how messages are cut on the socket: four bytes of length, little endian, then the message.

use prost::Message as _;

use crate::FORMAT_VERSION;
use crate::wire::{Body, Frame};

/// Largest frame either side accepts. An exec's output is the largest thing ever sent.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Why bytes on the socket are not a frame. The connection is useless afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length is above [`FRAME_BYTES_MAX`].
    TooLong(usize),
    /// Not a message of our schema.
    Malformed(String),
    /// The sender is of a later format than this program knows.
    NewerFormat(u32),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(n) => {
                write!(f, "a frame of {n} bytes is above the limit of {FRAME_BYTES_MAX}")
            }
            Self::Malformed(reason) => write!(f, "a frame is malformed: {reason}"),
            Self::NewerFormat(v) => {
                write!(f, "a frame of format {v} is newer than format {FORMAT_VERSION} known here")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Appends one frame to `out`.
pub fn encode(request_id: u64, body: Body, out: &mut Vec<u8>) {
    let frame = Frame { format_version: FORMAT_VERSION, request_id, body: Some(body) };
    let length = u32::try_from(frame.encoded_len()).expect("a frame is far below 4 GiB");
    out.reserve(4 + length as usize);
    out.extend_from_slice(&length.to_le_bytes());
    frame.encode(out).expect("a vector grows as needed");
}

/// Takes the first whole frame off the front of `buffer`; `None` if it is not complete yet.
///
/// # Errors
/// See [`FrameError`].
pub fn take(buffer: &mut Vec<u8>) -> Result<Option<Frame>, FrameError> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    let Some(bytes) = buffer.get(4..4 + length) else { return Ok(None) };
    let frame = Frame::decode(bytes).map_err(|e| FrameError::Malformed(e.to_string()))?;
    if frame.format_version > FORMAT_VERSION {
        return Err(FrameError::NewerFormat(frame.format_version));
    }
    buffer.drain(..4 + length);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Go, Hello};

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        encode(7, Body::Hello(Hello { watch: true }), &mut bytes);
        encode(8, Body::Go(Go {}), &mut bytes);
        for cut in 0..=bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            let mut seen = Vec::new();
            while let Some(frame) = take(&mut buffer).unwrap() {
                seen.push(frame.request_id);
            }
            buffer.extend_from_slice(&bytes[cut..]);
            while let Some(frame) = take(&mut buffer).unwrap() {
                seen.push(frame.request_id);
            }
            assert_eq!(seen, [7, 8]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_it_is_read() {
        let mut buffer = u32::MAX.to_le_bytes().to_vec();
        assert_eq!(take(&mut buffer), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn a_newer_format_is_refused_in_words() {
        let frame = Frame { format_version: FORMAT_VERSION + 1, request_id: 1, body: None };
        let mut buffer = (frame.encoded_len() as u32).to_le_bytes().to_vec();
        frame.encode(&mut buffer).unwrap();
        let error = take(&mut buffer).unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
    }
}
