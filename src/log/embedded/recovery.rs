//! Opening a folder of segments: what is checked, what a crash left, what is refused.
//!
//! Sealed segments are checked by header, index, length and last block; where the index is not right, and in
//! the last segment always, every block is read. Unless a durable mark covers all of it, the last segment is
//! copied to a fresh file, which is fsynced and takes its name: what was read may exist in the page cache
//! alone, and an fsync of the old file could say otherwise.
//!
//! Invariant: nothing is changed in the folder before everything in it was found right and every stored
//! cursor within it.
//! Invariant: what is served from here on is durable.
//! Elsewhere: telling a torn tail from damage (`scan`), a check of every byte (`verify`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use uuid::Uuid;

use super::disk::{Disk, DiskFile, Lock};
use super::durable::{Active, Durable, Offsets, Sealed};
use super::layout::{
    HeaderFault, INDEX_SUFFIX, RECORD_HEADER, SEGMENT_HEADER, SEGMENT_SUFFIX, SegmentHeader,
    UNFINISHED_SUFFIX, VERSION, decode_record, index_name, named_position, segment_name,
};
use super::scan::{self, Bad, Met, Scan};
use super::writer::{Mark, Writer, create_segment};
use super::{OpenError, OpenReport, Torn, index};
use crate::base::Position;

/// The folder beside the segments where cut-off bytes are kept.
pub(super) const TORN_FOLDER: &str = "torn";
/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// What an opened folder is.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) durable: Arc<Durable>,
    pub(super) report: OpenReport,
}

/// Opens a folder, or begins log `new_log` in it if it is empty.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    segment_limit_bytes: u64,
    new_log: Uuid,
    cursors: &[Position],
) -> Result<Opened, OpenError> {
    let io = |error| OpenError::io(folder, &error);
    disk.create_folder(folder).map_err(io)?;
    let lock = disk.lock(folder).map_err(io)?.ok_or_else(|| OpenError::Locked(folder.to_owned()))?;
    let looked = look(&*disk, folder)?;
    let tail = looked.last.as_ref().map_or(Position(0), |last| last.scan.walk.position);
    if let Some(&cursor) = cursors.iter().filter(|cursor| **cursor > tail).max() {
        return Err(OpenError::CursorBeyondEnd { cursor, tail });
    }
    // From here on the folder is found right, and may be changed.
    for name in &looked.unfinished {
        disk.remove(&folder.join(name)).map_err(io)?;
    }
    let mut report = OpenReport {
        log: new_log,
        created: looked.last.is_none(),
        tail,
        segments: looked.sealed.len() + 1,
        remade_indexes: looked.sealed.iter().filter(|(_, again)| again.is_some()).count(),
        copied_bytes: 0,
        torn: None,
    };
    let (last, file) = match looked.last {
        None => {
            let header = SegmentHeader::of_new_log(new_log);
            let file = create_segment(&*disk, folder, &header).map_err(io)?;
            (Last::empty(header), file)
        }
        Some(last) => {
            report.log = last.header.log;
            let file = settle(&*disk, folder, &last, &mut report).map_err(io)?;
            (last, file)
        }
    };
    // Only now is it certain that the segment behind each of these is there to stay.
    for (sealed, place) in looked.sealed.iter().filter_map(|(sealed, again)| Some((sealed, again.as_ref()?)))
    {
        write_index(&*disk, folder, sealed, *place);
    }
    let sealed = looked.sealed.into_iter().map(|(sealed, _)| sealed).collect();
    Ok(assemble(disk, folder, segment_limit_bytes, lock, sealed, last, file, report))
}

/// What a look at a folder found, all of it right but perhaps a torn tail.
struct Looked {
    /// Each with the place of its last block if its index is to be written again.
    sealed: Vec<(Arc<Sealed>, Option<u64>)>,
    last: Option<Last>,
    unfinished: Vec<String>,
}

/// The last segment, read whole.
struct Last {
    header: SegmentHeader,
    scan: Scan,
    file_bytes: u64,
}

