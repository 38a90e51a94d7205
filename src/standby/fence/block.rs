//! The server itself takes no writes of users.

use mongodb::bson::{Bson, Document, doc};

use super::Layer;
use crate::standby::{
    Result, Side,
    servers::{ask, code, code_of},
    target::Target,
};

/// What an account needs so as not to be shut out itself.
const BYPASS: &str = "bypassWriteBlockingMode";

/// Blocks. An account that would shut itself out does not.
pub(super) async fn raise(target: &Target) -> Result<Layer> {
    let status = doc! {"connectionStatus": 1, "showPrivileges": true};
    let status = ask(target.client(), Side::Target, ("admin", status)).await?;
    if may_bypass(&status) == Some(false) {
        return Ok(Layer::missing(format!(
            "writes are not blocked: Farshore's account on the target may not {BYPASS} and would shut itself out; grant it a role with the actions setUserWriteBlockMode and {BYPASS} on the cluster"
        )));
    }
    set(target, true).await
}

pub(super) async fn lower(target: &Target) -> Result<Layer> {
    let layer = set(target, false).await?;
    // A server that can't block doesn't.
    Ok(Layer { missing: layer.missing.into_iter().filter(|text| !text.contains("6.0")).collect(), ..layer })
}

async fn set(target: &Target, global: bool) -> Result<Layer> {
    let was = mode(target).await?;
    let command = doc! {"setUserWriteBlockMode": 1, "global": global};
    // It waits for what is being written, and takes no limits of a write.
    match target.build("admin", command, "setUserWriteBlockMode").await {
        Ok(_) => {
            let lifted = global && was == Some(false);
            let mended =
                if lifted { vec!["the block of writes was not there".to_owned()] } else { Vec::new() };
            Ok(Layer { mended, ..Layer::default() })
        }
        Err(error) => match code_of(&error) {
            Some(code::UNKNOWN_COMMAND) => Ok(Layer::missing(
                "writes are not blocked: the target's version can't, MongoDB 6.0 and later can; its accounts may only read",
            )),
            Some(code::UNAUTHORIZED) => Ok(Layer::missing(format!(
                "writes are not {}: Farshore's account on the target may not; grant it a role with the actions setUserWriteBlockMode and {BYPASS} on the cluster",
                if global { "blocked" } else { "let through again" }
            ))),
            Some(_) => Ok(Layer::missing(format!("setUserWriteBlockMode: {error}"))),
            None => Err(error),
        },
    }
}

/// Whether writes are blocked, where the server tells.
async fn mode(target: &Target) -> Result<Option<bool>> {
    let status = ask(target.client(), Side::Target, ("admin", doc! {"serverStatus": 1})).await;
    let status = match status {
        Err(error) if code_of(&error).is_some() => return Ok(None),
        status => status?,
    };
    Ok(blocked(&status))
}

fn blocked(status: &Document) -> Option<bool> {
    match status.get_document("repl").ok()?.get("userWriteBlockMode")? {
        Bson::Int32(mode) => Some(*mode == 2),
        Bson::Int64(mode) => Some(*mode == 2),
        _ => None,
    }
}

/// `None`: the server doesn't tell what accounts may.
fn may_bypass(status: &Document) -> Option<bool> {
    let privileges = status.get_document("authInfo").ok()?.get_array("authenticatedUserPrivileges").ok()?;
    let mut privileges = privileges.iter().filter_map(Bson::as_document).peekable();
    privileges.peek()?;
    Some(privileges.any(|privilege| {
        let actions = privilege.get_array("actions").ok();
        actions.is_some_and(|actions| {
            actions.iter().any(|action| matches!(action.as_str(), Some(BYPASS | "anyAction")))
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d04_an_account_does_not_shut_itself_out() {
        let may = |actions: &[&str]| {
            let actions: Vec<&str> = actions.to_vec();
            let privilege = doc! {"resource": {"cluster": true}, "actions": actions};
            may_bypass(&doc! {"authInfo": {"authenticatedUserPrivileges": [privilege]}})
        };
        assert_eq!(may(&["insert", "setUserWriteBlockMode"]), Some(false));
        assert_eq!(may(&["insert", BYPASS]), Some(true));
        assert_eq!(may(&["anyAction"]), Some(true));
        assert_eq!(may_bypass(&doc! {"authInfo": {"authenticatedUserPrivileges": []}}), None);
        assert_eq!(blocked(&doc! {"repl": {"userWriteBlockMode": 2}}), Some(true));
        assert_eq!(blocked(&doc! {"repl": {"userWriteBlockMode": 1}}), Some(false));
        assert_eq!(blocked(&doc! {"repl": {}}), None);
    }
}
