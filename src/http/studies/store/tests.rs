//! Content types that are taken, and the form of the answer (`studies.md` §2.2, §2.6).

use dicom_core::Tag;
use serde_json::{Value, json};

use super::*;
use crate::base::{Partition, Position, Stamp};
use crate::dicom::validate::{Fault, Invalid};
use crate::event::{Action, Change, InstanceKey};
use crate::http::Settings;

fn shape(content_type: Option<&'static str>) -> Result<Form, StatusCode> {
    let mut headers = HeaderMap::new();
    if let Some(value) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
    }
    family(&headers).and_then(|kind| form(kind, &headers)).map_err(|error| error.status())
}

fn multipart(boundary: &str, of: Option<&str>) -> Result<Form, StatusCode> {
    Ok(Form::Multipart { boundary: Boundary::parse(boundary).unwrap(), of: of.and_then(MediaType::parse) })
}

#[test]
fn every_shape_of_content_type_has_its_answer() {
    let dicom = Some("application/dicom");
    for (value, expected) in [
        ("application/dicom", Ok(Form::Single)),
        ("Application/DICOM", Ok(Form::Single)),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", Ok(Form::Single)),
        ("multipart/related; type=\"application/dicom\"; boundary=abc", multipart("abc", dicom)),
        ("multipart/related; type=application/dicom; boundary=\"a b:c\"", multipart("a b:c", dicom)),
        ("multipart/related; boundary=----x", multipart("----x", None)),
        ("multipart/related; type=\"application/dicom\"", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ("multipart/related; boundary=x; start=\"<a>\"", Err(StatusCode::BAD_REQUEST)),
        ("multipart/form-data; boundary=x", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ("multipart/mixed; boundary=x", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ("application/dicom+json", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ("application/json", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ("nonsense", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
    ] {
        assert_eq!(shape(Some(value)), expected, "{value}");
    }
    assert_eq!(shape(None), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
}

#[test]
fn an_encoded_body_is_not_taken() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(DICOM));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let refused = form(family(&headers).unwrap(), &headers).map_err(|error| error.status());
    assert_eq!(refused, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
}

const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.7";

fn stored(warning: Option<u16>, findings: Vec<Finding>) -> PartOutcome {
    let uid = |text| Uid::parse(text).unwrap();
    let key = InstanceKey { study: uid("1.2.3"), series: uid("1.2.3.4"), instance: uid("1.2.3.4.5") };
    let change = Change {
        sequence: 1,
        action: Action::Create,
        partition: Partition::default(),
        key: key.clone(),
        version: 1,
        time: Stamp(0),
        position: Position(1),
        file: None,
    };
    let (sop_class, sop_instance) = (SOP_CLASS.to_owned(), "1.2.3.4.5".to_owned());
    PartOutcome::Stored { key, sop_class, sop_instance, change, warning, findings }
}

fn refused(why: PartRefusal) -> PartOutcome {
    PartOutcome::Refused {
        sop_class: Some(SOP_CLASS.to_owned()),
        sop_instance: Some("1.2.3.9.9".to_owned()),
        why,
    }
}

fn unreadable() -> PartOutcome {
    let why = PartRefusal::Unreadable("nothing".to_owned());
    PartOutcome::Refused { sop_class: None, sop_instance: None, why }
}

async fn answered(version: Version, study: Option<&str>, parts: &[PartOutcome]) -> (u16, Value) {
    let uri = "https://host/v2/studies".parse().unwrap();
    let settings = Settings { public_url: Some("https://host".to_owned()), ..Settings::default() };
    let base = Base::of(&settings, None, &uri, &HeaderMap::new(), version);
    let study = study.map(|text| Uid::parse(text).unwrap());
    let stored = Stored { parts: parts.to_vec(), position: None, several_values: false };
    let response = answer(version, &base, study.as_ref(), &stored);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/dicom+json");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn finding() -> Finding {
    Finding { tag: Tag(0x0008, 0x0020), fault: Fault::Value("It is no date.") }
}

#[tokio::test]
async fn the_contracts_example_is_answered_as_printed() {
    let parts = [refused(PartRefusal::AlreadyStored), stored(Some(1), Vec::new())];
    let (status, body) = answered(Version::V2, Some("1.2.3"), &parts).await;
    assert_eq!(status, 202);
    let expected = json!({
        "00081190": {"vr":"UR","Value":["https://host/v2/studies/1.2.3"]},
        "00081198": {"vr":"SQ","Value":[{
            "00081150": {"vr":"UI","Value":[SOP_CLASS]},
            "00081155": {"vr":"UI","Value":["1.2.3.9.9"]},
            "00081197": {"vr":"US","Value":[45070]}}]},
        "00081199": {"vr":"SQ","Value":[{
            "00081150": {"vr":"UI","Value":[SOP_CLASS]},
            "00081155": {"vr":"UI","Value":["1.2.3.4.5"]},
            "00081190": {"vr":"UR","Value":["https://host/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5"]},
            "00081196": {"vr":"US","Value":[1]},
            "00741048": {"vr":"SQ"}}]}
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn statuses_follow_the_table() {
    use Version::{V1, V1Prerelease, V2};
    let failed = || PartRefusal::Failed("disk".to_owned());
    for (version, parts, expected) in [
        (V2, vec![stored(None, vec![])], 200),
        (V1, vec![stored(None, vec![])], 200),
        (V2, vec![stored(Some(45063), vec![])], 202),
        (V1, vec![stored(Some(45063), vec![])], 200),
        (V1Prerelease, vec![stored(Some(45063), vec![])], 200),
        (V1, vec![stored(None, vec![]), unreadable()], 202),
        (V2, vec![refused(failed())], 409),
        (V1, vec![unreadable(), refused(PartRefusal::AlreadyStored)], 409),
    ] {
        assert_eq!(answered(version, None, &parts).await.0, expected, "{version} {parts:?}");
    }
}

#[tokio::test]
async fn failed_attributes_are_listed_always_in_v2_and_never_for_a_success_in_v1() {
    let pointer = "/00081199/Value/0/00741048";
    let (_, v2) = answered(Version::V2, None, &[stored(None, vec![])]).await;
    assert_eq!(v2.pointer(pointer), Some(&json!({"vr":"SQ"})));
    assert!(v2.get("00081190").is_none() && v2.get("00081198").is_none());
    let (_, v1) = answered(Version::V1, None, &[stored(Some(1), vec![])]).await;
    assert_eq!(v1.pointer(pointer), None);
}

#[tokio::test]
async fn every_refusal_has_its_code_and_only_invalid_ones_list_attributes() {
    let invalid =
        Invalid { sop_class: None, instance: None, findings: vec![finding()], several_values: false };
    let parts = [
        unreadable(),
        refused(PartRefusal::Invalid(invalid)),
        refused(PartRefusal::AlreadyStored),
        refused(PartRefusal::Failed("disk".to_owned())),
    ];
    let (status, body) = answered(Version::V2, Some("1.2.3"), &parts).await;
    assert_eq!((status, body.get("00081190"), body.get("00081199")), (409, None, None));
    let items = body.pointer("/00081198/Value").and_then(Value::as_array).unwrap();
    let codes: Vec<_> = items.iter().map(|item| item["00081197"]["Value"][0].as_u64().unwrap()).collect();
    assert_eq!(codes, [43264, 43264, 45070, 272]);
    let listed: Vec<_> = items.iter().map(|item| item.get("00741048").is_some()).collect();
    assert_eq!(listed, [false, true, false, false]);
    assert_eq!(items[0], json!({"00081197": {"vr":"US","Value":[43264]}}));
}
