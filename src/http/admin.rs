//! The small router behind `serve --admin`: how far each view is, and its rebuild.
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

/// What the operator may ask of a running archive.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Begins to rebuild a view beside the live one.
    ///
    /// # Errors
    /// [`AdminError`]
    async fn rebuild(&self, view: &str) -> Result<(), AdminError>;

    /// What can be compared with another node when this one has folded exactly the records before `at`.
    ///
    /// # Errors
    /// [`AdminError`]
    async fn digests(&self, at: Position) -> Result<serde_json::Value, AdminError>;

    /// How far the archive and its views are: a JSON object.
    async fn status(&self) -> serde_json::Value;
}

/// `POST /rebuild?view=…` (202), `GET /status` and `GET /digests?at=…`.
pub fn router(admin: Arc<dyn Admin>) -> Router {
    Router::new()
        .route("/rebuild", post(rebuild))
        .route("/status", get(status))
        .route("/digests", get(digests))
        .with_state(admin)
}

async fn rebuild(State(admin): State<Arc<dyn Admin>>, uri: Uri) -> Response {
    let pairs = query_pairs(&uri);
    let Some((_, view)) = pairs.iter().find(|(name, _)| name == "view") else {
        return (StatusCode::BAD_REQUEST, "The query parameter 'view' is missing.").into_response();
    };
    match admin.rebuild(view).await {
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
