//! Parsing takes time linear in the file on the chip, for files made so that it takes as long as it can.

use attn_converter::runner::ModelFile;
use attn_lab::{parsing, workspace};
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::kernels::int::dot::packed_len;
use attn_test_support::tiny_model::{Builder, Int, Words};
use zerocopy::IntoBytes;

/// Bytes of each file.
const LEN: usize = 1 << 20;
/// Instructions on a Cortex-M4, at most: 40 a byte, of which the checksum takes 9.
const MOST: u64 = 40 << 20;

/// A model of one operator, to be filled up.
fn small() -> Builder {
    let mut b = Builder::new();
    let x = b.tensor(Storage::Arena, DType::I8, 1, 4);
    let y = b.tensor(Storage::Arena, DType::I16, 1, 4);
    b.op(OpKind::Softmax, &[x], &[y], 0, &[Int(1)]);
    b.entry("run", 0, &[x], &[y]);
    b
}

/// Nothing but tensors, with row rules.
fn tensors() -> Vec<u8> {
    let mut b = small();
    b.tensor(Storage::Arena, DType::I8, 1, 16);
    let mut varying = b.tensors[0];
    (varying.rank, varying.dims) = (6, [4, 1, 1, 1, 1, 4]);
    varying.rows_rule = 1;
    b.length(4);
    b.tensors.extend(std::iter::repeat_n(varying, LEN / 44));
    b.file()
}

/// Names of two-byte characters, each for as many records as are allowed to have it.
fn names() -> Vec<u8> {
    let mut b = small();
    let mut named = b.tensors[0];
    for at in 0..2 * LEN / 1100 {
        if at % 2 == 0 {
            named.name = b.name(&"é".repeat(512));
        }
        b.tensors.push(named);
    }
    b.file()
}

const ALIASES: usize = 140;

/// As many operators as there may be, each with as many tensors, all looking back for a long way.
fn operators() -> Vec<u8> {
    let mut b = Builder::new();
    let inputs = [(); 5].map(|()| b.tensor(Storage::Arena, DType::I8, 1, 4));
    let y = b.tensor(Storage::Arena, DType::I8, 1, 20);
    let by = [Int(1 << 28), Int(1), Int(-128), Int(127)].repeat(5);
    for _ in 0..2048 {
        b.op(OpKind::Concat, &inputs, &[y], 0, &by);
    }
    // The same bytes by other numbers: looking back goes all the way, for as many operators as it may.
    for input in inputs {
        let alias = b.tensors[usize::from(input)];
        b.tensors.extend(std::iter::repeat_n(alias, ALIASES));
    }
    for (at, op) in b.ops.iter_mut().take(ALIASES).enumerate() {
        let alias = |slot: usize| (6 + slot * ALIASES + at) as u16;
        op.inputs = core::array::from_fn(alias);
    }
    b.entry("run", 0, &inputs, &[y]);
    b.file()
}

/// Layers over weights that are most of the file; `plain` for those of depthwise convolutions.
fn weights(plain: bool) -> Vec<u8> {
    let mut b = Builder::new();
    let (k, out) = (1024, 1000);
    let x = b.tensor(
        Storage::Arena,
        DType::I8,
        if plain { k } else { 1 },
        if plain { out } else { k },
    );
    let y = b.tensor(Storage::Arena, DType::I8, 1, out);
    let bytes = b.weights(vec![0x81; packed_len(out, k)]);
    for _ in 0..2 {
        let matrix = [
            Int(bytes as i32),
            Words(out, 1),
            Words(out, 1 << 20),
            Int(0),
            Int(-128),
            Int(127),
        ];
        let window = [Int(k as i32), Int(1), Int(0), Int(0), Int(0)];
        match plain {
            false => b.op(OpKind::Linear, &[x], &[y], k, &matrix),
            true => {
                let params = [&matrix[..], &window].concat();
                b.op(OpKind::DepthwiseConv1d, &[x], &[y], 0, &params);
            }
        }
    }
    b.entry("run", 0, &[x], &[y]);
    b.file()
}

/// Copies by one table, as often as it may be gone through.
fn tables() -> Vec<u8> {
    let mut b = Builder::new();
    let count = 1 << 18;
    let x = b.tensor(Storage::Arena, DType::I8, 1, count);
    let y = b.tensor(Storage::Arena, DType::I8, 1, count);
    let order: Vec<u32> = (0..count as u32).rev().collect();
    let table = b.weights(order.as_bytes().to_vec());
    let rest = [Int(0); 12];
    for _ in 0..2 {
        let params = [&[Int(1), Int(table as i32)][..], &rest].concat();
        b.op(OpKind::Copy, &[x], &[y], 0, &params);
    }
    b.entry("run", 0, &[x], &[y]);
    b.file()
}

/// Entry points with eight inputs each.
fn entries() -> Vec<u8> {
    let mut b = Builder::new();
    let inputs = [(); 8].map(|()| b.tensor(Storage::Arena, DType::I8, 1, 4));
    for tensor in &mut b.tensors {
        (tensor.rank, tensor.dims) = (6, [1, 1, 1, 1, 1, 4]);
    }
    let y = b.tensor(Storage::Arena, DType::I16, 1, 4);
    for at in 0..2048 {
        b.op(OpKind::Softmax, &[inputs[0]], &[y], 0, &[Int(1)]);
        b.entry("run", at, &inputs, &[y]);
    }
    b.file()
}

#[test]
fn no_file_of_a_megabyte_takes_more_than_40_million_instructions() {
    let files = [
        ("tensors", tensors()),
        ("names", names()),
        ("operators", operators()),
        ("weights", weights(false)),
        ("weights of depthwise convolutions", weights(true)),
        ("tables", tables()),
        ("entry points", entries()),
    ];
    for (what, file) in files {
        ModelFile::new(&file).unwrap_or_else(|error| panic!("{what}: {error}"));
        let region = parsing::measure(&file).unwrap();
        let each = region.instructions as f64 / file.len() as f64;
        println!(
            "{what}: {} bytes, {} instructions, {each:.1} a byte",
            file.len(),
            region.instructions
        );
        assert!(region.instructions <= MOST, "{what}");
    }
}

/// A model as it ships: one pass of the checksum, one of the weights, and a little for each record.
#[test]
fn a_shipped_model_takes_at_most_20_instructions_a_byte() {
    for name in ["kws", "g2p"] {
        let model = workspace::root().join(format!("models/{name}.attn"));
        let region = parsing::measure_file(&model).unwrap();
        let len = std::fs::metadata(&model).unwrap().len();
        let each = region.instructions as f64 / len as f64;
        println!(
            "{name}: {len} bytes, {} instructions, {} cycles, {each:.1} a byte",
            region.instructions, region.cycles
        );
        assert!(each <= 20.0, "{name}: {each}");
    }
}
