//! One suite for all stores: what [`Store`](proffer_master::store::Store) promises is checked on the
//! embedded store, on a real etcd and on the store in memory, by the same functions.

mod cases;
mod embedded;
mod etcd;
mod etcd_server;
mod lossy_link;
mod memory;
mod support;
