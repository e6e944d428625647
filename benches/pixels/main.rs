//! Frames a second of each syntax: what a codec costs alone, through its process, and in a whole request.
//!
//! `cargo bench --bench pixels [FOLDER]`. A CT image of 512 × 512 samples of 12 bits is decoded and encoded by one
//! process and by two, each with as many callers, and by two with eight. "Codec" is the processor time that the codec
//! itself says it took; "over" what archive and processes
//! together take above that, whoever else is busy on the machine. FOLDER may hold further frames, as
//! `tests/real/pixels.py make` writes them. At last a running archive answers eight clients with JPEG 2000 frames,
//! as stored and decoded.

mod request;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kymo::codecs::{Codecs, Settings, Stored};
use kymo::dicom::pixels::feasible::{Encoding, encoded};
use kymo::dicom::pixels::{Description, Native, Photometric, Planar};
use kymo::ops::metrics::{CODEC_CPU_SECONDS, Metrics};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Time of one figure.
const RUN: Duration = Duration::from_secs(3);
const SIDE: u16 = 512;

/// One frame, stored in one syntax.
#[derive(Clone)]
struct Sample {
    name: String,
    syntax: String,
    shape: Description,
    stream: Bytes,
}

fn settings(children: usize) -> Settings {
    Settings {
        program: env!("CARGO_BIN_EXE_kymo").into(),
        children,
        memory_bytes: 2 << 30,
        time: Duration::from_secs(30),
        queue: 256,
        queue_wait: Duration::from_secs(20),
        frame_bytes: 128 << 20,
        in_flight_bytes: 512 << 20,
        threads: children,
    }
}

/// Ellipses of tissue with the noise of a scanner.
fn ct() -> Native {
    let shape = Description {
        rows: SIDE,
        columns: SIDE,
        samples: 1,
        bits_allocated: 16,
        bits_stored: 12,
        high_bit: 11,
        signed: false,
        planar: Planar::ByPixel,
        photometric: Photometric::Monochrome2,
    };
    let mut random = StdRng::seed_from_u64(512);
    let mut bytes = Vec::new();
    for row in 0..i64::from(SIDE) {
        for column in 0..i64::from(SIDE) {
            let (y, x) = (row - 256, column - 256);
            let body = x * x / 4 + y * y / 2 < 14_000;
            let bone = (x - 60) * (x - 60) + (y - 40) * (y - 40) < 900;
            let tissue = if bone { 1700 } else { i64::from(body) * 1040 };
            let noise: i64 = (0..4).map(|_| i64::from(random.next_u32() % 13)).sum();
            let value = u16::try_from(tissue + noise).expect("it is small");
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    Native { shape, bytes }
}

fn jpeg() -> Sample {
    let grey: Vec<u8> = ct()
        .bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|two| (u16::from_le_bytes(*two) / 8).to_le_bytes()[0])
        .collect();
    let mut stream = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut stream, 90);
    encoder.encode(&grey, SIDE, SIDE, jpeg_encoder::ColorType::Luma).expect("it is encoded");
    let shape = Description { bits_allocated: 8, bits_stored: 8, high_bit: 7, ..ct().shape };
    Sample {
        name: "JPEG baseline".to_owned(),
        syntax: "1.2.840.10008.1.2.4.50".to_owned(),
        shape,
        stream: stream.into(),
    }
}

/// Frames of a folder, largest first.
fn found(folder: &Path) -> Vec<Sample> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let Ok(stream) = std::fs::read(path.with_extension("stream")) else { continue };
        if path.extension().is_none_or(|suffix| suffix != "json") {
            continue;
        }
        let said: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
        let small = |name: &str| u8::try_from(said[name].as_u64().expect("a number")).expect("small");
        let size = |name: &str| u16::try_from(said[name].as_u64().expect("a number")).expect("a size");
        let shape = Description {
            rows: size("rows"),
            columns: size("columns"),
            samples: small("samples"),
            bits_allocated: small("bits_allocated"),
            bits_stored: small("bits_stored"),
            high_bit: small("high_bit"),
            signed: said["signed"] == true,
            planar: Planar::ByPixel,
            photometric: Photometric::of(said["photometric"].as_str().expect("a text")).expect("known"),
        };
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let syntax = said["syntax"].as_str().expect("a text").to_owned();
        all.push(Sample { name, syntax, shape, stream: stream.into() });
    }
    all.sort_by_key(|sample| std::cmp::Reverse(sample.shape.frame_bytes()));
    all
}

