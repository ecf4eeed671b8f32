//! The protocol behaviour of an agent as stories, and as properties under random crashes.

mod checks;
mod claims;
mod crashes;
mod gangs;
mod holds;
mod launches;
mod recovery;
mod registration;
mod sandboxes;
mod world;
