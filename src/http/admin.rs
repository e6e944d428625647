//! The small router behind `serve --admin`: how far each view is, its rebuild, and the view that was replaced.
//!
//! Invariant: served on a loopback address only; [`super::server::bind`] sees to that.
//! Elsewhere: what the calls do (`app`).

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::urls::query_pairs;
use crate::base::Position;

/// Why a call of the operator was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// There is no such view.
    #[error("there is no view '{0}'")]
    UnknownView(String),
    /// The node has passed the position.
    #[error("the node is at position {0} already")]
    Passed(Position),
    /// It cannot be done now.
    #[error("{0}")]
    NotNow(String),
}

/// What can be done to a view while it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Makes it again beside the live one, which is kept when it was replaced.
    Rebuild,
    /// Puts the one that is kept in the place of the one that answers.
    Back,
    /// Removes the one that is kept.
    Drop,
}

/// What the operator may ask of a running archive.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Does it, or begins to.
    ///
    /// # Errors
    /// [`AdminError`]
    async fn order(&self, order: Order, view: &str) -> Result<(), AdminError>;

    /// What can be compared with another node when this one has folded exactly the records before `at`.
    ///
    /// # Errors
    /// [`AdminError`]
    async fn digests(&self, at: Position) -> Result<serde_json::Value, AdminError>;

    /// How far the archive and its views are: a JSON object.
    async fn status(&self) -> serde_json::Value;
}

/// `POST /rebuild?view=…`, `/back?view=…`, `/drop?view=…` (202), `GET /status` and `GET /digests?at=…`.
pub fn router(admin: Arc<dyn Admin>) -> Router {
    Router::new()
        .route("/rebuild", post(rebuild))
        .route("/back", post(back))
        .route("/drop", post(drop_kept))
        .route("/status", get(status))
        .route("/digests", get(digests))
        .with_state(admin)
}

async fn rebuild(State(admin): State<Arc<dyn Admin>>, uri: Uri) -> Response {
    done(&*admin, Order::Rebuild, &uri).await
}

async fn back(State(admin): State<Arc<dyn Admin>>, uri: Uri) -> Response {
    done(&*admin, Order::Back, &uri).await
}

async fn drop_kept(State(admin): State<Arc<dyn Admin>>, uri: Uri) -> Response {
    done(&*admin, Order::Drop, &uri).await
}

async fn done(admin: &dyn Admin, order: Order, uri: &Uri) -> Response {
    let pairs = query_pairs(uri);
    let Some((_, view)) = pairs.iter().find(|(name, _)| name == "view") else {
        return (StatusCode::BAD_REQUEST, "The query parameter 'view' is missing.").into_response();
    };
    match admin.order(order, view).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => (admin_status(&error), error.to_string()).into_response(),
    }
}

async fn digests(State(admin): State<Arc<dyn Admin>>, uri: Uri) -> Response {
    let pairs = query_pairs(&uri);
    let at = pairs.iter().find(|(name, _)| name == "at").and_then(|(_, at)| at.parse().ok());
    let Some(at) = at else {
        return (StatusCode::BAD_REQUEST, "The query parameter 'at' must be a position.").into_response();
    };
    match admin.digests(Position(at)).await {
        Ok(digests) => {
            ([(CONTENT_TYPE, "application/json; charset=utf-8")], digests.to_string()).into_response()
        }
        Err(error) => (admin_status(&error), error.to_string()).into_response(),
    }
}

async fn status(State(admin): State<Arc<dyn Admin>>) -> Response {
    let body = admin.status().await.to_string();
    ([(CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

fn admin_status(error: &AdminError) -> StatusCode {
    match error {
        AdminError::UnknownView(_) => StatusCode::NOT_FOUND,
        AdminError::Passed(_) => StatusCode::CONFLICT,
        AdminError::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
