//! Files and frames in another syntax than they are stored in, pixels decoded and encoded anew (`studies.md` §3.4).
//!
//! Elsewhere: what needs no codec (`reencode`), the codecs themselves (`codecs`).

mod edits;
