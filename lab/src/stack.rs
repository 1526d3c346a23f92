//! The deepest stack of an image, from its code: the sizes of frames that the compiler notes (`-Zemit-stack-sizes`) and who calls whom. It
//! holds for every input, unlike the high-water mark of a run. Exceptions are not counted: their frames come on top.
//!
//! A call by address may go to every function whose address is taken, except where that would be recursion: not to one that calls a function
//! on the way to the call, and not from below an operator of the runtime to an operator. Other recursion has no bound and is an error.

use crate::thumb::{self, Code};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the operators are.
const OPERATORS: &str = "attn_runtime::ops::";
/// A panic ends the program, so nothing above it counts.
const PANICS: &str = "core::panicking::";

/// Why the stack of an image has no bound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StackError {
    /// The image cannot be read.
    #[error("{path}: {reason}")]
    Image {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The image was built without `-Zemit-stack-sizes`.
    #[error("{0}: no sizes of frames; build it with `Image::build_bounded`")]
    NoSizes(PathBuf),
    /// The function to start from is not in the image.
    #[error("no function `{0}`")]
    NoFunction(String),
    /// Functions call each other in a circle.
    #[error("recursion: {}", .0.join(" -> "))]
    Recursion(Vec<String>),
}

/// The deepest stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Bytes.
    pub bytes: u64,
    /// The functions on the way, with the bytes of their frames.
    pub path: Vec<(String, u64)>,
}

/// The deepest stack from the function called `root` on, in an image for a Cortex-M.
///
/// # Errors
/// [`StackError`].
pub fn bound(path: &Path, root: &str) -> Result<Bound, StackError> {
    let graph = Graph::read(path)?;
    let names = graph.functions.iter();
    let root = names
        .filter(|(_, function)| function.name == root)
        .map(|(address, _)| *address)
        .next()
        .ok_or_else(|| StackError::NoFunction(root.into()))?;
    graph.bound(root)
}

struct Function {
    name: String,
    frame: u64,
    /// Functions that it calls or jumps to.
    calls: BTreeSet<u64>,
    /// Whether it calls by address.
    indirect: bool,
}

/// Who calls whom.
struct Graph {
    functions: BTreeMap<u64, Function>,
    /// Functions whose address is taken.
    taken: BTreeSet<u64>,
    /// Those of them that call by address, themselves or below.
    inner: BTreeSet<u64>,
    /// What each of them calls otherwise than by address, itself or below.
    reaches: BTreeMap<u64, BTreeSet<u64>>,
}

impl Graph {
    fn new(functions: BTreeMap<u64, Function>, taken: BTreeSet<u64>) -> Self {
        let mut graph = Self {
            functions,
            taken,
            inner: BTreeSet::new(),
            reaches: BTreeMap::new(),
        };
        for target in graph.taken.clone() {
            let (mut reached, mut new) = (BTreeSet::new(), vec![target]);
            while let Some(address) = new.pop() {
                if reached.insert(address) {
                    new.extend(graph.direct(&graph.functions[&address]));
                }
            }
            if reached
                .iter()
                .any(|address| graph.functions[address].indirect)
            {
                graph.inner.insert(target);
            }
            graph.reaches.insert(target, reached);
        }
        graph
    }

