//! What base operators cost on the emulated Cortex-M4: cycles an element, multiplications a cycle.

use attn_converter::runner::ModelFile;
use attn_lab::systems::count;
use attn_runtime::format::{DType, OpKind, Storage};
use attn_test_support::folder::Folder;
use attn_test_support::running::noise;
use attn_test_support::tiny_model::Param::{Int, Real};
use attn_test_support::tiny_model::{Builder, Param, RESCALE};

/// Rows and columns of each matrix.
const N: usize = 64;
const TYPES: [DType; 3] = [DType::I8, DType::I16, DType::F16];

/// Estimated cycles of a model of one operator over square matrices of this type.
fn cycles(kind: OpKind, inputs: usize, rows: usize, dtype: DType, params: &[Param]) -> f64 {
    let mut b = Builder::new();
    let tensor = |b: &mut Builder, rows| b.tensor(Storage::Arena, dtype, rows, N);
    let inputs: Vec<u16> = (0..inputs).map(|_| tensor(&mut b, N)).collect();
    let y = tensor(&mut b, rows);
    let scratch = match kind {
        OpKind::MatMul => 17 * N,
        _ => 0,
    };
    b.op(kind, &inputs, &[y], scratch, params);
    b.entry("run", 0, &inputs, &[y]);
    let folder = Folder::new();
    let path = folder.write("one.attn", &b.file());
    let file = ModelFile::load(path.as_ref()).unwrap();
    let region = count(path.as_ref(), &noise(file.model(), 2)).unwrap();
    region.cycles as f64
}

/// Parameters in integers or half precision.
fn by(dtype: DType, int: &[Param], half: &[Param], rest: &[i32]) -> Vec<Param> {
    let head = if dtype == DType::F16 { half } else { int };
    let rest = rest.iter().map(|&word| Int(word));
    head.iter().copied().chain(rest).collect()
}

#[test]
fn a_copy_takes_at_most_40_cycles_an_element() {
    let n = N as i32;
    let turned = [0, 0, 1, 1, 1, 1, n, n, 0, 0, 0, 0, 1, n].map(Int);
    for dtype in TYPES {
        let each = cycles(OpKind::Copy, 1, N, dtype, &turned) / (N * N) as f64;
        println!("transposition, {dtype:?}: {each:.1} cycles an element");
        assert!(each <= 40.0, "{dtype:?}: {each}");
    }
}

#[test]
fn a_sum_takes_at_most_40_cycles_an_element() {
    for dtype in TYPES {
        let params = by(dtype, &RESCALE, &[Real(1.0)], &[0, N as i32, N as i32]);
        let each = cycles(OpKind::Reduce, 1, 1, dtype, &params) / (N * N) as f64;
        println!("sum over rows, {dtype:?}: {each:.1} cycles an element");
        assert!(each <= 40.0, "{dtype:?}: {each}");
    }
}

#[test]
fn a_product_of_two_activations_takes_at_most_a_cycle_for_0_3_multiplications() {
    let n = N as i32;
    let int = [&RESCALE[..], &[Int(8)]].concat();
    // In half precision a product and a sum are two instructions, and every element is converted.
    for (dtype, floor) in TYPES.into_iter().zip([0.3, 0.3, 0.27]) {
        let params = by(dtype, &int, &[], &[1, n, n, n]);
        let rate = (N * N * N) as f64 / cycles(OpKind::MatMul, 2, N, dtype, &params);
        println!("matrix product, {dtype:?}: {rate:.2} multiplications a cycle");
        assert!(rate >= floor, "{dtype:?}: {rate}");
    }
}
