//! Every route, once: its path, its handlers, and what a caller may send and get.
//!
//! The router is made from these tables, and so is the document of [`openapi`](super::openapi): what is not
//! here is not served, what is here is described.
//! Invariant: literals are in lower case, without version and partition segment (`routing`).
//! Elsewhere: letter case, version, partition (`routing`, `envelope`), the form of the document (`openapi`).

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn;
use axum::routing::MethodRouter;

use super::accept::Resource;
use super::studies::{bulkdata, count, delete, frames, metadata, rendered, retrieve, search, store};
use super::{App, DICOM, DICOM_JSON, change_feed, counted, health, openapi, partitions};

/// A path with what it answers.
pub(super) struct Route {
    /// As the router takes it.
    pub(super) path: &'static str,
    /// In the order of the table.
    pub(super) operations: Vec<(Verb, &'static Operation)>,
    handlers: MethodRouter<App>,
}

/// A method of HTTP that changes what a route does. HEAD goes with GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// What a caller has to know of an operation, besides its path.
pub(super) struct Operation {
    /// In a few words.
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Media types of the request's body; none has no body.
    pub(super) takes: &'static [&'static str],
    /// Those beside the errors that every operation may come to.
    pub(super) answers: &'static [Answer],
}

/// A parameter of a query, or a header.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) about: &'static str,
    pub(super) versions: Versions,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Header,
}

/// What a parameter's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Boolean,
    DateTime,
    /// From the first number to the second.
    Integer(u64, u64),
    /// Any names with any texts.
    Pairs,
}

/// The versions in which something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    All,
    OnlyV1,
    OnlyV2,
}

/// A status with the forms of its body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) body: Body,
}

/// The forms of a body.
#[derive(Clone, Copy)]
pub(super) enum Body {
    None,
    /// One of these media types.
    Of(&'static [&'static str]),
    /// What can be asked for of this resource.
    Retrieved(Resource),
}

impl Route {
    fn at(path: &'static str) -> Self {
        Self { path, operations: Vec::new(), handlers: MethodRouter::new() }
    }

    fn get<T: 'static>(mut self, handler: impl Handler<T, App>, operation: &'static Operation) -> Self {
        self.handlers = self.handlers.get(handler);
        self.with(Verb::Get, operation)
    }

    fn post<T: 'static>(mut self, handler: impl Handler<T, App>, operation: &'static Operation) -> Self {
        self.handlers = self.handlers.post(handler);
        self.with(Verb::Post, operation)
    }

    fn put<T: 'static>(mut self, handler: impl Handler<T, App>, operation: &'static Operation) -> Self {
        self.handlers = self.handlers.put(handler);
        self.with(Verb::Put, operation)
    }

    fn delete<T: 'static>(mut self, handler: impl Handler<T, App>, operation: &'static Operation) -> Self {
        self.handlers = self.handlers.delete(handler);
        self.with(Verb::Delete, operation)
    }

    fn with(mut self, verb: Verb, operation: &'static Operation) -> Self {
        self.operations.push((verb, operation));
        self
    }
}

