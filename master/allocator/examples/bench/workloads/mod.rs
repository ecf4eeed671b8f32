//! The workloads. Those named in capitals inside are Apache Mesos' own, with its shapes, parameters
//! and names; what they print is called alike, so that figures stand side by side.

pub(crate) mod agents;
pub(crate) mod decline;
pub(crate) mod drain;
pub(crate) mod own;
pub(crate) mod quota;
pub(crate) mod reservations;
pub(crate) mod sort;
pub(crate) mod suppress;
