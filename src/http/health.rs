//! STUB
pub(super) async fn check() {}
pub(super) async fn metrics() {}
