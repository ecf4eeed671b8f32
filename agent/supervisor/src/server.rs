//! Owns the socket in the run directory and the connections on it: bytes in, frames out.
//!
//! It knows nothing of containers; the loop takes frames from it and gives it answers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket,
};
use proffer_supervisor::frame;
use proffer_supervisor::run_dir::SOCKET;
use proffer_supervisor::wire::{Body, Frame};

use crate::sys;

/// Connections at once: the agent, its successor, a person with a tool.
const CONNECTIONS_MAX: usize = 8;

/// Bytes waiting for a connection that does not read; beyond this it is cut.
const OUTBOX_BYTES_MAX: usize = 2 << 20;

/// Bytes taken in one read. On the stack, so that an idle supervisor does not keep them.
const READ_BYTES: usize = 4096;

/// Names a connection for the time it exists.
pub(crate) type ConnectionId = u64;

/// One peer.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    fd: OwnedFd,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Gets every change unasked.
    pub(crate) watching: bool,
    broken: bool,
}

impl Connection {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty() && !self.broken
    }

    pub(crate) fn send(&mut self, request_id: u64, body: Body) {
        frame::encode(request_id, body, &mut self.outbox);
        self.flush();
        self.broken |= self.outbox.len() > OUTBOX_BYTES_MAX;
    }

    pub(crate) fn flush(&mut self) {
        while self.wants_to_write() {
            match nix::unistd::write(&self.fd, &self.outbox) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.broken = true,
            }
        }
        self.outbox.shrink_to(READ_BYTES);
    }

    /// Reads what is there and cuts it into frames.
    pub(crate) fn receive(&mut self) -> Vec<Frame> {
        let mut buffer = [0; READ_BYTES];
        let mut frames = Vec::new();
        while !self.broken {
            match nix::unistd::read(&self.fd, &mut buffer) {
                Ok(0) => self.broken = true,
                Ok(n) => self.inbox.extend_from_slice(&buffer[..n]),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => break,
                Err(_) => self.broken = true,
            }
            loop {
                match frame::take(&mut self.inbox) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => {
                        self.broken = true;
                        break;
                    }
                }
            }
        }
        self.inbox.shrink_to(READ_BYTES);
        frames
    }
}

/// The listening socket and its connections.
pub(crate) struct Server {
    listener: OwnedFd,
    connections: Vec<Connection>,
    next_id: ConnectionId,
    own_uid: u32,
}

impl Server {
    /// Listens on `socket` in the present directory (whose full name may be longer than a socket's
    /// address can hold).
    pub(crate) fn bind() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &UnixAddr::new(SOCKET)?)?;
        listen(&listener, Backlog::new(CONNECTIONS_MAX as i32)?)?;
        let own_uid = nix::unistd::geteuid().as_raw();
        Ok(Self { listener, connections: Vec::new(), next_id: 1, own_uid })
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(crate) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// Takes over a connected socket.
    pub(crate) fn adopt(&mut self, fd: OwnedFd, watching: bool) -> ConnectionId {
        let id = self.next_id;
        self.next_id += 1;
        let (inbox, outbox) = (Vec::new(), Vec::new());
        self.connections.push(Connection { id, fd, inbox, outbox, watching, broken: false });
        id
    }

    /// Accepts whoever waits, if he is of our own user or root.
    pub(crate) fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        while let Ok(fd) = accept4(std::os::fd::AsRawFd::as_raw_fd(&self.listener), flags) {
            let fd = sys::own(fd);
            let peer = sys::peer_uid(fd.as_fd());
            let known = peer.is_ok_and(|uid| uid == 0 || uid == self.own_uid);
            if known && self.connections.len() < CONNECTIONS_MAX {
                self.adopt(fd, false);
            }
        }
    }

    /// Tells everybody who watches.
    pub(crate) fn announce(&mut self, body: &Body) {
        for connection in self.connections.iter_mut().filter(|c| c.watching) {
            connection.send(0, body.clone());
        }
    }

    pub(crate) fn flush(&mut self) {
        self.connections.iter_mut().for_each(Connection::flush);
    }

    /// Drops broken connections and returns their names.
    pub(crate) fn sweep(&mut self) -> Vec<ConnectionId> {
        let gone = self.connections.iter().filter(|c| c.broken).map(|c| c.id).collect();
        self.connections.retain(|c| !c.broken);
        gone
    }

    /// Whether everything was handed to the peers.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.connections.iter().any(Connection::wants_to_write)
    }
}
