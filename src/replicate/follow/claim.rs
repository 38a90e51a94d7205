//! A rule's claim on its buckets, put on the buckets themselves: rules of other clusters see it (`C07`). Pure.
//!
//! A bucket bears one claim for each of its two parts: what it is replicated to, and what it is replicated
//! from. So the two rules of a mutual pair claim the same buckets side by side: each is known by being
//! the one that claims both.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::store::{Side, Tags};

/// Tag of a bucket that is a rule's source, and of one that is a rule's target.
pub const TO: &str = "farshore.dev/replicates-to";
pub const FROM: &str = "farshore.dev/replicated-from";

/// Days after which a claim that nobody has renewed is nobody's.
const DAYS: i64 = 30;
/// Longest value of a tag, in characters.
const LONGEST: usize = 256;

/// Who claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// What tells this cluster from others. In one cluster its controller knows all rules.
    pub cluster: String,
    /// UID of the rule.
    pub uid: String,
    /// Its namespace and name.
    pub name: String,
    /// Region and bucket of its source, and of its target.
    pub source: String,
    pub target: String,
    /// UID of a rule of another cluster whose claim is void, as somebody has said.
    pub void: Option<String>,
}

/// A claim as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    at: Date,
    cluster: String,
    uid: String,
}

/// Another rule's claim that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub side: Side,
    pub tag: &'static str,
    /// The tag's value.
    pub value: String,
    /// UID of the rule, if it can be made out.
    pub uid: Option<String>,
}

impl Conflict {
    /// What a person is told, of a bucket by its name.
    #[must_use]
    pub fn message(&self, bucket: &str) -> String {
        let Self { side: _, tag, value, uid } = self;
        let void = uid.as_deref().map(|uid| {
            format!("; if that rule is gone: kubectl annotate brr NAME farshore.dev/void-claim={uid}")
        });
        format!(
            "a rule of another cluster claims bucket {bucket}: its tag {tag} is {value:?} (date, cluster, UID, rule, other end); delete that rule, or choose other buckets{}; a claim that is not renewed for {DAYS} days is void by itself",
            void.unwrap_or_default()
        )
    }
}

/// The tags that both buckets shall have, from those that they have.
///
/// # Errors
/// The claim of another cluster's rule that excludes this one.
pub fn claimed(
    me: &Claimant,
    source: &Tags,
    target: &Tags,
    now: Timestamp,
) -> Result<(Tags, Tags), Conflict> {
    let today = day(now);
    let other = |tags: &Tags, tag| tags.get(tag).and_then(|value| me.minds(value, today));
    let conflict = |side, tag, (value, claim): (String, Option<Claim>)| Conflict {
        side,
        tag,
        value,
        uid: claim.map(|claim| claim.uid),
    };
    if let Some(found) = other(source, TO) {
        return Err(conflict(Side::Source, TO, found));
    }
    if let Some(found) = other(target, FROM) {
        return Err(conflict(Side::Target, FROM, found));
    }
    // Whoever brings to our source what it takes from our target is the other half of a mutual pair.
    match (other(source, FROM), other(target, TO)) {
        (None, None) => {}
        (Some((_, Some(into))), Some((_, Some(out_of)))) if into.uid == out_of.uid => {}
        (Some(found), _) => return Err(conflict(Side::Source, FROM, found)),
        (None, Some(found)) => return Err(conflict(Side::Target, TO, found)),
    }
    let with = |tags: &Tags, tag: &str, end: &str| {
        let mut tags = tags.clone();
        tags.insert(tag.to_owned(), me.value(today, end));
        tags
    };
    Ok((with(source, TO, &me.target), with(target, FROM, &me.source)))
}

/// The day that a claim made now bears.
#[must_use]
pub fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

impl Claimant {
    /// Another's claim that holds. One that can't be read holds: nobody knows whose it is.
    fn minds(&self, value: &str, today: Date) -> Option<(String, Option<Claim>)> {
        let claim = Claim::read(value);
        let holds = claim.as_ref().is_none_or(|claim| {
            let age = (today - claim.at).get_days();
            claim.cluster != self.cluster && i64::from(age) <= DAYS && self.void.as_ref() != Some(&claim.uid)
        });
        holds.then(|| (value.to_owned(), claim))
    }

    /// A bucket's tags without this rule's own.
    #[must_use]
    pub fn without(&self, tags: &Tags) -> Tags {
        let own = |value: &str| Claim::read(value).is_some_and(|claim| claim.uid == self.uid);
        let rest = tags.iter().filter(|(tag, value)| !([TO, FROM].contains(&tag.as_str()) && own(value)));
        rest.map(|(tag, value)| (tag.clone(), value.clone())).collect()
    }

