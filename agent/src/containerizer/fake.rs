//! Owns a containerizer that keeps everything in memory, for tests of the agent.
