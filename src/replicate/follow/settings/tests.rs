use super::*;
use crate::store::{
    WebsiteRoute,
    memory::{Failure, Fault, MemoryStore, Verb},
};

fn handle(store: &MemoryStore) -> Arc<dyn ObjectStore> {
    Arc::new(store.clone())
}

fn claimant(cluster: &str, uid: &str) -> Claimant {
    let text = |text: &str| text.to_owned();
    Claimant {
        cluster: text(cluster),
        uid: text(uid),
        name: text("team/photos"),
        source: text("north/a"),
        target: text("east/b"),
        void: None,
    }
}

async fn open(a: &MemoryStore, b: &MemoryStore, claimant: Option<Claimant>) -> Result<Settings, Error> {
    Settings::open((&handle(a), &handle(b)), &Config::default(), claimant).await
}

#[tokio::test]
async fn c07_a_rule_of_another_cluster_is_refused_by_the_buckets_themselves() {
    let [a, b, c] = ["a", "b", "c"].map(MemoryStore::new);
    a.put_bucket_tags(&[("owner".to_owned(), "me".to_owned())].into()).await.unwrap();
    open(&a, &b, Some(claimant("one", "1"))).await.unwrap();
    assert_eq!(a.bucket_tags().await.unwrap()["owner"], "me");
    open(&b, &a, Some(claimant("two", "2"))).await.expect("the other half of a mutual pair");
    for (source, target) in [(&a, &c), (&c, &b), (&b, &c), (&c, &a)] {
        let refused = open(source, target, Some(claimant("two", "3"))).await.err().unwrap();
        assert!(refused.is_permanent() && refused.reason() == "BucketClaimed", "{refused}");
        assert!(refused.to_string().contains("void-claim="), "{refused}");
        assert!(c.bucket_tags().await.unwrap().is_empty(), "what was refused claims nothing");
    }
}

#[tokio::test]
async fn c07_of_two_that_claim_at_once_one_is_refused_and_takes_its_claim_back() {
    let [a, b, c] = ["a", "b", "c"].map(MemoryStore::new);
    let both =
        tokio::join!(open(&a, &b, Some(claimant("one", "1"))), open(&a, &c, Some(claimant("two", "2"))));
    let won = [both.0.is_ok(), both.1.is_ok()];
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let loser = if won[0] { &c } else { &b };
    assert!(loser.bucket_tags().await.unwrap().is_empty());
}

#[tokio::test]
async fn c07_where_no_claim_can_be_put_a_person_is_told() {
    for verb in [Verb::Configuration, Verb::PutBucketTags] {
        let [a, b] = ["alpha", "beta"].map(MemoryStore::new);
        a.fault(Fault::always(verb, Failure::Unsupported("this request")).on("tagging"));
        let settings = open(&a, &b, Some(claimant("one", "1"))).await.unwrap();
        let look = settings.look(&Memory::default(), (None, None)).await.unwrap();
        let told: Vec<_> = look.notices.iter().map(|notice| notice.reason).collect();
        assert_eq!(told, ["BucketUnclaimed"], "{verb:?}");
        assert!(look.notices[0].message.contains("bucket alpha"));
        assert_eq!(b.bucket_tags().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn c09_a_bucket_that_mirrors_back_is_refused_at_either_end() {
    let route = |instead_of, host: Option<&str>| WebsiteRoute {
        instead_of,
        prefix: String::new(),
        host: host.map(str::to_owned),
    };
    for (route, refused) in [
        (route(Some(404), Some("origin.example")), true),
        (route(Some(403), Some("origin.example")), true),
        (route(Some(404), None), false),
        (route(None, Some("elsewhere.example")), false),
    ] {
        for source in [true, false] {
            let [a, b] = ["a", "b"].map(MemoryStore::new);
            (if source { &a } else { &b }).set_website(vec![route.clone()]);
            match open(&a, &b, None).await {
                Ok(_) => assert!(!refused, "{route:?}"),
                Err(error) => {
                    assert!(refused && error.is_permanent(), "{error}");
                    assert_eq!(error.reason(), "MirrorBackToSource");
                    assert!(error.side().is_some() && error.to_string().contains("origin.example"));
                }
            }
        }
    }
    let [a, b] = ["a", "b"].map(MemoryStore::new);
    a.fault(Fault::always(Verb::Configuration, Failure::AccessDenied).on("website"));
    assert!(open(&a, &b, None).await.is_ok(), "who may not ask can't know");
}

#[tokio::test]
async fn c10_rules_that_can_t_be_read_any_more_are_as_they_were() {
    use crate::store::{Expires, LifecycleFilter, LifecycleRule};
    let [a, b] = ["a", "b"].map(MemoryStore::new);
    let expires = Expires::After { days: 1 };
    let rule = LifecycleRule { id: "r".into(), filter: LifecycleFilter::default(), expires };
    a.set_lifecycle(vec![rule]);
    let settings = open(&a, &b, None).await.unwrap();
    let look = settings.look(&Memory::default(), (None, None)).await.unwrap();
    assert!(look.notices.is_empty() && !look.expiry.source.lifecycle.is_empty());
    a.fault(Fault::always(Verb::Configuration, Failure::AccessDenied).on("lifecycle"));
    let memory = Memory { lifecycles: look.lifecycles, ..Memory::default() };
    let again = settings.look(&memory, (None, None)).await.unwrap();
    assert_eq!(again.notices[0].reason, "LifecycleUnknown");
    assert_eq!(again.lifecycles, memory.lifecycles);
    a.heal();
    a.fault(Fault::once(Verb::Configuration, Failure::SlowDown).on("lifecycle"));
    assert!(settings.look(&memory, (None, None)).await.is_err(), "nothing is compared in the dark");
}
