//! Where the frames of an instance lie, the large tables kept between requests.
//!
//! A whole-slide image has hundreds of thousands of frames, and viewers ask for them one by one. To read its
//! record and its table anew for each of them would take longer than to read the frame.
//!
//! Invariant: an event never changes, so what is kept under its position is never out of date.
//! Invariant: what is kept takes [`KEPT_BYTES`] at most.
//! Elsewhere: the table itself (`dicom::frames`).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::reads::{Located, located_of, section};
use super::state::instances::LiveInstance;
use super::{Archive, ReadError};
use crate::base::Position;
use crate::dicom::frames::FrameIndex;
use crate::event::Section;
use crate::event::codec::Event;

/// A table from here on is read where it stops nobody else, and kept.
const LARGE_BYTES: usize = 16 << 10;
/// Memory for what is kept.
const KEPT_BYTES: usize = 64 << 20;

/// A file, and where its frames lie.
#[derive(Clone, Debug)]
pub struct Framed {
    /// The file.
    pub at: Located,
    /// Where the frames lie.
    pub frames: FrameIndex,
}

/// The tables asked for last, the latest in front.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<VecDeque<(Position, Arc<Framed>)>>);

impl Kept {
    fn get(&self, position: Position) -> Option<Arc<Framed>> {
        let mut kept = self.0.lock();
        let at = kept.iter().position(|(known, _)| *known == position)?;
        let found = kept.remove(at)?;
        let framed = Arc::clone(&found.1);
        kept.push_front(found);
        Some(framed)
    }

    fn keep(&self, position: Position, framed: &Arc<Framed>) {
        let mut kept = self.0.lock();
        // One that is too large by itself would throw out all others.
        if framed.held_bytes() > KEPT_BYTES || kept.iter().any(|(known, _)| *known == position) {
            return;
        }
        kept.push_front((position, Arc::clone(framed)));
        let mut bytes = 0;
        let fits = kept.iter().take_while(|(_, framed)| {
            bytes += framed.held_bytes();
            bytes <= KEPT_BYTES
        });
        let fits = fits.count();
        kept.truncate(fits);
    }
}

impl Framed {
    fn of(event: &Event, live: &LiveInstance) -> Result<Self, ReadError> {
        let frames = FrameIndex::decode(&section(event, live.position, Section::Frames)?)
            .map_err(|error| ReadError::Event(live.position, error.to_string()))?;
        Ok(Self { at: located_of(event, live)?, frames })
    }

    fn held_bytes(&self) -> usize {
        self.frames.held_bytes() + size_of_val(&*self.at.file.chunks)
    }
}

impl Archive {
    /// The instance's file and where its frames lie.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn frames(&self, live: &LiveInstance) -> Result<Arc<Framed>, ReadError> {
        if let Some(framed) = self.0.framed.get(live.position) {
            return Ok(framed);
        }
        let event = self.event(live.position).await?;
        if event.section_bytes(Section::Frames) < LARGE_BYTES {
            return Framed::of(&event, live).map(Arc::new);
        }
        let (archive, live) = (self.clone(), live.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let framed = Arc::new(Framed::of(&event, &live)?);
            archive.0.framed.keep(live.position, &framed);
            Ok(framed)
        });
        reading.await.map_err(|error| ReadError::Stopped(error.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Expected;

    /// Of about so many bytes.
    fn framed(bytes: usize) -> Arc<Framed> {
        let chunks = vec![0; bytes / 4].into();
        let file = Expected { key: String::new(), length_bytes: 0, sha256: [0; 32], chunks, etag: None };
        Arc::new(Framed { at: Located { file, dataset_offset: 0 }, frames: FrameIndex::default() })
    }

    #[test]
    fn what_was_asked_for_last_is_kept_within_its_bytes() {
        let kept = Kept::default();
        let third = KEPT_BYTES / 3 - 1000;
        for position in 0..3 {
            kept.keep(Position(position), &framed(third));
        }
        assert!(kept.get(Position(0)).is_some());
        kept.keep(Position(3), &framed(third));
        let there: Vec<bool> = (0..4).map(|position| kept.get(Position(position)).is_some()).collect();
        assert_eq!(there, [true, false, true, true], "the one not asked for is gone");
        kept.keep(Position(4), &framed(KEPT_BYTES + 8));
        let there: Vec<bool> = (0..5).map(|position| kept.get(Position(position)).is_some()).collect();
        assert_eq!(there, [true, false, true, true, false], "one too large throws out nobody");
    }
}
