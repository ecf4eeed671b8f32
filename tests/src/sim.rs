//! Whole clusters of real cores in one thread, under one seed: virtual time, a network, stores, disks
//! and crashes of any part at any step. What is real: every decision of master, agent, SDK and
//! frameworks, the wire encoding, the commit protocol of the store. What is pretended: time, bytes on
//! their way, the store's and the agents' disks, the programs inside containers.

pub mod batch;
pub mod chance;
pub mod checkers;
pub mod faults;
pub mod many;
pub mod marks;
pub mod members;
pub mod network;
pub mod node_agent;
pub mod node_framework;
pub mod node_master;
pub mod observe;
pub mod plan;
pub mod planted;
pub mod queue;
pub mod report;
pub mod reserving;
pub mod run;
pub mod services;
pub mod smaller;
pub mod view;
pub mod watched;
pub mod workload;
pub mod world;
