//! The OpenAPI 3.0 document of a version (`studies.md` §1.1), made from the table that the router is made of.
//!
//! Invariant: every operation of every route is in it, and nothing else.
//! Elsewhere: the table (`routes`), its text as YAML (`yaml`).

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::App;
use super::envelope::Asked;
use super::routes::{self, Answer, Body, Form, Operation, Parameter, Place, Route, Verb, Versions};
use super::routing::{self, Version};

mod yaml;

/// GET `api.json`.
pub(super) async fn as_json(State(app): State<App>, asked: Asked) -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))];
    (kind, describe(asked.version, asked.base.as_str(), app.settings.partitions).to_string()).into_response()
}

/// GET `api.yaml`.
pub(super) async fn as_yaml(State(app): State<App>, asked: Asked) -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/yaml"))];
    (kind, yaml::text(&describe(asked.version, asked.base.as_str(), app.settings.partitions))).into_response()
}

/// The document of `version`, whose routes lie below the URL `base`; with `partitions`, those of studies below one.
fn describe(version: Version, base: &str, partitions: bool) -> Value {
    let root = base.strip_suffix(&format!("/{version}")).unwrap_or(base);
    let mut paths = Map::new();
    for route in routes::versioned() {
        let below =
            if partitions && routing::is_partitioned(route.path) { "/partitions/{partition}" } else { "" };
        let path = format!("{below}{}", documented(route.path));
        let item = path_item(&route, &path, Some(version));
        paths.insert(path, item);
    }
    for route in routes::plain() {
        let mut item = path_item(&route, route.path, None);
        item["servers"] = json!([{ "url": root }]);
        paths.insert(route.path.to_owned(), item);
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Kymo",
            "description": "DICOMweb: store, search, retrieve, delete, and the change feed.",
            "version": version.to_string().trim_start_matches('v'),
            "license": { "name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "servers": [{ "url": base }],
        "paths": paths,
    })
}

/// A route that stands as `path` in the document; `version` is that of a versioned one.
fn path_item(route: &Route, path: &str, version: Option<Version>) -> Value {
    let mut item = Map::new();
    let places: Vec<_> = path.split('/').filter_map(in_braces).map(place_in_path).collect();
    if !places.is_empty() {
        item.insert("parameters".to_owned(), Value::Array(places));
    }
    for (verb, operation) in &route.operations {
        let name = match verb {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Delete => "delete",
        };
        let described = described(*verb, operation, version);
        if *verb == Verb::Get {
            item.insert("head".to_owned(), named(without_bodies(described.clone()), "head", path));
        }
        item.insert(name.to_owned(), named(described, name, path));
    }
    Value::Object(item)
}

/// The operation with a name of its own: the method, then the path.
fn named(mut operation: Value, method: &str, path: &str) -> Value {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    let words = path.split(['/', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| match in_braces(word) {
        Some(name) => format!("By{}", capital(name)),
        None => capital(word),
    });
    operation["operationId"] = json!(format!("{method}{}", words.collect::<String>()));
    operation
}

fn described(verb: Verb, operation: &Operation, version: Option<Version>) -> Value {
    let mut described = json!({ "summary": operation.summary });
    let here = |parameter: &&Parameter| match parameter.versions {
        Versions::All => true,
        Versions::OnlyV1 => version.is_none_or(|version| !version.is_v2()),
        Versions::OnlyV2 => version.is_none_or(Version::is_v2),
    };
    let mut parameters: Vec<_> = operation.parameters.iter().filter(here).map(parameter).collect();
    let mut responses = Map::new();
    if version.is_some() {
        parameters.push(parameter(&MIN_POSITION));
        for answer in EVERYWHERE {
            responses.insert(answer.status.to_string(), response(answer, verb));
        }
    }
    for answer in operation.answers {
        responses.insert(answer.status.to_string(), response(answer, verb));
    }
    described["responses"] = Value::Object(responses);
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if !operation.takes.is_empty() {
        described["requestBody"] = json!({ "required": true, "content": content(operation.takes) });
    }
    described
}

/// What any operation below a version may come to.
const EVERYWHERE: &[Answer] = &[
    Answer {
        status: 400,
        about: "The request is wrong; the text says in what.",
        body: Body::Of(&["text/plain"]),
    },
    Answer { status: 500, about: "A fault of the archive.", body: Body::Of(&["text/plain"]) },
    Answer { status: 503, about: "Not now; see `Retry-After`.", body: Body::Of(&["text/plain"]) },
];

const MIN_POSITION: Parameter = Parameter {
    name: "Kymo-Min-Position",
    place: Place::Header,
    form: Form::Integer(0, i64::MAX as u64),
    about: "A `Kymo-Position` that the answer must show.",
    versions: Versions::All,
};

/// The name of a value in a path. The router has a star before one that reaches over several segments,
/// which a document cannot say.
fn in_braces(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.trim_start_matches('*'))
}

