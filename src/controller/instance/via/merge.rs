//! What is rendered, with what the user adds.

use serde_json::{Map, Value, map::Entry};

/// Ours on top of the user's on top of defaults. Objects are merged; the user's lists are appended to ours.
///
/// # Errors
/// The path of what the user says otherwise than we do.
pub fn merged(ours: Value, defaults: Value, users: Option<&Map<String, Value>>) -> Result<Value, String> {
    let mut spec = ours;
    if let Some(users) = users {
        add(&mut spec, &Value::Object(users.clone()), "")?;
    }
    fill(&mut spec, defaults);
    Ok(spec)
}

fn add(into: &mut Value, more: &Value, path: &str) -> Result<(), String> {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match into.entry(key.as_str()) {
                    Entry::Vacant(free) => {
                        free.insert(value.clone());
                    }
                    Entry::Occupied(mut taken) => add(taken.get_mut(), value, &path)?,
                }
            }
            Ok(())
        }
        (Value::Array(into), Value::Array(more)) => {
            into.extend(more.iter().cloned());
            Ok(())
        }
        (into, more) if *into == *more => Ok(()),
        _ => Err(path.to_owned()),
    }
}

/// What nobody said.
fn fill(into: &mut Value, defaults: Value) {
    let (Value::Object(into), Value::Object(defaults)) = (into, defaults) else { return };
    for (key, value) in defaults {
        match into.entry(key) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(mut taken) => fill(taken.get_mut(), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b08_what_the_user_adds_is_merged_and_what_is_ours_stays() {
        let ours = json!({"bootstrap": {"recovery": {"source": "copy"}}, "env": [{"name": "A"}]});
        let defaults = json!({"instances": 1, "storage": {"size": "1Gi", "class": "slow"}});
        let users = json!({
            "instances": 3, "storage": {"class": "fast"}, "env": [{"name": "B"}],
            "bootstrap": {"recovery": {"source": "copy", "database": "shop"}},
        });
        let spec = merged(ours.clone(), defaults.clone(), users.as_object()).unwrap();
        assert_eq!(
            spec,
            json!({
                "bootstrap": {"recovery": {"source": "copy", "database": "shop"}},
                "env": [{"name": "A"}, {"name": "B"}],
                "instances": 3,
                "storage": {"size": "1Gi", "class": "fast"},
            })
        );
        for (users, path) in [
            (json!({"bootstrap": {"recovery": {"source": "another"}}}), "bootstrap.recovery.source"),
            (json!({"bootstrap": {"recovery": null}}), "bootstrap.recovery"),
            (json!({"bootstrap": []}), "bootstrap"),
        ] {
            let refused = merged(ours.clone(), defaults.clone(), users.as_object());
            assert_eq!(refused, Err(path.to_owned()), "{users}");
        }
    }
}
