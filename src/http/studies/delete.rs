//! Delete of a study, a series or an instance (`studies.md` §5). `Accept`, body and query are of no account.
//!
//! Elsewhere: what goes (`archive::fold`), when files go (`workers::sweep`).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::not_found;
use crate::archive::SubmitError;
use crate::event::{Outcome, Refusal, Scope};
use crate::http::App;
use crate::http::envelope::{Asked, InPartition, set_position};
use crate::http::error::Error;
use crate::http::urls::UrlScope;

/// DELETE on three levels: 204, or 404 when nothing matched.
pub(in crate::http) async fn delete(
    asked: Asked,
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    State(app): State<App>,
) -> Result<Response, Error> {
    let (position, outcome) = app.archive.delete(&asked.asking(partition), scope.clone()).await?;
    if let Some(position) = position {
        app.shown(position).await?;
    }
    let mut response = match decided(&outcome, &scope) {
        Ok(status) => status.into_response(),
        Err(error) => error.into_response(),
    };
    set_position(&mut response, position);
    Ok(response)
}

fn decided(outcome: &Outcome, scope: &Scope) -> Result<StatusCode, Error> {
    match outcome {
        Outcome::Accepted(_) => Ok(StatusCode::NO_CONTENT),
        Outcome::Refused(Refusal::NothingMatches) => Err(not_found(scope)),
        Outcome::Refused(Refusal::TooLate) => Err(Error::TooLate),
        Outcome::Refused(Refusal::Sealed) => Err(Error::Submit(SubmitError::Sealed)),
        Outcome::Refused(
            refusal @ (Refusal::AlreadyStored | Refusal::Repeated | Refusal::Foreign | Refusal::Untold),
        ) => Err(Error::Internal(format!("a delete was refused because {refusal}"))),
    }
}