/// The routes below `/v{n}`.
pub(super) fn versioned() -> Vec<Route> {
    const INSTANCE: &str = "/studies/{study}/series/{series}/instances/{instance}";
    vec![
        Route::at("/studies")
            .get(search::search, &SEARCH)
            .post(store::create, &STORE)
            .put(store::upsert, &UPSERT),
        Route::at("/series").get(search::search, &SEARCH),
        Route::at("/instances").get(search::search, &SEARCH),
        Route::at("/studies/count").get(count::count, &COUNT),
        Route::at("/series/count").get(count::count, &COUNT),
        Route::at("/instances/count").get(count::count, &COUNT),
        Route::at("/studies/{study}/series").get(search::search, &SEARCH),
        Route::at("/studies/{study}/instances").get(search::search, &SEARCH),
        Route::at("/studies/{study}/series/{series}/instances").get(search::search, &SEARCH),
        Route::at("/studies/{study}")
            .get(retrieve::retrieve, &RETRIEVE_SEVERAL)
            .post(store::create, &STORE)
            .put(store::upsert, &UPSERT)
            .delete(delete::delete, &DELETE),
        Route::at("/studies/{study}/series/{series}")
            .get(retrieve::retrieve, &RETRIEVE_SEVERAL)
            .delete(delete::delete, &DELETE),
        Route::at(INSTANCE).get(retrieve::retrieve, &RETRIEVE_ONE).delete(delete::delete, &DELETE),
        Route::at("/studies/{study}/metadata").get(metadata::metadata, &METADATA),
        Route::at("/studies/{study}/series/{series}/metadata").get(metadata::metadata, &METADATA),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/metadata")
            .get(metadata::metadata, &METADATA),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/frames/{frames}")
            .get(frames::frames, &FRAMES),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/rendered")
            .get(rendered::instance, &RENDERED),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered")
            .get(rendered::one_frame, &RENDERED),
        Route::at("/studies/{study}/thumbnail").get(rendered::thumbnail, &THUMBNAIL),
        Route::at("/studies/{study}/series/{series}/thumbnail").get(rendered::thumbnail, &THUMBNAIL),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/thumbnail")
            .get(rendered::thumbnail, &THUMBNAIL),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/thumbnail")
            .get(rendered::thumbnail_of_frame, &THUMBNAIL),
        Route::at("/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*path}")
            .get(bulkdata::bulkdata, &BULK_DATA),
        Route::at("/changefeed").get(change_feed::list, &CHANGES),
        Route::at("/changefeed/latest").get(change_feed::latest, &LATEST_CHANGE),
        Route::at("/partitions").get(partitions::list, &PARTITIONS),
        Route::at("/api.yaml").get(openapi::as_yaml, &DESCRIPTION),
        Route::at("/api.json").get(openapi::as_json, &DESCRIPTION),
    ]
}

/// The routes outside any version.
pub(super) fn plain() -> Vec<Route> {
    vec![
        Route::at("/health/check").get(health::check, &HEALTH),
        Route::at("/metrics").get(health::metrics, &METRICS),
    ]
}

/// The router of a table.
pub(super) fn router(routes: Vec<Route>, app: App) -> Router {
    let mut router = Router::new();
    for Route { path, handlers, operations: _ } in routes {
        router = router.route(path, handlers);
    }
    router.route_layer(from_fn(counted::remember_route)).with_state(app)
}

const TEXT: Body = Body::Of(&["text/plain"]);
const JSON: Body = Body::Of(&["application/json"]);
const DICOM_JSON_BODY: Body = Body::Of(&[DICOM_JSON]);

const fn answer(status: u16, about: &'static str, body: Body) -> Answer {
    Answer { status, about, body }
}

const fn query(name: &'static str, form: Form, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, form, about, versions: Versions::All }
}

const fn only(versions: Versions, parameter: Parameter) -> Parameter {
    Parameter { versions, ..parameter }
}

const fn header(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Header, form: Form::Text, about, versions: Versions::All }
}

const NOT_MODIFIED: Answer = answer(304, "The entity tag of `If-None-Match` still holds.", Body::None);
const NOT_FOUND: Answer = answer(404, "There is no such thing.", TEXT);
const NOT_ACCEPTABLE: Answer = answer(406, "`Accept` names nothing that can be had.", TEXT);
const STORE_FAILED: Answer = answer(424, "The store of files refuses, or a file was changed or lost.", TEXT);
const PARTIAL: Answer = answer(206, "The range asked for, of an answer of one part.", Body::Of(&["*/*"]));
const OUT_OF_RANGE: Answer = answer(416, "The range lies beyond the end.", TEXT);
const RANGE: Parameter = header("Range", "One range of bytes, of an answer of one part.");
const IF_NONE_MATCH: Parameter = header("If-None-Match", "Entity tags that the caller has.");

const FILTER: Parameter = query(
    "filter",
    Form::Pairs,
    "Attributes of the resource's levels by keyword or tag, as in `PatientID=x`. All must match.",
);
const FUZZY: Parameter = query(
    "fuzzymatching",
    Form::Text,
    "`true`: names match by the beginnings of words that stand side by side; `any`: wherever they stand.",
);
const TOO_BROAD: Answer = answer(413, "Too much would have to be looked at; the text says what helps.", TEXT);