    fn read(path: &Path) -> Result<Self, StackError> {
        let fail = |reason: String| StackError::Image {
            path: path.into(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let file = object::File::parse(&*bytes).map_err(|error| fail(error.to_string()))?;
        let noted = file
            .section_by_name(".stack_sizes")
            .and_then(|section| section.data().ok())
            .map(frames)
            .ok_or_else(|| StackError::NoSizes(path.into()))?;
        let code = Code::of(&file);
        let mut functions = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        for symbol in file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
        {
            // `$t` and `$d` tell code from data.
            let Some(name) = symbol.name().ok().filter(|name| !name.starts_with('$')) else {
                continue;
            };
            let name = format!("{:#}", rustc_demangle::demangle(name));
            functions.entry(symbol.address() & !1).or_insert(name);
        }
        let starts: Vec<u64> = functions.keys().copied().collect();
        let owner = |address: u64| {
            let after = starts.partition_point(|start| *start <= address);
            Some(starts[after.checked_sub(1)?])
        };
        let mut graph = BTreeMap::new();
        for (at, start) in starts.iter().enumerate() {
            let end = starts.get(at + 1).copied().unwrap_or(u64::MAX);
            let found = thumb::scan(&code, *start..end);
            let calls = found.branches.iter().filter_map(|target| owner(*target));
            let calls = calls.filter(|target| target != start);
            addresses.extend(found.words);
            let function = Function {
                name: functions[start].clone(),
                frame: noted.get(start).copied().unwrap_or(found.pushed),
                calls: calls.collect(),
                indirect: found.indirect,
            };
            graph.insert(*start, function);
        }
        for section in file.sections() {
            // The vector table's functions are called by the processor.
            let data = matches!(
                section.kind(),
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::Data
            );
            if data && section.name() != Ok(".vector_table") {
                addresses.extend(thumb::words(section.data().unwrap_or_default()));
            }
        }
        let taken = addresses.into_iter().filter(|address| address & 1 == 1);
        let taken = taken.map(|address| address & !1);
        let taken = taken
            .filter(|address| graph.contains_key(address))
            .collect();
        Ok(Self::new(graph, taken))
    }

    /// Calls that are not by address, without panics.
    fn direct<'g>(&'g self, function: &'g Function) -> impl Iterator<Item = u64> + 'g {
        let calls = function.calls.iter().copied();
        calls.filter(|call| !self.functions[call].name.starts_with(PANICS))
    }

    /// The deepest stack from a function on.
    fn bound(&self, root: u64) -> Result<Bound, StackError> {
        let mut search = Search {
            graph: self,
            path: Vec::new(),
            known: BTreeMap::new(),
        };
        let open = self.inner.clone();
        let bytes = search.depth(root, &open)?.bytes;
        let (mut path, mut at) = (Vec::new(), Some((root, open)));
        while let Some(state) = at {
            let function = &self.functions[&state.0];
            path.push((function.name.clone(), function.frame));
            at = search.known.remove(&state).and_then(|found| found.next);
        }
        Ok(Bound { bytes, path })
    }

    /// What may still be called by address, of the functions that call so themselves, once `address` is called.
    fn below(&self, address: u64, open: &BTreeSet<u64>) -> BTreeSet<u64> {
        let is_operator = |address: &u64| {
            let name = self.functions[address].name.trim_start_matches('<');
            name.starts_with(OPERATORS) && self.taken.contains(address)
        };
        let operator = is_operator(&address);
        let mut still = open.clone();
        still.retain(|other| !self.reaches[other].contains(&address));
        still.retain(|other| !operator || !is_operator(other));
        still
    }
}

/// A function, and the functions that may still be called by address.
type State = (u64, BTreeSet<u64>);

/// The deepest stack below a function.
#[derive(Clone, Debug)]
struct Deepest {
    bytes: u64,
    /// The call that leads there.
    next: Option<State>,
}

struct Search<'g> {
    graph: &'g Graph,
    /// The functions on the way.
    path: Vec<u64>,
    known: BTreeMap<State, Deepest>,
}

impl Search<'_> {
    fn depth(&mut self, address: u64, open: &BTreeSet<u64>) -> Result<Deepest, StackError> {
        let state = (address, open.clone());
        if let Some(found) = self.known.get(&state) {
            return Ok(found.clone());
        }
        if self.path.contains(&address) {
            let names = self.path.iter().skip_while(|other| **other != address);
            let names = names.chain([&address]);
            let names = names.map(|other| self.graph.functions[other].name.clone());
            return Err(StackError::Recursion(names.collect()));
        }
        let graph = self.graph;
        let function = &graph.functions[&address];
        let below = graph.below(address, open);
        let leaves = graph.taken.difference(&graph.inner).copied();
        let by_address = leaves.chain(below.iter().copied());
        let by_address = by_address.filter(|_| function.indirect);
        self.path.push(address);
        let mut deepest = (0, None);
        for call in graph.direct(function).chain(by_address) {
            let bytes = self.depth(call, &below)?.bytes;
            if bytes >= deepest.0 {
                deepest = (bytes, Some((call, below.clone())));
            }
        }
        self.path.pop();
        let found = Deepest {
            bytes: function.frame + deepest.0,
            next: deepest.1,
        };
        self.known.insert(state, found.clone());
        Ok(found)
    }
}

