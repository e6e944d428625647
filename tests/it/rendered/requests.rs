//! What can be asked of rendered instances and frames, and what is answered (`studies.md` §3.1, §3.7).

use std::time::Duration;

use axum::http::Method;
use kymo::http::{Cors, Settings};
use kymo::{archive, codecs};

use super::{GREY, INSTANCE, RGB, Shown, jpeg, new, png, rendered, samples};
use crate::kit::dicom::{DEFLATED, Image, Instance, Offsets, Value, families};
use crate::kit::served::{Served, codecs as settings_of_codecs};

const UNKNOWN: &str = "/v2/studies/1.2/series/1.3/instances/9.9";

/// Three frames of one row: black and white at different places.
fn three() -> Instance {
    new().frames(GREY, &[vec![0, 255, 0, 0], vec![0, 0, 255, 0], vec![0, 0, 0, 255]])
}

#[tokio::test]
async fn accept_chooses_between_jpeg_and_png() {
    let archive = Served::start().await;
    archive.stored(&three().part10()).await;
    let path = format!("{INSTANCE}/rendered");
    let plain = archive.get(&path).send().await;
    assert_eq!((plain.status, plain.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(jpeg(plain.bytes()), (4, 1, 1));
    for (accept, media) in [
        ("image/jpeg", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/jpeg;q=0.5, image/png", "image/png"),
        ("image/gif, image/png;q=0.1", "image/png"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
    ] {
        let answer = archive.get(&path).accept(accept).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)), "{accept}");
        let length = answer.bytes().len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
        match media {
            "image/png" => assert_eq!(png(answer.bytes()).samples, [0, 255, 0, 0]),
            _ => assert_eq!(jpeg(answer.bytes()), (4, 1, 1)),
        }
    }
    for accept in ["application/jpeg", "image/gif", "application/dicom", "text/plain", "image/png;q=0"] {
        for path in [path.as_str(), &format!("{UNKNOWN}/rendered")] {
            assert_eq!(archive.get(path).accept(accept).send().await.status, 406, "{path} {accept}");
        }
    }
}

#[tokio::test]
async fn quality_is_1_to_100_and_of_a_jpeg() {
    let archive = Served::start().await;
    let noise: Vec<u8> = (0..64 * 64).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    archive.stored(&new().frames(Image { rows: 64, columns: 64, ..GREY }, &[noise]).part10()).await;
    let ask = |query: &str, accept: &'static str| {
        archive.get(&format!("{INSTANCE}/rendered{query}")).accept(accept).send()
    };
    let mut sizes = Vec::new();
    for query in ["?quality=1", "?quality=50", "?quality=90", "?quality=100"] {
        let answer = ask(query, "image/jpeg").await;
        assert_eq!(answer.status, 200, "{query}");
        sizes.push(answer.bytes().len());
    }
    assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
    assert_eq!(ask("", "image/jpeg").await.bytes(), ask("?quality=100", "image/jpeg").await.bytes());
    assert_eq!(ask("", "image/png").await.bytes(), ask("?quality=1", "image/png").await.bytes());
    for bad in ["0", "101", "x", "", "1.5", "-1"] {
        for accept in ["image/jpeg", "image/png", "image/gif"] {
            let answer = ask(&format!("?quality={bad}"), accept).await;
            assert_eq!(answer.status, 400, "{bad} {accept}");
            assert!(answer.text().contains("quality"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_instance_shows_its_first_frame_and_a_frame_itself() {
    let archive = Served::start().await;
    archive.stored(&three().part10()).await;
    let shown = |path: String| {
        let ask = archive.get(&path).accept("image/png").send();
        async { png(ask.await.bytes()).samples }
    };
    assert_eq!(shown(format!("{INSTANCE}/rendered")).await, [0, 255, 0, 0]);
    assert_eq!(shown(format!("{INSTANCE}/frames/1/rendered")).await, [0, 255, 0, 0]);
    assert_eq!(shown(format!("{INSTANCE}/frames/3/rendered")).await, [0, 0, 0, 255]);
    for (frame, status) in [
        ("0", 400),
        ("-1", 400),
        ("x", 400),
        ("1,2", 400),
        ("1.5", 400),
        ("%20", 400),
        ("4", 404),
        ("4294967295", 404),
        ("99999999999", 400),
    ] {
        let answer = archive.get(&format!("{INSTANCE}/frames/{frame}/rendered")).send().await;
        assert_eq!(answer.status, status, "{frame}: {answer:?}");
        // A bad number shows before anything else, one beyond the frames after it.
        let expected = if status == 400 { 400 } else { 406 };
        let path = format!("{UNKNOWN}/frames/{frame}/rendered");
        assert_eq!(archive.get(&path).accept("image/gif").send().await.status, expected, "{frame}");
    }
}

#[tokio::test]
async fn checks_are_made_in_their_order() {
    let archive = Served::start().await;
    archive.stored(&new().part10()).await;
    for (path, accept, status) in [
        (format!("{INSTANCE}/rendered"), "image/jpeg", 404),
        (format!("{INSTANCE}/rendered"), "image/gif", 406),
        (format!("{INSTANCE}/rendered?quality=0"), "image/gif", 400),
        (format!("{INSTANCE}/frames/1/rendered"), "image/png", 404),
        (format!("{UNKNOWN}/rendered"), "image/png", 404),
        (format!("{UNKNOWN}/rendered"), "image/gif", 406),
        (format!("{UNKNOWN}/rendered?quality=0"), "image/gif", 400),
        (format!("{UNKNOWN}/rendered?window=1"), "image/png", 400),
        ("/v2/studies/1.2x/series/1/instances/1/rendered".to_owned(), "image/gif", 400),
        ("/v2/studies/1/series/1/instances/../rendered".to_owned(), "image/png", 400),
        ("/v2/partitions/a/studies/1/series/1/instances/1/rendered".to_owned(), "image/png", 400),
        (format!("{INSTANCE}/rendered?x=%3C"), "image/png", 400),
    ] {
        let answer = archive.get(&path).accept(accept).send().await;
        assert_eq!(answer.status, status, "{path} {accept}: {answer:?}");
    }
}

#[tokio::test]
async fn files_and_frames_above_their_limits_are_406() {
    let image = Image { rows: 16, columns: 16, ..GREY };
    let file = new().frames(image, &[vec![9; 256]]).part10();
    let length = file.len() as u64;
    for (transcode_bytes, frame_bytes, status) in
        [(length, 256, 200), (length - 1, 256, 406), (length, 255, 406)]
    {
        let settings = Settings { transcode_bytes, ..Settings::default() };
        let pixels = codecs::Settings { frame_bytes, ..settings_of_codecs() };
        let archive = Served::decoding(settings, archive::Settings::default(), pixels).await;
        archive.stored(&file).await;
        for what in ["rendered", "thumbnail?viewport=9,9", "frames/1/rendered"] {
            let answer = archive.get(&format!("{INSTANCE}/{what}")).send().await;
            assert_eq!(answer.status, status, "{what} {transcode_bytes} {frame_bytes}: {answer:?}");
        }
        // What comes out counts, too.
        let large = archive.get(&format!("{INSTANCE}/rendered?viewport=17,17")).send().await;
        assert_eq!(large.status, 406);
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_406() {
    let archive = Served::start().await;
    let (mut shown, mut refused) = (0, 0);
    for (number, family) in families().into_iter().enumerate() {
        archive.stored(&family.part10).await;
        let study = format!("2.25.7001{number:03}");
        let path = format!("/v2/studies/{study}/series/{study}.1/instances/{study}.1.1/rendered");
        let answer = archive.get(&path).accept("image/png").send().await;
        let real = ["", ".1", ".2", ".1.99", ".5"];
        let real =
            family.transfer_syntax.strip_prefix("1.2.840.10008.1.2").is_some_and(|s| real.contains(&s));
        assert_eq!(answer.status, if real { 200 } else { 406 }, "{}: {answer:?}", family.name);
        if real { shown += 1 } else { refused += 1 }
    }
    assert!(shown > 30 && refused > 30, "{shown} {refused}");
    // A frame that is not what it says.
    let broken = new().fragments(GREY, &[vec![vec![7; 80]]], Offsets::Absent).syntax("1.2.840.10008.1.2.5");
    assert_eq!(rendered(&archive, &broken, "").await.status, 406);
    // Attributes of no image.
    for (tag, vr, value) in [
        (0x0028_0004, "CS", Value::from("HSV")),
        (0x0028_0100, "US", Value::U16(vec![12])),
        (0x0028_0002, "US", Value::U16(vec![3])),
        (0x0028_0101, "US", Value::U16(vec![9])),
        (0x0028_0103, "US", Value::U16(vec![2])),
    ] {
        let bad = new().frames(GREY, &[vec![1, 2, 3, 4]]).element(tag, vr, value);
        let answer = rendered(&archive, &bad, "").await;
        assert_eq!(answer.status, 406, "{tag:08X}: {answer:?}");
    }
    let cut = new().frames(GREY, &[vec![1, 2, 3, 4]]).element(0x0028_0008, "IS", "3");
    rendered(&archive, &cut, "").await;
    for (number, status) in [(1, 200), (2, 406), (3, 406), (4, 404)] {
        let answer = archive.get(&format!("{INSTANCE}/frames/{number}/rendered")).send().await;
        assert_eq!(answer.status, status, "{number}");
    }
    let floats = new().frames(Image { bits: 32, ..GREY }, &[vec![0; 16]]).without(0x7FE0_0010).element(
        0x7FE0_0008,
        "OF",
        Value::F32(vec![0.0, 1.0, 2.0, 3.0]),
    );
    assert_eq!(rendered(&archive, &floats, "").await.status, 406);
}

#[tokio::test]
async fn parameters_that_are_not_ours_are_passed_over() {
    let archive = Served::start().await;
    archive.stored(&three().part10()).await;
    let path = format!("{INSTANCE}/rendered");
    let plain = archive.get(&path).send().await;
    let query = "?annotation=patient,technique&iccprofile=srgb&anything=1";
    let more = archive.get(&format!("{path}{query}")).header("msdicom-request-original", "true").send().await;
    assert_eq!((more.status, more.bytes()), (200, plain.bytes()));
}

#[tokio::test]
async fn a_picture_is_tagged_and_not_made_twice() {
    let archive = Served::start().await;
    archive.stored(&three().part10()).await;
    let paths = [
        "rendered",
        "rendered?quality=90",
        "rendered?window=1,2,linear",
        "rendered?window=1,2,sigmoid",
        "rendered?viewport=9,9",
        "frames/2/rendered",
        "thumbnail",
        "frames/1/thumbnail",
    ];
    let mut tags = Vec::new();
    for path in paths {
        let path = format!("{INSTANCE}/{path}");
        for accept in ["image/jpeg", "image/png"] {
            let answer = archive.get(&path).accept(accept).send().await;
            assert_eq!(answer.status, 200, "{path}");
            let tag = answer.header("etag").expect("a tag").to_owned();
            assert!(tag.starts_with("\"1-") && tag.len() == 20, "{tag}");
            let again = archive.get(&path).accept(accept).send().await;
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            tags.push(tag);
        }
    }
    let png = archive.get(&format!("{INSTANCE}/rendered?quality=3")).accept("image/png").send().await;
    assert_eq!(png.header("etag"), Some(tags[1].as_str()), "quality is nothing to a PNG");
    let all = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), all - 1, "all but the one PNG that was asked for twice: {tags:?}");

    // Without its file nothing can be decoded, and nothing has to be.
    let path = format!("{INSTANCE}/rendered");
    let first = archive.get(&path).send().await;
    let tag = first.header("etag").expect("a tag").to_owned();
    let file = archive.files().await.pop().expect("a file");
    archive.steal(&file).await;
    assert_eq!(archive.get(&path).send().await.status, 424);
    let known = archive.get(&path).header("if-none-match", &format!("W/{tag}, \"x\"")).send().await;
    assert_eq!((known.status, known.header("etag"), known.bytes()), (304, Some(tag.as_str()), &b""[..]));

    let replaced = archive.put("/v2/studies").dicom(&three().part10()).send().await;
    assert_eq!(replaced.status, 200);
    let after = archive.get(&path).header("if-none-match", &tag).send().await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), Some(tag.as_str()));
    assert_eq!(after.bytes(), first.bytes());
}

#[tokio::test]
async fn a_head_has_the_headers_of_the_get_without_a_pixel() {
    let archive = Served::start().await;
    archive.stored(&three().part10()).await;
    for path in [
        format!("{INSTANCE}/rendered"),
        format!("{INSTANCE}/frames/2/rendered"),
        format!("{INSTANCE}/thumbnail"),
        "/v2/studies/1.2/thumbnail".to_owned(),
    ] {
        let get = archive.get(&path).accept("image/png").send().await;
        let head = archive.request(Method::HEAD, &path).accept("image/png").send().await;
        assert_eq!((head.status, head.bytes()), (200, &b""[..]), "{path}");
        for name in ["content-type", "etag", "vary", "cache-control", "x-content-type-options"] {
            assert!(get.header(name).is_some(), "{name}");
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    let gone = archive.request(Method::HEAD, &format!("{INSTANCE}/frames/4/rendered")).send().await;
    assert_eq!(gone.status, 404);
    archive.steal(&archive.files().await[0]).await;
    let head = archive.request(Method::HEAD, &format!("{INSTANCE}/rendered")).send().await;
    assert_eq!(head.status, 200, "nothing was read");
}

#[tokio::test]
async fn pages_partitions_and_versions_have_pictures_too() {
    let origins = vec!["https://viewer.example".to_owned()];
    let cors = Cors::parse(&origins, &[], &[], Duration::from_secs(600), false).expect("a policy");
    let settings = Settings { cors: Some(cors), partitions: true, ..Settings::default() };
    let archive = Served::with(settings).await;
    let stored = archive.post("/v2/partitions/a/studies").dicom(&three().part10()).send().await;
    assert_eq!(stored.status, 200);
    let below = INSTANCE.trim_start_matches("/v2/");
    for version in ["v1", "v1.0-prerelease", "v2"] {
        for what in ["rendered", "frames/2/rendered", "thumbnail", "Frames/2/Thumbnail"] {
            let path = format!("/{version}/partitions/a/{below}/{what}");
            let answer = archive.get(&path).header("origin", "https://viewer.example").send().await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://viewer.example"));
            assert_eq!(answer.header("vary"), Some("Origin, Accept"));
            let other = path.replace("/a/", "/b/");
            assert_ne!(archive.get(&other).send().await.status, 200, "{other}");
        }
    }
    assert_eq!(archive.get(&format!("{INSTANCE}/rendered")).send().await.status, 400);
}

#[tokio::test]
async fn a_window_of_the_client_counts_before_the_images() {
    let archive = Served::start().await;
    let image = new().frames(GREY, &[vec![0, 50, 100, 200]]).element(0x0028_1050, "DS", "5\\100").element(
        0x0028_1051,
        "DS",
        "4\\50",
    );
    for (query, expected) in [
        ("", [0, 255, 255, 255]),
        ("?window=100,201,linear", [1, 64, 128, 255]),
        ("?WINDOW=100,200,Linear-Exact", [0, 64, 128, 255]),
        ("?window=100,100,sigmoid", [5, 30, 128, 250]),
        ("?window=100.0,1e0,linear", [0, 0, 255, 255]),
    ] {
        assert_eq!(samples(&archive, &image, query).await, expected, "{query}");
    }
    for bad in [
        "1,2",
        "1,2,linear,3",
        "nan,2,linear",
        "1,inf,linear",
        "1,0,sigmoid",
        "1,-1,linear",
        "1,0.5,linear",
        "1,2,cubic",
        "",
        "1,2,",
    ] {
        let answer = archive.get(&format!("{INSTANCE}/rendered?window={bad}")).send().await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.text().contains("window"));
    }
    // Colours have no window.
    let colour = new().frames(RGB, &[(0..12).collect()]);
    assert_eq!(samples(&archive, &colour, "?window=1,2,linear").await, (0..12).collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_viewport_cuts_out_mirrors_and_fits() {
    let archive = Served::start().await;
    let image = new().frames(Image { rows: 2, columns: 4, ..GREY }, &[vec![0, 1, 2, 3, 4, 5, 6, 255]]);
    let shown = async |query: &str| {
        let answer = rendered(&archive, &image, &format!("?viewport={query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        png(answer.bytes())
    };
    let of = |width, height, samples: &[u8]| Shown { width, height, samples: samples.to_vec() };
    assert_eq!(shown("4,2").await, of(4, 2, &[0, 1, 2, 3, 4, 5, 6, 255]));
    assert_eq!(shown("2,2,1,0,2,2").await, of(2, 2, &[1, 2, 5, 6]));
    assert_eq!(shown("2,2,,,2,2").await, of(2, 2, &[0, 1, 4, 5]));
    assert_eq!(shown("2,2,1,0,-2,2").await, of(2, 2, &[2, 1, 6, 5]));
    assert_eq!(shown("2,2,1,0,2,-2").await, of(2, 2, &[5, 6, 1, 2]));
    assert_eq!(shown("4,2,,,-4,-2").await, of(4, 2, &[255, 6, 5, 4, 3, 2, 1, 0]));
    // Clipped to what is there: two columns, one row.
    assert_eq!(shown("2,9,2,1,100,100").await, of(2, 1, &[6, 255]));
    for (query, width, height) in
        [("8,8", 8, 4), ("400,20", 40, 20), ("2,2", 2, 1), ("1,1", 1, 1), ("9,9,0,0,2,2", 9, 9)]
    {
        let shown = shown(query).await;
        assert_eq!((shown.width, shown.height), (width, height), "{query}");
    }
    for bad in [
        "",
        "1",
        "0,1",
        "1,0",
        "8193,1",
        "1,1,1",
        "1,1,1,1",
        "1,1,4,0,1,1",
        "1,1,0,0,0,1",
        "a,b",
        "1,1,x,0,1,1",
    ] {
        let answer = archive.get(&format!("{INSTANCE}/rendered?viewport={bad}")).send().await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.text().contains("viewport"));
    }
    let thumbnail = archive.get(&format!("{INSTANCE}/thumbnail?viewport=9,9,0,0,1,1")).send().await;
    assert_eq!(thumbnail.status, 400);
}

#[tokio::test]
async fn a_frame_of_a_deflated_file_is_shown() {
    let archive = Served::start().await;
    for syntax in [DEFLATED, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"] {
        let image = three().syntax(syntax);
        assert_eq!(samples(&archive, &image, "").await, [0, 255, 0, 0], "{syntax}");
    }
}
