//! Owns the question at which address others reach this master: what it says of itself as the leader, to
//! where standbys send those who ask them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// Addresses that a machine reaches by its default route, if it has one: those of documentation. Nothing
/// is sent to them.
const BY_DEFAULT_ROUTE: [(IpAddr, SocketAddr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    ),
    (
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
    ),
];

/// No address to be reached at.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdvertiseError {
    /// What was given is none.
    #[error(
        "--advertise: {given:?} is not an address that others can reach: give HOST or HOST:PORT"
    )]
    Given {
        /// What.
        given: String,
    },
    /// None was given and none was found.
    #[error(
        "this master listens on {listen} and finds no address at which others reach it, neither by a \
         default route nor by its name: give --advertise HOST:PORT"
    )]
    NotFound {
        /// Where it listens.
        listen: SocketAddr,
    },
}

/// `HOST:PORT` for others: what was given, else where it listens, else what `find` finds of the machine.
pub(crate) fn address(
    given: Option<&str>,
    listen: SocketAddr,
    find: impl FnOnce() -> Option<IpAddr>,
) -> Result<String, AdvertiseError> {
    if let Some(given) = given {
        return named(given, listen.port())
            .ok_or_else(|| AdvertiseError::Given { given: given.to_owned() });
    }
    if !listen.ip().is_unspecified() {
        return Ok(listen.to_string());
    }
    let found = find().ok_or(AdvertiseError::NotFound { listen })?;
    Ok(SocketAddr::new(found, listen.port()).to_string())
}

/// An address with or without its port.
fn named(given: &str, port: u16) -> Option<String> {
    let bare = given.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    if let Ok(address) = given.parse::<SocketAddr>().or(bare) {
        let is_usable = !address.ip().is_unspecified() && address.port() != 0;
        return is_usable.then(|| address.to_string());
    }
    let (host, port) = match given.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (given, port),
    };
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    is_name.then(|| format!("{host}:{port}"))
}

/// The machine's own address: that of its default route, else that of its name.
pub(crate) fn of_this_machine() -> Option<IpAddr> {
    BY_DEFAULT_ROUTE.into_iter().find_map(by_route).or_else(by_name)
}

fn is_for_others(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

fn by_route((from, to): (IpAddr, SocketAddr)) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    // Connecting only chooses the route.
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(is_for_others)
}

fn by_name() -> Option<IpAddr> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let mut found = (name.trim(), 0).to_socket_addrs().ok()?.map(|address| address.ip());
    found.find(is_for_others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(
        given: Option<&str>,
        listen: &str,
        found: Option<&str>,
    ) -> Result<String, AdvertiseError> {
        let found = found.map(|found| found.parse().expect("an address"));
        address(given, listen.parse().expect("an address"), || found)
    }

    #[test]
    fn what_is_given_wins_then_where_it_listens_then_the_machine() {
        let all = "0.0.0.0:7330";
        for (given, listen, found, expected) in [
            (None, "10.0.0.1:7330", Some("10.9.9.9"), "10.0.0.1:7330"),
            (None, all, Some("10.9.9.9"), "10.9.9.9:7330"),
            (None, "[::]:7330", Some("2001:db8::7"), "[2001:db8::7]:7330"),
            (Some("m1.example"), all, None, "m1.example:7330"),
            (Some("m1.example:80"), all, None, "m1.example:80"),
            (Some("10.0.0.2"), "10.0.0.1:7330", None, "10.0.0.2:7330"),
            (Some("2001:db8::7"), all, None, "[2001:db8::7]:7330"),
            (Some("[2001:db8::7]:80"), all, None, "[2001:db8::7]:80"),
        ] {
            assert_eq!(at(given, listen, found).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_nobody_can_reach_is_refused() {
        for given in
            ["", ":80", "0.0.0.0", "0.0.0.0:80", "m1:0", "m1:x", "http://m1", "a b", "[::]"]
        {
            let refused = at(Some(given), "0.0.0.0:7330", Some("10.9.9.9"));
            assert_eq!(refused, Err(AdvertiseError::Given { given: given.to_owned() }));
        }
        let none = at(None, "0.0.0.0:7330", None).expect_err("there is none").to_string();
        assert!(none.contains("0.0.0.0:7330") && none.contains("--advertise"), "{none}");
    }
}
