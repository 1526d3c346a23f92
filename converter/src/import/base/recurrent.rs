//! Recurrent layers of any form, step by step: for short sequences. Layers that the runtime has are in [`super::super::recurrent`].

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::recurrent::defaults_only;
use super::super::view::View;
use super::Operand;
use crate::error::Result;
use crate::function::{Function, Unary};
use crate::graph::op;
use crate::graph::op::Affine;
use ndarray::{ArrayD, Axis, IxDyn, Slice};

/// Most steps of all directions together: each is a dozen operators.
const MOST_STEPS: usize = 128;

/// Weights of one direction.
struct Direction {
    w: ArrayD<f32>,
    r: ArrayD<f32>,
    /// Input side, then recurrent side.
    bias: ArrayD<f32>,
    peepholes: Option<ArrayD<f32>>,
    reverse: bool,
}

/// What one step leaves behind.
struct State {
    h: Option<Operand>,
    c: Option<Operand>,
}

impl Importer<'_> {
    pub(super) fn base_recurrent(&mut self, node: &OnnxNode) -> Result<()> {
        let by_batch = node.int("layout", 0) != 0;
        let mut x = self.live(node, 0)?;
        if by_batch {
            x = x.transposed(&[1, 0, 2]);
        }
        let (steps, batch) = (x.shape()[0], x.shape()[1]);
        let directions = self.directions(node, steps)?;
        defaults_only(node, directions.len())?;
        if steps * directions.len() > MOST_STEPS {
            let reason = format!(
                "{steps} steps, one by one; at most {MOST_STEPS}: use the form that PyTorch exports"
            );
            return Err(node.form(reason));
        }
        let (mut all, mut last, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for (number, direction) in directions.iter().enumerate() {
            let hidden = direction.r.shape()[1];
            let (results, state) = self.run_direction(node, direction, &x, number, by_batch)?;
            for (store, value) in [(&mut last, state.h), (&mut cells, state.c)] {
                if let Some(Operand::Live(view)) = value {
                    store.push(view.reshaped(&[1, batch, hidden]));
                }
            }
            all.push(
                self.joined(node, results, 0)?
                    .reshaped(&[steps, 1, batch, hidden]),
            );
        }
        // [steps, directions, batch, hidden], [directions, batch, hidden]
        let asked = |at: usize| node.outputs.get(at).filter(|name| !name.is_empty());
        for (at, parts, order) in [
            (0, all, [2, 0, 1, 3].as_slice()),
            (1, last, &[1, 0, 2]),
            (2, cells, &[1, 0, 2]),
        ] {
            let Some(name) = asked(at) else { continue };
            let axis = usize::from(at == 0);
            let mut joined = self.joined(node, parts, axis)?;
            if by_batch {
                joined = joined.transposed(order);
            }
            self.give(&node.named(name), joined)?;
        }
        Ok(())
    }

    fn directions(&mut self, node: &OnnxNode, steps: usize) -> Result<Vec<Direction>> {
        let constant = |this: &Self, input: usize| {
            let array = this.weight(node, input)?;
            array.ok_or_else(|| node.form("weights that the model computes"))
        };
        let absent = |input: usize| node.inputs.get(input).is_none_or(|name| name.is_empty());
        if !absent(4) {
            let lengths = self.integers(node, 4);
            let whole = |lengths: Vec<i64>| lengths.iter().all(|&length| length == steps as i64);
            if !lengths.is_some_and(whole) {
                return Err(node.form("sequences of different lengths at once"));
            }
        }
        let (w, r) = (constant(self, 1)?, constant(self, 2)?);
        let bias = match absent(3) {
            true => ArrayD::zeros(IxDyn(&[w.shape()[0], 2 * w.shape()[1]])),
            false => constant(self, 3)?,
        };
        let peepholes = match absent(7) {
            true => None,
            false => Some(constant(self, 7)?),
        };
        let name = node.string("direction").unwrap_or_else(|| "forward".into());
        let reverse: &[bool] = match name.as_str() {
            "forward" => &[false],
            "reverse" => &[true],
            _ => &[false, true],
        };
        let one = |(number, &reverse): (usize, &bool)| {
            let part = |array: &ArrayD<f32>| array.index_axis(Axis(0), number).to_owned();
            Direction {
                w: part(&w),
                r: part(&r),
                bias: part(&bias),
                peepholes: peepholes.as_ref().map(part),
                reverse,
            }
        };
        Ok(reverse.iter().enumerate().map(one).collect())
    }

    /// The first state or cell of a direction, `[batch, hidden]`; none where it is zero.
    fn first(
        &mut self,
        node: &OnnxNode,
        input: usize,
        number: usize,
        by_batch: bool,
    ) -> Result<Option<Operand>> {
        if node.inputs.get(input).is_none_or(|name| name.is_empty()) {
            return Ok(None);
        }
        let axis = usize::from(by_batch);
        let range = Slice::from(number..number + 1);
        let rows = |shape: &[usize]| [shape[1 - axis], shape[2]];
        Ok(Some(match self.operand(node, input)? {
            Operand::Constant(c) => {
                let part = c.slice_axis(Axis(axis), range);
                let flat: Vec<f32> = part.iter().copied().collect();
                let part = ArrayD::from_shape_vec(IxDyn(&rows(c.shape())), flat);
                Operand::Constant(part.map_err(|_| node.unsupported())?)
            }
            Operand::Live(x) => {
                let shape = rows(x.shape());
                Operand::Live(x.sliced(axis, range).reshaped(&shape))
            }
        }))
    }

    /// The results of all steps in order of time, `[1, batch, hidden]` each, and the state at the end.
    fn run_direction(
        &mut self,
        node: &OnnxNode,
        direction: &Direction,
        x: &View,
        number: usize,
        by_batch: bool,
    ) -> Result<(Vec<View>, State)> {
        let (steps, batch, k) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let (all, hidden) = (direction.w.shape()[0], direction.r.shape()[1]);
        let rows = self.plain(&x.reshaped(&[steps * batch, k]));
        let bias = |side: usize| -> Vec<f32> {
            direction
                .bias
                .iter()
                .skip(side * all)
                .take(all)
                .copied()
                .collect()
        };
        let layer = op::Linear(Affine::new(direction.w.clone(), bias(0)));
        let wx = self.part(node, "input", layer, vec![rows], &[steps * batch, all]);
        let wx = wx.reshaped(&[steps, batch, all]);
        let mut state = State {
            h: self.first(node, 5, number, by_batch)?,
            c: self.first(node, 6, number, by_batch)?,
        };
        let mut results: Vec<Option<View>> = vec![None; steps];
        for step in 0..steps {
            let at = if direction.reverse {
                steps - 1 - step
            } else {
                step
            };
            let now = wx
                .sliced(0, Slice::from(at..at + 1))
                .reshaped(&[batch, all]);
            let gate = |part: usize| {
                Operand::Live(now.sliced(1, Slice::from(part * hidden..(part + 1) * hidden)))
            };
            let gates: Vec<Operand> = (0..all / hidden).map(gate).collect();
            state = match node.op {
                "GRU" => self.gru_step(node, direction, gates, state)?,
                "LSTM" => self.lstm_step(node, direction, gates, state)?,
                _ => {
                    let recurrent = self.recurrent_gates(node, direction, &state.h)?;
                    let sum = self.plus(node, gates, recurrent, 0)?;
                    let h = self.through(node, sum, Unary::Tanh)?;
                    State {
                        h: Some(h),
                        c: None,
                    }
                }
            };
            if let Some(Operand::Live(h)) = &state.h {
                results[at] = Some(h.reshaped(&[1, batch, hidden]));
            }
        }
        let results: Option<Vec<View>> = results.into_iter().collect();
        Ok((results.ok_or_else(|| node.unsupported())?, state))
    }

    /// `R h + b` for every gate.
    fn recurrent_gates(
        &mut self,
        node: &OnnxNode,
        direction: &Direction,
        h: &Option<Operand>,
    ) -> Result<Vec<Operand>> {
        let (all, hidden) = (direction.r.shape()[0], direction.r.shape()[1]);
        let bias: Vec<f32> = direction.bias.iter().skip(all).copied().collect();
        let part = |part: usize| part * hidden..(part + 1) * hidden;
        let h = match h {
            Some(Operand::Live(h)) => h.clone(),
            Some(Operand::Constant(c)) => {
                let values = c.iter().copied().collect();
                let name = format!("{}.first{}", node.name, self.graph.values.len());
                View::whole(
                    self.inner(&name, op::Constant { values }, vec![], c.shape()),
                    c.shape(),
                )
            }
            None => {
                let gate =
                    |gate| ArrayD::from_shape_vec(IxDyn(&[1, hidden]), bias[part(gate)].to_vec());
                let gates = (0..all / hidden)
                    .map(gate)
                    .collect::<std::result::Result<Vec<_>, _>>();
                let gates = gates.map_err(|_| node.unsupported())?;
                return Ok(gates.into_iter().map(Operand::Constant).collect());
            }
        };
        let input = self.plain(&h);
        let layer = op::Linear(Affine::new(direction.r.clone(), bias));
        let y = self.part(node, "state", layer, vec![input], &[h.shape()[0], all]);
        let gate = |gate| Operand::Live(y.sliced(1, Slice::from(part(gate))));
        Ok((0..all / hidden).map(gate).collect())
    }

    /// The sum of both sides of one gate.
    fn plus(
        &mut self,
        node: &OnnxNode,
        mut a: Vec<Operand>,
        mut b: Vec<Operand>,
        gate: usize,
    ) -> Result<Operand> {
        let (a, b) = (a.swap_remove(gate), b.swap_remove(gate));
        self.sum_of(node, a, b)
    }

    fn through(&mut self, node: &OnnxNode, x: Operand, unary: Unary) -> Result<Operand> {
        match x {
            Operand::Live(x) => Ok(Operand::Live(self.mapped(
                node,
                &x,
                Function::Input.then(unary),
            ))),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }

    fn gru_step(
        &mut self,
        node: &OnnxNode,
        direction: &Direction,
        gates: Vec<Operand>,
        state: State,
    ) -> Result<State> {
        let hidden = direction.r.shape()[1];
        let recurrent = self.recurrent_gates(node, direction, &state.h)?;
        let [wz, wr, wh] = gates.try_into().map_err(|_| node.unsupported())?;
        let [rz, rr, rh] = recurrent.try_into().map_err(|_| node.unsupported())?;
        let z = self.sum_of(node, wz, rz)?;
        let z = self.through(node, z, Unary::Sigmoid)?;
        let r = self.sum_of(node, wr, rr)?;
        let r = self.through(node, r, Unary::Sigmoid)?;
        let inner = if node.int("linear_before_reset", 0) != 0 {
            self.product_of(node, r, rh)?
        } else {
            match copied(&state.h) {
                None => rh,
                Some(h) => {
                    let kept = self.product_of(node, r, h)?;
                    let (all, from) = (direction.r.shape()[0], 2 * hidden);
                    let only = Direction {
                        w: direction.w.clone(),
                        r: direction
                            .r
                            .slice_axis(Axis(0), Slice::from(from..all))
                            .to_owned(),
                        bias: {
                            let bias: Vec<f32> = direction.bias.iter().copied().collect();
                            let own = [&bias[..hidden], &bias[all + from..]].concat();
                            ArrayD::from_shape_vec(IxDyn(&[own.len()]), own)
                                .map_err(|_| node.unsupported())?
                        },
                        peepholes: None,
                        reverse: false,
                    };
                    self.recurrent_gates(node, &only, &Some(kept))?.remove(0)
                }
            }
        };
        let n = self.sum_of(node, wh, inner)?;
        let n = self.through(node, n, Unary::Tanh)?;
        // n + z * (h - n)
        let (Operand::Live(z), Operand::Live(n)) = (z, n) else {
            return Err(node.unsupported());
        };
        let negative = Operand::Live(self.mapped(node, &n, Function::scaled(-1.0)));
        let difference = match state.h {
            Some(h) => self.sum_of(node, h, negative)?,
            None => negative,
        };
        let part = self.product_of(node, Operand::Live(z), difference)?;
        let h = self.sum_of(node, Operand::Live(n), part)?;
        Ok(State {
            h: Some(h),
            c: None,
        })
    }

    fn lstm_step(
        &mut self,
        node: &OnnxNode,
        direction: &Direction,
        gates: Vec<Operand>,
        state: State,
    ) -> Result<State> {
        let hidden = direction.r.shape()[1];
        let recurrent = self.recurrent_gates(node, direction, &state.h)?;
        let mut sums = Vec::new();
        for (a, b) in gates.into_iter().zip(recurrent) {
            sums.push(self.sum_of(node, a, b)?);
        }
        let [mut i, mut o, mut f, g] = sums.try_into().map_err(|_| node.unsupported())?;
        let peep = |gate: usize| {
            let all = direction.peepholes.as_ref()?;
            let own: Vec<f32> = all
                .iter()
                .skip(gate * hidden)
                .take(hidden)
                .copied()
                .collect();
            ArrayD::from_shape_vec(IxDyn(&[1, hidden]), own)
                .ok()
                .map(Operand::Constant)
        };
        for (gate, part) in [(0, &mut i), (2, &mut f)] {
            if let (Some(peephole), Some(c)) = (peep(gate), copied(&state.c)) {
                let seen = self.product_of(node, c, peephole)?;
                *part = self.sum_of(node, copied_one(part), seen)?;
            }
        }
        let i = self.through(node, i, Unary::Sigmoid)?;
        let g = self.through(node, g, Unary::Tanh)?;
        let mut c = self.product_of(node, i, g)?;
        if let Some(old) = state.c {
            let f = self.through(node, f, Unary::Sigmoid)?;
            let kept = self.product_of(node, f, old)?;
            c = self.sum_of(node, kept, c)?;
        }
        if let Some(peephole) = peep(1) {
            let seen = self.product_of(node, copied_one(&c), peephole)?;
            o = self.sum_of(node, o, seen)?;
        }
        let o = self.through(node, o, Unary::Sigmoid)?;
        let out = self.through(node, copied_one(&c), Unary::Tanh)?;
        let h = self.product_of(node, o, out)?;
        Ok(State {
            h: Some(h),
            c: Some(c),
        })
    }
}

fn copied(operand: &Option<Operand>) -> Option<Operand> {
    operand.as_ref().map(copied_one)
}

fn copied_one(operand: &Operand) -> Operand {
    match operand {
        Operand::Constant(c) => Operand::Constant(c.clone()),
        Operand::Live(x) => Operand::Live(x.clone()),
    }
}
