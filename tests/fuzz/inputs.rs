//! The inputs that are kept for a target, and changed ones made of them.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// No changed input is longer, so that many repetitions do not become very many. It is more than a value of a Secret may have.
const LONGEST: usize = 12 * 1024;

/// What is kept under `fuzz/` for one target.
pub struct Known {
    /// Path and content: the seeds, then what once broke something.
    inputs: Vec<(String, Vec<u8>)>,
    /// Words that the format knows.
    words: Vec<Vec<u8>>,
}

/// One change of an input. An `Index` is a place in it.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Vec<u8>),
    Overwrite(Index, Vec<u8>),
    Remove(Index, usize),
    /// Goes on with the end of another input.
    GoOn(Index, Index, Index),
    Repeat(Index, usize),
}

impl Known {
    pub fn of(target: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let mut inputs = files(&root.join("corpus").join(target));
        assert!(!inputs.is_empty(), "{target} has no seeds");
        inputs.extend(files(&root.join("regressions").join(target)));
        let dictionary = root.join("dictionaries").join(target);
        let dictionary =
            fs::read_to_string(&dictionary).unwrap_or_else(|e| panic!("{}: {e}", dictionary.display()));
        Self { inputs, words: dictionary.lines().filter_map(word).collect() }
    }

    pub fn inputs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.inputs.iter().map(|(file, input)| (file.as_str(), input.as_slice()))
    }

    /// Any bytes, and known inputs with some changes.
    pub fn changed(&self) -> impl Strategy<Value = Vec<u8>> + use<> {
        let seeds: Vec<Vec<u8>> = self.inputs.iter().map(|(_, input)| input.clone()).collect();
        let bytes = prop_oneof![3 => select(self.words.clone()), 1 => vec(any::<u8>(), 1..4)];
        let at = any::<Index>;
        let edit = prop_oneof![
            (at(), bytes.clone()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
            (at(), bytes).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
            (at(), 1..32usize).prop_map(|(at, length)| Edit::Remove(at, length)),
            (at(), at(), at()).prop_map(|(at, other, from)| Edit::GoOn(at, other, from)),
            (at(), 1..64usize).prop_map(|(at, times)| Edit::Repeat(at, times)),
        ];
        let changed = (at(), vec(edit, 1..6)).prop_map(move |(seed, edits)| {
            edits.iter().fold(seed.get(&seeds).clone(), |input, edit| edit.apply(input, &seeds))
        });
        prop_oneof![9 => changed, 1 => vec(any::<u8>(), 0..256)]
    }
}

impl Edit {
    fn apply(&self, mut input: Vec<u8>, seeds: &[Vec<u8>]) -> Vec<u8> {
        let length = input.len();
        let place = |at: &Index| at.index(length + 1);
        match self {
            Self::Insert(at, bytes) => {
                let at = place(at);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Overwrite(at, bytes) => {
                let at = place(at);
                input.splice(at..length.min(at + bytes.len()), bytes.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at);
                input.drain(at..length.min(at + count));
            }
            Self::GoOn(at, other, from) => {
                let other = other.get(seeds);
                input.truncate(place(at));
                input.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
            Self::Repeat(at, times) => {
                let part = input[place(at)..].to_vec();
                (0..*times).for_each(|_| input.extend_from_slice(&part));
            }
        }
        input.truncate(LONGEST);
        input
    }
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The word of a line such as `"a \"word\" \x0a"`, as libFuzzer has it; other lines are comments.
fn word(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.bytes();
    let mut word = Vec::new();
    while let Some(byte) = rest.next() {
        word.push(match byte {
            b'\\' => match rest.next()? {
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                escaped => escaped,
            },
            plain => plain,
        });
    }
    Some(word)
}
