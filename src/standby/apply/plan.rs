//! A window in its parts.

use crate::{
    mongo::{Change, Define, Namespace},
    standby::{Error, Result, target::RECORDS, window::Window},
};

/// What is done before the next part is begun.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// Changes of documents, in the master's order.
    Documents(Vec<Change>),
    /// A change of `system.views`, where servers keep views.
    View(Change),
    Define(Define),
}

/// The parts of a window: the same ones each time.
///
/// # Errors
/// [`Error::Broken`] for a change of what is not the users': no feed tells it.
pub(super) fn parts(window: Window) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for change in window.groups.into_iter().flat_map(|group| group.changes) {
        let namespace = namespace(&change);
        if namespace.database == RECORDS || namespace.is_internal() {
            return Err(Error::Broken(format!(
                "window {} changes {namespace}, which is not the users': nothing of it is applied",
                window.number
            )));
        }
        match change {
            Change::Define(define) => parts.push(Part::Define(define)),
            change if namespace.collection == "system.views" => parts.push(Part::View(change)),
            change => match parts.last_mut() {
                Some(Part::Documents(changes)) => changes.push(change),
                _ => parts.push(Part::Documents(vec![change])),
            },
        }
    }
    Ok(parts)
}

/// What a change is of.
fn namespace(change: &Change) -> Namespace {
    match change {
        Change::Put { namespace, .. }
        | Change::Update { namespace, .. }
        | Change::Remove { namespace, .. } => namespace.clone(),
        Change::Define(define) => match define {
            Define::Create { namespace, .. }
            | Define::Drop { namespace }
            | Define::Empty { namespace }
            | Define::CreateIndexes { namespace, .. }
            | Define::DropIndexes { namespace, .. }
            | Define::ModifyIndex { namespace, .. }
            | Define::Rename { from: namespace, .. } => namespace.clone(),
            Define::DropDatabase { database } | Define::Command { database, .. } => {
                Namespace::new(database, "")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;
    use crate::{
        mongo::Place,
        standby::feed::{Group, Position},
    };

    fn window(changes: Vec<Change>) -> Window {
        let position = Position { place: Place::default(), wall: None, token: None };
        Window { number: 1, groups: vec![Group { changes, position }] }
    }

    #[test]
    fn d01_definitions_and_views_stand_between_changes_of_documents() {
        let (orders, views) = (Namespace::new("shop", "orders"), Namespace::new("shop", "system.views"));
        let remove =
            |namespace: &Namespace| Change::Remove { namespace: namespace.clone(), id: Bson::Int32(1) };
        let drop = Define::Drop { namespace: orders.clone() };
        let changes = vec![
            remove(&orders),
            remove(&orders),
            Change::Define(drop.clone()),
            remove(&orders),
            remove(&views),
            remove(&orders),
        ];
        let expected = vec![
            Part::Documents(vec![remove(&orders), remove(&orders)]),
            Part::Define(drop),
            Part::Documents(vec![remove(&orders)]),
            Part::View(remove(&views)),
            Part::Documents(vec![remove(&orders)]),
        ];
        assert_eq!(parts(window(changes)).unwrap(), expected);
    }

    #[test]
    fn d04_the_servers_own_and_our_own_records_are_never_written_to_by_a_change() {
        for (database, collection) in [("farshore", "state"), ("admin", "system.users"), ("local", "x")] {
            let namespace = Namespace::new(database, collection);
            let put =
                Change::Put { namespace: namespace.clone(), id: Bson::Int32(1), document: doc! {"_id": 1} };
            let drop = Change::Define(Define::DropDatabase { database: database.to_owned() });
            for change in [put, drop, Change::Define(Define::Drop { namespace })] {
                assert!(matches!(parts(window(vec![change])), Err(Error::Broken(_))), "{database}");
            }
        }
    }
}
