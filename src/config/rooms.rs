//! The settings of the rooms, checked.
//!
//! Elsewhere: their names and defaults as they are given (`config`), what they mean (each room).

use std::time::Duration;

use super::{BadSetting, Given, impossible, nonzero, positive};
use crate::dicom::scan::Limits;
use crate::{archive, http, log};

impl Given {
    pub(super) fn archive(&self) -> Result<archive::Settings, BadSetting> {
        let default = archive::Settings::default();
        let scan = Limits::default();
        let header = positive("max-header", self.max_header, scan.non_bulk_bytes)?;
        Ok(archive::Settings {
            scan: Limits {
                depth: match self.max_depth {
                    // Three levels of JSON each; common readers of JSON give up at 128.
                    Some(given) if !(1..=40).contains(&given) => {
                        return Err(impossible("max-depth", format!("{given} is not 1 to 40")));
                    }
                    given => given.unwrap_or(scan.depth),
                },
                elements: self.max_elements.unwrap_or(scan.elements),
                non_bulk_bytes: header,
                json_bytes: header.saturating_mul(2),
                value_length: positive("max-value", self.max_value, scan.value_length)?,
                inflated_bytes: positive("max-inflated", self.max_inflated, scan.inflated_bytes)?,
                ..scan
            },
            record_bytes: match self.max_record.map(|size| size.as_u64()) {
                Some(given) if given < 16 << 10 => {
                    return Err(impossible("max-record", "at least 16KiB".to_owned()));
                }
                Some(given) => usize::try_from(given)
                    .ok()
                    .filter(|bytes| *bytes <= log::embedded::Settings::default().record_limit_bytes)
                    .ok_or_else(|| impossible("max-record", "at most 64MiB".to_owned()))?,
                None => default.record_bytes,
            },
            headers_in_flight_bytes: usize::try_from(header)
                .map_err(|_| impossible("max-header", "it does not fit this machine".to_owned()))?,
            parts: match self.max_parts {
                Some(0) => return Err(impossible("max-parts", "at least 1".to_owned())),
                given => given.unwrap_or(default.parts),
            },
            preambles: match &self.preamble {
                Some(rule) => rule.parse().map_err(|why| impossible("preamble", why))?,
                None => default.preambles,
            },
            validity: nonzero("validity", self.validity, default.validity)?,
            outcome_wait: nonzero("outcome-wait", self.outcome_wait, default.outcome_wait)?,
            stale_reads: match self.allow_stale_reads {
                Some(true) => archive::StaleReads::Allowed,
                Some(false) | None => archive::StaleReads::Refused,
            },
            ..default
        })
    }

    pub(super) fn log(&self) -> Result<log::embedded::Settings, BadSetting> {
        let default = log::embedded::Settings::default();
        let segment_bytes = positive("log-segment", self.log_segment, default.segment_bytes)?;
        Ok(log::embedded::Settings { segment_bytes, ..default })
    }

    pub(super) fn http(&self) -> Result<http::Settings, BadSetting> {
        let default = http::Settings::default();
        let origins = self.cors_allow_origin.clone().unwrap_or_default();
        let cors = if origins.is_empty() { None } else { Some(self.cors(&origins)?) };
        Ok(http::Settings {
            public_url: self.public_url.clone(),
            trusted_proxies: {
                let proxies = self.trusted_proxies.iter().flatten().map(|proxy| proxy.parse());
                proxies.collect::<Result<_, _>>().map_err(|why| impossible("trusted-proxies", why))?
            },
            deprecated: http::Deprecated::parse(self.deprecate_version.as_deref().unwrap_or_default())
                .map_err(|why| impossible("deprecate-version", why))?,
            partitions: self.partitions.unwrap_or(false),
            body_bytes: positive("max-body", self.max_body, 8 << 30)?,
            body_window: nonzero("body-window", self.body_window, default.body_window)?,
            write_window: nonzero("write-window", self.write_window, default.write_window)?,
            head_time: nonzero("head-time", self.head_time, default.head_time)?,
            connections: match self.max_connections {
                Some(0) => return Err(impossible("max-connections", "at least 1".to_owned())),
                given => given.unwrap_or(default.connections),
            },
            stop_time: self.stop_wait.unwrap_or(default.stop_time),
            cors,
            bulk_data_uri: self.bulk_data_uri.unwrap_or(default.bulk_data_uri),
            transcode_bytes: self.transcode_limit.map_or(default.transcode_bytes, |limit| limit.as_u64()),
            ..default
        })
    }

    fn cors(&self, origins: &[String]) -> Result<http::Cors, BadSetting> {
        let headers = self.cors_allow_header.clone().unwrap_or_default();
        let methods = self.cors_allow_method.clone().unwrap_or_default();
        let max_age = self.cors_max_age.unwrap_or(Duration::from_secs(600));
        let credentials = self.cors_allow_credentials.unwrap_or(false);
        http::Cors::parse(origins, &headers, &methods, max_age, credentials).map_err(|bad| {
            let name = match bad.setting {
                "headers" => "cors-allow-header",
                "methods" => "cors-allow-method",
                "credentials" => "cors-allow-credentials",
                _ => "cors-allow-origin",
            };
            impossible(name, bad.what)
        })
    }
}
