//! A user LED of the MPS2 machines.

use core::convert::Infallible;
use embedded_hal::digital::{ErrorType, OutputPin};

/// User LED 0: bit 0 of the FPGAIO block's LED register.
#[derive(Debug)]
pub struct Led {
    register: *mut u32,
}

impl Led {
    /// The LED behind this register.
    ///
    /// # Safety
    /// `register` must be the machine's LED register, and nothing else may use it.
    pub const unsafe fn at(register: usize) -> Self {
        Self {
            register: register as *mut u32,
        }
    }

    fn set(&mut self, on: bool) {
        // SAFETY: by the contract of `at` this is the LED register, used by nothing else.
        unsafe { self.register.write_volatile(u32::from(on)) };
    }
}

impl ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}
