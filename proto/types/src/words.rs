//! The lower-case words of an enum, as they stand in JSON, on the command line and in metrics.

/// Gives an enum `as_str` (a missing variant does not compile) and `from_text`.
macro_rules! words {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// Every word with its meaning, in order.
            pub const WORDS: &'static [(&'static str, $name)] = &[$(($text, $name::$variant)),+];

            /// The stable lower-case word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// Reads a word; `None` for one that this version does not know.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
            }
        }
    };
}
pub(crate) use words;
