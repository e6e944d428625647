//! Large files: memory does not grow with them.

use super::faults::large;
use super::{file, folder, stored};
use crate::kit::stores::Far;

#[test]
fn a_file_of_300_mib_goes_in_parts_both_ways_in_flat_memory() {
    for far in Far::each() {
        let (_folder, data) = folder();
        let process = far.serve(&data, &["--blob-timeout", "20s"]);
        let whole = large("1.2.3.4.5", 300);
        let (before, _) = process.memory_kib();
        stored(&process, &whole);
        let (_, most) = process.memory_kib();
        let answer = file(&process, "/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5");
        assert!(answer.bytes() == whole);
        let (_, at_last) = process.memory_kib();
        eprintln!(
            "{:?}: {} MiB before, {} stored, {} read",
            far.kind,
            before >> 10,
            most >> 10,
            at_last >> 10
        );
        assert!(at_last - before < 160 << 10, "it grew from {before} to {at_last} KiB");
        let lines = far.proxy.lines();
        assert!(lines.iter().filter(|line| line.starts_with("PUT ")).count() >= 38, "it went in parts");
    }
}
