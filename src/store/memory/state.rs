//! What a bucket does with objects, versions and uploads, without any I/O.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::{
    extras::{Can, Extras},
    faults::Failure,
};
use crate::store::{
    ETag, ListPage, ListRequest, ListVersionsRequest, Listed, ObjectInfo, ObjectVersion, OpenUpload,
    Precondition, PutOptions, PutReply, UploadId, UploadedPart, VersionMarker, VersionPage, Versioning,
};

pub(super) type Answer<T> = Result<T, Failure>;

/// One version of one key; `body: None` is a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub id: String,
    pub body: Option<Bytes>,
    pub etag: ETag,
    pub modified: Timestamp,
    pub extras: Extras,
    /// Sizes of the parts, for objects that came in parts.
    pub parts: Vec<u64>,
}

impl Version {
    pub(super) fn info(&self, versioned: bool) -> ObjectInfo {
        ObjectInfo {
            size: self.size(),
            etag: self.etag.clone(),
            modified: self.modified,
            version: versioned.then(|| self.id.clone()),
            attributes: self.extras.attributes.clone(),
            tag_count: self.extras.tags.len(),
            lock: self.extras.lock.clone(),
            storage_class: self.extras.storage_class.clone(),
        }
    }

    fn size(&self) -> u64 {
        self.body.as_ref().map_or(0, |b| b.len() as u64)
    }
}

#[derive(Debug)]
struct Upload {
    key: String,
    options: PutOptions,
    initiated: Timestamp,
    parts: BTreeMap<u32, (Bytes, ETag)>,
}

/// A bucket. Versions of a key stand oldest first.
#[derive(Debug)]
pub(super) struct State {
    pub versioning: Versioning,
    pub conditions: bool,
    /// Tags are no MD5s, as where a key service encrypts.
    pub opaque_tags: bool,
    pub can: Can,
    keys: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<UploadId, Upload>,
    sequence: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            versioning: Versioning::Off,
            conditions: true,
            opaque_tags: false,
            can: Can::default(),
            keys: BTreeMap::new(),
            uploads: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(super) fn versioned(&self) -> bool {
        matches!(self.versioning, Versioning::Enabled | Versioning::Suspended)
    }

    pub(super) fn current(&self, key: &str) -> Answer<&Version> {
        let last = self.keys.get(key).and_then(|v| v.last());
        last.filter(|v| v.body.is_some()).ok_or(Failure::NotFound)
    }

    pub(super) fn versions_mut(&mut self, key: &str) -> Option<&mut Vec<Version>> {
        self.keys.get_mut(key)
    }

    pub(super) fn current_mut(&mut self, key: &str) -> Answer<&mut Version> {
        let last = self.versions_mut(key).and_then(|v| v.last_mut());
        last.filter(|v| v.body.is_some()).ok_or(Failure::NotFound)
    }

    pub(super) fn current_keys(&self) -> Vec<String> {
        self.keys.keys().filter(|k| self.current(k).is_ok()).cloned().collect()
    }

    fn check(&self, key: &str, precondition: &Precondition) -> Answer<()> {
        if !self.conditions && *precondition != Precondition::None {
            return Err(Failure::Unsupported("a conditional write"));
        }
        match precondition {
            Precondition::None => Ok(()),
            Precondition::Absent => self.current(key).map_or(Ok(()), |_| Err(Failure::Changed)),
            Precondition::Matches(tag) if self.current(key)?.etag == *tag => Ok(()),
            Precondition::Matches(_) => Err(Failure::Changed),
        }
    }

    pub(super) fn tag(&mut self, bytes: &[u8]) -> ETag {
        let mut hash = Md5::new_with_prefix(bytes);
        if self.opaque_tags {
            self.sequence += 1;
            hash.update(self.sequence.to_be_bytes());
        }
        ETag(hex::encode(hash.finalize()))
    }

