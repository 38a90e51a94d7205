//! The server itself takes no writes of users.

use mongodb::bson::{Bson, Document, doc};

use super::Layer;
use crate::standby::{
    Error, Result, Side,
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
            "writes are not blocked: Farshore's account on the target may not {BYPASS} and would shut itself out; {}",
            grant()
        )));
    }
    let was = mode(target).await?;
    let Some(refusal) = set(target, true).await? else {
        let mended = (was == Some(false)).then(|| "the block of writes was not there".to_owned());
        return Ok(Layer { mended: mended.into_iter().collect(), ..Layer::default() });
    };
    Ok(Layer::missing(match code_of(&refusal) {
        Some(code::UNKNOWN_COMMAND) => {
            "writes are not blocked: the target's version can't, MongoDB 6.0 and later can; its accounts may only read".to_owned()
        }
        Some(code::UNAUTHORIZED) => {
            format!("writes are not blocked: Farshore's account on the target may not; {}", grant())
        }
        _ => format!("writes are not blocked: {refusal}"),
    }))
}

/// Lets writes through, of a server that can block them.
pub(super) async fn lower(target: &Target) -> Result<Layer> {
    match set(target, false).await? {
        Some(refusal) if code_of(&refusal) != Some(code::UNKNOWN_COMMAND) => {
            Ok(Layer::missing(format!("writes are blocked still: {refusal}; {}", grant())))
        }
        _ => Ok(Layer::default()),
    }
}

fn grant() -> String {
    format!("grant it a role with the actions setUserWriteBlockMode and {BYPASS} on the cluster")
}

/// Answers with the refusal, if the server refuses.
async fn set(target: &Target, global: bool) -> Result<Option<Error>> {
    let command = doc! {"setUserWriteBlockMode": 1, "global": global};
    // It waits for what is being written, and takes no limits of a write.
    match target.build("admin", command, "setUserWriteBlockMode").await {
        Ok(_) => Ok(None),
        Err(error) if code_of(&error).is_some() => Ok(Some(error)),
        Err(error) => Err(error),
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
