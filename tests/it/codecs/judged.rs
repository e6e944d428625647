//! Frames decoded and encoded as others do it.
