//! Server-side apply, for maps, lists that are maps, and everything else as one value.
//!
//! What a manager applied is remembered as it was applied, less what others have changed since: that is what it owns, and what goes when
//! it applies without it.

use serde_json::{Map, Value};

use crate::kind::Kind;

/// Makes of `live` what is applied now by the manager that applied `before`.
pub(crate) fn apply(kind: &Kind, live: &mut Value, before: &Value, now: &Value) {
    apply_at(kind, &mut Vec::new(), live, Some(before), now);
}

fn apply_at<'a>(
    kind: &Kind,
    path: &mut Vec<&'a str>,
    live: &mut Value,
    before: Option<&'a Value>,
    now: &'a Value,
) {
    match (now, kind.list_keys(path)) {
        (Value::Object(now), _) => apply_map(kind, path, live, before, now),
        (Value::Array(now), Some(keys)) => apply_list(kind, path, live, before, now, keys),
        _ => *live = now.clone(),
    }
}

fn apply_map<'a>(
    kind: &Kind,
    path: &mut Vec<&'a str>,
    live: &mut Value,
    before: Option<&'a Value>,
    now: &'a Map<String, Value>,
) {
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    let Value::Object(live) = live else { return };
    let before = before.and_then(Value::as_object);
    for (field, owned) in before.into_iter().flatten().filter(|(field, _)| !now.contains_key(*field)) {
        path.push(field);
        if live.get_mut(field).is_some_and(|value| take_away(kind, path, value, owned)) {
            live.remove(field);
        }
        path.pop();
    }
    for (field, value) in now {
        path.push(field);
        let before = before.and_then(|before| before.get(field));
        apply_at(kind, path, live.entry(field.as_str()).or_insert(Value::Null), before, value);
        path.pop();
    }
}

/// The items in the order of what is applied, those of others behind them.
fn apply_list<'a>(
    kind: &Kind,
    path: &mut Vec<&'a str>,
    live: &mut Value,
    before: Option<&'a Value>,
    now: &'a [Value],
    keys: &[&str],
) {
    let owned: &[Value] = before.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let mut left: Vec<Value> = live.as_array().cloned().unwrap_or_default();
    let mut items = Vec::new();
    for item in now {
        let same = |other: &Value| keys.iter().all(|key| other.get(key) == item.get(key));
        let at = left.iter().position(same);
        let mut found = at.map_or(Value::Null, |at| left.remove(at));
        path.push("");
        apply_at(kind, path, &mut found, owned.iter().find(|before| same(before)), item);
        path.pop();
        items.push(found);
    }
    for mut item in left {
        let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
        let gone = owned.iter().find(same).is_some_and(|owned| take_away(kind, path, &mut item, owned));
        if !gone {
            items.push(item);
        }
    }
    *live = Value::Array(items);
}

/// Takes what is owned out of `live`. True if nothing of others is left in it.
fn take_away<'a>(kind: &Kind, path: &mut Vec<&'a str>, live: &mut Value, owned: &'a Value) -> bool {
    match (&mut *live, owned) {
        (Value::Object(live), Value::Object(owned)) => {
            for (field, owned) in owned {
                path.push(field);
                if live.get_mut(field).is_some_and(|value| take_away(kind, path, value, owned)) {
                    live.remove(field);
                }
                path.pop();
            }
            live.is_empty()
        }
        (Value::Array(_), Value::Array(_)) if kind.list_keys(path).is_some() => {
            let keys = kind.list_keys(path).unwrap_or_default();
            apply_list(kind, path, live, Some(owned), &[], keys);
            live.as_array().is_none_or(Vec::is_empty)
        }
        _ => true,
    }
}

/// What of `owned` is still as it was applied: what somebody else has changed is not owned any more.
pub(crate) fn still_owned(
    kind: &Kind,
    path: &mut Vec<String>,
    owned: &Value,
    live: Option<&Value>,
) -> Option<Value> {
    let live = live?;
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match (owned, live, kind.list_keys(&names)) {
        (Value::Object(owned), Value::Object(live), _) => {
            let mut kept = Map::new();
            for (field, value) in owned {
                path.push(field.clone());
                if let Some(value) = still_owned(kind, path, value, live.get(field)) {
                    kept.insert(field.clone(), value);
                }
                path.pop();
            }
            Some(Value::Object(kept))
        }
        (Value::Array(owned), Value::Array(live), Some(keys)) => {
            path.push(String::new());
            let kept = owned.iter().filter_map(|item| {
                let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
                still_owned(kind, path, item, live.iter().find(same))
            });
            let kept = Value::Array(kept.collect());
            path.pop();
            Some(kept)
        }
        _ => (owned == live).then(|| owned.clone()),
    }
}
