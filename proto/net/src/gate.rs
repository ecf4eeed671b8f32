//! Owns the gate that every call passes: it knows the caller, finds the right the call needs, and asks
//! the program's `authorize`. Nothing behind it can be reached another way.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::rights::{Object, Verb};

use super::origin::{Hosts, is_same_origin};
use super::principal::{Peer, Principal, Transport};
use super::refusal;
use super::table::RouteTable;
use super::token::Tokens;

/// Whether a principal may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, and why.
    Deny(Refusal),
}

/// The program's own rule: the one place where rights are decided.
pub trait Authorize: Send + Sync + 'static {
    /// May `principal` do `verb` on `object`?
    fn authorize(&self, principal: &Principal, verb: Verb, object: &Object) -> Decision;

    /// Whether a bearer text that is no token is a capability that the leading master signed for this
    /// program.
    fn is_capability(&self, _shown: &str) -> bool {
        false
    }
}

impl<F> Authorize for F
where
    F: Fn(&Principal, Verb, &Object) -> Decision + Send + Sync + 'static,
{
    fn authorize(&self, principal: &Principal, verb: Verb, object: &Object) -> Decision {
        self(principal, verb, object)
    }
}

/// What a gate goes by. [`super::Listener`] fills in the first three from what it was opened with.
pub struct GateConfig {
    /// The secrets that are accepted.
    pub tokens: Tokens,
    /// Callers without any proof are let in as [`Principal::Insecure`].
    pub insecure: bool,
    /// Which names we answer to.
    pub hosts: Hosts,
    /// Browsers may show the token in a cookie of this name, set by the address `/?token=…`.
    pub cookie: Option<String>,
}

/// See the module's description.
pub struct Gate {
    config: GateConfig,
    table: RouteTable,
    authorize: Arc<dyn Authorize>,
}

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// From where.
    pub remote: std::net::SocketAddr,
    /// How.
    pub transport: Transport,
    /// The name in the verified client certificate.
    pub certificate: Option<String>,
}

/// How the caller proved who it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Sent by a program on purpose.
    Header,
    /// Sent by a browser on its own.
    Cookie,
    /// Part of the connection.
    Connection,
}

/// Why a call is not let in.
struct Denial {
    refused: Refusal,
    /// The methods that the path answers to, when only the method is wrong.
    allowed: Option<String>,
}

impl From<Refusal> for Denial {
    fn from(refused: Refusal) -> Self {
        Self { refused, allowed: None }
    }
}

impl Gate {
    /// A gate with these rules.
    #[must_use]
    pub fn new(config: GateConfig, table: RouteTable, authorize: Arc<dyn Authorize>) -> Self {
        Self { config, table, authorize }
    }

