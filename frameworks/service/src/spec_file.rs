//! From the text of a service file to services: strict YAML (JSON is YAML), every fault with line,
//! column, field, hint and the line itself.

mod render;
mod yaml;

pub use render::{render, to_file, to_yaml};

use proffer_service_core::spec::{Diagnostic, ServiceFile, decode};

/// The longest file.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads a file.
///
/// # Errors
/// All faults that were found, in the order of the text; never empty.
pub fn parse(text: &str) -> Result<ServiceFile, Vec<Diagnostic>> {
    let document = yaml::read(text).map_err(|fault| vec![fault])?;
    decode(&document)
}

/// Reads a file of bytes.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8]) -> Result<ServiceFile, Vec<Diagnostic>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let mark = yaml::mark_after(before);
        vec![Diagnostic::new("", mark, "is not UTF-8 text")]
    })?;
    parse(text)
}
