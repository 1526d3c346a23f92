//! Conv2d, DepthwiseConv2d and ConvTranspose2d over images: input `[h, w, c]`, output `[h_out, w_out, out]`. Integer: int8
//! or int16 each; Conv2d and ConvTranspose2d need scratch int16, see [`Window2d::scratch_len`]. Half: the two need scratch
//! f32 for the values under the kernel.

use super::activations::check_activations;
use super::arena::{Values, by_width};
use super::linear::LinearParams;
use super::{OpError, OpView, Uses, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::geometry::{Image, MAX_PHASES, MAX_ROWS, MAX_SPAN, Window2d};
use crate::kernels::int::conv2d::{conv_transpose2d, conv2d};
use crate::kernels::int::depthwise::depthwise_conv2d;
use crate::kernels::int::dot::packed_len;
use crate::kernels::int::linear::Matrix;
use crate::kernels::int::requantize::Output;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How a window moves over an image. Pairs are (vertical, horizontal), all in pixels.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Window2dParams {
    /// Size of the window.
    pub kernel: [u32; 2],
    /// From one position to the next.
    pub stride: [u32; 2],
    /// Padding above and to the left of the image.
    pub pad_before: [u32; 2],
    /// Padding below and to the right of it.
    pub pad_after: [u32; 2],
    /// Left out between two taps of the window: its dilation less 1. 0 but for Conv2d and DepthwiseConv2d.
    pub gap: [u32; 2],
}

/// Parameters of Conv2d. Weights are packed `[out, span]`, see [`Window2d::span`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conv2dParams {
    /// Weights and requantization.
    pub matrix: LinearParams,
    /// The kernel's way.
    pub window: Window2dParams,
}

/// Parameters of DepthwiseConv2d: the same, with weights `[kernel height, kernel width, c]` as they are.
pub type DepthwiseConv2dParams = Conv2dParams;

/// Parameters of ConvTranspose2d: the same for each of `stride[0] * stride[1]` phases, one behind the other, and `kernel` is
/// the part of the kernel that one phase has. `pad_before` is what the full result loses above and to the left; `pad_after`
/// is not looked at, for the output says where the result ends.
pub type ConvTranspose2dParams = Conv2dParams;

/// Height, width and channels of an image; its size is fixed.
pub(super) fn size(image: &TensorRecord) -> Result<[usize; 3], OpError> {
    match *image.shape() {
        [h, w, c] if image.rows_rule == 0 => Ok([h as usize, w as usize, c as usize]),
        _ => Err(OpError::WrongShape),
    }
}

/// The values of an image.
pub(super) fn image<'x, X>(values: &'x [X], [_, width, channels]: [usize; 3]) -> Image<'x, X> {
    Image {
        values,
        width,
        channels,
    }
}

impl Window2dParams {
    /// Everything but the shapes.
    pub(super) fn check_ranges(&self) -> Result<(), OpError> {
        let Self {
            kernel,
            stride,
            pad_before,
            pad_after,
            gap,
        } = self;
        let all = [kernel, stride, pad_before, pad_after, gap];
        let small = all.into_iter().flatten().all(|&n| n <= MAX_ROWS);
        let positive = kernel.iter().chain(stride).all(|&n| n > 0);
        require(small && positive, OpError::BadParams)
    }

    /// The output must be as large as the window has positions.
    pub(super) fn check(&self, x: &TensorRecord, y: &TensorRecord) -> Result<(), OpError> {
        self.check_ranges()?;
        let ([h, w, _], [y_h, y_w, _]) = (size(x)?, size(y)?);
        let fits = |from: usize, to: usize, [kernel, stride, before, after, gap]: [u32; 5]| {
            let padded = from
                .saturating_add(before as usize)
                .saturating_add(after as usize);
            // From the first tap to the last, both counted.
            let reach = 1 + u64::from(kernel - 1) * u64::from(gap + 1);
            let steps = padded
                .checked_sub(usize::try_from(reach).unwrap_or(usize::MAX))
                .and_then(|steps| steps.checked_div(stride as usize));
            steps.is_some_and(|steps| to == 1 + steps)
        };
        let [vertical, horizontal] = self.axes();
        let both = fits(h, y_h, vertical) && fits(w, y_w, horizontal);
        require(both, OpError::WrongShape)
    }