    /// Lets a call in, with its peer, or answers it.
    ///
    /// # Errors
    /// The answer to a call that is not let in.
    #[expect(
        clippy::result_large_err,
        reason = "the error is the answer, made once per refused call"
    )]
    pub fn admit(&self, parts: &Parts, connection: &Connection) -> Result<Peer, Response<Body>> {
        if let Some(answer) = self.login(parts, connection.transport) {
            return Err(answer);
        }
        self.decide(parts, connection).map_err(|Denial { refused, allowed }| {
            tracing::debug!(remote = %connection.remote, path = parts.uri.path(), %refused, "refused");
            if wants_page(parts) && refused.code == RefusalCode::Unauthenticated {
                return page(StatusCode::UNAUTHORIZED, UNAUTHENTICATED_PAGE);
            }
            let answer = refusal::response(&refused, &parts.headers);
            match allowed {
                Some(allowed) => refusal::wrong_method(answer, &allowed),
                None => answer,
            }
        })
    }

    fn decide(&self, parts: &Parts, connection: &Connection) -> Result<Peer, Denial> {
        self.check_origin(parts, connection.transport)?;
        let (principal, proof) = self.principal(parts, connection)?;
        if proof == Proof::Cookie
            && !parts.method.is_safe()
            && !parts.headers.contains_key(header::ORIGIN)
        {
            let message = "a browser's call that changes something names its origin";
            return Err(denied("origin", message).into());
        }
        let path = parts.uri.path();
        let Some((verb, object)) = self.table.find(&parts.method, path) else {
            return Err(match self.table.allowed(path) {
                Some(allowed) => unknown_method(&parts.method, path, allowed),
                None => unknown_path(&parts.method, path).into(),
            });
        };
        match self.authorize.authorize(&principal, verb, &object) {
            Decision::Allow => {
                let (transport, remote) = (connection.transport, connection.remote);
                Ok(Peer { principal, transport, remote })
            }
            Decision::Deny(refused) => Err(refused.into()),
        }
    }

    fn check_origin(&self, parts: &Parts, transport: Transport) -> Result<(), Refusal> {
        let authority = authority(parts);
        if !self.config.hosts.answer_to(authority) {
            let message = "this listener is for this machine only and does not answer to that name";
            return Err(
                denied("host", message).hint("use 127.0.0.1, [::1] or localhost in the address")
            );
        }
        if let Some(origin) = text(&parts.headers, &header::ORIGIN)?
            && !is_same_origin(origin, scheme(transport), authority)
        {
            return Err(denied("origin", "pages of other origins may not call this"));
        }
        let site = text(&parts.headers, &SEC_FETCH_SITE)?;
        if site.is_some_and(|site| site == "cross-site") && !is_navigation(&parts.headers) {
            return Err(denied("origin", "pages of other sites may not call this"));
        }
        Ok(())
    }

    fn principal(
        &self,
        parts: &Parts,
        connection: &Connection,
    ) -> Result<(Principal, Proof), Refusal> {
        if let Some(shown) = bearer(&parts.headers)? {
            return match self.config.tokens.owner(shown) {
                Some(name) => Ok((Principal::Token(name.to_owned()), Proof::Header)),
                None if self.authorize.is_capability(shown) => {
                    Ok((Principal::Master, Proof::Header))
                }
                None => Err(unauthenticated("the token is not known here")),
            };
        }
        if let Some(name) = &connection.certificate {
            return Ok((Principal::Certificate(name.clone()), Proof::Connection));
        }
        if let Some(name) = self.cookie_owner(&parts.headers) {
            return Ok((Principal::Token(name.to_owned()), Proof::Cookie));
        }
        if self.config.insecure {
            return Ok((Principal::Insecure, Proof::Connection));
        }
        Err(unauthenticated("the call shows neither a token nor a certificate"))
    }

    fn cookie_owner(&self, headers: &HeaderMap) -> Option<&str> {
        let wanted = self.config.cookie.as_deref()?;
        let shown = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            shown.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        let (_, token) = pairs.find(|(name, _)| name.trim() == wanted)?;
        self.config.tokens.owner(token.trim())
    }

    /// `GET /?token=…` sets the cookie and goes on to the page. It is a page that goes on, and not a
    /// redirect: a browser sends a strict cookie only with what our own page asked for.
    fn login(&self, parts: &Parts, transport: Transport) -> Option<Response<Body>> {
        let cookie = self.config.cookie.as_deref()?;
        if parts.method != Method::GET || parts.uri.path() != "/" {
            return None;
        }
        let query = parts.uri.query()?;
        let shown = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
        if !self.config.hosts.answer_to(authority(parts))
            || self.config.tokens.owner(shown).is_none()
        {
            return Some(page(StatusCode::UNAUTHORIZED, UNAUTHENTICATED_PAGE));
        }
        let mut answer = page(StatusCode::OK, LOGGED_IN_PAGE);
        let secure = if transport == Transport::Tls { "; Secure" } else { "" };
        // A known token has only characters that a cookie may have.
        let value = format!("{cookie}={shown}; Path=/; HttpOnly; SameSite=Strict{secure}");
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(header::SET_COOKIE, value);
        }
        Some(answer)
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Following a link from elsewhere to our page is fine: it reads nothing for the other site.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate")
}

/// HTTP/2 has the name in the request's address, HTTP/1.1 in a header.
fn authority(parts: &Parts) -> &str {
    let in_address = parts.uri.authority().map(|authority| authority.as_str());
    let in_header = || parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    in_address.or_else(in_header).unwrap_or("")
}

fn scheme(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "http",
        Transport::Tls => "https",
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| {
        Refusal::new(RefusalCode::InvalidArgument, name.as_str(), "the header is not text")
    })
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = text(headers, &header::AUTHORIZATION)? else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        Some(_) | None => Err(unauthenticated("only bearer tokens are known here")),
    }
}

fn unauthenticated(message: &str) -> Refusal {
    Refusal::new(RefusalCode::Unauthenticated, "authorization", message)
        .hint("send `authorization: Bearer TOKEN`, or connect with a client certificate")
}

fn denied(field: &str, message: &str) -> Refusal {
    Refusal::new(RefusalCode::PermissionDenied, field, message)
}

fn unknown_path(method: &Method, path: &str) -> Refusal {
    let path = proffer_types::refusal::excerpt(path);
    let message = format!("there is nothing at {method} {path}");
    Refusal::new(RefusalCode::NotFound, "path", message)
}

fn unknown_method(method: &Method, path: &str, allowed: String) -> Denial {
    let path = proffer_types::refusal::excerpt(path);
    let message = format!("{path} does not answer to {method}");
    let refused = Refusal::new(RefusalCode::NotSupported, "method", message)
        .hint(format!("it answers to {allowed}"));
    Denial { refused, allowed: Some(allowed) }
}

fn wants_page(parts: &Parts) -> bool {
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    parts.method == Method::GET && accept.is_some_and(|accept| accept.contains("text/html"))
}

const UNAUTHENTICATED_PAGE: &str = "<!doctype html><meta charset=utf-8><title>Proffer</title>\
<p>This page needs a token. Open the address that <code>proffer dev</code> printed, or \
<code>/?token=…</code> with the content of the token file.</p>\n";

const LOGGED_IN_PAGE: &str = "<!doctype html><meta charset=utf-8><title>Proffer</title>\
<meta http-equiv=refresh content=\"0;url=/\">\n";

fn page(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // The address has the token in it.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
