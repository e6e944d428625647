//! Streams that are cut, extended, flipped, made up or lying: thousands for each codec, on real processes.
//!
//! Whatever comes, it is an error of that frame or a frame of the right size, in bounded time; and afterwards good
//! frames are decoded as before.

use std::time::{Duration, Instant};

use rand::Rng;

use super::*;

/// Spoilt streams of each kind.
const ROUNDS: usize = 250;
/// For one frame, and far more than one of these takes.
const TIME: Duration = Duration::from_secs(10);

/// A good stream, and what it is.
struct Sample {
    name: &'static str,
    syntax: &'static str,
    shape: Description,
    stream: Vec<u8>,
}

async fn samples(codecs: &Codecs) -> Vec<Sample> {
    let mut all = Vec::new();
    for (name, syntax, wanted, shape) in [
        ("J2K grey", "1.2.840.10008.1.2.4.90", Encoding::Jpeg2000Lossless, shape(40, 50, 1, 16, 12)),
        ("J2K colour", "1.2.840.10008.1.2.4.90", Encoding::Jpeg2000Lossless, shape(33, 35, 3, 8, 8)),
        ("JPEG-LS grey", "1.2.840.10008.1.2.4.80", Encoding::JpegLsLossless, shape(40, 50, 1, 16, 12)),
        ("JPEG-LS colour", "1.2.840.10008.1.2.4.81", Encoding::JpegLsLossless, shape(33, 35, 3, 8, 8)),
        ("RLE", "1.2.840.10008.1.2.5", Encoding::Rle, shape(40, 50, 1, 16, 12)),
    ] {
        let stream = codecs.encode(frame(&shape, 1), wanted).await.expect("encoded").to_vec();
        all.push(Sample { name, syntax, shape, stream });
    }
    for (name, progressive) in [("JPEG baseline", false), ("JPEG progressive", true)] {
        let shape = shape(48, 64, 3, 8, 8);
        let mut stream = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut stream, 90);
        encoder.set_progressive(progressive);
        encoder.encode(&frame(&shape, 1).bytes, 64, 48, jpeg_encoder::ColorType::Rgb).expect("encoded");
        all.push(Sample { name, syntax: "1.2.840.10008.1.2.4.50", shape, stream });
    }
    let shape = shape(40, 50, 1, 16, 12);
    let stream = lossless_jpeg::sample(&shape);
    all.push(Sample { name: "JPEG lossless", syntax: "1.2.840.10008.1.2.4.70", shape, stream });
    all
}

/// A decoded frame of the right size, or an error that is the frame's own.
async fn survived(codecs: &Codecs, sample: &Sample, stream: &[u8], how: &str) -> bool {
    let began = Instant::now();
    let done = decode(codecs, sample.syntax, &sample.shape, stream).await;
    assert!(began.elapsed() < 2 * TIME, "{} {how}: {:?}", sample.name, began.elapsed());
    match done {
        Ok(native) => {
            assert_eq!(native.bytes.len() as u64, sample.shape.frame_bytes(), "{} {how}", sample.name);
            true
        }
        Err(Error::Corrupt(_) | Error::Unsupported(_) | Error::Died | Error::TimedOut) => false,
        Err(other) => panic!("{} {how}: {other}", sample.name),
    }
}

async fn still_good(codecs: &Codecs, sample: &Sample) {
    let good = decode(codecs, sample.syntax, &sample.shape, &sample.stream).await;
    assert!(good.is_ok(), "{}: {:?}", sample.name, good.err());
}

fn hostile_codecs() -> Codecs {
    Codecs::new(Settings { time: TIME, ..codecs() })
}

#[tokio::test]
async fn streams_that_are_cut_are_never_half_an_image() {
    let codecs = hostile_codecs();
    for sample in samples(&codecs).await {
        still_good(&codecs, &sample).await;
        // A pad and an end marker may be missing; samples may not.
        let most = sample.stream.len() - 4;
        for cut in (0..most).step_by((most / 250).max(1)) {
            let passed = survived(&codecs, &sample, &sample.stream[..cut], "cut").await;
            assert!(!passed, "{} with {cut} of {} bytes", sample.name, sample.stream.len());
        }
        still_good(&codecs, &sample).await;
    }
    let status = codecs.status();
    assert_eq!(status.restarts, 0, "what is merely cut breaks no codec: {status:?}");
}