    /// Some pixel of the image is under the window wherever it stands.
    pub(super) fn check_padding(&self) -> Result<(), OpError> {
        let inside = |[kernel, _, before, after, _]: [u32; 5]| before < kernel && after < kernel;
        require(self.axes().into_iter().all(inside), OpError::BadParams)
    }

    /// The taps of the window are adjacent.
    pub(super) fn check_dense(&self) -> Result<(), OpError> {
        require(self.gap == [0; 2], OpError::BadParams)
    }

    /// Kernel, stride, padding before and after, and gap of either axis.
    fn axes(&self) -> [[u32; 5]; 2] {
        let (k, s, b, a) = (self.kernel, self.stride, self.pad_before, self.pad_after);
        let g = self.gap;
        [
            [k[0], s[0], b[0], a[0], g[0]],
            [k[1], s[1], b[1], a[1], g[1]],
        ]
    }

    /// Phases of a transposed convolution.
    fn phases(&self) -> Result<usize, OpError> {
        let [down, right] = self.stride.map(|n| n as usize);
        let phases = down.checked_mul(right).filter(|&n| n <= MAX_PHASES);
        phases.ok_or(OpError::BadParams)
    }

    /// Counts what a window goes through that does not multiply weights.
    pub(super) fn count(&self, op: &OpView) -> Result<(), OpError> {
        let [height, width] = self.kernel.map(|n| n as usize);
        op.count_macs(op.output()?.len(), height.saturating_mul(width));
        Ok(())
    }

    pub(super) fn window(&self, x: &TensorRecord) -> Window2d {
        Window2d {
            kernel: self.kernel.map(|n| n as usize),
            stride: self.stride.map(|n| n as usize),
            dilation: self.gap.map(|n| n as usize + 1),
            pad: self.pad_before.map(|n| n as usize),
            pad_value: x.zero_point,
        }
    }
}

impl Conv2dParams {
    /// The window of a full convolution over `x`, whose scratch and weights stay within 2^28 elements.
    fn full(&self, x: &TensorRecord) -> Result<Window2d, OpError> {
        let [height, width] = self.window.kernel.map(u64::from);
        let [_, _, c] = size(x)?;
        // Both factors are at most 2^20 and 2^28.
        let row = (width * c as u64).next_multiple_of(4);
        let small = row < MAX_SPAN as u64 && height * row < MAX_SPAN as u64;
        require(small, OpError::BadParams)?;
        Ok(self.window.window(x))
    }
}

fn check_both(op: &OpView) -> Result<(), OpError> {
    let tensors = check_activations(op)?;
    require(op.input_count() == 1, OpError::WrongShape)?;
    op.require_disjoint(&tensors)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    check_both(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<Conv2dParams>()?;
    params.window.check(x, y)?;
    let window = params.full(x)?;
    let c = x.channels();
    op.scratch(DType::I16, window.scratch_len(c, 1))?;
    let packed = packed_len(y.channels(), window.span(c));
    params.matrix.check(op, packed, window.span(c))
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<{ Uses::ALL }, false>(op, arena)
}

pub(super) fn run_joined<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, true>(op, arena)
}

fn run_with<const USES: u8, const JOINED: bool>(
    op: &OpView,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let params = op.params::<Conv2dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let window = params.full(x)?;
    let packed = packed_len(y.channels(), window.span(x.channels()));
    let matrix = params.matrix.matrix::<JOINED>(op, y.channels(), packed)?;
    let output = params.matrix.output(op, y.channels(), y.zero_point)?;
    let (from, [_, width, _]) = (size(x)?, size(y)?);
    let (window, matrix, output) = (&window, &matrix, &output);
    let (x, y, scratch) = op.with_pairs(arena, window.scratch_len(from[2], 1))?;
    by_width!(USES; x, y => conv2d(&image(x, from), window, matrix, output, scratch, y, width));
    Ok(())
}