impl Last {
    fn empty(header: SegmentHeader) -> Self {
        let scan = Scan {
            offsets: Vec::new(),
            end: SEGMENT_HEADER as u64,
            last_block: None,
            mark: header.first,
            walk: scan::Walk::from(&header),
            bad: None,
        };
        Self { header, scan, file_bytes: SEGMENT_HEADER as u64 }
    }

    /// Where a mark stands at the end that says that all records were fsynced: nothing is in doubt.
    fn marked(&self) -> Option<u64> {
        let covered = self.scan.bad.is_none() && self.scan.mark == self.scan.walk.position;
        self.scan.last_block.filter(|_| covered)
    }
}

fn look(disk: &dyn Disk, folder: &Path) -> Result<Looked, OpenError> {
    let names = disk.list(folder).map_err(|error| OpenError::io(folder, &error))?;
    let positions = |suffix: &str| {
        let mut found: Vec<_> = names.iter().filter_map(|name| named_position(name, suffix)).collect();
        found.sort_unstable();
        found
    };
    let (firsts, indexes) = (positions(SEGMENT_SUFFIX), positions(INDEX_SUFFIX));
    let unfinished = names.iter().filter(|name| name.ends_with(UNFINISHED_SUFFIX)).cloned().collect();
    let mut looked = Looked { sealed: Vec::new(), last: None, unfinished };

    let headers = firsts
        .iter()
        .map(|first| read_header(disk, folder, *first).map(|(header, _)| header))
        .collect::<Result<Vec<_>, _>>()?;
    let expected = headers.first().map(|header| header.log);
    for header in &headers {
        if Some(header.log) != expected {
            let (file, found) = (segment_name(header.first), header.log);
            return Err(OpenError::ForeignLog { file, found, expected: expected.unwrap_or_default() });
        }
    }
    let mut due = SegmentHeader::of_new_log(expected.unwrap_or_default());
    for (number, header) in headers.iter().enumerate() {
        continues(&due, header)?;
        if let Some(next) = headers.get(number + 1) {
            let (sealed, again, end) = check_sealed(disk, folder, header, next)?;
            looked.sealed.push((sealed, again));
            due = end;
        } else {
            let last = read_last(disk, folder, header.clone())?;
            due.first = last.scan.walk.position;
            looked.last = Some(last);
        }
    }
    // An index is written only once the segment behind its own is there: it tells of one that is gone.
    let sealed = &firsts[..firsts.len().saturating_sub(1)];
    if let Some(&alone) = indexes.iter().find(|first| !sealed.contains(first)) {
        return Err(OpenError::MissingSegment { from: due.first, to: due.first.max(alone).next() });
    }
    Ok(looked)
}

/// Whether `header` begins where and as the segment before it ended.
fn continues(due: &SegmentHeader, header: &SegmentHeader) -> Result<(), OpenError> {
    if header.first > due.first {
        return Err(OpenError::MissingSegment { from: due.first, to: header.first });
    }
    if header == due {
        return Ok(());
    }
    let what = "the segment does not continue the one before it".to_owned();
    let file = segment_name(header.first);
    Err(OpenError::Damaged { file, offset: 0, position: header.first, what })
}

pub(super) fn read_header(
    disk: &dyn Disk,
    folder: &Path,
    first: Position,
) -> Result<(SegmentHeader, Arc<dyn DiskFile>), OpenError> {
    let name = segment_name(first);
    let path = folder.join(&name);
    let io = |error| OpenError::io(&path, &error);
    let file = disk.open(&path).map_err(io)?;
    let damaged = |what: &str| OpenError::Damaged {
        file: name.clone(),
        offset: 0,
        position: first,
        what: what.to_owned(),
    };
    let bytes = scan::header_bytes(&*file).map_err(io)?.ok_or_else(|| damaged("the header is cut off"))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.first == first => Ok((header, file)),
        Ok(_) => Err(damaged("the name of the file is not that of its first position")),
        Err(HeaderFault::Bad(what)) => Err(damaged(what)),
        Err(HeaderFault::Future(version)) => {
            Err(OpenError::FutureVersion { file: name, version, known: VERSION })
        }
    }
}

fn damaged(header: &SegmentHeader, bad: Bad) -> OpenError {
    let file = segment_name(header.first);
    OpenError::Damaged { file, offset: bad.offset, position: bad.position, what: bad.what }
}

