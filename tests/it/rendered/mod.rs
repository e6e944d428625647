//! Rendered images and thumbnails, rule by rule (`studies.md` §3.7), and before judges.
//!
//! Elsewhere: what samples become (`dicom::render`), sizes and files of pictures (`codecs::picture`).

mod hostile;
mod judges;
mod looks;
mod requests;
mod thumbnails;

use crate::kit::dicom::{Image, Instance, Value};
use crate::kit::served::{Answer, Served};

const INSTANCE: &str = "/v2/studies/1.2/series/1.3/instances/1.4";
const GREY: Image = Image { rows: 1, columns: 4, samples: 1, bits: 8, photometric: "MONOCHROME2" };
const WORDS: Image = Image { bits: 16, ..GREY };
const RGB: Image = Image { samples: 3, photometric: "RGB", ..GREY };

fn new() -> Instance {
    Instance::new("1.2", "1.3", "1.4")
}

/// What a PNG shows.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    width: u32,
    height: u32,
    /// 1 or 3 for each pixel.
    samples: Vec<u8>,
}

fn png(file: &[u8]) -> Shown {
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a PNG");
    let mut samples = vec![0; reader.output_buffer_size().expect("a small picture")];
    let info = reader.next_frame(&mut samples).expect("a whole picture");
    assert_eq!(info.bit_depth, png::BitDepth::Eight);
    Shown { width: info.width, height: info.height, samples }
}

/// Width, height and components of a JPEG, by its frame header.
fn jpeg(file: &[u8]) -> (u16, u16, u8) {
    assert!(file.starts_with(b"\xFF\xD8") && file.ends_with(b"\xFF\xD9"), "no JPEG: {:?}", file.get(..8));
    let mut at = 2;
    loop {
        let word = |at: usize| u16::from_be_bytes([file[at], file[at + 1]]);
        if matches!(word(at), 0xFFC0..=0xFFC2) {
            return (word(at + 7), word(at + 5), file[at + 9]);
        }
        at += 2 + usize::from(word(at + 2));
    }
}

/// What is rendered of an instance that takes the place of the one before.
async fn rendered(archive: &Served, instance: &Instance, query: &str) -> Answer {
    let stored = archive.put("/v2/studies").dicom(&instance.part10()).send().await;
    assert!([200, 202].contains(&stored.status), "{stored:?}");
    archive.get(&format!("{INSTANCE}/rendered{query}")).accept("image/png").send().await
}

/// Its samples.
async fn samples(archive: &Served, instance: &Instance, query: &str) -> Vec<u8> {
    let answer = rendered(archive, instance, query).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    png(answer.bytes()).samples
}

fn le(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn text(text: &str) -> Value {
    Value::from(text)
}
