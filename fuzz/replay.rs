// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives a law the seeds of its target, and fresh inputs made of them and of the words of
//! its dictionary: what the tests do without a fuzzer.

use std::{fmt, fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::Config};

/// Fresh inputs for each law.
const FRESH: u32 = 2000;

type Law = fn(&[u8]);

/// Each law with the name of its target.
pub(crate) fn replay(laws: &[(&str, Law)]) {
    for (target, law) in laws {
        replay_one(target, *law);
    }
}

fn replay_one(target: &str, law: Law) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let seeds = seeds(&folder.join("seeds").join(target));
    let dictionary = folder.join("dictionaries").join(format!("{target}.dict"));
    let words = words(&fs::read_to_string(dictionary).unwrap());
    for seed in &seeds {
        law(seed);
    }
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(FRESH)
    };
    proptest!(config, |(data in fresh(seeds, words))| law(&data.0));
}

/// As one writes it in a test.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Lines like `"a\x00b"`.
fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let lines = dictionary.lines();
    let quoted = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    quoted.map(|line| word(line).expect(line)).collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut word = Vec::new();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        word.push(match (first, tail) {
            (b'\\', [b'x', ..]) => {
                let digits = str::from_utf8(tail.get(1..3)?).ok()?;
                rest = &tail[3..];
                u8::from_str_radix(digits, 16).ok()?
            }
            (b'\\', [quoted, ..]) => {
                rest = &tail[1..];
                *quoted
            }
            (plain, _) => *plain,
        });
    }
    Some(word)
}

/// What is done to a seed.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
    Repeat(Index, usize),
}

fn fresh(seeds: Vec<Vec<u8>>, words: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    let seed = prop_oneof![
        8 => prop::sample::select(seeds),
        1 => vec(any::<u8>(), 0..300),
    ];
    let inserted = prop_oneof![3 => prop::sample::select(words), 1 => vec(any::<u8>(), 0..9)];
    let at = any::<Index>;
    let edit = prop_oneof![
        3 => (at(), any::<u8>()).prop_map(|(at, to)| Edit::Set(at, to)),
        3 => (at(), inserted).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        2 => (at(), 0..40_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        1 => at().prop_map(Edit::Cut),
        1 => (at(), 0..200_usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ];
    (seed, vec(edit, 0..8)).prop_map(|(seed, edits)| Input(edits.iter().fold(seed, edited)))
}

fn edited(mut bytes: Vec<u8>, edit: &Edit) -> Vec<u8> {
    let place = |at: &Index| at.index(bytes.len() + 1);
    match edit {
        Edit::Set(at, to) => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *to;
            }
        }
        Edit::Insert(at, new) => {
            let at = place(at);
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Remove(at, length) => {
            let at = place(at);
            let end = (at + length).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Cut(at) => bytes.truncate(place(at)),
        Edit::Repeat(at, length) => {
            let at = place(at);
            let end = (at + length).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(end..end, piece);
        }
    }
    bytes
}
