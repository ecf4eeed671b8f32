//! Percent-encoding for parts of a query or path.

/// `text` with everything but letters, digits and `-._~` encoded.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(super::encode("a b&c=é/~"), "a%20b%26c%3D%C3%A9%2F~");
    }
}
