//! Lut, Add, AddConstant, AdditiveAttention, Embedding, LayerNorm, Mul in half precision, and operators without parameters.

use super::super::Lowering;
use super::function::fit;
use super::{halves, limits};
use crate::error::ConvertError;
use crate::function::Function;
use crate::graph::{Clamp, Node, op};
use crate::program::{Place, TensorId};
use attn_runtime::format::OpKind;
use attn_runtime::ops::{
    AddConstantHalfParams, AddHalfParams, AdditiveAttentionHalfParams, EmbeddingHalfParams,
    LayerNormHalfParams, LutHalfParams, MulHalfParams,
};
use ndarray::ArrayD;

impl Lowering<'_> {
    pub(super) fn half_activation(
        &mut self,
        node: &Node,
        function: &Function,
    ) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        if self.is_last_reader(node.inputs[0]) {
            self.program.tensors[y].place = Place::Within {
                tensor: x,
                offset: 0,
            };
        }
        let fitted = fit(function, self.scheme.half_range(node.inputs[0]));
        let table = [fitted.negative.as_slice(), &fitted.positive].concat();
        let params = LutHalfParams {
            table: self.program.weights(table.as_flattened()),
            negative: fitted.negative.len() as u32,
            positive: fitted.positive.len() as u32,
            inverse_step: fitted.inverse_step,
        };
        self.op(&node.name, OpKind::Lut, vec![x], vec![y], None, &params);
        Ok(())
    }

    /// Both inputs, which must not be the same tensor.
    fn half_pair(&self, node: &Node) -> Result<Vec<TensorId>, ConvertError> {
        let inputs = [0, 1].map(|i| self.tensor(node.inputs[i]));
        if inputs[0] == inputs[1] {
            let reason = "it takes one tensor twice: write it as a function of one input".into();
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        Ok(inputs.to_vec())
    }

    pub(super) fn half_add(&mut self, node: &Node, clamp: Clamp) -> Result<(), ConvertError> {
        let inputs = self.half_pair(node)?;
        let y = self.add_value(node.output);
        let (min, max) = limits(clamp);
        let params = AddHalfParams { min, max };
        self.op(&node.name, OpKind::Add, inputs, vec![y], None, &params);
        Ok(())
    }

    pub(super) fn half_mul(&mut self, node: &Node, factor: f32) -> Result<(), ConvertError> {
        let inputs = self.half_pair(node)?;
        let y = self.add_value(node.output);
        let params = MulHalfParams { factor };
        self.op(&node.name, OpKind::Mul, inputs, vec![y], None, &params);
        Ok(())
    }

    pub(super) fn half_add_constant(
        &mut self,
        node: &Node,
        constant: &[f32],
        clamp: Clamp,
    ) -> Result<(), ConvertError> {
        let (constant, positions, inputs) = self.positioned(node, constant);
        let y = self.add_value(node.output);
        let (min, max) = limits(clamp);
        let params = AddConstantHalfParams {
            constant: self.program.weights(&halves(node, constant.iter())?),
            positions,
            min,
            max,
        };
        self.op(
            &node.name,
            OpKind::AddConstant,
            inputs,
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    pub(super) fn half_embedding(
        &mut self,
        node: &Node,
        table: &ArrayD<f32>,
    ) -> Result<(), ConvertError> {
        let (tokens, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = EmbeddingHalfParams {
            table: self.program.weights(&halves(node, table.iter())?),
            tokens: table.shape()[0] as u32,
        };
        self.op(
            &node.name,
            OpKind::Embedding,
            vec![tokens],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    pub(super) fn half_layer_norm(
        &mut self,
        node: &Node,
        op: &op::LayerNorm,
    ) -> Result<(), ConvertError> {
        let (gamma, beta, epsilon, centre) = (&op.gamma, &op.beta, op.epsilon, op.centre);
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = LayerNormHalfParams {
            gamma: self.program.weights(gamma),
            beta: self.program.weights(beta),
            epsilon,
            centre: u32::from(centre),
        };
        self.op(
            &node.name,
            OpKind::LayerNorm,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    pub(super) fn half_additive_attention(
        &mut self,
        node: &Node,
        v: &[f32],
        tanh: bool,
    ) -> Result<(), ConvertError> {
        let inputs = node.inputs.iter().map(|&id| self.tensor(id)).collect();
        let context = self.add_value(node.output);
        let weights = node.second.map(|weights| self.add_value(weights));
        let params = AdditiveAttentionHalfParams {
            v: self.program.weights(v),
            tanh: tanh.into(),
        };
        let rows = self.graph.values[node.inputs[1].0].rows();
        let scratch = self.half_scratch(node, v.len() + rows);
        let outputs = [Some(context), weights].into_iter().flatten().collect();
        let kind = OpKind::AdditiveAttention;
        self.op(&node.name, kind, inputs, outputs, scratch, &params);
        Ok(())
    }

    /// An operator without parameters.
    pub(super) fn half_plain(&mut self, node: &Node, kind: OpKind) -> Result<(), ConvertError> {
        let inputs = node.inputs.iter().map(|&id| self.tensor(id)).collect();
        let y = self.add_value(node.output);
        self.op(&node.name, kind, inputs, vec![y], None, &[0u8; 0]);
        Ok(())
    }
}
