//! The objects, their history, and who watches them.

use std::collections::{BTreeMap, HashMap};

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::answer::Refusal;
use crate::apply;
use crate::kind::Kind;

/// Plural, namespace, name.
type Key = (&'static str, String, String);

/// What was written, by the uid of the object, who applied it (nobody: it was written otherwise), and whether it was its status.
type Applied = HashMap<(String, String, bool), Value>;

pub(crate) struct Objects {
    clock: fn() -> String,
    version: u64,
    /// How many uids each kind has had, by its plural.
    uids: BTreeMap<&'static str, u64>,
    stored: BTreeMap<Key, Value>,
    /// Every change since the last compaction.
    history: Vec<Change>,
    compacted: u64,
    watches: Vec<Watch>,
    applied: Applied,
}

#[derive(Clone)]
struct Change {
    version: u64,
    plural: &'static str,
    what: &'static str,
    object: Value,
}

struct Watch {
    scope: Scope,
    events: UnboundedSender<Bytes>,
}

/// What is listed or watched.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    /// Whether only the metadata is wanted.
    pub(crate) metadata_only: bool,
}

impl Objects {
    pub(crate) fn new(clock: fn() -> String) -> Self {
        Self {
            clock,
            version: 0,
            uids: BTreeMap::new(),
            stored: BTreeMap::new(),
            history: Vec::new(),
            compacted: 0,
            watches: Vec::new(),
            applied: HashMap::new(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn now(&self) -> String {
        (self.clock)()
    }

    /// A uid that nothing has had. It does not depend on what happens to other kinds.
    pub(crate) fn new_uid(&mut self, kind: &'static Kind) -> String {
        let number = self.uids.entry(kind.plural).or_default();
        *number += 1;
        let kind =
            kind.plural.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        format!("00000000-0000-4000-{kind:04x}-{number:012x}")
    }

    pub(crate) fn all(&self, plural: &str) -> impl Iterator<Item = &Value> {
        let range = Kind::by_plural(plural).map(|kind| {
            let from = (kind.plural, String::new(), String::new());
            self.stored.range(from..).take_while(|(key, _)| key.0 == kind.plural).map(|(_, object)| object)
        });
        range.into_iter().flatten()
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.stored.get(&(kind.plural, namespace.to_owned(), name.to_owned()))
    }

    /// Stores an object as a new version and tells whoever watches. One without finalizers that is being deleted is gone.
    pub(crate) fn put(&mut self, kind: &'static Kind, mut object: Value) -> Value {
        self.version += 1;
        let before_version = object["metadata"].get("resourceVersion").cloned();
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let key = (kind.plural, text("namespace"), text("name"));
        let uid = text("uid");
        let held = metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let gone = metadata["deletionTimestamp"].is_string() && !held;
        let before = if gone { self.stored.remove(&key) } else { self.stored.insert(key, object.clone()) };
        if gone {
            self.applied.retain(|(of, _, _), _| *of != uid);
        }
        let what = match (gone, &before) {
            (true, _) => "DELETED",
            (false, None) => "ADDED",
            (false, Some(_)) => "MODIFIED",
        };
        let mut told = object.clone();
        if let Some(before) = before.filter(|_| gone) {
            // What is gone is told of as it was, with a version of its own.
            told = before;
            told["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        let change = Change { version: self.version, plural: kind.plural, what, object: told };
        self.watches
            .retain(|watch| watch.scope.line(&change).is_none_or(|line| watch.events.send(line).is_ok()));
        self.history.push(change);
        if gone && let Some(before) = before_version {
            object["metadata"]["resourceVersion"] = before;
        }
        object
    }

    /// The events after a version; all objects as they are now where none is given.
    pub(crate) fn watch(&mut self, scope: Scope, since: Option<u64>) -> UnboundedReceiver<Bytes> {
        let (events, come) = unbounded_channel();
        let send = |line: Option<Bytes>| line.is_none_or(|line| events.send(line).is_ok());
        match since {
            Some(since) if since < self.compacted => {
                let status = Refusal::Gone.status();
                send(Some(format!("{}\n", json!({"type": "ERROR", "object": status})).into()));
                return come;
            }
            Some(since) => {
                let missed = self.history.iter().filter(|change| change.version > since);
                missed.for_each(|change| _ = send(scope.line(change)));
            }
            None => {
                for object in self.all(scope.kind.plural) {
                    let change = Change {
                        version: 0,
                        plural: scope.kind.plural,
                        what: "ADDED",
                        object: object.clone(),
                    };
                    send(scope.line(&change));
                }
            }
        }
        self.watches.push(Watch { scope, events });
        come
    }

    pub(crate) fn version_before(&self, uid: &str, version: u64) -> Option<Value> {
        let mut before = self.history.iter().rev().filter(|change| change.version < version);
        before.find(|change| change.object["metadata"]["uid"] == uid).map(|change| change.object.clone())
    }

    /// Everything as it was before the last change of an object of this kind, as far as the history goes back.
    pub(crate) fn before_last_change(&self, plural: &str) -> Option<Self> {
        let last = self.history.iter().rposition(|change| change.plural == plural)?;
        let before = self.history.get(..last)?;
        let mut late = Self::new(self.clock);
        late.version = before.last()?.version;
        for change in before {
            let text = |field: &str| change.object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let key = (change.plural, text("namespace"), text("name"));
            if change.what == "DELETED" {
                late.stored.remove(&key);
            } else {
                late.stored.insert(key, change.object.clone());
            }
        }
        Some(late)
    }

    pub(crate) fn compact(&mut self) {
        self.compacted = self.version;
        self.history.clear();
    }

    pub(crate) fn end_watches(&mut self) {
        self.watches.clear();
    }

    /// What a manager has applied of an object and nobody else has applied or changed since.
    pub(crate) fn applied(&self, kind: &Kind, object: &Value, manager: &str, status: bool) -> Value {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let me = (uid.to_owned(), manager.to_owned(), status);
        let mut mine =
            self.applied.get(&me).map(|mine| apply::still_owned(kind, mine, object)).unwrap_or_default();
        for (_, other) in self.applied.iter().filter(|(key, _)| key.0 == uid && **key != me) {
            mine = apply::mine_alone(kind, &mine, &apply::still_owned(kind, other, object));
        }
        mine
    }

    /// Whether a manager owns exactly the fields of what it applies now.
    pub(crate) fn owns_as_much(
        &self,
        kind: &Kind,
        object: &Value,
        manager: &str,
        status: bool,
        now: &Value,
    ) -> bool {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let before = self.applied.get(&(uid, manager.to_owned(), status)).cloned().unwrap_or_default();
        let owned = apply::still_owned(kind, &before, object);
        apply::mine_alone(kind, &owned, now).is_null() && apply::mine_alone(kind, now, &owned).is_null()
    }

    /// A manager has applied this.
    pub(crate) fn note_applied(&mut self, uid: &str, manager: &str, status: bool, what: Value) {
        self.applied.insert((uid.to_owned(), manager.to_owned(), status), what);
    }

    /// Something was written otherwise than by an apply.
    pub(crate) fn note_written(&mut self, kind: &Kind, before: &Value, after: &Value) {
        let uid = after["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let owned = self.applied.entry((uid, String::new(), true)).or_default();
        let mut now = apply::still_owned(kind, owned, after);
        let fields = |of: &Value| json!({"status": of["status"]});
        let written = apply::written(kind, &fields(before), &fields(after));
        if !written.is_null() {
            apply::apply(kind, &mut now, &Value::Null, &written);
        }
        *owned = now;
    }
}

impl Scope {
    pub(crate) fn holds(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let same = |wanted: &Option<String>, field: &str| {
            wanted.as_ref().is_none_or(|wanted| metadata[field].as_str() == Some(wanted))
        };
        same(&self.namespace, "namespace") && same(&self.name, "name")
    }

    /// An object as it is told here.
    pub(crate) fn shown(&self, object: &Value) -> Value {
        if self.metadata_only {
            json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            })
        } else {
            object.clone()
        }
    }

    fn line(&self, change: &Change) -> Option<Bytes> {
        let told = change.plural == self.kind.plural && self.holds(&change.object);
        told.then(|| {
            format!("{}\n", json!({"type": change.what, "object": self.shown(&change.object)})).into()
        })
    }
}

/// Whether the object has this namespace and name.
pub(crate) fn is(object: &Value, namespace: &str, name: &str) -> bool {
    object["metadata"]["namespace"] == namespace && object["metadata"]["name"] == name
}
