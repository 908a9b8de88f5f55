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

/// The items that are applied in their order; those of others stay before what they stood before, as structured-merge-diff has it
/// (`visitListItems` in `typed/merge.go`).
fn apply_list<'a>(
    kind: &Kind,
    path: &mut Vec<&'a str>,
    live: &mut Value,
    before: Option<&'a Value>,
    now: &'a [Value],
    keys: &[&str],
) {
    let owned: &[Value] = before.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let same = |this: &Value, that: &Value| keys.iter().all(|key| this.get(key) == that.get(key));
    let there = live.as_array().cloned().unwrap_or_default();
    let is_shared = |item: &Value| there.iter().any(|other| same(item, other));
    let mut shared = now.iter().filter(|item| is_shared(item)).peekable();
    let (mut lives, mut nows) = (there.iter().peekable(), now.iter().peekable());
    let mut items = Vec::new();
    loop {
        if let Some(live) = lives.peek().copied() {
            let applied = now.iter().any(|item| same(item, live));
            let out_of_turn = applied && shared.peek().is_some_and(|next| !same(next, live));
            if !applied || (out_of_turn && nows.peek().is_some()) {
                if !applied {
                    items.push(live.clone());
                }
                lives.next();
                continue;
            }
        }
        let Some(item) = nows.next() else { break };
        if lives.next_if(|live| same(live, item)).is_some() || is_shared(item) {
            shared.next_if(|next| same(next, item));
        }
        let mut found = there.iter().find(|live| same(live, item)).cloned().unwrap_or_default();
        path.push("");
        apply_at(kind, path, &mut found, owned.iter().find(|before| same(before, item)), item);
        path.pop();
        items.push(found);
    }
    items.retain_mut(|item| {
        let applied = now.iter().any(|other| same(other, item));
        let mine = owned.iter().find(|before| same(before, item)).filter(|_| !applied);
        !mine.is_some_and(|owned| take_away(kind, path, item, owned))
    });
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

/// What of `owned` is still as it was written: what somebody else has changed since is not owned any more.
pub(crate) fn still_owned(kind: &Kind, owned: &Value, live: &Value) -> Value {
    let same = |owned: &Value, live: Option<&Value>| live == Some(owned);
    common(kind, &mut Vec::new(), owned, Some(live), &same).unwrap_or_default()
}

/// What of `owned` nobody else owns.
pub(crate) fn mine_alone(kind: &Kind, owned: &Value, other: &Value) -> Value {
    let absent = |_: &Value, other: Option<&Value>| other.is_none();
    common(kind, &mut Vec::new(), owned, Some(other), &absent).unwrap_or_default()
}

/// What of `after` is not in `before`, or another value there: what a write that is no apply makes its writer own.
pub(crate) fn written(kind: &Kind, before: &Value, after: &Value) -> Value {
    let differs = |after: &Value, before: Option<&Value>| before != Some(after);
    common(kind, &mut Vec::new(), after, Some(before), &differs).unwrap_or_default()
}

/// The fields of `this` for which `keep` says so of the value here and the value at the same place of `that`. The fields that tell
/// items of a list apart stay wherever anything of their item does.
fn common(
    kind: &Kind,
    path: &mut Vec<String>,
    this: &Value,
    that: Option<&Value>,
    keep: &impl Fn(&Value, Option<&Value>) -> bool,
) -> Option<Value> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match (this, kind.list_keys(&names)) {
        (Value::Object(this), _) => {
            let mut kept = Map::new();
            for (field, value) in this {
                path.push(field.clone());
                let that = that.and_then(|that| that.get(field));
                if let Some(value) = common(kind, path, value, that, keep) {
                    kept.insert(field.clone(), value);
                }
                path.pop();
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Value::Array(this), Some(keys)) => {
            path.push(String::new());
            let others = that.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let items = this.iter().filter_map(|item| {
                let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
                let mut kept = common(kind, path, item, others.iter().find(same), keep)?;
                for key in keys {
                    kept[*key] = item[*key].clone();
                }
                Some(kept)
            });
            let items: Vec<Value> = items.collect();
            path.pop();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        _ => keep(this, that).then(|| this.clone()),
    }
}