/// The frames of a section `.stack_sizes`: an address and a LEB128 number of bytes for each function.
fn frames(mut section: &[u8]) -> BTreeMap<u64, u64> {
    let mut frames = BTreeMap::new();
    while let Some((address, rest)) = section.split_first_chunk() {
        let digits = rest.iter().position(|byte| byte & 0x80 == 0);
        let digits = digits.map_or(rest.len(), |last| last + 1);
        let (number, rest) = rest.split_at(digits);
        let number = number.iter().rev();
        let size = number.fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
        frames.insert(u64::from(u32::from_le_bytes(*address)) & !1, size);
        section = rest;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(calls: &[(&str, u64, &[u64], bool)], taken: &[u64]) -> Graph {
        let functions = calls.iter().zip(0..);
        let functions = functions.map(|((name, frame, calls, indirect), address)| {
            let function = Function {
                name: (*name).into(),
                frame: *frame,
                calls: calls.iter().copied().collect(),
                indirect: *indirect,
            };
            (address, function)
        });
        Graph::new(functions.collect(), taken.iter().copied().collect())
    }

    fn depth(graph: &Graph) -> Result<u64, StackError> {
        graph.bound(0).map(|bound| bound.bytes)
    }

    #[test]
    fn the_deepest_way_counts_and_panics_do_not() {
        let found = graph(
            &[
                ("main", 10, &[1, 2, 4], false),
                ("shallow", 100, &[], false),
                ("deep", 60, &[3], false),
                ("leaf", 50, &[], false),
                ("core::panicking::panic", 1000, &[0], false),
            ],
            &[],
        );
        assert_eq!(depth(&found).unwrap(), 120);
    }

    #[test]
    fn calls_by_address_go_to_every_function_whose_address_is_taken() {
        let functions: &[(&str, u64, &[u64], bool)] = &[
            ("main", 10, &[], true),
            ("attn_runtime::ops::gru::run", 100, &[], true),
            ("rows", 7, &[], false),
            ("attn_runtime::ops::linear::run", 90, &[], true),
        ];
        // An operator calls no operator, but any leaf.
        assert_eq!(depth(&graph(functions, &[1, 2, 3])).unwrap(), 117);
        assert_eq!(depth(&graph(functions, &[2])).unwrap(), 17);
        // A closure may call another, but neither is called again from below itself.
        let closures: &[(&str, u64, &[u64], bool)] = &[
            ("main", 10, &[], true),
            ("one", 100, &[], true),
            ("other", 20, &[], true),
        ];
        let found = graph(closures, &[1, 2]).bound(0).unwrap();
        assert_eq!(found.bytes, 130);
        assert_eq!(found.path.len(), 3);
    }

    #[test]
    fn recursion_is_named() {
        let found = graph(&[("main", 1, &[1], false), ("again", 1, &[0], false)], &[]);
        let StackError::Recursion(names) = depth(&found).unwrap_err() else {
            panic!("no recursion")
        };
        assert_eq!(names, ["main", "again", "main"]);
    }

    #[test]
    fn frames_are_read() {
        let section = [1, 0x10, 0, 0, 0x48, 0, 0x20, 0, 0, 0xc0, 0x60];
        let expected = BTreeMap::from([(0x1000, 0x48), (0x2000, 0x3040)]);
        assert_eq!(frames(&section), expected);
    }
}