/// A sealed segment, whether its index is to be written again, and the header due behind it.
type Checked = (Arc<Sealed>, Option<u64>, SegmentHeader);

fn check_sealed(
    disk: &dyn Disk,
    folder: &Path,
    header: &SegmentHeader,
    next: &SegmentHeader,
) -> Result<Checked, OpenError> {
    let path = folder.join(segment_name(header.first));
    let io = |error| OpenError::io(&path, &error);
    let file = disk.open(&path).map_err(io)?;
    if let Some((count, last)) = check_by_index(disk, folder, header, next, &*file).map_err(io)? {
        let bytes = file.length().map_err(io)?;
        let offsets = RwLock::new(Offsets::Filed);
        return Ok((Arc::new(Sealed { header: header.clone(), count, bytes, offsets }), None, last));
    }
    let found = scan::scan(&*file, header).map_err(io)?;
    if let Some(bad) = found.bad {
        return Err(damaged(header, bad));
    }
    let last = SegmentHeader {
        log: header.log,
        first: found.walk.position,
        chain: found.walk.chain.unwrap_or(header.chain),
        stamp: found.walk.stamp,
    };
    let count = found.offsets.len() as u64;
    let offsets = RwLock::new(Offsets::Kept(found.offsets.into()));
    let sealed = Sealed { header: header.clone(), count, bytes: found.end, offsets };
    Ok((Arc::new(sealed), found.last_block, last))
}