    /// Makes `version` the current one, with the id that the bucket's versioning gives it.
    pub(super) fn push(&mut self, key: &str, mut version: Version) -> PutReply {
        self.sequence += 1;
        let versions = self.keys.entry(key.to_owned()).or_default();
        if self.versioning == Versioning::Enabled {
            version.id = format!("v{:08}", self.sequence);
        } else {
            versions.retain(|v| v.id != "null");
            "null".clone_into(&mut version.id);
        }
        let version_id = matches!(self.versioning, Versioning::Enabled | Versioning::Suspended);
        let reply = PutReply { etag: version.etag.clone(), version: version_id.then(|| version.id.clone()) };
        versions.push(version);
        reply
    }

    pub(super) fn put(
        &mut self,
        key: &str,
        body: Bytes,
        options: &PutOptions,
        now: Timestamp,
    ) -> Answer<PutReply> {
        self.check(key, &options.precondition)?;
        self.can.check(options)?;
        if options.content_md5.is_some_and(|want| want != <[u8; 16]>::from(Md5::digest(&body))) {
            return Err(Failure::Corrupt);
        }
        let version = Version {
            id: String::new(),
            etag: self.tag(&body),
            body: Some(body),
            modified: now,
            extras: options.into(),
            parts: Vec::new(),
        };
        Ok(self.push(key, version.with_original(self.can, options)))
    }

    pub(super) fn create_upload(
        &mut self,
        key: &str,
        options: &PutOptions,
        now: Timestamp,
    ) -> Answer<UploadId> {
        self.can.check(options)?;
        self.sequence += 1;
        let id = UploadId(format!("upload-{:08}", self.sequence));
        let (key, options) = (key.to_owned(), options.clone());
        self.uploads.insert(id.clone(), Upload { key, options, initiated: now, parts: BTreeMap::new() });
        Ok(id)
    }

    pub(super) fn upload_part(&mut self, id: &UploadId, part: u32, body: Bytes) -> Answer<UploadedPart> {
        let etag = self.tag(&body);
        let upload = self.uploads.get_mut(id).ok_or(Failure::NotFound)?;
        let reply = UploadedPart { part, size: body.len() as u64, etag: etag.clone() };
        upload.parts.insert(part, (body, etag));
        Ok(reply)
    }

    pub(super) fn list_parts(&self, id: &UploadId) -> Answer<Vec<UploadedPart>> {
        let upload = self.uploads.get(id).ok_or(Failure::NotFound)?;
        let part = |(part, (body, etag)): (&u32, &(Bytes, ETag))| UploadedPart {
            part: *part,
            size: body.len() as u64,
            etag: etag.clone(),
        };
        Ok(upload.parts.iter().map(part).collect())
    }

    pub(super) fn complete_upload(
        &mut self,
        key: &str,
        id: &UploadId,
        parts: &[UploadedPart],
        options: &PutOptions,
        now: Timestamp,
    ) -> Answer<PutReply> {
        let Some(upload) = self.uploads.get(id).filter(|u| u.key == key) else {
            let done = self.current(key).map_err(|_| Failure::NotFound)?;
            let repeated = composite_etag(parts).is_some_and(|tag| tag == done.etag);
            let version = self.versioned().then(|| done.id.clone());
            return if repeated {
                Ok(PutReply { etag: done.etag.clone(), version })
            } else {
                Err(Failure::NotFound)
            };
        };
        self.check(key, &options.precondition)?;
        let mut body = BytesMut::new();
        for part in parts {
            let (bytes, etag) = upload.parts.get(&part.part).ok_or(Failure::Corrupt)?;
            if *etag != part.etag {
                return Err(Failure::Corrupt);
            }
            body.extend_from_slice(bytes);
        }
        let version = Version {
            id: String::new(),
            etag: composite_etag(parts).ok_or(Failure::Corrupt)?,
            body: Some(body.freeze()),
            modified: now,
            extras: (&upload.options).into(),
            parts: parts.iter().map(|p| p.size).collect(),
        };
        self.uploads.remove(id);
        Ok(self.push(key, version.with_original(self.can, options)))
    }

