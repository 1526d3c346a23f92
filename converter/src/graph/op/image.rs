//! Operators over images.

use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use crate::graph::op::{Affine, Window};
use attn_runtime::format::OpKind;

/// The reason why none of them works frame by frame.
const IMAGE: &str = "it works on a whole image: convert the whole window, or convolve over time";

/// Convolution over an image; `x: [h, w, in]`, result `[h_out, w_out, out]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Weights `[out, kernel height, kernel width, in]`, bias, clamp.
    pub affine: Affine,
    /// Kernel size, stride, dilation and padding over the image.
    pub window: Window,
}

impl Operator for Conv2d {
    fn affine(&self) -> Option<(&Affine, usize)> {
        Some((&self.affine, 0))
    }

    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        Some((&mut self.affine, 0))
    }

    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Runtime(OpKind::Conv2d),
            IMAGE,
            Held::Free,
            Weighted::Image(self.window),
        )
    }
}

/// Depthwise convolution over an image; `x: [h, w, c]`, result `[h_out, w_out, c]`.
#[derive(Clone, Debug)]
pub struct DepthwiseConv2d {
    /// Weights `[kernel height, kernel width, channels]`, bias, clamp.
    pub affine: Affine,
    /// Kernel size, stride, dilation and padding over the image.
    pub window: Window,
}

impl Operator for DepthwiseConv2d {
    fn affine(&self) -> Option<(&Affine, usize)> {
        Some((&self.affine, 2))
    }

    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        Some((&mut self.affine, 2))
    }

    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Runtime(OpKind::DepthwiseConv2d),
            IMAGE,
            Held::Free,
            Weighted::None,
        )
    }
}

/// Transposed convolution over an image; `x: [h, w, in]`, result `[h_out, w_out, out]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    /// Weights `[out, kernel height, kernel width, in]`, bias, clamp.
    pub affine: Affine,
    /// Pixels of the result from one pixel of the input to the next.
    pub stride: [usize; 2],
    /// Rows and columns cut from the full result above and to the left.
    pub crop: [usize; 2],
}

impl Operator for ConvTranspose2d {
    fn affine(&self) -> Option<(&Affine, usize)> {
        Some((&self.affine, 0))
    }

    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        Some((&mut self.affine, 0))
    }

    fn facts(&self, _channels: usize) -> Facts {
        // All phases read the same pixels.
        let part =
            [0, 1].map(|axis| self.affine.weight.shape()[1 + axis].div_ceil(self.stride[axis]));
        let around = part.map(|size| size.saturating_sub(1));
        Facts {
            kind: Kind::Runtime(OpKind::ConvTranspose2d),
            rows: Rows::All { reason: IMAGE },
            positions: Positions::None,
            shortens: false,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::Image(Window {
                kernel: part,
                stride: [1; 2],
                dilation: [1; 2],
                pad_before: around,
                pad_after: around,
            }),
        }
    }
}

/// Largest value under a window, for each channel; padding does not count. `x: [h, w, c]`.
#[derive(Clone, Debug)]
pub struct MaxPool2d {
    /// Window size, stride and padding over the image.
    pub window: Window,
}

impl Operator for MaxPool2d {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Runtime(OpKind::MaxPool2d),
            IMAGE,
            Held::AsInput,
            Weighted::None,
        )
    }

    fn keeps_channels(&self) -> bool {
        true
    }
}

/// Mean under a window, for each channel; padding counts as 0. `x: [h, w, c]`.
#[derive(Clone, Debug)]
pub struct AveragePool2d {
    /// Window size, stride and padding over the image.
    pub window: Window,
}

impl Operator for AveragePool2d {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::whole(
            Kind::Runtime(OpKind::AveragePool2d),
            IMAGE,
            Held::Free,
            Weighted::None,
        )
    }

    fn keeps_channels(&self) -> bool {
        true
    }
}
