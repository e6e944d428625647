//! What is encoded losslessly comes back as it was.

use super::*;

#[tokio::test]
async fn every_lossless_encoding_gives_back_every_bit() {
    let codecs = Codecs::new(codecs());
    for wanted in [Encoding::Jpeg2000Lossless, Encoding::JpegLsLossless, Encoding::Rle] {
        for (rows, columns) in [(1, 1), (1, 7), (31, 33), (3, 130), (64, 64)] {
            for (samples, allocated, stored) in [
                (1, 8, 8),
                (1, 8, 1),
                (1, 8, 5),
                (1, 16, 10),
                (1, 16, 12),
                (1, 16, 16),
                (3, 8, 8),
                (3, 16, 16),
                (3, 16, 12),
            ] {
                for signed in [false, true] {
                    let shape = Description { signed, ..shape(rows, columns, samples, allocated, stored) };
                    let native = frame(&shape, 5);
                    let back = there_and_back(&codecs, &native, wanted).await;
                    assert!(back.as_ref() == Ok(&native), "{wanted:?} {shape:?}: {:?}", back.err());
                }
            }
        }
    }
    assert_eq!(codecs.status().restarts, 0);
    codecs.stop().await;
}

/// An overlay may lie above the bits stored; it is part of what is given back.
#[tokio::test]
async fn bits_above_those_stored_survive() {
    let codecs = Codecs::new(codecs());
    for wanted in [Encoding::Jpeg2000Lossless, Encoding::JpegLsLossless, Encoding::Rle] {
        for signed in [false, true] {
            let shape = Description { signed, ..shape(20, 30, 1, 16, 12) };
            let mut native = frame(&shape, 9);
            native.bytes[1] |= 0x80;
            native.bytes[9] |= 0x40;
            assert_eq!(there_and_back(&codecs, &native, wanted).await, Ok(native), "{wanted:?} {signed}");
        }
        // Stored in the upper bits.
        let upper = Description { high_bit: 15, ..shape(20, 30, 1, 16, 12) };
        let mut native = frame(&upper, 9);
        native.bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|two| {
            *two = (u16::from_le_bytes(*two) << 4).to_le_bytes();
        });
        assert_eq!(there_and_back(&codecs, &native, wanted).await, Ok(native), "{wanted:?}");
    }
}

#[tokio::test]
async fn noise_that_only_grows_is_encoded_all_the_same() {
    let codecs = Codecs::new(codecs());
    for bits in [8, 16] {
        let shape = shape(256, 256, 1, bits, bits);
        let mut bytes = vec![0; usize::try_from(shape.frame_bytes()).expect("a frame")];
        StdRng::seed_from_u64(3).fill_bytes(&mut bytes);
        let native = Native { shape, bytes };
        for wanted in Encoding::ALL {
            let stream = codecs.encode(native.clone(), wanted).await.expect("it is encoded");
            assert!(stream.len() < 2 * native.bytes.len(), "{wanted:?}: {}", stream.len());
            assert!(there_and_back(&codecs, &native, wanted).await.as_ref() == Ok(&native), "{wanted:?}");
        }
    }
}

#[tokio::test]
async fn colour_that_two_pixels_share_is_given_to_each() {
    let codecs = Codecs::new(codecs());
    let shape = Description { photometric: Photometric::YbrFull422, ..shape(16, 16, 3, 8, 8) };
    let bytes = (0..16 * 16 * 2).map(|at| u8::try_from(at * 7 % 256).expect("a byte")).collect();
    let native = Native { shape, bytes };
    for wanted in [Encoding::Jpeg2000Lossless, Encoding::JpegLsLossless, Encoding::Rle] {
        let back = there_and_back(&codecs, &native, wanted).await.expect("it is given back");
        assert_eq!(back.shape.photometric, Photometric::YbrFull);
        for (two, pixels) in native.bytes.as_chunks::<4>().0.iter().zip(back.bytes.as_chunks::<6>().0) {
            let [first, second, blue, red] = *two;
            assert_eq!(*pixels, [first, blue, red, second, blue, red]);
        }
    }
}

/// The same samples always give the same stream: an `ETag` may promise so.
#[tokio::test]
async fn an_encoding_is_always_the_same() {
    let codecs = Codecs::new(codecs());
    let native = frame(&shape(70, 90, 3, 8, 8), 4);
    for wanted in Encoding::ALL {
        let first = codecs.encode(native.clone(), wanted).await.expect("encoded");
        let other = Codecs::new(super::codecs());
        assert_eq!(other.encode(native.clone(), wanted).await, Ok(first), "{wanted:?}");
    }
}