pub(super) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
    check_both(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<DepthwiseConv2dParams>()?;
    params.window.check(x, y)?;
    require(x.channels() == y.channels(), OpError::WrongShape)?;
    let window = params.full(x)?;
    params
        .matrix
        .check_apart(op, window.kernel[0] * window.kernel[1])
}

/// Weights of a depthwise convolution.
fn taps(window: &Window2d, x: &TensorRecord) -> usize {
    window.kernel[0] * window.kernel[1] * x.channels()
}

pub(super) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<DepthwiseConv2dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let (window, from, [_, width, c]) = (params.full(x)?, size(x)?, size(y)?);
    let matrix = params.matrix.matrix(op, c, taps(&window, x))?;
    let output = params.matrix.output(op, y.channels(), y.zero_point)?;
    let (window, matrix, output) = (&window, &matrix, &output);
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(x, y => depthwise_conv2d(&image(x, from), window, matrix, output, y, width));
    Ok(())
}

impl ConvTranspose2dParams {
    /// Weights, biases and multipliers of all phases.
    fn all_phases<'a>(
        &self,
        op: &OpView<'a>,
        window: &Window2d,
    ) -> Result<(Matrix<'a>, Output<'a>), OpError> {
        let (x, y, phases) = (op.input(0)?, op.output()?, self.window.phases()?);
        let packed = packed_len(y.channels(), window.span(x.channels()));
        let out = y.channels().saturating_mul(phases);
        let matrix = self.matrix.matrix(op, out, packed.saturating_mul(phases))?;
        Ok((matrix, self.matrix.output(op, out, y.zero_point)?))
    }
}

