//! Validation as a client meets it (`studies.md` §2.5, §2.6, §1.8): statuses, comments, the `Warning` header, what
//! metadata and search then show, before and after a restart.
//!
//! Elsewhere: the rules value by value (`dicom::validate::tests`).

use axum::body::Bytes;
use serde_json::{Value as Json, json};

use crate::kit::dicom::{
    Element, IMPLICIT_LITTLE, Instance, PATIENT_ID, SERIES_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY,
    STUDY_UID, Value, blue_circle, green_square, red_triangle,
};
use crate::kit::process::{Process, ran};
use crate::kit::served::{Answer, Served};

const STUDY_DATE: u32 = 0x0008_0020;
const MODALITY: u32 = 0x0008_0060;
const STUDY_DESCRIPTION: u32 = 0x0008_1030;
const REFERENCED_STUDY: u32 = 0x0008_1110;
const PATIENT_NAME: u32 = 0x0010_0010;

fn instance(n: u32) -> Instance {
    Instance::new("1.2.7", "1.2.7.1", &format!("1.2.7.1.{n}"))
}

/// The tags that an answer names for its only instance, stored or not.
fn told(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let item = body.pointer("/00081199/Value/0").or(body.pointer("/00081198/Value/0")).expect("one instance");
    let items = item.pointer("/00741048/Value").and_then(Json::as_array).cloned().unwrap_or_default();
    let tag = |item: &Json| {
        let comment = item["00000902"]["Value"][0].as_str().expect("a comment");
        assert!(item.as_object().is_some_and(|item| item.len() == 1) && item["00000902"]["vr"] == "LO");
        let rest = comment.strip_prefix("DICOM100: (").expect("the number of the error");
        let (tag, reason) = rest.split_once(") - ").expect("a reason");
        assert!(reason.ends_with('.') && tag == tag.to_lowercase(), "{comment}");
        tag.to_owned()
    };
    items.iter().map(tag).collect()
}

fn reason(answer: &Answer, code: &str) -> Option<u64> {
    let body = answer.json();
    let item = body.pointer("/00081199/Value/0").or(body.pointer("/00081198/Value/0")).expect("one instance");
    item.pointer(&format!("/{code}/Value/0")).and_then(Json::as_u64)
}

const FAILURE: &str = "00081197";
const WARNING: &str = "00081196";

async fn metadata(archive: &Served, n: u32) -> Json {
    let path = format!("/v2/studies/1.2.7/series/1.2.7.1/instances/1.2.7.1.{n}/metadata");
    let answer = archive.get(&path).accept("application/dicom+json").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()[0].clone()
}

#[tokio::test]
async fn v1_refuses_for_indexed_attributes_with_all_of_them_and_stores_what_else_is_wrong() {
    let archive = Served::start().await;
    let bad = instance(1)
        .element(STUDY_DATE, "DA", "20240230")
        .element(STUDY_DESCRIPTION, "LO", &*"x".repeat(65))
        .element(PATIENT_NAME, "PN", "a=b=c=d");
    let answer = archive.post("/v1/studies").dicom(&bad.part10()).send().await;
    assert_eq!((answer.status, reason(&answer, FAILURE)), (409, Some(43264)));
    assert_eq!(told(&answer), ["0008,0020", "0008,1030", "0010,0010"]);
    assert!(archive.feed().await.is_empty());

    let odd = instance(1).element(0x0008_0030, "TM", "10:30").element(MODALITY, "CS", "lower-case");
    let answer = archive.post("/v1/studies").dicom(&odd.part10()).send().await;
    assert_eq!((answer.status, reason(&answer, WARNING)), (200, None), "{answer:?}");
    let shown = metadata(&archive, 1).await;
    assert_eq!(
        (&shown["00080030"]["Value"][0], &shown["00080060"]["Value"][0]),
        (&json!("10:30"), &json!("lower-case"))
    );
}

