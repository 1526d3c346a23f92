//! Measures the depth of the stack. cortex-m-rt (feature `paint-stack`) fills the stack with a pattern before `main`; words
//! without the pattern were used.

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of stack that have been in use since the start.
pub fn high_water() -> usize {
    let top = &raw const _stack_start;
    let mut at = &raw const _stack_end;
    // SAFETY: every word from `_stack_end` up to `_stack_start` is RAM of this program. They are read one by one,
    // volatile, because the running program also writes there.
    while at < top && unsafe { at.read_volatile() } == STACK_PAINT_VALUE {
        at = at.wrapping_add(1);
    }
    top as usize - at as usize
}
