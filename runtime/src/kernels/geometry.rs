//! Shapes, windows and limits that every encoding shares. No arithmetic on values, no layout of packed weights.

use core::ops::Range;

/// Most rows, or pixels of either axis, under a window, between two of its positions, or of padding.
pub const MAX_ROWS: u32 = 1 << 20;
/// Inputs of one result of a convolution stay below this.
pub const MAX_SPAN: usize = 1 << 28;
/// Most phases of a transposed convolution.
pub const MAX_PHASES: usize = 64;
/// Most heads of attention.
pub const MAX_HEADS: u32 = 64;
/// Most channels of a head.
pub const MAX_WIDTH: u32 = 1 << 16;
/// Elements of a ring tensor: next slot to overwrite, number of slots filled.
pub const RING_LEN: usize = 2;
/// Positions of a table, and the end of a stream's counter.
pub const MAX_POSITIONS: u32 = 1 << 20;

/// What a step of a recurrent layer computes; the code in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cell {
    /// One gate, whose result is the state.
    Rnn = 0,
    /// Gates z, r, n; the reset gate multiplies the state before it is multiplied with the weights.
    GruResetBefore = 1,
    /// Gates z, r, n; the reset gate multiplies what the weights and their bias make of the state.
    GruResetAfter = 2,
    /// Gates i, o, f, g, and a cell.
    Lstm = 3,
    /// The same with `1 - i` in place of f.
    LstmCoupled = 4,
}

impl Cell {
    /// The cell with this code.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Rnn),
            1 => Some(Self::GruResetBefore),
            2 => Some(Self::GruResetAfter),
            3 => Some(Self::Lstm),
            4 => Some(Self::LstmCoupled),
            _ => None,
        }
    }

    /// Matrices on each side.
    pub const fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::GruResetBefore | Self::GruResetAfter => 3,
            Self::Lstm | Self::LstmCoupled => 4,
        }
    }

    /// True for those that keep a cell besides the state.
    pub const fn is_lstm(self) -> bool {
        matches!(self, Self::Lstm | Self::LstmCoupled)
    }
}

/// How a kernel moves over the rows of its input.
#[derive(Clone, Copy, Debug)]
pub struct Window1d {
    /// Rows under the kernel.
    pub kernel: usize,
    /// Rows from one position to the next.
    pub stride: usize,
    /// Rows from one tap of the kernel to the next.
    pub dilation: usize,
    /// Rows of padding before the first.
    pub pad_before: usize,
    /// Value of padding: the input's zero point.
    pub pad_value: i32,
}

impl Window1d {
    /// The same window over an image of one column.
    pub fn over_a_column(&self) -> Window2d {
        Window2d {
            kernel: [self.kernel, 1],
            stride: [self.stride, 1],
            dilation: [self.dilation, 1],
            pad: [self.pad_before, 0],
            pad_value: self.pad_value,
        }
    }
}

/// An image `[height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Image<'x, X> {
    /// All values, row by row, pixel by pixel.
    pub values: &'x [X],
    /// Pixels in a row.
    pub width: usize,
    /// Values in a pixel.
    pub channels: usize,
}

impl<'x, X> Image<'x, X> {
    /// Rows `[t, channels]` as an image of one column.
    pub fn column(values: &'x [X], channels: usize) -> Self {
        Self {
            values,
            width: 1,
            channels,
        }
    }

    /// Pixel `x` of a row, if it has it: `[channels]`.
    #[inline(always)]
    pub fn pixel(&self, row: &'x [X], x: isize) -> Option<&'x [X]> {
        let start = usize::try_from(x).ok()?.checked_mul(self.channels)?;
        row.get(start..start.checked_add(self.channels)?)
    }

    /// Row `y`, if the image has it: `[width, channels]`.
    #[inline(always)]
    pub fn row(&self, y: isize) -> Option<&'x [X]> {
        let len = self.width * self.channels;
        let start = usize::try_from(y).ok()?.checked_mul(len)?;
        self.values.get(start..start.checked_add(len)?)
    }
}

/// How a kernel moves over an image; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug)]
pub struct Window2d {
    /// Pixels under the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one position to the next.
    pub stride: [usize; 2],
    /// Pixels from one tap of the kernel to the next.
    pub dilation: [usize; 2],
    /// Pixels of padding above and to the left of the image.
    pub pad: [usize; 2],
    /// Value of padding: the input's zero point.
    pub pad_value: i32,
}

impl Window2d {
    /// Row and column of the image at which the kernel starts for a result.
    pub(super) fn start(&self, row: usize, column: usize) -> [isize; 2] {
        let at = |position: usize, stride: usize, pad: usize| {
            (position.wrapping_mul(stride) as isize).wrapping_sub(pad as isize)
        };
        let ([down, right], [above, left]) = (self.stride, self.pad);
        [at(row, down, above), at(column, right, left)]
    }

    /// Where the part of a transposed kernel that a result has starts, and the number of that part (its *phase*).
    pub(super) fn phase(&self, row: usize, column: usize) -> ([isize; 2], usize) {
        let ([down, right], [above, left]) = (self.stride.map(|n| n.max(1)), self.pad);
        let first = |at: usize, taps: usize| (at as isize).wrapping_sub(taps as isize) + 1;
        let ((row, phase), (column, phase_column)) = (
            ((row + above) / down, (row + above) % down),
            ((column + left) / right, (column + left) % right),
        );
        let start = [first(row, self.kernel[0]), first(column, self.kernel[1])];
        (start, phase * right + phase_column)
    }

