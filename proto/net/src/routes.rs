//! Owns the only way to add a handler: together with the right that it needs.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

use proffer_types::rights::Access;

use super::table::RouteTable;

/// A router and its table, grown together, so that no handler lacks a rule.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    table: RouteTable,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), table: RouteTable::default() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler for `GET` (and `HEAD`).
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(self, path: &str, access: Access, handler: H) -> Self {
        self.add((Method::GET, MethodFilter::GET), path, access, handler)
    }

    /// Adds a handler for `POST`.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        access: Access,
        handler: H,
    ) -> Self {
        self.add((Method::POST, MethodFilter::POST), path, access, handler)
    }

    /// Adds a handler for `PUT`.
    #[must_use]
    pub fn put<H: Handler<T, S>, T: 'static>(self, path: &str, access: Access, handler: H) -> Self {
        self.add((Method::PUT, MethodFilter::PUT), path, access, handler)
    }

    /// Adds a handler for `PATCH`.
    #[must_use]
    pub fn patch<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        access: Access,
        handler: H,
    ) -> Self {
        self.add((Method::PATCH, MethodFilter::PATCH), path, access, handler)
    }

    /// Adds a handler for `DELETE`.
    #[must_use]
    pub fn delete<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        access: Access,
        handler: H,
    ) -> Self {
        self.add((Method::DELETE, MethodFilter::DELETE), path, access, handler)
    }

    fn add<H: Handler<T, S>, T: 'static>(
        mut self,
        (method, filter): (Method, MethodFilter),
        path: &str,
        access: Access,
        handler: H,
    ) -> Self {
        self.table.add(method, path, access);
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// Adds gRPC services with the rights of their methods, as `/package.Service/Method`.
    #[must_use]
    pub fn grpc<'a>(
        mut self,
        services: tonic::service::Routes,
        rules: impl IntoIterator<Item = (&'a str, Access)>,
    ) -> Self {
        for (path, access) in rules {
            self.table.add(Method::POST, path, access);
        }
        self.router = self.router.merge(services.prepare().into_axum_router().with_state(()));
        self
    }

    /// Takes in the routes of another part of the program.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.table.extend(&other.table);
        self.router = self.router.merge(other.router);
        self
    }

    /// Gives the handlers what they share.
    #[must_use]
    pub fn with_state<Next>(self, state: S) -> Routes<Next> {
        Routes { router: self.router.with_state(state), table: self.table }
    }

    /// The rules alone, for descriptions and tests.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Taken apart for [`super::serve`].
    pub fn into_parts(self) -> (Router<S>, RouteTable) {
        (self.router, self.table)
    }
}