/// The quick check: number of records and the header due behind the segment; `None` if it does not come out
/// right, which the slow check then explains.
fn check_by_index(
    disk: &dyn Disk,
    folder: &Path,
    header: &SegmentHeader,
    next: &SegmentHeader,
    file: &dyn DiskFile,
) -> io::Result<Option<(u64, SegmentHeader)>> {
    let index = match disk.open(&folder.join(index_name(header.first))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Some(summary) = index::check(&*index, header.seed())? else { return Ok(None) };
    let length = file.length()?;
    if length != summary.segment_bytes || summary.last_block >= length || summary.last_record >= length {
        return Ok(None);
    }
    match scan::block_at(file, header.seed(), summary.last_block, length)? {
        Met::Block(block) if block.end == length && block.header.after() == next.first => {}
        Met::Block(_) | Met::Bad(_) | Met::End => return Ok(None),
    }
    let last = Position((header.first.0 + summary.count).saturating_sub(1));
    let mut head = [0; RECORD_HEADER];
    if summary.last_record + RECORD_HEADER as u64 > length {
        return Ok(None);
    }
    file.read_at(summary.last_record, &mut head)?;
    let end = summary.last_record + RECORD_HEADER as u64 + u64::from(super::layout::u32_at(&head, 0));
    if end > length {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(end - summary.last_record).map_err(io::Error::other)?];
    file.read_at(summary.last_record, &mut bytes)?;
    let Ok(record) = decode_record(&bytes.into(), last) else { return Ok(None) };
    let behind =
        SegmentHeader { log: header.log, first: last.next(), chain: record.chain, stamp: record.stamp };
    Ok((behind == *next).then_some((summary.count, behind)))
}

fn read_last(disk: &dyn Disk, folder: &Path, header: SegmentHeader) -> Result<Last, OpenError> {
    let path = folder.join(segment_name(header.first));
    let io = |error| OpenError::io(&path, &error);
    let file = disk.open(&path).map_err(io)?;
    let file_bytes = file.length().map_err(io)?;
    let scan = scan::scan(&*file, &header).map_err(io)?;
    match &scan.bad {
        Some(bad) if bad.damage => Err(damaged(&header, bad.clone())),
        Some(_) | None => Ok(Last { header, scan, file_bytes }),
    }
}

fn write_index(disk: &dyn Disk, folder: &Path, sealed: &Sealed, last_block: u64) {
    let kept = match &*sealed.offsets.read() {
        Offsets::Kept(offsets) => offsets.clone(),
        Offsets::Filed => return,
    };
    let (header, place) = (&sealed.header, (sealed.bytes, last_block));
    let file = segment_name(header.first);
    match index::write(disk, folder, header.first, header.seed(), place, &kept) {
        Ok(()) => {
            tracing::info!(file, "the index of a segment of the log was missing or wrong and is made again");
            *sealed.offsets.write() = Offsets::Filed;
        }
        Err(error) => tracing::warn!(file, %error, "the index of a segment of the log cannot be written"),
    }
}

/// Makes the last segment durable beyond doubt; a torn tail is put aside.
fn settle(
    disk: &dyn Disk,
    folder: &Path,
    last: &Last,
    report: &mut OpenReport,
) -> io::Result<Arc<dyn DiskFile>> {
    let name = segment_name(last.header.first);
    let path = folder.join(&name);
    if let Some(bad) = &last.scan.bad {
        let kept = put_aside(disk, folder, last)?;
        let (offset, position, length_bytes) = (bad.offset, bad.position, last.file_bytes - bad.offset);
        tracing::warn!(
            file = name, offset, %position, length_bytes, kept = %kept.display(), what = bad.what,
            "the log ended in a torn write, never acknowledged; it is cut and its bytes are kept"
        );
        report.torn = Some(Torn { file: name.clone(), offset, position, length_bytes, kept });
    }
    if last.marked().is_some() {
        disk.sync_folder(folder)?;
        return disk.open_to_write(&path);
    }
    let unfinished = folder.join(format!("{name}{UNFINISHED_SUFFIX}"));
    let (old, fresh) = (disk.open(&path)?, disk.create(&unfinished)?);
    copy(&*old, 0, last.scan.end, &*fresh)?;
    fresh.sync()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_folder(folder)?;
    report.copied_bytes = last.scan.end;
    Ok(fresh)
}

fn put_aside(disk: &dyn Disk, folder: &Path, last: &Last) -> io::Result<PathBuf> {
    let torn = folder.join(TORN_FOLDER);
    disk.create_folder(&torn)?;
    let taken = disk.list(&torn)?;
    let name = |number: usize| format!("{:020}-{}-{number}.torn", last.header.first.0, last.scan.end);
    let free = (0..=taken.len()).map(name).find(|name| !taken.contains(name));
    let kept = torn.join(free.expect("one more name than there are files is free"));
    let (old, file) = (disk.open(&folder.join(segment_name(last.header.first)))?, disk.create(&kept)?);
    copy(&*old, last.scan.end, last.file_bytes, &*file)?;
    file.sync()?;
    disk.sync_folder(&torn)?;
    Ok(kept)
}

fn copy(from: &dyn DiskFile, start: u64, end: u64, to: &dyn DiskFile) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(COPY_BYTES);
        let mut bytes = vec![0; take];
        from.read_at(at, &mut bytes)?;
        to.write_at(at - start, &bytes)?;
        at += take as u64;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "it only puts together what opening made, piece by piece")]
fn assemble(
    disk: Arc<dyn Disk>,
    folder: &Path,
    segment_limit_bytes: u64,
    lock: Lock,
    sealed: Vec<Arc<Sealed>>,
    last: Last,
    file: Arc<dyn DiskFile>,
    report: OpenReport,
) -> Opened {
    let marked = last.marked();
    let Last { header, scan, .. } = last;
    // The mark itself may exist in the page cache alone, so the next block is written over it.
    let end = marked.unwrap_or(scan.end);
    let mark = match marked {
        Some(_) => Mark::There,
        None if scan.last_block.is_some() => Mark::Due,
        None => Mark::NotDue,
    };
    let active = Active { header: header.clone(), file: file.clone(), offsets: scan.offsets, bytes: end };
    let durable = Durable::new(disk.clone(), folder.to_owned(), sealed, active);
    let writer = Writer {
        disk,
        folder: folder.to_owned(),
        segment_limit_bytes,
        durable: durable.clone(),
        file,
        end,
        last_block: scan.last_block.unwrap_or(SEGMENT_HEADER as u64),
        position: scan.walk.position,
        stamp: scan.walk.stamp,
        chain: scan.walk.chain.unwrap_or(header.chain),
        mark,
        header,
        failed: None,
        _lock: lock,
    };
    Opened { writer, durable, report }
}
