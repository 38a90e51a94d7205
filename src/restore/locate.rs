//! The copy as it lies there: what can be restored from it, and the objects that a plan reads.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Error, Plan, Result, plan};
use crate::{
    backup::{
        self,
        catalog::{Catalog, Format, Object, Span},
        records::read_service,
        sync::Place,
        window::timeline,
    },
    store::{ListRequest, ObjectStore},
};

/// Reads a copy (or a tool's own bucket), and plans a restore from it.
///
/// # Errors
/// [`Error::Refused`] where the moment lies in no window.
pub async fn look(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    format: &Format,
    at: Option<Timestamp>,
) -> Result<(Catalog, Plan)> {
    let look = backup::look::look(Arc::clone(store), prefix, format, backup::reader::Depth::ALL).await?;
    let line = timeline(&look.catalog);
    let plan = plan::plan(&look.catalog, &line, at).map_err(|refusal| Error::Refused(Box::new(refusal)))?;
    Ok((look.catalog, plan))
}

/// Reads a copy of ours, whose records say what its layout is, and plans a restore from it.
///
/// # Errors
/// [`Error::Unusable`] where there is no copy of ours; else like [`look`].
pub async fn look_at_copy(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    at: Option<Timestamp>,
) -> Result<(Catalog, Plan)> {
    let place =
        Place { endpoint: String::new(), bucket: store.bucket().to_owned(), prefix: prefix.to_owned() };
    let Some(service) = read_service(&**store, &place).await? else {
        return Err(Error::Unusable(format!(
            "s3://{}/{prefix} holds no copy of Farshore's (.farshore/service.json is missing)",
            store.bucket()
        )));
    };
    look(store, prefix, &service.format, at).await
}

/// Finds the objects of a plan's bases, with their sizes.
///
/// # Errors
/// [`Error::Damaged`] for one that is not there any more.
pub async fn locate(store: &Arc<dyn ObjectStore>, prefix: &str, plan: &mut Plan) -> Result<()> {
    for base in &mut plan.bases {
        base.objects.clear();
        for span in &base.base.keys.payload {
            match span {
                Span::One(key) => base.objects.push(one(store, prefix, key).await?),
                Span::Under(folder) => {
                    let before = base.objects.len();
                    under(store, prefix, folder, &mut base.objects).await?;
                    if base.objects.len() == before {
                        let cause = "nothing is there any more".to_owned();
                        return Err(Error::Damaged { key: folder.clone(), cause });
                    }
                }
            }
        }
    }
    Ok(())
}

async fn one(store: &Arc<dyn ObjectStore>, prefix: &str, key: &str) -> Result<Object> {
    let info = match store.head(&format!("{prefix}{key}")).await {
        Ok(info) => info,
        Err(crate::store::Error::NotFound(_)) => {
            let cause = "it is not there any more".to_owned();
            return Err(Error::Damaged { key: key.to_owned(), cause });
        }
        Err(error) => return Err(Error::store(error)),
    };
    Ok(Object {
        key: key.to_owned(),
        stored_as: None,
        stored_etag: None,
        size: info.size,
        etag: info.etag,
        modified: info.modified,
    })
}

async fn under(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    folder: &str,
    found: &mut Vec<Object>,
) -> Result<()> {
    let mut request = ListRequest { prefix: format!("{prefix}{folder}"), ..ListRequest::default() };
    loop {
        let page = store.list(&request).await.map_err(Error::store)?;
        found.extend(page.objects.iter().map(|listed| Object::listed(listed, prefix)));
        request.token = page.next;
        if request.token.is_none() {
            return Ok(());
        }
    }
}
