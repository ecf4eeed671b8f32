//! What the core lets through fits what takes it: the queue to the store and the readers of its frames.

mod frames;
mod queue;