    pub(super) fn abort_upload(&mut self, id: &UploadId) {
        self.uploads.remove(id);
    }

    pub(super) fn list_uploads(&self, prefix: &str) -> Vec<OpenUpload> {
        self.uploads
            .iter()
            .filter(|(_, u)| u.key.starts_with(prefix))
            .map(|(id, u)| OpenUpload { key: u.key.clone(), id: id.clone(), initiated: Some(u.initiated) })
            .collect()
    }

    pub(super) fn delete(&mut self, key: &str, version: Option<&str>, now: Timestamp) -> Answer<()> {
        if let Some(id) = version {
            self.delete_version(key, id, now)?;
        } else if self.versioned() {
            let marker = Version {
                id: String::new(),
                body: None,
                etag: ETag(String::new()),
                modified: now,
                extras: Extras::default(),
                parts: Vec::new(),
            };
            self.push(key, marker);
        } else {
            self.keys.remove(key);
        }
        self.keys.retain(|_, versions| !versions.is_empty());
        Ok(())
    }

    pub(super) fn list(&self, request: &ListRequest, page: usize) -> ListPage {
        let after = request.token.as_ref().or(request.start_after.as_ref());
        let mut objects: Vec<Listed> = self
            .keys
            .range(request.prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&request.prefix))
            .filter(|(key, _)| after.is_none_or(|a| key.as_str() > a.as_str()))
            .filter_map(|(key, versions)| Some((key, versions.last().filter(|v| v.body.is_some())?)))
            .take(page + 1)
            .map(|(key, v)| Listed {
                key: key.clone(),
                size: v.size(),
                etag: v.etag.clone(),
                modified: v.modified,
                storage_class: v.extras.storage_class.clone(),
            })
            .collect();
        let more = objects.len() > page;
        objects.truncate(page);
        let next = objects.last().filter(|_| more).map(|o| o.key.clone());
        ListPage { objects, next }
    }

    pub(super) fn list_versions(&self, request: &ListVersionsRequest, page: usize) -> VersionPage {
        let place =
            |v: &ObjectVersion| VersionMarker { key: v.key.clone(), version: Some(v.version.clone()) };
        let all = self.keys.iter().filter(|(key, _)| key.starts_with(&request.prefix)).flat_map(version_rows);
        let rest: Vec<ObjectVersion> = match &request.marker {
            None => all.collect(),
            Some(VersionMarker { key, version: None }) => all.filter(|v| v.key > *key).collect(),
            Some(marker) => all.skip_while(|v| place(v) != *marker).skip(1).collect(),
        };
        let more = rest.len() > page;
        let versions: Vec<_> = rest.into_iter().take(page).collect();
        let next = versions.last().filter(|_| more).map(place);
        VersionPage { versions, next }
    }
}

/// A key's versions as a listing shows them: newest first.
fn version_rows<'a>((key, versions): (&'a String, &'a Vec<Version>)) -> impl Iterator<Item = ObjectVersion> {
    versions.iter().rev().enumerate().map(move |(i, v)| ObjectVersion {
        key: key.clone(),
        version: v.id.clone(),
        is_latest: i == 0,
        is_delete_marker: v.body.is_none(),
        size: v.size(),
        etag: v.etag.clone(),
        modified: v.modified,
    })
}

/// The ETag that S3 gives an object of these parts; `None` when a part's tag is not an MD5.
pub(crate) fn composite_etag(parts: &[UploadedPart]) -> Option<ETag> {
    let mut hash = Md5::new();
    for part in parts {
        let md5: [u8; 16] = hex::decode(&part.etag.0).ok()?.try_into().ok()?;
        hash.update(md5);
    }
    Some(ETag(format!("{}-{}", hex::encode(hash.finalize()), parts.len())))
}
