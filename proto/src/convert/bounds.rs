//! How much a peer may put into one message. Where the contract has a number it is used; the others
//! keep the work that one frame causes small. What is above is refused, never cut.

/// Largest frame that a reader accepts, in bytes: a snapshot page, an offer list or a template with
/// room to spare. Shells set it as the decoding limit of every stream.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Calls or messages in one frame: keeps one peer's share of a turn short.
pub const CALLS_MAX: usize = 1024;
/// Tasks in one page or launch; offers in one accept, decline or renew.
pub const ITEMS_MAX: usize = 4096;
/// Operations in one accept.
pub const OPERATIONS_MAX: usize = 256;
/// Kinds of resources in one set.
pub const RESOURCES_MAX: usize = 256;
/// Ranges in one quantity: 65,536 ports have at most half as many gaps.
pub const RANGES_MAX: usize = 32_768;
/// Labels, variables, attributes, words of a set, constraints and roles.
pub const ENTRIES_MAX: usize = 1024;
/// Exceptions of one acknowledgement (K15).
pub const EXCEPTIONS_MAX: usize = 10_000;
/// Rows of one answer to a list.
pub const PAGE_MAX: u32 = 10_000;
/// Rows of one answer when the request does not say.
pub const PAGE_DEFAULT: u32 = 1000;
