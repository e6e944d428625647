//! Names in the data lake: which key a stored file has (contract `bulk-update-export.md` §4.1).
//!
//! Layout, also written down in `schemas/lake.md`:
//! `AHDS/{workspace}/dicom/{service}/{partition}/{study}/{series}/{instance}_{version id}.dcm`
//!
//! Invariant: a key is never used twice; the version id in it is a UUIDv7 made for this one file.
//! Elsewhere: what lies under a key (`blob`), which keys are live (`archive`).

use uuid::Uuid;

use crate::base::Partition;
use crate::dicom::uid::Uid;

/// The names above the partitions of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lake {
    /// The workspace, from the settings.
    pub workspace: String,
    /// The DICOM service in it, from the settings.
    pub service: String,
}

impl Lake {
    /// What every key of this archive begins with: `AHDS/{workspace}/dicom/{service}/`.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("AHDS/{}/dicom/{}/", self.workspace, self.service)
    }

    /// `AHDS/{workspace}/dicom/{service}/{partition}/{study}/{series}/{instance}_{version id}.dcm`
    #[must_use]
    pub fn instance_key(
        &self,
        partition: &Partition,
        study: &Uid,
        series: &Uid,
        instance: &Uid,
        version: Uuid,
    ) -> String {
        format!("{}{partition}/{study}/{series}/{instance}_{}.dcm", self.prefix(), version.simple())
    }

    /// The key of one health file (contract `bulk-update-export.md` §4.3).
    #[must_use]
    pub fn health_key(&self, id: Uuid) -> String {
        format!("{}healthCheck/health{}.txt", self.prefix(), id.simple())
    }

    /// The id in a key made by [`Self::health_key`]; `None` for every other key.
    #[must_use]
    pub fn health_id_of(key: &str) -> Option<Uuid> {
        let parts: Vec<&str> = key.split('/').collect();
        let ["AHDS", _, "dicom", _, "healthCheck", file] = parts[..] else { return None };
        let text = file.strip_prefix("health")?.strip_suffix(".txt")?;
        let id = Uuid::try_parse(text).ok()?;
        (id.get_version_num() == 7 && id.simple().to_string() == text).then_some(id)
    }

    /// The version id in a key made by [`Self::instance_key`]; `None` for every other key, so that files
    /// somebody else put into the lake are never taken for ours.
    #[must_use]
    pub fn version_of(key: &str) -> Option<Uuid> {
        let parts: Vec<&str> = key.split('/').collect();
        let ["AHDS", _, "dicom", _, partition, study, series, file] = parts[..] else { return None };
        let (instance, version) = file.strip_suffix(".dcm")?.rsplit_once('_')?;
        let uids =
            [study, series, instance].iter().all(|uid| Uid::parse(uid).is_ok_and(|u| u.as_str() == *uid));
        if !uids || Partition::parse(partition).is_err() || version.len() != 32 {
            return None;
        }
        let id = Uuid::try_parse(version).ok()?;
        (id.get_version_num() == 7 && id.simple().to_string() == version).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    #[test]
    fn a_key_is_laid_out_as_the_contract_says_and_gives_its_version_back() {
        let lake = Lake { workspace: "w".into(), service: "s".into() };
        let version = Uuid::parse_str("0194f3a0-1b2c-7d3e-8f40-5162738495a6").unwrap();
        let key =
            lake.instance_key(&Partition::default(), &uid("1.2"), &uid("1.2.3"), &uid("1.2.3.4"), version);
        assert_eq!(
            key,
            "AHDS/w/dicom/s/Microsoft.Default/1.2/1.2.3/1.2.3.4_0194f3a01b2c7d3e8f405162738495a6.dcm"
        );
        assert_eq!(Lake::version_of(&key), Some(version));
        assert!(key.starts_with(&lake.prefix()));
        assert_eq!(Lake::health_id_of(&lake.health_key(version)), Some(version));
        assert_eq!(Lake::health_id_of(&key), None);
    }

    #[test]
    fn other_names_have_no_version() {
        let id = "0194f3a01b2c7d3e8f405162738495a6";
        for key in [
            String::new(),
            "AHDS/w/dicom/s/healthCheck/health0194f3a01b2c7d3e8f405162738495a6.txt".to_owned(),
            format!("AHDS/w/dicom/s/P/1.2/1.3/1.4_{id}.txt"),
            format!("AHDS/w/dicom/s/P/1.2/1.3/more/1.4_{id}.dcm"),
            format!("AHDS/w/dicom/s/P/1.2/notes/1.4_{id}.dcm"),
            format!("AHDS/w/dicom/s/P/1.2/1.3/1.4-{id}.dcm"),
            format!("AHDS/w/dicom/s/P/1.2/1.3/1.4_{}.dcm", id.to_uppercase()),
            "AHDS/w/dicom/s/P/1.2/1.3/1.4_0194f3a01b2c4d3e8f405162738495a6.dcm".to_owned(),
        ] {
            assert_eq!(Lake::version_of(&key), None, "{key}");
        }
    }
}
