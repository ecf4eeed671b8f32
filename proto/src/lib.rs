//! Everything that goes over a wire or into a file that another program reads: schema, stubs and
//! checked conversions. No I/O.

pub mod convert;
pub mod pb;
