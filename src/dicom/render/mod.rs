//! From samples to a picture of eight bits (`studies.md` §3.7).
