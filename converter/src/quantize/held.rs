//! How values are held in integers, from what calibration has seen of them.

use super::choices::Choices;
use super::{CELL_LIMIT, INT16_HEADROOM, Quant, STATE_SCALE};
use crate::calibrate::Distribution;
use crate::graph::facts::Held;
use crate::graph::{Graph, Node, ValueId};
use attn_runtime::format::DType;

/// How a value is held in int8. If it was whole, a step is 1 divided by a whole number: whole numbers are exact.
pub fn narrow(distribution: &Distribution, choices: &Choices) -> Quant {
    let (low, high) = (distribution.min, distribution.max);
    let steps = (255.0 / (high - low)).floor();
    if !distribution.is_whole() || steps < 1.0 {
        return Quant::int8(distribution.range(choices.range));
    }
    let zero_point = (-128.0 - low * steps).clamp(-128.0, 127.0);
    Quant {
        dtype: DType::I8,
        scale: 1.0 / steps,
        zero_point: zero_point as i32,
    }
}

/// How a value is held in int16. If it was whole, a step is a power of two of at most 1.
pub fn wide(distribution: &Distribution) -> Quant {
    let limit = distribution.largest() * INT16_HEADROOM;
    let quant = Quant::int16(limit);
    let power = quant.scale.log2().ceil().exp2();
    match distribution.is_whole() && power <= 1.0 {
        true => Quant::scaled_int16(power),
        false => quant,
    }
}

/// How the state of a recurrent layer is held: by a power of two, in which what it computes and what it is given have room.
pub fn state_of(graph: &Graph, layer: &Node, distributions: &[Distribution]) -> Quant {
    let largest = |id: &ValueId| distributions[id.0].largest();
    let seen = (largest(&layer.output) * INT16_HEADROOM).max(1.0);
    let computed = match graph.facts(layer).held {
        Held::State(Some(limit)) => seen.min(limit),
        _ => seen,
    };
    let given = layer.inputs.get(1).map_or(0.0, largest);
    let whole = computed.max(given).max(1.0).log2().ceil().min(15.0);
    Quant::scaled_int16(STATE_SCALE * whole.exp2())
}

/// How the mean of values is held, from how the values are.
pub fn mean_of(values: Quant) -> Quant {
    let steps = match values.dtype {
        DType::I8 => (1 << attn_runtime::kernels::int::attention::CONTEXT_FRACTION_BITS) as f32,
        _ => 1.0,
    };
    Quant::scaled_int16(values.scale / steps)
}

/// How the cell of an LSTM with this distribution is held.
pub fn cell_of(cell: &Distribution) -> Quant {
    let limit = cell.largest();
    Quant::int16(if limit > 0.0 {
        limit * INT16_HEADROOM
    } else {
        CELL_LIMIT
    })
}

/// The same with room for the cell that the layer is given.
pub fn cell_from(layer: &Node, distributions: &[Distribution]) -> Quant {
    let seen = layer.second.map(|cell| cell_of(&distributions[cell.0]));
    let seen = seen.unwrap_or(Quant::int16(CELL_LIMIT));
    let given = layer.inputs.get(2);
    let given = given.map_or(0.0, |id| distributions[id.0].largest());
    match given / 32767.0 > seen.scale {
        true => Quant::int16(given),
        false => seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_held_exactly() {
        let choices = Choices::default();
        for elements in [
            &[0.0, 1.0][..],
            &[-3.0, 7.0, 2.0],
            &[0.0, 255.0],
            &[-100.0, 0.0],
        ] {
            let distribution = Distribution::of(elements);
            for quant in [narrow(&distribution, &choices), wide(&distribution)] {
                let held = |x: &f32| quant.dequantize(quant.quantize(*x));
                assert!(elements.iter().all(|x| held(x) == *x), "{elements:?}");
            }
        }
        let fractions = Distribution::of(&[0.0, 0.5, 1.0]);
        assert_eq!(wide(&fractions), Quant::int16(2.0));
        let large = Distribution::of(&[0.0, 1000.0]);
        assert_eq!(narrow(&large, &choices), Quant::int8((0.0, 1000.0)));
    }
}