pub(super) fn check_transposed(op: &OpView) -> Result<(), OpError> {
    check_both(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<ConvTranspose2dParams>()?;
    params.window.check_ranges()?;
    params.window.check_dense()?;
    size(y)?;
    let window = params.full(x)?;
    op.scratch(DType::I16, window.scratch_len(x.channels(), 1))?;
    params.all_phases(op, &window)?;
    params.matrix.check_ranges(y.dtype())?;
    let span = window.span(x.channels());
    let (out, packed) = (y.channels(), packed_len(y.channels(), span));
    // A result has one of the phases.
    op.count_macs(y.rows(), packed);
    for phase in 0..params.window.phases()? {
        params.matrix.check_phase(op, phase, out, (packed, span))?;
    }
    Ok(())
}

pub(super) fn run_transposed(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<ConvTranspose2dParams>()?;
    let window = params.full(op.input(0)?)?;
    let (matrix, output) = params.all_phases(op, &window)?;
    let (from, [_, width, out]) = (size(op.input(0)?)?, size(op.output()?)?);
    let (window, matrix, output) = (&window, &matrix, &output);
    let (x, y, scratch) = op.with_pairs(arena, window.scratch_len(from[2], 1))?;
    by_width!(x, y => {
        let x = &image(x, from);
        conv_transpose2d(x, window, matrix, output, scratch, y, [width, out]);
    });
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_tensors, packed, scratch, with_wide};
    use super::super::linear::half::LinearHalfParams;
    use super::*;
    use crate::f16;
    use crate::kernels::half::linear::Matrix;
    use crate::kernels::half::{Clamp, image as kernels, packed_len};

    /// Parameters of Conv2d in half precision. Weights are packed `[out, kernel height * kernel width * c]`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct Conv2dHalfParams {
        /// Weights and limits.
        pub matrix: LinearHalfParams,
        /// The kernel's way.
        pub window: Window2dParams,
    }

    /// Parameters of DepthwiseConv2d in half precision: the same, with float16 weights `[kernel height, kernel width, c]`.
    pub type DepthwiseConv2dHalfParams = Conv2dHalfParams;

    /// Parameters of ConvTranspose2d in half precision: the same for each phase, one behind the other, as in the integer form.
    pub type ConvTranspose2dHalfParams = Conv2dHalfParams;

    impl Conv2dHalfParams {
        /// The window over `x`, and the values under it.
        fn window(&self, x: &TensorRecord) -> Result<(Window2d, usize), OpError> {
            let [height, width] = self.window.kernel.map(|n| n as usize);
            let span = size(x)?[2]
                .checked_mul(width)
                .and_then(|row| row.checked_mul(height))
                .filter(|&span| span < MAX_SPAN);
            Ok((self.window.window(x), span.ok_or(OpError::BadParams)?))
        }

        /// Weights and biases of `phases` kernels.
        fn matrix<'a>(
            &self,
            op: &OpView<'a>,
            span: usize,
            phases: usize,
        ) -> Result<Matrix<'a>, OpError> {
            let out = op.output()?.channels();
            let groups = packed_len(out, span).saturating_mul(phases);
            Ok(Matrix {
                weights: packed(op, self.matrix.weights, groups)?,
                bias: op.weights(self.matrix.bias, out.saturating_mul(phases))?,
            })
        }
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let params = op.params::<Conv2dHalfParams>()?;
        params.matrix.clamp()?;
        params.window.check(op.input(0)?, op.output()?)?;
        let (_, span) = params.window(op.input(0)?)?;
        params.matrix(op, span, 1)?;
        op.count_macs(op.output()?.len(), span);
        scratch(op, span).map(drop)
    }

    /// What a convolution needs.
    struct Operands<'a, 't> {
        x: Image<'t, f16>,
        window: Window2d,
        matrix: Matrix<'a>,
        clamp: Clamp,
        wide: &'t mut [f32],
        y: &'t mut [f16],
        /// Width and channels of the result.
        size: [usize; 2],
    }

    impl Conv2dHalfParams {
        fn operands<'a, 't>(
            &self,
            op: &OpView<'a>,
            phases: usize,
            arena: &'t mut [u8],
        ) -> Result<Operands<'a, 't>, OpError> {
            let (window, span) = self.window(op.input(0)?)?;
            let (from, [_, width, out]) = (size(op.input(0)?)?, size(op.output()?)?);
            let (x, y, wide) = with_wide(op, arena, span)?;
            Ok(Operands {
                x: image(x, from),
                window,
                matrix: self.matrix(op, span, phases)?,
                clamp: self.matrix.clamp()?,
                wide,
                y,
                size: [width, out],
            })
        }
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let o = op.params::<Conv2dHalfParams>()?.operands(op, 1, arena)?;
        kernels::conv2d(&o.x, &o.window, &o.matrix, o.clamp, o.wide, o.y, o.size[0]);
        Ok(())
    }

    pub(in crate::ops) fn check_transposed(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let params = op.params::<ConvTranspose2dHalfParams>()?;
        params.matrix.clamp()?;
        params.window.check_ranges()?;
        params.window.check_dense()?;
        size(op.output()?)?;
        let (_, span) = params.window(op.input(0)?)?;
        params.matrix(op, span, params.window.phases()?)?;
        op.count_macs(op.output()?.len(), span);
        scratch(op, span).map(drop)
    }

    pub(in crate::ops) fn run_transposed(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<ConvTranspose2dHalfParams>()?;
        let o = params.operands(op, params.window.phases()?, arena)?;
        kernels::conv_transpose2d(&o.x, &o.window, &o.matrix, o.clamp, o.wide, o.y, o.size);
        Ok(())
    }

    pub(in crate::ops) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let (x, y) = (op.input(0)?, op.output()?);
        let params = op.params::<DepthwiseConv2dHalfParams>()?;
        params.matrix.clamp()?;
        params.window.check(x, y)?;
        require(x.channels() == y.channels(), OpError::WrongShape)?;
        let (window, span) = params.window(x)?;
        op.count_macs(y.len(), window.kernel[0] * window.kernel[1]);
        params.matrix.apart(op, span).map(drop)
    }

    pub(in crate::ops) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<DepthwiseConv2dHalfParams>()?;
        let (x, y) = (op.input(0)?, op.output()?);
        let ((window, span), from, [_, width, _]) = (params.window(x)?, size(x)?, size(y)?);
        let (weights, bias) = params.matrix.apart(op, span)?;
        let [x, y] = op.typed(arena, [x, y])?;
        let (x, clamp) = (image(x, from), params.matrix.clamp()?);
        kernels::depthwise_conv2d(&x, &window, weights, bias, clamp, y, width);
        Ok(())
    }
}