    /// Row (axis 0) or column (axis 1) of the image under a tap, where the kernel starts at `start`.
    #[inline(always)]
    pub(super) fn under(&self, axis: usize, start: isize, tap: usize) -> isize {
        let dilation = if axis == 0 {
            self.dilation[0]
        } else {
            self.dilation[1]
        };
        start.wrapping_add(tap.wrapping_mul(dilation) as isize)
    }
}

/// The taps of one axis, in a kernel of `kernel` taps, that meet one of `len` pixels, where the first tap meets pixel `start`.
pub(super) fn inside(kernel: usize, dilation: usize, start: isize, len: usize) -> Range<usize> {
    let step = dilation.max(1);
    let taps = |pixels: isize| {
        let pixels = usize::try_from(pixels).unwrap_or(0);
        let taps = if step == 1 {
            pixels
        } else {
            pixels.div_ceil(step)
        };
        taps.min(kernel)
    };
    let first = taps(start.wrapping_neg());
    first..taps((len as isize).wrapping_sub(start)).max(first)
}

/// How the channels of a row are turned: heads of `head_dim` channels alike.
#[derive(Clone, Copy, Debug)]
pub struct Turns<'w, A> {
    /// Channels of a head.
    pub head_dim: usize,
    /// Pairs that are turned, at most `head_dim / 2`; the other channels stay.
    pub pairs: usize,
    /// Pairs are neighbours `(2i, 2i + 1)`, not halves `(i, pairs + i)`.
    pub interleaved: bool,
    /// `[rows, pairs]` of cosine and sine.
    pub table: &'w [[A; 2]],
}

impl<'w, A> Turns<'w, A> {
    /// Angles of row `position`; of the last one that the table has for any beyond.
    fn angles(&self, position: usize) -> &'w [[A; 2]] {
        let pairs = self.pairs.max(1);
        let rows = self.table.len() / pairs;
        let start = position.min(rows.saturating_sub(1)).saturating_mul(pairs);
        let end = start.saturating_add(pairs);
        self.table.get(start..end).unwrap_or(&[])
    }

    /// Calls `turn` with every head of `x` and `y: [rows, channels]` and its angles; the first row stands at `first`.
    pub(super) fn each_head<X, Y>(
        &self,
        x: &[X],
        channels: usize,
        first: usize,
        y: &mut [Y],
        turn: impl Fn(&[X], &'w [[A; 2]], &mut [Y]),
    ) {
        let (channels, d) = (channels.max(1), self.head_dim.max(1));
        let rows = x.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
        for (row, (x, y)) in rows.enumerate() {
            let angles = self.angles(first.saturating_add(row));
            for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
                turn(x, angles, y);
            }
        }
    }
}

/// Shape of an attention window.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of heads.
    pub heads: usize,
    /// Heads of keys and values, a divisor of `heads`: adjacent heads of queries share one.
    pub key_heads: usize,
    /// Channels per head of queries and keys.
    pub head_dim: usize,
    /// Channels per head of values.
    pub value_dim: usize,
    /// Keys and values that the window holds.
    pub slots: usize,
}

impl Shape {
    /// Whether a query sees `slot`: its bit in a mask, bit `slot % 32` of word `slot / 32`, is set.
    pub(super) fn sees(mask: &[u32], slot: usize) -> bool {
        mask.get(slot / 32)
            .is_some_and(|word| word >> (slot % 32) & 1 == 1)
    }

    /// Length of the keys of all heads, each a matrix `[slots, head_dim]` whose length `packed_len` gives.
    pub fn keys_len(&self, packed_len: impl Fn(usize, usize) -> usize) -> usize {
        packed_len(self.slots, self.head_dim).saturating_mul(self.key_heads)
    }

    /// Length of the values of all heads, each a matrix `[value_dim, slots]` whose length `packed_len` gives.
    pub fn values_len(&self, packed_len: impl Fn(usize, usize) -> usize) -> usize {
        packed_len(self.value_dim, self.slots).saturating_mul(self.key_heads)
    }

    /// Puts a key or a value `[key_heads * width]` into packed ones of `head_len` elements a head, each channel where
    /// `place` says.
    pub(super) fn scatter<K: Copy>(
        &self,
        (row, width): (&[K], usize),
        head_len: usize,
        packed: &mut [K],
        place: impl Fn(usize) -> usize,
    ) {
        let heads = packed.chunks_exact_mut(head_len.max(1));
        for (packed, row) in heads.zip(row.chunks_exact(width.max(1))) {
            for (channel, &k) in row.iter().enumerate() {
                if let Some(slot) = packed.get_mut(place(channel)) {
                    *slot = k;
                }
            }
        }
    }

    /// The biases of a head for one query, if there are any: `biases` has rows for one query or for all, of one head or of all.
    pub(super) fn bias<'b, B>(&self, biases: &'b [B], head: usize) -> Option<&'b [B]> {
        let heads = biases.len() / self.slots.max(1);
        let start = if heads > 1 { head * self.slots } else { 0 };
        biases.get(start..start + self.slots)
    }

    /// Words of a mask for one query, a bit for each slot.
    pub const fn mask_words(&self) -> usize {
        self.slots.div_ceil(u32::BITS as usize)
    }
}
