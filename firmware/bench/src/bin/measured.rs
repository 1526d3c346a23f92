//! The model of ATTN_MODEL on an emulated core, operator by operator. Counted regions, in this order: parsing; then for each entry point each
//! of its operators, and a whole run. Inputs are noise; state is as full as it gets. Prints `stack BYTES`.
#![no_std]
#![no_main]

use attn_emulated::bench::{bench_begin, bench_end};
use attn_emulated::host::{self, Decimal, fail};
use attn_emulated::stack;
use attn_runtime::{Arena, DType, Model, Progress, Session, SessionError, Storage};
use core::panic::PanicInfo;
use semihosting::process;

attn_runtime::include_model!(
    /// The model of the environment variable ATTN_MODEL.
    mod model = concat!(env!("OUT_DIR"), "/model.attn")
);

/// Runs after which state counts as full, though it still fills.
const MOST_RUNS: usize = 4096;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail("panicked")
}

/// Runs `work` as a counted region.
fn region<R>(work: impl FnOnce() -> R) -> R {
    bench_begin();
    let result = work();
    bench_end();
    result
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ARENA: Arena<{ model::ARENA_LEN }> = model::arena();
    let Ok(model) = region(model::model) else {
        fail("the runtime refuses the model");
    };
    let Ok(mut session) = Session::new(model, ARENA.as_mut_slice()) else {
        fail("no session");
    };
    let mut noise = Noise(1);
    for entry in 0..model.entries().len() {
        if measure(&mut session, entry, &mut noise).is_err() {
            fail("the model failed while running");
        }
    }
    host::print(&["stack", Decimal::new(stack::high_water() as u32).text()]);
    process::exit(0)
}

fn measure(session: &mut Session, entry: usize, noise: &mut Noise) -> Result<(), SessionError> {
    let model = session.model();
    for _ in 0..MOST_RUNS {
        let before = filled(session, &model);
        noise.fill(session, entry)?;
        session.run(entry)?;
        if filled(session, &model) == before {
            break;
        }
    }
    noise.fill(session, entry)?;
    session.start(entry)?;
    while region(|| session.run_ops(1))? == Progress::More {}
    noise.fill(session, entry)?;
    region(|| session.run(entry))
}

/// Rows in use of all rings of keys and values: the second of the two numbers of a ring.
fn filled(session: &Session, model: &Model) -> u32 {
    let tensors = model.tensors().iter().enumerate();
    let rings = tensors.filter(|(_, tensor)| {
        tensor.storage() == Storage::State && tensor.dtype() == DType::I32 && tensor.len() == 2
    });
    let rows = rings.filter_map(|(id, _)| {
        let &[_, _, _, _, a, b, c, d] = session.tensor_bytes(id)? else {
            return None;
        };
        Some(u32::from_le_bytes([a, b, c, d]))
    });
    rows.fold(0, u32::wrapping_add)
}

/// Numbers without pattern: a linear congruential generator.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as u16
    }

    /// Fills all inputs of an entry point: integers over their whole range, halves from 0.5 to 1 of either sign, symbols from 0 to 7.
    fn fill(&mut self, session: &mut Session, entry: usize) -> Result<(), SessionError> {
        let model = session.model();
        let inputs = model
            .entries()
            .get(entry)
            .map_or(0, |entry| entry.inputs().count());
        for index in 0..inputs {
            match session.input_record(entry, index)?.dtype() {
                DType::I8 => {
                    let bytes = session.input::<i8>(entry, index)?;
                    bytes.fill_with(|| self.next() as i8);
                }
                DType::I16 => {
                    let words = session.input::<i16>(entry, index)?;
                    words.fill_with(|| self.next() as i16);
                }
                DType::I32 => {
                    let symbols = session.input::<i32>(entry, index)?;
                    symbols.fill_with(|| i32::from(self.next() & 7));
                }
                DType::F16 => self.fill_halves(session, entry, index)?,
            }
        }
        Ok(())
    }

    #[cfg(target_abi = "eabihf")]
    fn fill_halves(
        &mut self,
        session: &mut Session,
        entry: usize,
        index: usize,
    ) -> Result<(), SessionError> {
        use attn_runtime::f16;
        let halves = session.input::<f16>(entry, index)?;
        halves.fill_with(|| f16::from_bits(self.next() & 0x83ff | 0x3800));
        Ok(())
    }

    /// Parsing refuses half precision without a floating-point unit.
    #[cfg(not(target_abi = "eabihf"))]
    fn fill_halves(&mut self, _: &mut Session, _: usize, _: usize) -> Result<(), SessionError> {
        Ok(())
    }
}