static SEARCH: Operation = Operation {
    summary: "Search (QIDO-RS)",
    parameters: &[
        FILTER,
        query(
            "includefield",
            Form::Text,
            "Keywords or tags, or paths of them, to be added to the answer, with commas, or `all`.",
        ),
        FUZZY,
        query(
            "orderby",
            Form::Text,
            "Attributes to order by, with commas, `-` before one for descending; newest first without.",
        ),
        query("limit", Form::Integer(1, 200), "Most items; 100 unless told."),
        query("offset", Form::Integer(0, i64::MAX as u64), "Items passed over."),
    ],
    takes: &[],
    answers: &[
        answer(200, "What was found.", DICOM_JSON_BODY),
        answer(204, "Nothing was found.", Body::None),
        NOT_ACCEPTABLE,
        TOO_BROAD,
    ],
};

static COUNT: Operation = Operation {
    summary: "How many a search finds",
    parameters: &[FILTER, FUZZY],
    takes: &[],
    answers: &[answer(200, "An object with the number `count`.", JSON), TOO_BROAD],
};

const INSTANCES: &[&str] = &["multipart/related", DICOM];

const STORE_ANSWERS: &[Answer] = &[
    answer(200, "All are stored.", DICOM_JSON_BODY),
    answer(202, "Some are stored, or all with warnings.", DICOM_JSON_BODY),
    answer(204, "The request holds no instance.", Body::None),
    NOT_ACCEPTABLE,
    answer(408, "The body came too slowly.", TEXT),
    answer(409, "None is stored.", DICOM_JSON_BODY),
    answer(413, "The body is too large, or has too many parts.", TEXT),
    answer(415, "A content type that is not taken.", TEXT),
    STORE_FAILED,
];

/// When the studies of a store are to go (`studies.md` §2.10).
const EXPIRY: &[Parameter] = &[
    only(
        Versions::OnlyV2,
        header("msdicom-expiry-time-milliseconds", "After how many milliseconds the studies are to go."),
    ),
    only(Versions::OnlyV2, header("msdicom-expiry-option", "`RelativeToNow`.")),
    only(Versions::OnlyV2, header("msdicom-expiry-level", "`Study`.")),
];

static STORE: Operation = Operation {
    summary: "Store instances (STOW-RS); those that are there stay",
    parameters: EXPIRY,
    takes: INSTANCES,
    answers: STORE_ANSWERS,
};

static UPSERT: Operation = Operation {
    summary: "Store instances; those that are there are replaced",
    parameters: EXPIRY,
    takes: INSTANCES,
    answers: STORE_ANSWERS,
};

static RETRIEVE_SEVERAL: Operation = Operation {
    summary: "Retrieve the instances (WADO-RS)",
    parameters: &[],
    takes: &[],
    answers: &[
        answer(200, "The instances, each a part.", Body::Retrieved(Resource::StudyOrSeries)),
        NOT_FOUND,
        NOT_ACCEPTABLE,
        STORE_FAILED,
    ],
};

/// The answers to a GET of what can be had in part, and asked for again only if it has changed.
const fn of_one_thing(about: &'static str, resource: Resource) -> [Answer; 7] {
    let found = answer(200, about, Body::Retrieved(resource));
    [found, PARTIAL, NOT_MODIFIED, NOT_FOUND, NOT_ACCEPTABLE, OUT_OF_RANGE, STORE_FAILED]
}

static RETRIEVE_ONE: Operation = Operation {
    summary: "Retrieve the instance (WADO-RS)",
    parameters: &[IF_NONE_MATCH, RANGE],
    takes: &[],
    answers: &of_one_thing("The instance.", Resource::Instance),
};

static FRAMES: Operation = Operation {
    summary: "Retrieve frames of the instance (WADO-RS)",
    parameters: &[IF_NONE_MATCH, RANGE],
    takes: &[],
    answers: &of_one_thing("The frames in the order asked for.", Resource::Frames),
};

static BULK_DATA: Operation = Operation {
    summary: "Retrieve one value that metadata leave out (WADO-RS)",
    parameters: &[IF_NONE_MATCH, RANGE],
    takes: &[],
    answers: &of_one_thing("The value.", Resource::BulkData),
};

