//! Thumbnails (PS3.18 §10.4.1.1.4): the image that stands for a frame, an instance, a series or a study.
//!
//! Of an instance its representative frame, or the middle one. Of a series the middle one of its images by Instance
//! Number; of a study that of its first series with pixels by Series Number. Where an image cannot be shown its
//! nearest neighbours are tried, [`MOST_TRIES`] at most.
//!
//! Invariant: a choice is kept under what its scope was when it was made, so it is never out of date.
//! Invariant: [`MOST_INSTANCES`] of a scope are looked at; of a larger one the first in the order of UIDs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use parking_lot::Mutex;

use super::frame::Chosen;
use super::wish::Wish;
use super::{NO_BYTES, answer, chosen, live, shown, single, tag};
use crate::archive::{Archive, LiveInstance, Summary};
use crate::base::Partition;
use crate::codecs;
use crate::dicom::render::Place;
use crate::dicom::uid::Uid;
use crate::event::Scope;
use crate::http::envelope::InPartition;
use crate::http::error::Error;
use crate::http::etag::EntityTag;
use crate::http::studies::{Pages, not_found};
use crate::http::urls::{UrlFrames, UrlScope, query_pairs};
use crate::http::{App, blocking};

/// Images of a series that are tried.
const MOST_TRIES: usize = 8;
/// Instances of a study or series among which one is chosen.
const MOST_INSTANCES: usize = 10_000;
/// Choices that are kept.
const MOST_CHOICES: usize = 1024;

/// What was asked for, as it was then.
type Key = (Partition, Uid, Option<Uid>, u64, u64);

/// Choices made before.
#[derive(Default)]
pub(super) struct Choices(Mutex<HashMap<Key, (LiveInstance, u32)>>);

impl Choices {
    fn get(&self, key: &Key) -> Option<(LiveInstance, u32)> {
        self.0.lock().get(key).cloned()
    }

    fn keep(&self, key: Key, choice: &Chosen) {
        let mut kept = self.0.lock();
        if kept.len() >= MOST_CHOICES {
            kept.clear();
        }
        kept.insert(key, (choice.live.clone(), choice.number));
    }
}

/// GET `…/frames/{number}/thumbnail`.
pub(in crate::http) async fn thumbnail_of_frame(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    UrlFrames(numbers): UrlFrames,
    State(app): State<App>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let number = single(&numbers)?;
    let wish = Wish::of_thumbnail(&query_pairs(&uri), &headers)?;
    shown(&app, &partition, &scope, number, wish, &method, &headers).await
}

/// GET `…/thumbnail` of an instance, a series or a study.
pub(in crate::http) async fn thumbnail(
    InPartition(partition): InPartition,
    UrlScope(scope): UrlScope,
    State(app): State<App>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wish = Wish::of_thumbnail(&query_pairs(&uri), &headers)?;
    let summary = {
        let (archive, partition, scope) = (app.archive.clone(), partition.clone(), scope.clone());
        blocking(move || archive.summary(&partition, &scope)).await?
    };
    let Summary { highest_version, count } = summary.ok_or_else(|| not_found(&scope))?;
    let state = match scope.instance {
        Some(_) => highest_version.to_string(),
        None => format!("{highest_version}-{count}"),
    };
    let tag = tag::of(&state, None, &wish);
    if let Some(known) = tag.not_modified(&headers) {
        return Ok(known);
    }
    if scope.instance.is_some() {
        let chosen = of_instance(&app.archive, live(&app.archive, &partition, &scope)?).await?;
        let plan = chosen.plan(&app, wish).await?;
        return answer(&app, &chosen, plan, &wish, &tag, &method).await;
    }
    let key = (partition.clone(), scope.study.clone(), scope.series.clone(), highest_version, count);
    if let Some((live, number)) = app.pictures.choices.get(&key) {
        let chosen = chosen(&app.archive, live, number).await?;
        let plan = chosen.plan(&app, wish).await?;
        return answer(&app, &chosen, plan, &wish, &tag, &method).await;
    }
    for series in in_order(&app.archive, all(&app.archive, partition, scope).await?).await? {
        let images = images(&app.archive, series).await?;
        if let Some((chosen, answer)) = first_that_shows(&app, images, &wish, &tag, &method).await? {
            app.pictures.choices.keep(key, &chosen);
            return Ok(answer);
        }
    }
    Err(Error::NotFound("An image"))
}