#[tokio::test]
async fn v2_stores_with_warnings_and_leaves_out_precisely_what_is_wrong() {
    let archive = Served::start().await;
    let item = |modality: &str| Element::new(MODALITY, "CS", modality);
    let deep =
        Element::new(0x0040_0275, "SQ", Value::Sequence(vec![vec![item("deep-one")], vec![item("MR")]]));
    let items = vec![vec![item("CT"), deep], vec![item("no code")]];
    let file = instance(1)
        .modality("CT")
        .element(STUDY_DATE, "DA", "2024.01.01")
        .element(STUDY_DESCRIPTION, "LO", "one\\two")
        .element(REFERENCED_STUDY, "SQ", Value::Sequence(items));
    let part10 = file.part10();
    let answer = archive.post("/v2/studies").dicom(&part10).send().await;
    assert_eq!((answer.status, reason(&answer, WARNING)), (202, Some(1)), "{answer:?}");
    assert_eq!(
        told(&answer),
        ["0008,0020", "0008,1030", "0008,0060"],
        "one of each tag, in the order of the file"
    );

    let shown = metadata(&archive, 1).await;
    assert_eq!((shown.get("00080020"), shown.get("00081030")), (None, None));
    let (ct, mr) = (json!({"vr": "CS", "Value": ["CT"]}), json!({"vr": "CS", "Value": ["MR"]}));
    assert_eq!(shown["00080060"], ct, "the right one of the dataset stays");
    let inner = json!([{}, {"00080060": mr}]);
    assert_eq!(
        shown["00081110"]["Value"],
        json!([{"00080060": ct, "00400275": {"vr": "SQ", "Value": inner}}, {}])
    );
    let found = archive.get("/v2/studies?includefield=all").accept("*/*").send().await.json();
    assert_eq!((found[0].get("00080020"), found[0].get("00081030")), (None, None), "{found}");
    let filed = archive.get("/v2/studies?StudyDescription=one").accept("*/*").send().await;
    assert_eq!(filed.status, 204, "what is left out is not searched either");

    let path = "/v2/studies/1.2.7/series/1.2.7.1/instances/1.2.7.1.1";
    let file = archive.get(path).accept("application/dicom; transfer-syntax=*").send().await;
    assert!(file.bytes() == part10, "the file is never altered");
}

#[tokio::test]
async fn core_errors_of_v2_tell_everything_and_uids_with_findings_stay() {
    let archive = Served::start().await;
    let bad = instance(1).element(PATIENT_ID, "LO", &*"x".repeat(65)).element(MODALITY, "CS", "no code");
    let answer = archive.post("/v2/studies").dicom(&bad.part10()).send().await;
    assert_eq!((answer.status, reason(&answer, FAILURE)), (409, Some(43264)));
    assert_eq!(told(&answer), ["0010,0020", "0008,0060"]);

    let zeros = instance(1).element(STUDY_UID, "UI", "1.2.07").element(SERIES_UID, "UI", "1.2.07.1");
    let zeros = zeros.element(SOP_INSTANCE_UID, "UI", "1.2.07.1.1");
    let answer = archive.post("/v2/studies").dicom(&zeros.part10()).send().await;
    assert_eq!((answer.status, reason(&answer, WARNING)), (202, Some(1)));
    assert_eq!(told(&answer), ["0008,0018", "0020,000d", "0020,000e"]);
    let shown = archive.get("/v2/studies/1.2.07/metadata").accept("*/*").send().await.json();
    for tag in ["00080018", "0020000D", "0020000E"] {
        assert!(shown[0][tag]["Value"][0].is_string(), "{tag} stays");
    }
}

#[tokio::test]
async fn an_empty_patient_id_is_a_warning_and_absent() {
    let archive = Served::start().await;
    for (n, value) in [(1, ""), (2, "  "), (3, "\0\0")] {
        let file = instance(n).element(PATIENT_ID, "LO", value).part10();
        let answer = archive.post("/v2/studies").dicom(&file).send().await;
        assert_eq!((answer.status, told(&answer)), (202, vec!["0010,0020".to_owned()]));
        assert_eq!(metadata(&archive, n).await.get("00100020"), None);
    }
    let found = archive.get("/v2/studies").accept("*/*").send().await.json();
    assert_eq!(found[0]["00100020"].get("Value"), None, "{found}");
}

#[tokio::test]
async fn implicit_vr_keeps_its_own_warning() {
    let archive = Served::start().await;
    let file = |n| instance(n).syntax(IMPLICIT_LITTLE).element(MODALITY, "CS", "no code").part10();
    let v1 = archive.post("/v1/studies").dicom(&file(1)).send().await;
    assert_eq!((v1.status, reason(&v1, WARNING), told(&v1)), (200, Some(45063), vec![]));
    let v2 = archive.post("/v2/studies").dicom(&file(2)).send().await;
    assert_eq!(
        (v2.status, reason(&v2, WARNING), told(&v2)),
        (202, Some(45063), vec!["0008,0060".to_owned()])
    );
    let clean = instance(3).syntax(IMPLICIT_LITTLE).part10();
    let v2 = archive.post("/v2/studies").dicom(&clean).send().await;
    assert_eq!((v2.status, reason(&v2, WARNING), told(&v2)), (202, Some(45063), vec![]));
}

