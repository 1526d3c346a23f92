//! Bytes that end where their allocation ends, so that AddressSanitizer sees the first one behind them.

/// Bytes at a multiple of 16, as models and arenas must be.
#[derive(Clone, Debug)]
pub struct Exact(Box<[u8]>);

impl Exact {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let bytes: Box<[u8]> = bytes.into();
        // Allocators of computers align every block so; an empty one has no block.
        assert!(bytes.is_empty() || bytes.as_ptr().addr().is_multiple_of(16));
        Self(bytes)
    }

    /// `len` bytes of this value.
    pub fn filled(len: usize, value: u8) -> Self {
        Self::new(&vec![value; len])
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
