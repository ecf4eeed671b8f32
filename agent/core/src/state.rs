//! The facts, one table a file; the rules are in `commands`.

pub(crate) mod checks;
pub(crate) mod deadlines;
pub(crate) mod holds;
pub(crate) mod link;
pub(crate) mod sandboxes;
pub(crate) mod tasks;
pub(crate) mod templates;
pub(crate) mod writes;