#[tokio::test]
async fn several_values_of_a_checked_attribute_give_the_warning_header() {
    let archive = Served::start().await;
    let described = |n| instance(n).element(STUDY_DESCRIPTION, "LO", "first\\second").part10();
    let modalities = |n| instance(n).element(0x0008_0061, "CS", "CT\\MR").part10();
    let nobody = |n| instance(n).element(PATIENT_ID, "LO", "a\\b").part10();
    for (what, version, file, status, warned) in [
        ("an indexed one in v1", "v1", described(1), 200, true),
        ("one that may have several", "v1", modalities(2), 200, true),
        ("a required one in v1", "v1", nobody(3), 409, true),
        ("an indexed one in v2", "v2", described(4), 202, false),
        ("one that may have several, in v2", "v2", modalities(5), 200, false),
        ("a required one in v2", "v2", nobody(6), 202, true),
        ("none", "v1", instance(7).part10(), 200, false),
    ] {
        let answer = archive.post(&format!("/{version}/studies")).dicom(&file).send().await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let warning = answer.header("warning");
        assert_eq!(warning.is_some(), warned, "{what}: {warning:?}");
        if let Some(warning) = warning {
            let text =
                warning.strip_prefix("299 archive.example: \"").and_then(|text| text.strip_suffix('"'));
            assert!(text.is_some_and(|text| !text.is_empty() && !text.contains('"')), "{what}: {warning}");
        }
    }
    let found = archive.get("/v1/studies?StudyDescription=first").accept("*/*").send().await;
    assert_eq!(found.json().as_array().map(Vec::len), Some(1), "the first value is indexed");
}

#[tokio::test]
async fn undecodable_bytes_are_replaced_and_told_in_v2() {
    let archive = Served::start().await;
    let file = |n| {
        let name = Value::Bytes(b"M\xC3\xBCller^J\xF6rg".to_vec());
        instance(n).character_set("ISO_IR 192").element(PATIENT_NAME, "PN", name).part10()
    };
    let v1 = archive.post("/v1/studies").dicom(&file(1)).send().await;
    assert_eq!((v1.status, told(&v1)), (200, vec![]));
    let v2 = archive.post("/v2/studies").dicom(&file(2)).send().await;
    assert_eq!((v2.status, reason(&v2, WARNING), told(&v2)), (202, Some(1), vec!["0010,0010".to_owned()]));
    for n in [1, 2] {
        let shown = metadata(&archive, n).await;
        assert_eq!(shown["00100010"]["Value"][0]["Alphabetic"], "Müller^J\u{FFFD}rg");
    }
    let path = "/v2/studies/1.2.7/series/1.2.7.1/instances/1.2.7.1.2";
    let back = archive.get(path).accept("application/dicom; transfer-syntax=*").send().await;
    assert!(back.bytes() == file(2));
}