const QUALITY: Parameter = query("quality", Form::Integer(1, 100), "Of a JPEG; 100 unless told.");
const PICTURES: &[Answer] = &[
    answer(200, "The picture.", Body::Of(&["image/jpeg", "image/png"])),
    NOT_MODIFIED,
    NOT_FOUND,
    NOT_ACCEPTABLE,
    STORE_FAILED,
];

static RENDERED: Operation = Operation {
    summary: "A picture of one frame (WADO-RS)",
    parameters: &[
        IF_NONE_MATCH,
        QUALITY,
        query(
            "window",
            Form::Text,
            "`center,width,function` in the units of the modality; functions: `linear`, `linear-exact`, `sigmoid`.",
        ),
        query(
            "viewport",
            Form::Text,
            "`width,height` of the box to fit, and perhaps `,x,y,width,height` of a part, mirrored if negative.",
        ),
    ],
    takes: &[],
    answers: PICTURES,
};

static THUMBNAIL: Operation = Operation {
    summary: "A small picture of the image in the middle (WADO-RS)",
    parameters: &[
        IF_NONE_MATCH,
        QUALITY,
        query("viewport", Form::Text, "`width,height` of the box to fit; `128,128` unless told."),
    ],
    takes: &[],
    answers: PICTURES,
};

static METADATA: Operation = Operation {
    summary: "Metadata of the instances (WADO-RS)",
    parameters: &[IF_NONE_MATCH],
    takes: &[],
    answers: &[
        answer(200, "A dataset for each instance.", DICOM_JSON_BODY),
        NOT_MODIFIED,
        NOT_FOUND,
        NOT_ACCEPTABLE,
        STORE_FAILED,
    ],
};

static DELETE: Operation = Operation {
    summary: "Delete the instances",
    parameters: &[],
    takes: &[],
    answers: &[answer(204, "They are gone.", Body::None), NOT_FOUND],
};

const INCLUDE_METADATA: Parameter = query(
    "includeMetadata",
    Form::Boolean,
    "Whether rows carry the metadata of what is live; true unless told.",
);

static CHANGES: Operation = Operation {
    summary: "The change feed",
    parameters: &[
        query("offset", Form::Integer(0, i64::MAX as u64), "Rows passed over."),
        only(Versions::OnlyV1, query("limit", Form::Integer(1, 100), "Most rows; 10 unless told.")),
        only(Versions::OnlyV2, query("limit", Form::Integer(1, 200), "Most rows; 100 unless told.")),
        only(Versions::OnlyV2, query("startTime", Form::DateTime, "First moment of the window.")),
        only(Versions::OnlyV2, query("endTime", Form::DateTime, "Moment before which the window ends.")),
        INCLUDE_METADATA,
    ],
    takes: &[],
    answers: &[answer(200, "Rows in their order.", JSON)],
};

static LATEST_CHANGE: Operation = Operation {
    summary: "The latest row of the change feed",
    parameters: &[INCLUDE_METADATA],
    takes: &[],
    answers: &[answer(200, "The row.", JSON), answer(204, "There is none yet.", Body::None)],
};

static PARTITIONS: Operation = Operation {
    summary: "The data partitions; 400 while they are off",
    parameters: &[],
    takes: &[],
    answers: &[answer(200, "All of them, the default one first.", JSON)],
};

static DESCRIPTION: Operation = Operation {
    summary: "This description",
    parameters: &[],
    takes: &[],
    answers: &[answer(200, "An OpenAPI document.", Body::Of(&["application/json", "application/yaml"]))],
};

static HEALTH: Operation = Operation {
    summary: "Whether the archive is well",
    parameters: &[],
    takes: &[],
    answers: &[answer(200, "Healthy or degraded.", JSON), answer(503, "Unhealthy.", JSON)],
};

static METRICS: Operation = Operation {
    summary: "What is measured, for Prometheus",
    parameters: &[],
    takes: &[],
    answers: &[answer(200, "All figures.", TEXT), answer(404, "Nothing is recorded.", Body::None)],
};
