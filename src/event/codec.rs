//! STUB
/// STUB
#[derive(Clone, Debug)]
pub struct Event {
    /// Head.
    pub head: super::Head,
}
impl Event {
    /// The decoded bytes of a section, if the event has it.
    /// # Errors
    /// Not readable.
    pub fn section(&self, _section: super::Section) -> Result<Option<Vec<u8>>, String> {
        todo!()
    }
}
