//! Documents that expire: only the master removes them, as long as the target follows it.

use mongodb::bson::{Bson, Document, doc};

use super::Layer;
use crate::standby::{
    Endpoint, Error, Result, Side,
    servers::{ask, code_of, connect_directly},
    target::Target,
};

const PARAMETER: &str = "ttlMonitorEnabled";

/// Switches expiry on or off at each member: any of them may become the primary.
pub(super) async fn set(target: &Target, endpoint: &Endpoint, wanted: bool) -> Result<Layer> {
    let hello = ask(target.client(), Side::Target, ("admin", doc! {"hello": 1})).await?;
    let mut layer = Layer::default();
    for member in members(&hello) {
        match set_at(target, endpoint, (&member, wanted)).await {
            Ok(true) if !wanted => layer.mended.push(format!("documents expired at member {member}")),
            Ok(_) => {}
            Err(error @ Error::Superseded(_)) => return Err(error),
            Err(error) => layer.missing.push(words(&member, wanted, &error)),
        }
    }
    Ok(layer)
}

/// Members that hold data, as the set names them.
fn members(hello: &Document) -> Vec<String> {
    let of = |field: &str| {
        hello.get_array(field).into_iter().flatten().filter_map(Bson::as_str).map(str::to_owned)
    };
    of("hosts").chain(of("passives")).collect()
}

/// True where it was otherwise.
async fn set_at(target: &Target, endpoint: &Endpoint, (member, wanted): (&str, bool)) -> Result<bool> {
    let client = connect_directly(endpoint, Side::Target, member).await?;
    let was = get(&client).await?;
    if was == Some(wanted) {
        return Ok(false);
    }
    target.lease().check()?;
    ask(&client, Side::Target, ("admin", doc! {"setParameter": 1, PARAMETER: wanted})).await?;
    let is = get(&client).await?;
    if is == Some(wanted) {
        Ok(was.is_some())
    } else {
        Err(Error::Broken(format!("{PARAMETER} was set to {wanted}, and is {is:?}")))
    }
}

async fn get(client: &mongodb::Client) -> Result<Option<bool>> {
    let answer = ask(client, Side::Target, ("admin", doc! {"getParameter": 1, PARAMETER: 1})).await?;
    Ok(answer.get_bool(PARAMETER).ok())
}

fn words(member: &str, wanted: bool, error: &Error) -> String {
    let what =
        if wanted { "documents don't expire yet" } else { "documents may expire by the target's own clock" };
    let next = match code_of(error) {
        Some(13) => "grant Farshore's account on the target the role hostManager on admin".to_owned(),
        // It isn't known there: 72, or no such option: 2 of older ones.
        Some(72 | 2) => format!("its version has no {PARAMETER}: use a MongoDB that has"),
        _ => format!("make it reachable from the worker, or set {PARAMETER} to {wanted} there by hand"),
    };
    format!("{what} at member {member}: {error}; {next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d04_expiry_is_switched_at_each_member_that_holds_data() {
        let hello = doc! {"hosts": ["a:1", "b:1"], "passives": ["c:1"], "arbiters": ["d:1"]};
        assert_eq!(members(&hello), ["a:1", "b:1", "c:1"]);
        assert!(members(&doc! {"isWritablePrimary": true}).is_empty());
    }
}
