//! Rendered instances and frames, and thumbnails (`studies.md` §3.7).