/// The path of a route as it stands in the document.
fn documented(path: &str) -> String {
    path.replace("{*", "{")
}

fn place_in_path(name: &str) -> Value {
    let about = match name {
        "partition" => "Name of a data partition",
        "study" => "Study Instance UID",
        "series" => "Series Instance UID",
        "instance" => "SOP Instance UID",
        "frames" => "Numbers of frames from 1 on, with commas",
        "path" => "Tags of 8 hex digits, with the numbers of items between them",
        other => other,
    };
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" } })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.form {
        Form::Text => json!({ "type": "string" }),
        Form::Boolean => json!({ "type": "boolean" }),
        Form::DateTime => json!({ "type": "string", "format": "date-time" }),
        Form::Integer(least, most) => {
            json!({ "type": "integer", "format": "int64", "minimum": least, "maximum": most })
        }
        Form::Pairs => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    };
    let place = match parameter.place {
        Place::Query => "query",
        Place::Header => "header",
    };
    let (name, about) = (parameter.name, parameter.about);
    let mut described = json!({ "name": name, "in": place, "description": about, "schema": schema });
    if parameter.form == Form::Pairs {
        described["style"] = json!("form");
        described["explode"] = json!(true);
    }
    described
}

fn response(answer: &Answer, verb: Verb) -> Value {
    let mut response = json!({ "description": answer.about });
    match answer.body {
        Body::None => {}
        Body::Of(media) => response["content"] = content(media),
        Body::Retrieved(resource) => response["content"] = content(&resource.media_types()),
    }
    if verb != Verb::Get {
        let about = "The position up to which the outcome is settled.";
        response["headers"] = json!({ "Kymo-Position": { "description": about, "schema": { "type": "integer", "format": "int64" } } });
    }
    response
}

fn content(media: &[&str]) -> Value {
    let schema = |media: &str| match media {
        "application/dicom+json" => json!({ "type": "array", "items": { "type": "object" } }),
        "application/json" => json!({}),
        "text/plain" | "application/yaml" => json!({ "type": "string" }),
        _ => json!({ "type": "string", "format": "binary" }),
    };
    media
        .iter()
        .map(|media| ((*media).to_owned(), json!({ "schema": schema(media) })))
        .collect::<Map<_, _>>()
        .into()
}

/// The same answers with nothing in them.
fn without_bodies(mut operation: Value) -> Value {
    let responses = operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for response in responses.filter_map(Value::as_object_mut) {
        response.remove("content");
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_table_is_described_under_a_name_of_its_own() {
        let document = describe(Version::V2, "http://a/v2", false);
        let mut names = Vec::new();
        for route in routes::versioned().iter().chain(&routes::plain()) {
            let item = &document["paths"][documented(route.path)];
            for (verb, _) in &route.operations {
                let method = format!("{verb:?}").to_lowercase();
                names.push(item[&method]["operationId"].as_str().expect("a name").to_owned());
            }
            assert_eq!(item.get("head").is_some(), item.get("get").is_some());
        }
        let paths = document["paths"].as_object().unwrap().len();
        assert_eq!(paths, routes::versioned().len() + routes::plain().len());
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.contains(&"getStudiesByStudySeriesBySeriesMetadata".to_owned()), "{names:?}");
    }

    #[test]
    fn with_partitions_the_routes_of_studies_lie_below_one_and_no_others() {
        let document = describe(Version::V2, "http://a/v2", true);
        let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        for (there, path) in [
            (true, "/partitions/{partition}/studies"),
            (true, "/partitions/{partition}/instances"),
            (false, "/studies"),
            (true, "/changefeed"),
            (true, "/partitions"),
            (true, "/health/check"),
        ] {
            assert_eq!(paths.contains(&path), there, "{path}");
        }
        let study = &document["paths"]["/partitions/{partition}/studies/{study}"]["parameters"];
        assert_eq!((&study[0]["name"], &study[1]["name"]), (&json!("partition"), &json!("study")));
    }

    #[test]
    fn a_value_of_many_segments_is_one_in_the_document() {
        assert_eq!(documented("/a/{study}/bulkdata/{*path}"), "/a/{study}/bulkdata/{path}");
        assert_eq!(in_braces("{*path}"), Some("path"));
        assert_eq!(in_braces("path"), None);
    }

    #[test]
    fn parameters_are_those_of_the_version() {
        let limits = |version| {
            let document = describe(version, "http://a", false);
            let parameters =
                document["paths"]["/changefeed"]["get"]["parameters"].as_array().unwrap().clone();
            let limit = parameters.iter().find(|parameter| parameter["name"] == "limit").unwrap();
            (limit["schema"]["maximum"].clone(), parameters.iter().any(|p| p["name"] == "startTime"))
        };
        assert_eq!(limits(Version::V1), (json!(100), false));
        assert_eq!(limits(Version::V1Prerelease), (json!(100), false));
        assert_eq!(limits(Version::V2), (json!(200), true));
    }
}
