//! One step of a recurrent layer: its gates, and the state that it leaves behind.

use super::super::writer::Writer;
use super::form::Activation;
use super::{Layer, State};
use crate::error::Result;
use attn_runtime::kernels::geometry::Cell;

/// One direction's weights.
pub(super) struct Step<'l> {
    pub(super) layer: &'l Layer<'l>,
    pub(super) gates: usize,
    pub(super) r: String,
    pub(super) bias: Option<String>,
    pub(super) peepholes: Option<String>,
    pub(super) activations: &'l [Activation],
}

impl Step<'_> {
    fn hidden(&self) -> usize {
        self.layer.shape[2]
    }

    fn cell(&self) -> Cell {
        self.layer.form.cell
    }

    /// `W x` for all steps, with every bias that does not stand inside a product.
    pub(super) fn of_input(&self, x: &String, w: &String, writer: &mut Writer) -> String {
        let turned = writer.transpose(w, &[1, 0]);
        let product = writer.with("MatMul", x, &turned);
        let Some(bias) = &self.bias else {
            return product;
        };
        let all = self.gates * self.hidden();
        let input = writer.places(bias, 0, 0..all);
        let mut recurrent = writer.places(bias, 0, all..2 * all);
        if self.cell() == Cell::GruResetAfter {
            let outside: Vec<f32> = (0..all)
                .map(|at| f32::from(u8::from(at < 2 * self.hidden())))
                .collect();
            let outside = writer.constant(&[all], &outside);
            recurrent = writer.with("Mul", &recurrent, &outside);
        }
        let both = writer.with("Add", &input, &recurrent);
        writer.with("Add", &product, &both)
    }

    /// `R h` for some of the gates; none where the state is zero.
    fn of_state(
        &self,
        h: &Option<String>,
        gates: std::ops::Range<usize>,
        writer: &mut Writer,
    ) -> Option<String> {
        let h = h.as_ref()?;
        let rows = gates.start * self.hidden()..gates.end * self.hidden();
        let r = match gates.len() == self.gates {
            true => self.r.clone(),
            false => writer.places(&self.r, 0, rows),
        };
        let turned = writer.transpose(&r, &[1, 0]);
        Some(writer.with("MatMul", h, &turned))
    }

    fn gate(&self, all: &String, number: usize, writer: &mut Writer) -> String {
        let hidden = self.hidden();
        writer.places(all, 1, number * hidden..(number + 1) * hidden)
    }

    /// An activation of what a gate adds up, clipped before.
    fn through(&self, number: usize, x: &String, writer: &mut Writer) -> String {
        let x = match self.layer.form.clip {
            Some(clip) => writer.clip(x, -clip, clip),
            None => x.clone(),
        };
        self.activations[number].write(&x, writer)
    }

    /// A step from the row that [`Self::of_input`] makes.
    pub(super) fn write(&self, row: String, state: State, writer: &mut Writer) -> Result<State> {
        match self.cell() {
            Cell::Rnn => Ok(self.rnn(row, state, writer)),
            Cell::GruResetBefore | Cell::GruResetAfter => Ok(self.gru(row, state, writer)),
            Cell::Lstm | Cell::LstmCoupled => self.lstm(row, state, writer),
        }
    }

    fn rnn(&self, row: String, state: State, writer: &mut Writer) -> State {
        let sum = match self.of_state(&state.h, 0..1, writer) {
            Some(recurrent) => writer.with("Add", &row, &recurrent),
            None => row,
        };
        let h = self.through(0, &sum, writer);
        State {
            h: Some(h),
            c: None,
        }
    }

    fn gru(&self, row: String, state: State, writer: &mut Writer) -> State {
        let hidden = self.hidden();
        let mut zr = writer.places(&row, 1, 0..2 * hidden);
        if let Some(recurrent) = self.of_state(&state.h, 0..2, writer) {
            zr = writer.with("Add", &zr, &recurrent);
        }
        let (z, r) = (self.gate(&zr, 0, writer), self.gate(&zr, 1, writer));
        let (z, r) = (self.through(0, &z, writer), self.through(0, &r, writer));
        let mut n = self.gate(&row, 2, writer);
        if self.cell() == Cell::GruResetAfter {
            let mut inner = self.of_state(&state.h, 2..3, writer);
            if let Some(bias) = &self.bias {
                let bias = writer.places(bias, 0, 5 * hidden..6 * hidden);
                inner = Some(match inner {
                    Some(inner) => writer.with("Add", &inner, &bias),
                    None => bias,
                });
            }
            if let Some(inner) = inner {
                let inner = writer.with("Mul", &r, &inner);
                n = writer.with("Add", &n, &inner);
            }
        } else if let Some(h) = &state.h {
            let kept = writer.with("Mul", &r, h);
            if let Some(inner) = self.of_state(&Some(kept), 2..3, writer) {
                n = writer.with("Add", &n, &inner);
            }
        }
        let n = self.through(1, &n, writer);
        // n + z * (h - n)
        let h = match &state.h {
            Some(h) => {
                let difference = writer.with("Sub", h, &n);
                let part = writer.with("Mul", &z, &difference);
                writer.with("Add", &n, &part)
            }
            None => {
                let part = writer.with("Mul", &z, &n);
                writer.with("Sub", &n, &part)
            }
        };
        State {
            h: Some(h),
            c: None,
        }
    }

    fn lstm(&self, row: String, state: State, writer: &mut Writer) -> Result<State> {
        let sum = match self.of_state(&state.h, 0..4, writer) {
            Some(recurrent) => writer.with("Add", &row, &recurrent),
            None => row,
        };
        let i = self.gate(&sum, 0, writer);
        let i = self.seen(i, 0, &state.c, writer);
        let i = self.through(0, &i, writer);
        let g = self.gate(&sum, 3, writer);
        let g = self.through(1, &g, writer);
        let mut c = writer.with("Mul", &i, &g);
        if let Some(old) = &state.c {
            let f = match self.cell() == Cell::LstmCoupled {
                true => {
                    let one = writer.number(1.0);
                    writer.with("Sub", &one, &i)
                }
                false => {
                    let f = self.gate(&sum, 2, writer);
                    let f = self.seen(f, 2, &state.c, writer);
                    self.through(0, &f, writer)
                }
            };
            let kept = writer.with("Mul", &f, old);
            c = writer.with("Add", &kept, &c);
        }
        let c = Some(c);
        let o = self.gate(&sum, 1, writer);
        let o = self.seen(o, 1, &c, writer);
        let o = self.through(0, &o, writer);
        let out = match &c {
            // As onnxruntime: the cell is not clipped.
            Some(c) => self.activations[2].write(c, writer),
            None => return Err(writer.form(self.layer.node, "a layer without a cell")),
        };
        let h = writer.with("Mul", &o, &out);
        Ok(State { h: Some(h), c })
    }

    /// A gate with what its peephole sees of the cell.
    fn seen(&self, gate: String, number: usize, c: &Option<String>, writer: &mut Writer) -> String {
        let (Some(peepholes), Some(c)) = (&self.peepholes, c) else {
            return gate;
        };
        let hidden = self.hidden();
        let own = writer.places(peepholes, 0, number * hidden..(number + 1) * hidden);
        let seen = writer.with("Mul", c, &own);
        writer.with("Add", &gate, &seen)
    }
}