/// Processor time of all codecs so far, in seconds, and how often they were asked.
fn cpu(metrics: &Metrics) -> (f64, f64) {
    let text = metrics.render();
    let sum = |suffix: &str| {
        let begin = format!("{CODEC_CPU_SECONDS}{suffix}");
        let lines = text.lines().filter(|line| line.starts_with(&begin));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    (sum("_sum"), sum("_count"))
}

/// Processor time of this process and of the codecs', in seconds.
fn all_cpu(codecs: &Codecs) -> f64 {
    let of = |process: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest).to_owned();
        // Time of the program and of the system for it, the 14th and the 15th field.
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
    };
    let children = codecs.status().processes;
    let ticks = of("self") + children.iter().map(|process| of(&process.to_string())).sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "a hundred or so")]
    let second = rustix::param::clock_ticks_per_second() as f64;
    ticks / second
}

/// So many callers, one frame after the other each; frames a second.
async fn rate<F>(callers: usize, ask: impl Fn() -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    ask().await;
    let (count, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..callers {
        running.spawn(ask());
    }
    while running.join_next().await.is_some() {
        count.fetch_add(1, Ordering::Relaxed);
        if began.elapsed() < RUN {
            running.spawn(ask());
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
    let frames = count.load(Ordering::Relaxed) as f64;
    frames / began.elapsed().as_secs_f64()
}

/// One line of the table.
async fn line<F>(metrics: &Metrics, what: &str, ask: impl Fn(Codecs) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut cells = vec![format!("{what:<34}")];
    for (processes, callers) in [(1, 1), (2, 2), (2, 8)] {
        let codecs = Codecs::new(settings(processes));
        // The processes are there and warm.
        rate(callers, || ask(codecs.clone())).await;
        let (before, all_before) = (cpu(metrics), all_cpu(&codecs));
        let rate = rate(callers, || ask(codecs.clone())).await;
        let (after, all_after) = (cpu(metrics), all_cpu(&codecs));
        let jobs = after.1 - before.1;
        let alone = if jobs > 0.0 { (after.0 - before.0) / jobs } else { 0.0 };
        let taken = (all_after - all_before) / jobs;
        let over = if alone > 0.0 {
            format!("{:>4.0} %", (taken / alone - 1.0) * 100.0)
        } else {
            "     –".to_owned()
        };
        cells.push(format!("{rate:>7.0}/s {:>7.2} ms {over}", alone * 1000.0));
        codecs.stop().await;
    }
    println!("{}", cells.join(" | "));
}

#[tokio::main]
async fn main() {
    let metrics = Metrics::install().expect("nothing else records");
    println!(
        "{:<34} | 1 process: rate, codec, over | 2 processes                | 2 processes, 8 callers",
        ""
    );
    let frame = ct();
    let codecs = Codecs::new(settings(1));
    let mut samples = vec![jpeg()];
    for (name, wanted) in [
        ("JPEG 2000 lossless", Encoding::Jpeg2000Lossless),
        ("JPEG-LS", Encoding::JpegLsLossless),
        ("RLE", Encoding::Rle),
    ] {
        let stream = codecs.encode(frame.clone(), wanted).await.expect("it is encoded");
        let shape = encoded(&frame.shape, wanted).expect("it can be");
        let syntax = wanted.uid().to_owned();
        samples.push(Sample { name: name.to_owned(), syntax, shape, stream });
        let native = frame.clone();
        line(&metrics, &format!("encode {name}"), move |codecs| {
            let native = native.clone();
            async move { drop(codecs.encode(native, wanted).await.expect("it is encoded")) }
        })
        .await;
    }
    let jpeg_2000 = samples[1].stream.clone();
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    samples.extend(folder.iter().flat_map(|folder| found(Path::new(folder))));
    for sample in samples {
        let what = format!("decode {} {}×{}", sample.name, sample.shape.columns, sample.shape.rows);
        line(&metrics, &what, move |codecs| {
            let sample = sample.clone();
            async move {
                let stored = Stored { syntax: &sample.syntax, shape: sample.shape.clone() };
                codecs.decode(stored, sample.stream).await.expect("it is decoded");
            }
        })
        .await;
    }
    codecs.stop().await;
    request::run(&frame.shape, &jpeg_2000, RUN);
}
