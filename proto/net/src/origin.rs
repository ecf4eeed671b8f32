//! Owns the checks against web pages of others: DNS rebinding (`Host`) and foreign calls (`Origin`). Pure.

use std::net::IpAddr;

/// Which names a listener answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Loopback addresses and `localhost` only: another name that leads here is a rebinding attack.
    Loopback,
    /// Any: TLS checks the name, or the operator asked for `--insecure`.
    Any,
}

impl Hosts {
    /// Whether a request for this authority (`host` or `host:port`) is meant for us.
    #[must_use]
    pub fn answer_to(self, authority: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => is_loopback(host_of(authority)),
        }
    }
}

fn host_of(authority: &str) -> &str {
    // An IPv6 address stands in brackets, so the last colon outside them starts the port.
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a page with this `Origin` was served by this authority. The scheme counts too.
#[must_use]
pub fn is_same_origin(origin: &str, scheme: &str, authority: &str) -> bool {
    let Some(rest) = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
        return false;
    };
    rest.eq_ignore_ascii_case(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k20_names_that_lead_to_loopback_by_dns_are_not_answered() {
        for good in ["127.0.0.1:7410", "127.0.0.1", "[::1]:7410", "localhost:1", "LOCALHOST"] {
            assert!(Hosts::Loopback.answer_to(good), "{good}");
        }
        for bad in ["evil.example:7410", "", "127.0.0.1.evil.example", "10.0.0.1:1", "[::2]", "::"]
        {
            assert!(!Hosts::Loopback.answer_to(bad), "{bad}");
        }
    }

    #[test]
    fn k20_pages_of_others_have_another_origin() {
        assert!(is_same_origin("http://127.0.0.1:7410", "http", "127.0.0.1:7410"));
        for bad in ["null", "http://127.0.0.1:7411", "https://127.0.0.1:7410", "http://evil", ""] {
            assert!(!is_same_origin(bad, "http", "127.0.0.1:7410"), "{bad}");
        }
    }
}