    fn value(&self, today: Date, end: &str) -> String {
        let value = format!("{today} {} {} {} {end}", self.cluster, self.uid, self.name);
        value.chars().take(LONGEST).collect()
    }
}

impl Claim {
    fn read(value: &str) -> Option<Self> {
        let mut words = value.split_whitespace();
        let at = words.next()?.parse().ok()?;
        Some(Self { at, cluster: words.next()?.to_owned(), uid: words.next()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(cluster: &str, uid: &str) -> Claimant {
        let text = |text: &str| text.to_owned();
        Claimant {
            cluster: text(cluster),
            uid: text(uid),
            name: text("team/photos"),
            source: text("north/photos"),
            target: text("east/photos-copy"),
            void: None,
        }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    fn put(me: &Claimant, source: &Tags, target: &Tags, day: i64) -> (Tags, Tags) {
        claimed(me, source, target, at(day)).unwrap()
    }

    #[test]
    fn c07_a_claim_keeps_other_clusters_out_until_it_is_void() {
        let none = Tags::new();
        let own: Tags = [("owner".to_owned(), "team a".to_owned())].into();
        let (source, target) = put(&me("one", "1"), &own, &none, 0);
        assert_eq!((source.len(), target.len()), (2, 1), "tags of others stay");
        assert_eq!(source["owner"], "team a");
        assert_eq!(source[TO], "2027-01-15 one 1 team/photos east/photos-copy");
        assert_eq!(target[FROM], "2027-01-15 one 1 team/photos north/photos");
        let mut two = me("two", "2");
        let refused = claimed(&two, &source, &target, at(30)).unwrap_err();
        assert_eq!((refused.side, refused.tag, refused.uid.as_deref()), (Side::Source, TO, Some("1")));
        let message = refused.message("photos");
        assert!(message.contains("team/photos") && message.contains("void-claim=1"), "{message}");
        // From the same source elsewhere, from elsewhere to the same target.
        assert!(claimed(&two, &source, &none, at(0)).is_err());
        assert_eq!(claimed(&two, &none, &target, at(0)).unwrap_err().side, Side::Target);
        assert!(claimed(&two, &source, &target, at(31)).is_ok(), "not renewed");
        two.void = Some("1".into());
        assert!(claimed(&two, &source, &target, at(0)).is_ok(), "somebody has said so");
        // Renewed, and made anew in the same cluster.
        let (renewed, _) = put(&me("one", "1"), &source, &target, 20);
        assert!(renewed[TO].starts_with("2027-02-04 one 1 "));
        assert!(claimed(&me("one", "3"), &source, &target, at(0)).is_ok());
    }

    #[test]
    fn c07_c08_the_two_rules_of_a_pair_claim_side_by_side() {
        let none = Tags::new();
        let (a, b) = put(&me("one", "1"), &none, &none, 0);
        let (b2, a2) = put(&me("two", "2"), &b, &a, 0);
        assert_eq!((a2.len(), b2.len()), (2, 2));
        assert!(claimed(&me("one", "1"), &a2, &b2, at(1)).is_ok(), "each may renew");
        // A third bucket: its source is another rule's target, or its target another's source.
        let refused = claimed(&me("two", "2"), &b, &none, at(0)).unwrap_err();
        assert_eq!((refused.side, refused.tag), (Side::Source, FROM));
        let refused = claimed(&me("two", "2"), &none, &a, at(0)).unwrap_err();
        assert_eq!((refused.side, refused.tag), (Side::Target, TO));
        // Two others, one for each bucket.
        let (_, from) = put(&me("three", "3"), &none, &none, 0);
        let (to, _) = put(&me("four", "4"), &none, &none, 0);
        assert!(claimed(&me("one", "1"), &from, &to, at(0)).is_err());
    }

    #[test]
    fn c07_a_claim_that_nobody_understands_holds() {
        let odd: Tags = [(TO.to_owned(), "keep off".to_owned())].into();
        let refused = claimed(&me("one", "1"), &odd, &Tags::new(), at(0)).unwrap_err();
        assert_eq!((refused.uid.as_deref(), refused.value.as_str()), (None, "keep off"));
    }

    #[test]
    fn c07_a_claim_fits_into_a_tag() {
        let long = Claimant { name: "n".repeat(400), ..me("one", "1") };
        let (source, _) = put(&long, &Tags::new(), &Tags::new(), 0);
        assert_eq!(source[TO].len(), LONGEST);
        assert_eq!(Claim::read(&source[TO]).unwrap().uid, "1");
    }
}