#[tokio::test]
async fn bytes_behind_the_image_are_ignored() {
    let codecs = hostile_codecs();
    for sample in samples(&codecs).await {
        let good = decode(&codecs, sample.syntax, &sample.shape, &sample.stream).await.expect("decoded");
        for more in [&[0][..], &[0; 1000]] {
            let longer = [&sample.stream, more].concat();
            let found = decode(&codecs, sample.syntax, &sample.shape, &longer).await;
            assert!(found.as_ref() == Ok(&good), "{}: {:?}", sample.name, found.err());
        }
    }
}

#[tokio::test]
async fn streams_that_are_spoilt_hurt_nobody() {
    let codecs = hostile_codecs();
    for (seed, sample) in samples(&codecs).await.into_iter().enumerate() {
        let mut random = StdRng::seed_from_u64(seed as u64);
        let length = sample.stream.len();
        for round in 0..ROUNDS {
            // One bit, somewhere or in the header.
            let mut spoilt = sample.stream.clone();
            let reach = if round % 2 == 0 { length } else { length.min(120) };
            spoilt[random.random_range(0..reach)] ^= 1 << random.random_range(0..8);
            survived(&codecs, &sample, &spoilt, "one bit").await;
            // Many bytes.
            for _ in 0..random.random_range(1..30) {
                let at = random.random_range(0..length);
                spoilt[at] = random.random();
            }
            survived(&codecs, &sample, &spoilt, "many bytes").await;
            // Noise behind a good header.
            let head = random.random_range(0..length.min(200));
            let mut noise = sample.stream.clone();
            random.fill_bytes(&mut noise[head..]);
            survived(&codecs, &sample, &noise, "noise").await;
            // A piece of it twice, or missing.
            let (a, b) = (random.random_range(0..length), random.random_range(0..length));
            let twice = [&sample.stream[..a.max(b)], &sample.stream[a.min(b)..]].concat();
            survived(&codecs, &sample, &twice, "twice").await;
            let missing = [&sample.stream[..a.min(b)], &sample.stream[a.max(b)..]].concat();
            survived(&codecs, &sample, &missing, "missing").await;
        }
        still_good(&codecs, &sample).await;
    }
    let status = codecs.status();
    assert!(status.processes.len() <= 2 && status.busy == 0 && status.waiting == 0, "{status:?}");
}

#[tokio::test]
async fn noise_is_no_image() {
    let codecs = hostile_codecs();
    let mut random = StdRng::seed_from_u64(77);
    for sample in samples(&codecs).await {
        for _ in 0..ROUNDS {
            let mut noise = vec![0; random.random_range(0..2000)];
            random.fill_bytes(&mut noise);
            survived(&codecs, &sample, &noise, "noise").await;
        }
        for fill in [0, 0xFF] {
            assert!(!survived(&codecs, &sample, &[fill; 5000], "one byte").await);
        }
        assert!(!survived(&codecs, &sample, b"", "nothing").await);
    }
}

/// A header that announces another image than the dataset is refused without asking a codec.
#[tokio::test]
async fn another_image_than_the_dataset_says_starts_no_process() {
    let good = samples(&hostile_codecs()).await;
    let codecs = hostile_codecs();
    for sample in good.iter().filter(|sample| sample.name != "RLE") {
        let of = &sample.shape;
        for other in [
            Description { rows: of.rows + 1, ..of.clone() },
            Description { columns: of.columns - 1, ..of.clone() },
            Description { rows: 5000, columns: 5000, ..of.clone() },
            shape(of.rows, of.columns, 4 - of.samples, of.bits_allocated, of.bits_stored),
        ] {
            let found = decode(&codecs, sample.syntax, &other, &sample.stream).await;
            assert!(matches!(found, Err(Error::Corrupt(_))), "{}: {found:?}", sample.name);
        }
    }
    assert!(codecs.status().processes.is_empty());
}

/// Each scan of a progressive stream costs as much as the image; ten thousand of them would cost a minute.
#[tokio::test]
async fn a_stream_of_endless_scans_is_refused() {
    let codecs = hostile_codecs();
    let all = samples(&codecs).await;
    let sample = all.iter().find(|sample| sample.name == "JPEG progressive").expect("one of them");
    let scans: Vec<usize> = sample
        .stream
        .windows(2)
        .enumerate()
        .filter(|(_, two)| *two == b"\xFF\xDA")
        .map(|(at, _)| at)
        .collect();
    let last = *scans.last().expect("there are scans");
    let end = sample.stream.len() - 2;
    let mut endless = sample.stream[..end].to_vec();
    for _ in 0..10_000 {
        endless.extend_from_slice(&sample.stream[last..end]);
    }
    endless.extend_from_slice(b"\xFF\xD9");
    assert!(!survived(&codecs, sample, &endless, "endless scans").await);
    still_good(&codecs, sample).await;
}
