//! How services read and write messages: prost, behind a bound on parts (see [`crate::weight`]).

use crate::status::to_status;
use crate::weight::{PARTS_MAX, is_within};
use proffer_types::{Refusal, RefusalCode};
use prost::{Message, Name};
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// The codec of all generated clients and servers.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Decodes messages that have at most [`PARTS_MAX`] parts.
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use prost::bytes::Buf as _;
        // tonic hands over whole messages, in one piece; else they are made one here.
        let bytes = frame.copy_to_bytes(frame.remaining());
        read(&bytes).map(Some).map_err(|refusal| to_status(&refusal))
    }
}

/// Decodes one message.
///
/// # Errors
/// A refusal that names the message: too many parts, or not such a message at all.
pub fn read<U: Message + Name + Default>(bytes: &[u8]) -> Result<U, Refusal> {
    if !is_within(U::NAME, bytes, PARTS_MAX) {
        return Err(Refusal::new(
            RefusalCode::BudgetExceeded,
            U::NAME,
            format!("has more than {PARTS_MAX} parts"),
        )
        .hint("send less at a time"));
    }
    U::decode(bytes).map_err(|error| {
        Refusal::new(RefusalCode::InvalidArgument, U::NAME, format!("does not decode: {error}"))
    })
}
