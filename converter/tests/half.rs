//! Half-precision files (`--dtype fp16`) hold no integers. How close every system stays to PyTorch is in `systems.rs`, that a
//! stream equals its window in `attention.rs`.

use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_runtime::format::DType;
use attn_test_support::systems::SYSTEMS;

#[test]
fn every_result_of_every_system_is_held_in_half_precision() {
    for system in &SYSTEMS {
        let conversion = system
            .convert("dynamo", Precision::Fp16, Form::Window)
            .unwrap_or_else(|error| panic!("{}: {error}", system.name));
        let model = conversion.file.model();
        let half = |id: usize| model.tensor(id).unwrap().dtype() == DType::F16;
        let mut results = model.ops().iter().flat_map(|op| op.outputs());
        assert!(results.all(half), "{}", system.name);
    }
}
