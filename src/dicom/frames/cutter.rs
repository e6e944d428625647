//! Cuts the pixels of a file into its frames, all of them, as the file streams by.
//!
//! Invariant: at most one frame is held together, whatever the slices; a frame that lies in one slice is not copied.
//! Invariant: frames come whole, in order, each once.
//! Elsewhere: where frames lie ([`FrameIndex`]), who streams the file (`reencode`), frames that are no whole bytes.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{FrameIndex, FrameSource};

/// Cuts one file. The index is lent with each slice: that of a large file is shared, and takes as much as a frame.
#[derive(Debug, Default)]
pub struct FrameCutter {
    /// Frames begun.
    begun: u32,
    /// What is still to come of the frame begun last; `None` when it is whole.
    left: Option<VecDeque<Range<u64>>>,
    held: BytesMut,
}

impl FrameCutter {
    /// Takes the next bytes of the pixels, at their offset as `frames` counts; answers the frames that are whole now.
    pub fn feed(&mut self, frames: &FrameIndex, at: u64, bytes: &Bytes) -> Vec<Bytes> {
        let end = at + bytes.len() as u64;
        let mut whole = Vec::new();
        while let Some(left) = self.left(frames) {
            let Some(range) = left.front_mut() else {
                self.left = None;
                whole.push(self.held.split().freeze());
                continue;
            };
            if range.start >= end || range.start < at {
                break;
            }
            let taken = range.start..range.end.min(end);
            range.start = taken.end;
            if range.is_empty() {
                left.pop_front();
            }
            let is_last = left.is_empty();
            let within = |offset: u64| usize::try_from(offset - at).expect("inside a slice in memory");
            let slice = bytes.slice(within(taken.start)..within(taken.end));
            if is_last && self.held.is_empty() {
                self.left = None;
                whole.push(slice);
            } else {
                self.held.extend_from_slice(&slice);
            }
        }
        whole
    }

    /// There are no more pixels; answers the frames without any that stand at the end.
    pub fn finish(&mut self, frames: &FrameIndex) -> Vec<Bytes> {
        self.feed(frames, u64::MAX, &Bytes::new())
    }

    /// Whether every frame the instance declares has been cut.
    #[must_use]
    pub fn is_complete(&self, frames: &FrameIndex) -> bool {
        self.left.is_none() && self.begun == frames.count()
    }

    /// What is to come of the present frame, or of the next; `None` behind the last that can be cut.
    fn left(&mut self, frames: &FrameIndex) -> Option<&mut VecDeque<Range<u64>>> {
        if self.left.is_none() {
            match frames.frame(self.begun + 1)? {
                FrameSource::Bytes(ranges) => self.left = Some(ranges.into()),
                FrameSource::Bits { .. } => return None,
            }
            self.begun += 1;
        }
        self.left.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, put};
    use super::*;
    use proptest::prelude::*;

    fn all(frames: &FrameIndex, first: u64, pixels: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
        let (mut cutter, mut cut) = (FrameCutter::default(), Vec::new());
        for (n, piece) in pixels.chunks(step).enumerate() {
            let at = first + (n * step) as u64;
            cut.extend(
                cutter.feed(frames, at, &Bytes::copy_from_slice(piece)).iter().map(|frame| frame.to_vec()),
            );
        }
        (cut, cutter.is_complete(frames))
    }

    fn native(first: u64, length: u64, count: u32, present: u32) -> FrameIndex {
        FrameIndex { inflated_from: None, count, layout: Layout::Bytes { first, length, present } }
    }

    /// Frames of these fragments, the first of them `first` bytes into the file.
    fn fragments(first: u64, frames: &[Vec<Vec<u8>>]) -> FrameIndex {
        let mut table = Vec::new();
        for frame in frames {
            put(&mut table, frame.len() as u64);
            frame.iter().for_each(|fragment| put(&mut table, fragment.len() as u64));
        }
        let present = u32::try_from(frames.len()).unwrap();
        let layout = Layout::from_table(first, present, table).unwrap();
        FrameIndex { inflated_from: None, count: present, layout }
    }

    proptest! {
        #[test]
        fn slices_of_any_size_give_the_same_native_frames(
            length in 1usize..9, count in 1usize..7, step in 1usize..30, first in 0u64..5, behind in 0usize..4,
        ) {
            let pixels: Vec<u8> = (0..length * count + behind).map(|n| n as u8).collect();
            let frames = native(first, length as u64, count as u32, count as u32);
            let (cut, complete) = all(&frames, first, &pixels, step);
            let wanted: Vec<_> = pixels[..length * count].chunks(length).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(cut, wanted);
            prop_assert!(complete);
        }

        /// Headers of fragments lie between them, and are handed out here as pixels: they belong to no frame.
        #[test]
        fn fragments_become_frames_whatever_lies_between(
            frames in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..4), 1..6),
            step in 1usize..20, first in 0u64..5,
        ) {
            let index = fragments(first, &frames);
            let pixels: Vec<u8> = frames.iter().flatten().flat_map(|f| [&[0xEE; 8][..], f].concat()).collect();
            let (cut, complete) = all(&index, first, &pixels, step);
            let wanted: Vec<_> = frames.iter().map(|frame| frame.concat()).collect();
            prop_assert_eq!(cut, wanted);
            prop_assert!(complete);
        }
    }

    #[test]
    fn frames_without_bytes_come_even_if_there_are_no_pixels_at_all() {
        let frames = fragments(0, &[vec![Vec::new()], vec![Vec::new(), Vec::new()]]);
        let mut cutter = FrameCutter::default();
        assert!(!cutter.is_complete(&frames));
        assert_eq!(cutter.finish(&frames), [Bytes::new(), Bytes::new()]);
        assert!(cutter.is_complete(&frames));
        let mut cutter = FrameCutter::default();
        assert!(cutter.finish(&native(0, 4, 1, 1)).is_empty());
        assert!(!cutter.is_complete(&native(0, 4, 1, 1)));
    }

    #[test]
    fn what_is_missing_makes_it_incomplete() {
        let pixels = [7; 12];
        for (frames, wanted, whole) in [
            (native(0, 4, 3, 3), 3, true),
            (native(0, 5, 3, 3), 2, false),
            (native(0, 4, 4, 3), 3, false),
            (native(0, 4, 0, 0), 0, true),
            (native(100, 4, 1, 1), 0, false),
            (FrameIndex { inflated_from: None, count: 1, layout: Layout::Nowhere }, 0, false),
            (
                FrameIndex {
                    inflated_from: None,
                    count: 1,
                    layout: Layout::Bits { first: 0, bits: 15, present: 1 },
                },
                0,
                false,
            ),
        ] {
            let (cut, complete) = all(&frames, 0, &pixels, 5);
            assert_eq!((cut.len(), complete), (wanted, whole), "{frames:?}");
        }
    }

    #[test]
    fn a_frame_that_lies_in_one_slice_is_not_copied() {
        let piece = Bytes::from((0..12).collect::<Vec<u8>>());
        let cut = FrameCutter::default().feed(&native(0, 4, 3, 3), 0, &piece);
        for (n, frame) in cut.iter().enumerate() {
            assert_eq!(frame.as_ptr(), piece[n * 4..].as_ptr());
        }
        assert_eq!(cut.len(), 3);
    }
}
