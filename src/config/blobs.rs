//! The settings of the blob store, checked.
//!
//! Elsewhere: their names and defaults as they are given (`config`), what they mean (`blob`).

use std::time::Duration;

use super::{BadSetting, Given, impossible, nonzero, positive};
use crate::blob::{CacheSettings, EtagRule, Location, Reach};

/// Where files are kept.
#[derive(Clone, Debug)]
pub struct Blobs {
    /// The place; `None` is the folder `lake` below the data.
    pub location: Option<Location>,
    /// How a store behind a network is reached.
    pub reach: Reach,
    /// What an altered `ETag` means.
    pub etag: EtagRule,
    /// The cache in front of it.
    pub cache: Option<CacheSettings>,
}

impl Given {
    pub(super) fn blobs(&self) -> Result<Blobs, BadSetting> {
        let location = self.blobs.as_deref().map(str::parse).transpose();
        let location: Option<Location> = location.map_err(|what| impossible("blobs", what))?;
        let far = !matches!(location, None | Some(Location::Folder(_)));
        let etag = match self.etag.as_deref() {
            None | Some("lenient") => EtagRule::Lenient,
            Some("strict") if far => EtagRule::Strict,
            Some("strict") => return Err(impossible("etag", "files in a folder have no ETag".to_owned())),
            Some(other) => {
                return Err(impossible("etag", format!("'{other}' is neither strict nor lenient")));
            }
        };
        if self.blob_cache.is_some() && !far {
            let what = "a folder needs no cache; it is for s3:// and az://".to_owned();
            return Err(impossible("blob-cache", what));
        }
        let default = Reach::default();
        let limit_bytes = positive("blob-cache-size", self.blob_cache_size, 10 << 30)?;
        let trust = self.blob_cache_trust.unwrap_or(Duration::from_secs(30));
        let cache = self.blob_cache.clone();
        Ok(Blobs {
            location,
            reach: Reach {
                timeout: nonzero("blob-timeout", self.blob_timeout, default.timeout)?,
                connections: match self.blob_connections {
                    Some(0) => return Err(impossible("blob-connections", "at least 1".to_owned())),
                    given => given.unwrap_or(default.connections),
                },
            },
            etag,
            cache: cache.map(|folder| CacheSettings { folder, limit_bytes, trust }),
        })
    }
}
