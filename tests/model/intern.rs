//! Whole resources and memories as small numbers, so that a state of the model is cheap to copy, to compare and to hash, and
//! what was decided once need not be decided again.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Mutex;

/// A value that is there once. Equal values have equal numbers.
pub struct Id<T: 'static> {
    number: u32,
    value: &'static T,
}

/// All values of one type.
pub struct Table<T: 'static> {
    state: Mutex<State<T>>,
}

struct State<T: 'static> {
    known: HashMap<String, Id<T>>,
    /// What became of a value by a change that was made before.
    changed: HashMap<(u32, i64), Id<T>>,
}

/// A type whose values have numbers.
pub trait Interned: fmt::Debug + Sized + 'static {
    /// The table of the type.
    fn table() -> &'static Table<Self>;
    /// What is shown of a value in a trace.
    fn short(&self) -> String;
    /// The value as it is when so many seconds have passed: its times are that much further back.
    fn aged(&self, seconds: i64) -> Self;
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { known: HashMap::new(), changed: HashMap::new() }) }
    }
}

impl<T: Interned> Id<T> {
    pub fn of(value: T) -> Self {
        // All that a value is stands in its debug form.
        let text = format!("{value:?}");
        let state = &mut *T::table().state.lock().unwrap();
        let number = u32::try_from(state.known.len()).unwrap();
        *state.known.entry(text).or_insert_with(|| Self { number, value: Box::leak(Box::new(value)) })
    }

    /// See [`Interned::aged`].
    pub fn aged(self, seconds: i64) -> Self {
        let before = T::table().state.lock().unwrap().changed.get(&(self.number, seconds)).copied();
        before.unwrap_or_else(|| {
            let aged = Self::of(self.value.aged(seconds));
            T::table().state.lock().unwrap().changed.insert((self.number, seconds), aged);
            aged
        })
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl<T> Deref for Id<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T: Interned> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value.short())
    }
}
