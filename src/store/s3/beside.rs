//! Requests for what lies beside an object: tags, lists, locks, and the copy onto itself.

use aws_sdk_s3::types::{
    Grantee as SdkGrantee, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockRetention, ObjectLockRetentionMode, ObjectOwnership, Permission as SdkPermission, Tag, Tagging,
};
use aws_smithy_types::DateTime;
use percent_encoding::utf8_percent_encode;

use super::{
    S3Store,
    attributes::etag,
    extras::{self, RESERVED},
    trouble::{Kind, Trouble},
    write::{read_timeout, set_expires},
};
use crate::store::{
    Acl, ETag, Error, GRANTS, Grant, Grantee, Lock, LockMode, ObjectStore, Permission, PutOptions, PutReply,
    Result, Retention, Tags,
};

impl S3Store {
    pub(super) async fn object_tags(&self, key: &str) -> Result<Tags> {
        let ask = || async {
            let output = self.client.get_object_tagging().bucket(self.bucket()).key(key).send().await?;
            Ok(output.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect())
        };
        self.repeat(Some(key), ask).await
    }

    pub(super) async fn set_tags(&self, key: &str, tags: &Tags) -> Result<()> {
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
        let put = || async {
            if tags.is_empty() {
                self.client.delete_object_tagging().bucket(self.bucket()).key(key).send().await?;
                return Ok(());
            }
            let all = tags.iter().map(tag).collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
            let tagging = Tagging::builder().set_tag_set(Some(all)).build().map_err(unbuilt)?;
            let request = self.client.put_object_tagging().bucket(self.bucket()).key(key);
            request.tagging(tagging).send().await?;
            Ok(())
        };
        self.repeat(Some(key), put).await
    }

    pub(super) async fn object_acl(&self, key: &str) -> Result<Acl> {
        let ask = || async {
            let output = self.client.get_object_acl().bucket(self.bucket()).key(key).send().await?;
            let owner = output.owner().and_then(|o| o.id()).unwrap_or_default().to_owned();
            let grants = output.grants().iter().map(grant).collect::<Result<_, _>>()?;
            Ok(Acl { owner, grants })
        };
        self.repeat(Some(key), ask).await
    }

    pub(super) async fn set_lock(&self, key: &str, lock: &Lock) -> Result<()> {
        if let Some(retention) = &lock.retention {
            self.repeat(Some(key), || self.set_retention(key, retention)).await?;
        }
        let status = if lock.legal_hold { "ON" } else { "OFF" };
        let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::from(status)).build();
        let put = || async {
            let request = self.client.put_object_legal_hold().bucket(self.bucket()).key(key);
            request.legal_hold(hold.clone()).send().await?;
            Ok(())
        };
        self.repeat(Some(key), put).await
    }

    async fn set_retention(&self, key: &str, retention: &Retention) -> Result<(), Trouble> {
        let mode = match retention.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let until = DateTime::from_millis(retention.until.as_millisecond());
        let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
        let request = self.client.put_object_retention().bucket(self.bucket()).key(key);
        request.retention(retention).send().await?;
        Ok(())
    }

    pub(super) async fn copy_onto_itself(
        &self,
        key: &str,
        tag: &ETag,
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.check_name(key).await?;
        let options = self.spelled(key, options).await?;
        let itself = |text| utf8_percent_encode(text, RESERVED);
        let segments: Vec<String> = key.split('/').map(|segment| itself(segment).to_string()).collect();
        let source = format!("{}/{}", itself(self.bucket()), segments.join("/"));
        let attributes = &options.attributes;
        let copy = || async {
            let request = self
                .client
                .copy_object()
                .bucket(self.bucket())
                .key(key)
                .copy_source(&source)
                .copy_source_if_match(format!("\"{}\"", tag.0))
                .metadata_directive("REPLACE".into())
                .tagging_directive("REPLACE".into())
                .set_content_type(attributes.content_type.clone())
                .set_content_encoding(attributes.content_encoding.clone())
                .set_content_language(attributes.content_language.clone())
                .set_content_disposition(attributes.content_disposition.clone())
                .set_cache_control(attributes.cache_control.clone())
                .set_metadata(Some(attributes.metadata.clone().into_iter().collect()));
            let (expires, extras) = (attributes.expires.clone(), extras::headers(&options));
            // The store may read and write all bytes before it answers.
            let request = request.customize().config_override(read_timeout(super::write::JOINING));
            let request = request.mutate_request(move |r| {
                set_expires(r, expires.as_deref());
                extras::add(r, extras.clone());
            });
            let output = request.send().await?;
            let version = output.version_id().map(str::to_owned);
            Ok(PutReply { etag: etag(output.copy_object_result().and_then(|r| r.e_tag()))?, version })
        };
        self.repeat(Some(key), copy).await
    }

    pub(super) async fn bucket_locks(&self) -> Result<bool> {
        let ask = || async {
            let asked = self.client.get_object_lock_configuration().bucket(self.bucket()).send().await;
            match asked.map_err(Trouble::from) {
                Ok(output) => Ok(output
                    .object_lock_configuration()
                    .is_some_and(|c| c.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled))),
                Err(t) if is_not_configured(&t) => Ok(false),
                Err(t) => Err(t),
            }
        };
        self.repeat(None, ask).await
    }

    /// A store that doesn't know the question may keep lists all the same.
    pub(super) async fn bucket_acls(&self) -> Result<bool> {
        let ask = || async {
            let asked = self.client.get_bucket_ownership_controls().bucket(self.bucket()).send().await;
            match asked.map_err(Trouble::from) {
                Ok(output) => Ok(!output
                    .ownership_controls()
                    .is_some_and(|c| c.rules().iter().any(|r| *r.object_ownership() == ENFORCED))),
                Err(t) if is_not_configured(&t) => Ok(true),
                Err(t) => Err(t),
            }
        };
        match self.repeat(None, ask).await {
            Err(Error::AccessDenied(_)) => Ok(true),
            answer => answer,
        }
    }
}

/// Lists are switched off: the bucket's owner owns every object.
const ENFORCED: ObjectOwnership = ObjectOwnership::BucketOwnerEnforced;

/// Nothing is set, or the store does not know the question.
fn is_not_configured(trouble: &Trouble) -> bool {
    matches!(trouble.kind, Kind::NotFound | Kind::Unsupported(_) | Kind::Refused)
}

pub(super) fn unbuilt(error: impl std::error::Error) -> Trouble {
    Trouble::new(Kind::Config, error.to_string())
}

/// # Errors
/// A grant that can't be said again is not to be lost.
fn grant(grant: &aws_sdk_s3::types::Grant) -> Result<Grant, Trouble> {
    let odd = || Trouble::new(Kind::Unsupported(GRANTS), "a grant of an unknown kind");
    let permission = match grant.permission().ok_or_else(odd)? {
        SdkPermission::FullControl => Permission::FullControl,
        SdkPermission::Read => Permission::Read,
        SdkPermission::ReadAcp => Permission::ReadAcp,
        SdkPermission::WriteAcp => Permission::WriteAcp,
        _ => return Err(odd()),
    };
    let to = grant.grantee().ok_or_else(odd)?;
    let group = |to: &SdkGrantee| to.uri().map(|uri| Grantee::Group(uri.to_owned()));
    // MinIO's accounts have no ids.
    let grantee = group(to).unwrap_or_else(|| Grantee::Id(to.id().unwrap_or_default().to_owned()));
    Ok(Grant { grantee, permission })
}
