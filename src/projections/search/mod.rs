//! STUB
use std::sync::Arc;
use crate::base::Position;
use super::CommitSource;
#[derive(Clone)]
pub struct Search(Arc<dyn CommitSource>);
impl Search {
    pub fn open(_: &std::path::Path, _: uuid::Uuid, _: u64, s: Arc<dyn CommitSource>) -> Result<Self, String> { Ok(Self(s)) }
    pub fn in_memory(_: uuid::Uuid, s: Arc<dyn CommitSource>) -> anyhow::Result<Self> { Ok(Self(s)) }
    pub fn cursor(&self) -> Position { *self.0.head().borrow() }
    pub fn failed(&self) -> Option<String> { None }
    pub fn ready(&self) -> bool { true }
    pub fn rebuild(&self) {}
    pub async fn flush(&self) -> anyhow::Result<()> { Ok(()) }
    pub async fn close(&self) {}
    pub async fn dump(&self) -> anyhow::Result<Vec<String>> { Ok(vec![]) }
    pub async fn reached(&self, _: Position, _: std::time::Duration) -> anyhow::Result<()> { Ok(()) }
}
