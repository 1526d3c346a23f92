//! Some thousand mutated `.attn` files; `cargo xtask fuzz` tries more, also from converted models. Miri, which takes a thousand times as
//! long, tries some.

use attn_fuzz::random::Random;
use attn_fuzz::records::Parts;
use attn_fuzz::target::{Outcome, check};
use attn_runtime::format::{Encoding, OpKind};
use attn_test_support::tiny_model::tiny_model;

const FILES: usize = if cfg!(miri) { 40 } else { 6000 };

#[test]
fn no_mutated_model_does_harm() {
    let seeds = [Encoding::Int8, Encoding::Half, Encoding::Joined];
    let seeds = seeds.map(|encoding| Parts::of(&tiny_model(encoding)));
    let mut random = Random(1);
    let mut ran = Vec::new();
    for _ in 0..FILES {
        let mut parts = random.one_of(&seeds).clone();
        let other = random.one_of(&seeds);
        parts.mutate(other, &mut random);
        match check(&parts.file(), random.number()) {
            Outcome::Refused(_) => {}
            Outcome::Ran(ops) => ran.extend(ops),
            Outcome::Find(what) => panic!("{what}"),
        }
    }
    for kind in OpKind::ALL {
        let times = ran.iter().filter(|ran| *ran == kind).count();
        assert!(times >= FILES / 20, "{kind:?} ran {times} times");
    }
}
