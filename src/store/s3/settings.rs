//! Requests for what is set on the bucket itself: lifecycle, tags, website.

use aws_sdk_s3::types::{
    ExpirationStatus, LifecycleExpiration, LifecycleRule as SdkRule, LifecycleRuleAndOperator,
    LifecycleRuleFilter, RoutingRule, Tag, Tagging,
};
use jiff::Timestamp;

use super::{
    S3Store,
    beside::unbuilt,
    trouble::{Kind, Trouble},
};
use crate::store::{Expires, LifecycleFilter, LifecycleRule, Result, Tags, WebsiteRoute};

impl S3Store {
    /// Replaces the rules by which the bucket lets objects go; none removes them. For tests and demonstrations.
    pub async fn set_lifecycle(&self, rules: &[LifecycleRule]) -> Result<()> {
        let set = || async {
            if rules.is_empty() {
                self.client.delete_bucket_lifecycle().bucket(self.bucket_name()).send().await?;
                return Ok(());
            }
            let rules = rules.iter().map(written).collect::<Result<Vec<_>, _>>()?;
            let all = aws_sdk_s3::types::BucketLifecycleConfiguration::builder().set_rules(Some(rules));
            let request = self.client.put_bucket_lifecycle_configuration().bucket(self.bucket_name());
            request.lifecycle_configuration(all.build().map_err(unbuilt)?).send().await?;
            Ok(())
        };
        self.repeat(None, set).await
    }

    pub(super) async fn bucket_lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        let ask = || async {
            let request = self.client.get_bucket_lifecycle_configuration().bucket(self.bucket_name());
            match request.send().await.map_err(Trouble::from) {
                Ok(output) => output.rules().iter().filter_map(|rule| read(rule).transpose()).collect(),
                Err(t) if t.is_code("NoSuchLifecycleConfiguration") => Ok(Vec::new()),
                Err(t) if is_unknown(&t) => Ok(Vec::new()),
                Err(t) => Err(t),
            }
        };
        self.repeat(None, ask).await
    }

    pub(super) async fn tags_of_bucket(&self) -> Result<Tags> {
        let ask = || async {
            match self
                .client
                .get_bucket_tagging()
                .bucket(self.bucket_name())
                .send()
                .await
                .map_err(Trouble::from)
            {
                Ok(output) => Ok(output.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect()),
                Err(t) if ["NoSuchTagSet", "NoSuchTagSetError"].iter().any(|code| t.is_code(code)) => {
                    Ok(Tags::new())
                }
                Err(t) => Err(t),
            }
        };
        self.repeat(None, ask).await
    }

    pub(super) async fn set_tags_of_bucket(&self, tags: &Tags) -> Result<()> {
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
        let put = || async {
            if tags.is_empty() {
                self.client.delete_bucket_tagging().bucket(self.bucket_name()).send().await?;
                return Ok(());
            }
            let all = tags.iter().map(tag).collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
            let tagging = Tagging::builder().set_tag_set(Some(all)).build().map_err(unbuilt)?;
            let request = self.client.put_bucket_tagging().bucket(self.bucket_name());
            request.tagging(tagging).send().await?;
            Ok(())
        };
        self.repeat(None, put).await
    }

    pub(super) async fn routes_of_website(&self) -> Result<Vec<WebsiteRoute>> {
        let ask = || async {
            let request = self.client.get_bucket_website().bucket(self.bucket_name());
            match request.send().await.map_err(Trouble::from) {
                Ok(output) => Ok(output.routing_rules().iter().map(route).collect()),
                Err(t) if t.is_code("NoSuchWebsiteConfiguration") => Ok(Vec::new()),
                Err(t) if is_unknown(&t) => Ok(Vec::new()),
                Err(t) => Err(t),
            }
        };
        self.repeat(None, ask).await
    }

    fn bucket_name(&self) -> &str {
        &self.config.bucket
    }
}

/// A store that does not know the question has nothing of the kind.
fn is_unknown(trouble: &Trouble) -> bool {
    matches!(trouble.kind, Kind::Unsupported(_))
}

