//! The two routes for operators: health (`studies.md` §7.4) and metrics.
//!
//! Elsewhere: who reports health and what is measured (`ops`).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::{App, Settings, envelope};
use crate::ops;
use crate::ops::health::{Report, Status};

const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json; charset=utf-8");

/// GET `/health/check`: 200 when healthy or degraded, 503 when unhealthy.
pub(super) async fn check(State(app): State<App>) -> Response {
    let report = app.health.report();
    let status = match report.overall {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [JSON], json(&report)).into_response()
}

/// GET `/metrics`, in the text format of Prometheus; 404 when nothing is recorded.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    match &app.metrics {
        Some(metrics) => {
            let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (kind, metrics.render()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What is answered while the archive is being opened: how that goes, and 503 to all else.
pub fn starting(health: ops::health::Health, settings: Settings) -> Router {
    let check = async move |State(health): State<ops::health::Health>| {
        (StatusCode::SERVICE_UNAVAILABLE, [JSON], json(&health.report()))
    };
    let refuse = async || {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(RETRY_AFTER, "2")],
            "The archive is being opened; try again later.",
        )
    };
    let marked = from_fn_with_state(Arc::new(settings), envelope::marked);
    Router::new().route("/health/check", get(check)).fallback(refuse).layer(marked).with_state(health)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health<'a> {
    overall_status: &'static str,
    details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
struct Detail<'a> {
    name: &'a str,
    status: &'static str,
    description: &'a str,
}

fn json(report: &Report) -> Vec<u8> {
    let details = report.checks.iter().map(|check| Detail {
        name: &check.name,
        status: check.status.as_str(),
        description: &check.description,
    });
    let health = Health { overall_status: report.overall.as_str(), details: details.collect() };
    serde_json::to_vec(&health).expect("texts always have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::health::Check;

    #[test]
    fn a_report_has_the_form_of_the_contract() {
        let check = Check {
            name: "DcmHealthCheck".to_owned(),
            status: Status::Degraded,
            description: "…".to_owned(),
        };
        let report = Report { overall: Status::Degraded, checks: vec![check] };
        assert_eq!(
            String::from_utf8(json(&report)).unwrap(),
            r#"{"overallStatus":"Degraded","details":[{"name":"DcmHealthCheck","status":"Degraded","description":"…"}]}"#
        );
    }
}
