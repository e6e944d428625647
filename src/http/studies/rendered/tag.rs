//! Entity tags of pictures: what is shown, and how.

use sha2::{Digest, Sha256};

use super::wish::Wish;
use crate::http::etag::EntityTag;

/// Raised whenever the same wish gives other pixels than before.
const RENDERING: u8 = 1;
/// Hex digits that tell one wish from another.
const DIGITS: usize = 16;

/// Of `state` (versions and counts) and what is wanted of it; a frame where one is named.
pub(super) fn of(state: &str, frame: Option<u32>, wish: &Wish) -> EntityTag {
    let told = format!("{RENDERING}|{frame:?}|{wish:?}");
    let digest = hex::encode(Sha256::digest(told));
    EntityTag::strong(format!("{state}-{}", &digest[..DIGITS]))
}
