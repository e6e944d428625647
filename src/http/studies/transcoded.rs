//! A stored file in another transfer syntax, its frames decoded and encoded one by one (`studies.md` §3.4).