/// `None`: it lets no current object go.
///
/// # Errors
/// A rule that is not understood is not to be overlooked.
fn read(rule: &SdkRule) -> Result<Option<LifecycleRule>, Trouble> {
    if *rule.status() != ExpirationStatus::Enabled {
        return Ok(None);
    }
    let Some(expires) = rule.expiration().map(expires).transpose()?.flatten() else { return Ok(None) };
    #[allow(deprecated, reason = "rules that were set long ago have it")]
    let own = rule.prefix().unwrap_or_default();
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let prefix = filter.and_then(|filter| filter.prefix()).or(and.and_then(|and| and.prefix()));
    let tags = filter.and_then(|filter| filter.tag()).into_iter();
    let tags = tags.chain(and.map(LifecycleRuleAndOperator::tags).unwrap_or_default());
    let bytes = |size: i64| u64::try_from(size).unwrap_or_default();
    let larger = filter.and_then(LifecycleRuleFilter::object_size_greater_than);
    let smaller = filter.and_then(LifecycleRuleFilter::object_size_less_than);
    Ok(Some(LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        filter: LifecycleFilter {
            prefix: prefix.unwrap_or(own).to_owned(),
            tags: tags.map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
            larger_than: larger
                .or(and.and_then(LifecycleRuleAndOperator::object_size_greater_than))
                .map(bytes),
            smaller_than: smaller
                .or(and.and_then(LifecycleRuleAndOperator::object_size_less_than))
                .map(bytes),
        },
        expires,
    }))
}

fn expires(expiration: &LifecycleExpiration) -> Result<Option<Expires>, Trouble> {
    let odd = || Trouble::new(Kind::Protocol, format!("a lifecycle rule of an unknown kind: {expiration:?}"));
    if let Some(date) = expiration.date() {
        let on = Timestamp::new(date.secs(), 0).map_err(|_| odd())?;
        return Ok(Some(Expires::On(on)));
    }
    match expiration.days() {
        // It removes markers only.
        None | Some(0) => Ok(None),
        Some(days) => Ok(Some(Expires::After { days: u32::try_from(days).map_err(|_| odd())? })),
    }
}

fn written(rule: &LifecycleRule) -> Result<SdkRule, Trouble> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    let LifecycleFilter { prefix, tags, larger_than, smaller_than } = &rule.filter;
    let tags = tags.iter().map(tag).collect::<Result<Vec<_>, _>>().map_err(unbuilt)?;
    let size = |bytes: &Option<u64>| bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let filter = if tags.is_empty() && larger_than.is_none() && smaller_than.is_none() {
        LifecycleRuleFilter::builder().prefix(prefix)
    } else {
        let and = LifecycleRuleAndOperator::builder().prefix(prefix).set_tags(Some(tags));
        let and = and.set_object_size_greater_than(size(larger_than));
        LifecycleRuleFilter::builder().and(and.set_object_size_less_than(size(smaller_than)).build())
    };
    let expiration = LifecycleExpiration::builder();
    let expiration = match rule.expires {
        Expires::After { days } => expiration.days(i32::try_from(days).unwrap_or(i32::MAX)),
        Expires::On(at) => expiration.date(aws_smithy_types::DateTime::from_secs(at.as_second())),
    };
    let rule = SdkRule::builder().id(&rule.id).status(ExpirationStatus::Enabled);
    rule.filter(filter.build()).expiration(expiration.build()).build().map_err(unbuilt)
}

fn route(rule: &RoutingRule) -> WebsiteRoute {
    let condition = rule.condition();
    WebsiteRoute {
        instead_of: condition.and_then(|c| c.http_error_code_returned_equals()).and_then(|c| c.parse().ok()),
        prefix: condition.and_then(|c| c.key_prefix_equals()).unwrap_or_default().to_owned(),
        host: rule.redirect().and_then(|to| to.host_name()).filter(|h| !h.is_empty()).map(str::to_owned),
    }
}