/// The live instances of a study or series.
async fn all(archive: &Archive, partition: Partition, scope: Scope) -> Result<Vec<LiveInstance>, Error> {
    let mut pages = Pages::of(archive, partition, scope);
    let mut all = pages.first().await?;
    while all.len() < MOST_INSTANCES {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    all.truncate(MOST_INSTANCES);
    Ok(all)
}

/// The series by their numbers, those without one last, then by their UIDs.
async fn in_order(archive: &Archive, all: Vec<LiveInstance>) -> Result<Vec<Vec<LiveInstance>>, Error> {
    let mut series: Vec<Vec<LiveInstance>> = Vec::new();
    for live in all {
        match series.last_mut() {
            Some(last) if last[0].key.series == live.key.series => last.push(live),
            Some(_) | None => series.push(vec![live]),
        }
    }
    if series.len() < 2 {
        return Ok(series);
    }
    let firsts: Vec<&LiveInstance> = series.iter().map(|series| &series[0]).collect();
    let places = places(archive, &firsts).await?;
    let mut numbered: Vec<_> = places.into_iter().map(|place| place.series_number).zip(series).collect();
    numbered.sort_by(|(one, some), (other, others)| {
        order(*one, &some[0].key.series).cmp(&order(*other, &others[0].key.series))
    });
    Ok(numbered.into_iter().map(|(_, series)| series).collect())
}

/// By number, those without one last, then by UID.
fn order(number: Option<i64>, uid: &Uid) -> (bool, Option<i64>, String) {
    (number.is_none(), number, uid.to_string())
}

/// The images of a series: the middle one first, then its neighbours on both sides.
async fn images(archive: &Archive, series: Vec<LiveInstance>) -> Result<Vec<LiveInstance>, Error> {
    let places = places(archive, &series.iter().collect::<Vec<_>>()).await?;
    let mut images: Vec<_> = places.into_iter().zip(series).filter(|(place, _)| place.is_image).collect();
    images.sort_by_cached_key(|(place, live)| order(place.instance_number, &live.key.instance));
    let middle = images.len() / 2;
    let mut images: Vec<_> = images.into_iter().map(|(_, live)| Some(live)).collect();
    let nearest = std::iter::once(middle).chain((1..=middle).flat_map(|n| [middle + n, middle - n]));
    let nearest = nearest.filter_map(|at| images.get_mut(at)?.take());
    Ok(nearest.take(MOST_TRIES).collect())
}

/// Where instances stand.
async fn places(archive: &Archive, lives: &[&LiveInstance]) -> Result<Vec<Place>, Error> {
    let mut positions: Vec<_> = lives.iter().map(|live| live.position).collect();
    let mut places = Vec::with_capacity(positions.len());
    while !positions.is_empty() {
        let metadata = archive.metadata_of(positions.clone()).await?;
        positions.drain(..metadata.len());
        let read = move || metadata.iter().map(|metadata| Place::of_metadata(metadata)).collect::<Vec<_>>();
        places.extend(blocking(read).await);
    }
    Ok(places)
}

/// The frame that stands for an instance.
async fn of_instance(archive: &Archive, live: LiveInstance) -> Result<Chosen, Error> {
    let framed = archive.frames(&live).await?;
    let frames = &framed.frames;
    if frames.count() == 0 {
        return Err(Error::NotFound("The instance's pixel data"));
    }
    if frames.count() == 1 && frames.has(1) {
        return Ok(Chosen { live, framed, number: 1 });
    }
    let place = places(archive, &[&live]).await?.pop().unwrap_or_default();
    let wanted = [place.representative_frame, Some(frames.count() / 2 + 1), Some(1)];
    let number = wanted.into_iter().flatten().find(|number| frames.has(*number));
    let number = number.ok_or(NO_BYTES)?;
    Ok(Chosen { live, framed: Arc::clone(&framed), number })
}

/// The answer with the first of these images that can be shown; `None` when none has pixels.
async fn first_that_shows(
    app: &App,
    images: Vec<LiveInstance>,
    wish: &Wish,
    tag: &EntityTag,
    method: &Method,
) -> Result<Option<(Chosen, Response)>, Error> {
    let mut why = None;
    for live in images {
        let shown = async {
            let chosen = of_instance(&app.archive, live).await?;
            let plan = chosen.plan(app, *wish).await?;
            let answer = answer(app, &chosen, plan, wish, tag, method).await?;
            Ok((chosen, answer))
        };
        match shown.await {
            Ok(shown) => return Ok(Some(shown)),
            Err(Error::NotFound(_)) => {}
            Err(error) if is_of_the_image(&error) => why = Some(error),
            Err(error) => return Err(error),
        }
    }
    why.map_or(Ok(None), Err)
}

/// Whether another image may well be shown.
fn is_of_the_image(error: &Error) -> bool {
    match error {
        Error::NotAcceptable(_) => true,
        Error::Codec(error) => match error {
            codecs::Error::Unsupported(_)
            | codecs::Error::Corrupt(_)
            | codecs::Error::TooLarge { .. }
            | codecs::Error::Died
            | codecs::Error::TimedOut => true,
            codecs::Error::Busy | codecs::Error::Stopped(_) => false,
        },
        _ => false,
    }
}