#[tokio::test]
async fn the_tutorials_files_have_no_findings() {
    let archive = Served::start().await;
    for file in [red_triangle(), green_square(), blue_circle()] {
        let answer = archive.post("/v2/studies").dicom(&file.part10()).send().await;
        assert_eq!((answer.status, told(&answer)), (200, vec![]), "{answer:?}");
        assert_eq!(answer.json()["00081199"]["Value"][0]["00741048"], json!({"vr": "SQ"}));
    }
    let whole = archive.get(&format!("/v2/studies/{STUDY}/metadata")).accept("*/*").send().await;
    assert_eq!(whole.json().as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn many_findings_are_told_up_to_a_limit() {
    let archive = Served::start().await;
    let mut file = instance(1);
    for n in 0..1500 {
        file = file.element(0x0009_1000 + n, "CS", "no code");
    }
    let answer = archive.post("/v2/studies").dicom(&file.part10()).send().await;
    assert_eq!((answer.status, told(&answer).len()), (202, 1000));
    assert_eq!(metadata(&archive, 1).await.get("000915DB"), None, "those beyond are left out too");
}

#[tokio::test]
async fn of_one_request_a_hundred_thousand_findings_are_told_and_every_instance_is_stored() {
    let archive = Served::start().await;
    let file = |n: u32| {
        let bad = (0..1000).fold(instance(n), |file, tag| file.element(0x0009_1000 + tag, "CS", "no code"));
        // The last one is refused: its first finding is told all the same.
        if n == 103 { bad.without(0x0010_0020).part10() } else { bad.part10() }
    };
    let files: Vec<Vec<u8>> = (1..=103).map(file).collect();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let answer = archive.post("/v2/studies").multipart(&files).send().await;
    assert_eq!(answer.status, 202);
    let body = answer.json();
    let told = |list: &str| -> Vec<usize> {
        let items = body[list]["Value"].as_array().expect("instances");
        let count =
            |item: &Json| item.pointer("/00741048/Value").and_then(Json::as_array).map_or(0, Vec::len);
        items.iter().map(count).collect()
    };
    let mut stored = vec![1000; 100];
    stored.extend([0, 0]);
    assert_eq!((told("00081199"), told("00081198")), (stored, vec![1]));
    assert_eq!(metadata(&archive, 102).await.get("00091000"), None, "what is told no more is left out too");
}

/// What is hostile in a text, and whether v2 stores it.
fn hostile() -> Vec<(&'static str, Instance)> {
    let long = "x".repeat(100_000);
    let named = |n, set: &str, name: &[u8]| {
        instance(n).character_set(set).element(PATIENT_NAME, "PN", Value::Bytes(name.to_vec()))
    };
    vec![
        ("a bidirectional name", named(1, "ISO_IR 192", "\u{202E}enaJ^\u{2066}eoD".as_bytes())),
        ("an escape cut off", named(2, "\\ISO 2022 IR 87", b"Yamada=\x1B$")),
        ("an escape that nothing ends", named(3, "\\ISO 2022 IR 87", b"Yamada=\x1B$B;3ED")),
        ("an escape of no set", named(4, "ISO 2022 IR 6\\ISO 2022 IR 126", b"a\x1B(Zb\x1B-F\xE1^\xE1")),
        ("separators only", named(5, "ISO_IR 100", b"====^^^^^^^^====")),
        ("half a character", named(6, "GB18030", b"Wang=\x81")),
        ("10^5 characters", instance(7).syntax(IMPLICIT_LITTLE).element(PATIENT_NAME, "PN", long.as_str())),
        ("10^5 characters in an item", {
            let item = vec![Element::new(STUDY_DESCRIPTION, "LO", long.as_str())];
            instance(8).syntax(IMPLICIT_LITTLE).element(REFERENCED_STUDY, "SQ", Value::Sequence(vec![item]))
        }),
        ("10^5 values", {
            let values = "no code\\".repeat(100_000);
            instance(9).syntax(IMPLICIT_LITTLE).element(MODALITY, "CS", values.as_str())
        }),
        ("10^5 characters of text", instance(10).element(0x0040_A160, "UT", long.as_str())),
        ("control characters", instance(11).element(PATIENT_NAME, "PN", "a\x01\x02\x03\x7F\r\n")),
    ]
}

/// All that the archive shows of the study.
fn shown(archive: &Process) -> [Bytes; 3] {
    ["/v2/studies/1.2.7/metadata", "/v2/instances?includefield=all&limit=200", "/v2/changefeed?limit=200"]
        .map(|path| {
            let answer = archive.ask("GET", path, &[("accept", "*/*")], b"");
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            answer.json();
            answer.body.expect("a whole body")
        })
}

#[test]
fn hostile_texts_are_stored_shown_and_the_same_after_a_restart_and_a_rebuild() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data = scratch.path().join("data");
    let archive = Process::start(&data, &["--trace", "warn"]);
    let headers = [("content-type", "application/dicom"), ("accept", "application/dicom+json")];
    let files = hostile();
    for (what, file) in &files {
        let answer = archive.ask("POST", "/v2/studies", &headers, &file.part10());
        assert!([200, 202].contains(&answer.status), "{what}: {answer:?}");
        let tags: &[&str] = match *what {
            "a bidirectional name" | "10^5 characters of text" => &[],
            "10^5 characters in an item" => &["0008,1030"],
            "10^5 values" => &["0008,0060"],
            "an escape that nothing ends" | "an escape cut off" => &[],
            _ => &["0010,0010"],
        };
        assert_eq!(told(&answer), tags, "{what}");
    }
    let bad = instance(12).element(SOP_CLASS_UID, "UI", "\u{202E}1.2").part10();
    assert_eq!(archive.ask("POST", "/v2/studies", &headers, &bad).status, 409);
    let before = shown(&archive);
    let instances: Json = serde_json::from_slice(&before[0]).expect("JSON");
    assert_eq!(instances.as_array().map(Vec::len), Some(files.len()));
    assert!(!archive.errors().contains("panicked"), "{}", archive.errors());
    assert!(archive.stop().success());

    let archive = Process::start(&data, &[]);
    assert!(shown(&archive) == before, "the same after a restart");
    assert!(archive.stop().success());
    let rebuilt = ran(&["rebuild", "--data", data.to_str().expect("a readable name")]);
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let archive = Process::start(&data, &[]);
    assert!(shown(&archive) == before, "and after a rebuild");
    assert!(archive.stop().success());
}
