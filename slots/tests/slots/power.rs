//! Power is lost in every word that is written and every block that is erased, in seven ways, and then a second time in the update
//! after it. Each time the old or the new model works, and the next update succeeds.

use crate::flash::{Flash, Power, PowerLost, Torn};
use crate::models::{Refusal, Versions, model};
use attn_slots::{Policy, Slots, UpdateError};
use std::rc::Rc;

/// A device with two slots. It starts, receives models, and loses power.
#[derive(Clone)]
struct Device<const WRITE: usize, const ERASE: usize> {
    regions: [Flash<WRITE, ERASE>; 2],
    power: Rc<Power>,
}

impl<const WRITE: usize, const ERASE: usize> Device<WRITE, ERASE> {
    /// A new device, whose flash holds anything.
    fn new() -> Self {
        let power = Power::new();
        let regions = [0x00, 0xa5].map(|fill| Flash::new(&power, fill));
        Self { regions, power }
    }

    /// Starts; power will be lost at `cut`.
    fn start(self, cut: Option<(usize, Torn)>) -> Slots<Flash<WRITE, ERASE>> {
        let mut regions = self.regions;
        regions.iter_mut().for_each(Flash::start);
        self.power.start(cut);
        Slots::open(regions).unwrap()
    }

    /// The version in use and the oldest that may come, after a start.
    fn state(&self) -> (Option<u8>, u32) {
        let slots = self.clone().start(None);
        (version(&slots), slots.oldest())
    }

    /// The state after a start, and the device after it.
    fn started(self) -> (Self, (Option<u8>, u32)) {
        let power = self.power.clone();
        let slots = self.start(None);
        let state = (version(&slots), slots.oldest());
        let regions = slots.release();
        (Self { regions, power }, state)
    }

    /// Starts and receives a version, in pieces of 100 bytes. Says whether that was completed, and how many words and blocks it took.
    fn receive(self, new: u8, cut: Option<(usize, Torn)>) -> (Self, bool, usize) {
        let power = self.power.clone();
        let mut slots = self.start(cut);
        let result = receive(&mut slots, new);
        assert!(
            matches!(result, Ok(()) | Err(UpdateError::Flash(PowerLost))),
            "{result:?}"
        );
        assert_eq!(result.is_err(), power.lost.get());
        let (regions, done) = (slots.release(), power.done.get());
        let device = Self { regions, power };
        (device, result.is_ok(), done)
    }
}

fn version<const WRITE: usize, const ERASE: usize>(
    slots: &Slots<Flash<WRITE, ERASE>>,
) -> Option<u8> {
    let installed = slots.current(&Versions)?;
    let version = Versions.version(&installed.model);
    Some(version as u8)
}

fn receive<const WRITE: usize, const ERASE: usize>(
    slots: &mut Slots<Flash<WRITE, ERASE>>,
    new: u8,
) -> Result<(), UpdateError<PowerLost, Refusal>> {
    let before = version(slots);
    let mut update = slots.receive(&Versions)?;
    let in_use = update.in_use(&Versions);
    assert_eq!(in_use.is_some(), before.is_some());
    for piece in model(new).chunks(100) {
        update.push(piece)?;
    }
    update.finish()?;
    assert_eq!(version(slots), Some(new));
    Ok(())
}

/// A device in use: `a` was replaced by `b`, so both slots were written.
fn in_use<const WRITE: usize, const ERASE: usize>() -> Device<WRITE, ERASE> {
    let mut device = Device::new();
    for version in [b'a', b'b'] {
        let (next, done, _) = device.receive(version, None);
        assert!(done);
        device = next;
    }
    assert_eq!(device.state(), (Some(b'b'), b'b'.into()));
    device
}

/// Every device that a loss of power in an update to `new` can leave, with whether the update returned.
fn cuts<const WRITE: usize, const ERASE: usize>(
    device: &Device<WRITE, ERASE>,
    new: u8,
    mut each: impl FnMut(Device<WRITE, ERASE>, (usize, Torn)),
) -> usize {
    let (_, done, words) = device.clone().receive(new, None);
    assert!(done, "without a loss of power");
    for number in 0..words {
        for torn in Torn::ALL {
            let cut = (number, torn);
            let (cut_off, done, _) = device.clone().receive(new, Some(cut));
            assert!(!done, "{cut:?}");
            each(cut_off, cut);
        }
    }
    words * Torn::ALL.len()
}

/// The same after wear has damaged the newest model: the one before it is in use, but nothing older than the newest may come.
fn damaged<const WRITE: usize, const ERASE: usize>() -> Device<WRITE, ERASE> {
    let mut device = in_use();
    device.regions[1].damage(500);
    assert_eq!(device.state(), (Some(b'a'), b'b'.into()));
    device
}

/// Loses power once at every place of an update; returns how many losses there were.
fn once<const WRITE: usize, const ERASE: usize>(device: &Device<WRITE, ERASE>) -> usize {
    let (old, least) = device.state();
    let old = old.unwrap();
    let (mut olds, mut news) = (0, 0);
    let count = cuts(device, b'c', |device, cut| {
        // Two starts without an update between, so that what fades has faded; then one with it.
        let (device, (first, oldest)) = device.started();
        assert!(
            first == Some(old) || first == Some(b'c'),
            "{cut:?}: {first:?}"
        );
        assert!(oldest >= least.max(first.unwrap().into()), "{cut:?}");
        olds += usize::from(first == Some(old));
        news += usize::from(first == Some(b'c'));
        let (after, done, _) = device.clone().receive(b'd', None);
        assert!(
            done && after.state() == (Some(b'd'), b'd'.into()),
            "{cut:?}"
        );
        let (device, (second, oldest)) = device.started();
        assert!(oldest >= least, "{cut:?}");
        assert!(
            second == Some(old) || second == first,
            "{cut:?}: {first:?}, then {second:?}"
        );
        let (after, done, _) = device.receive(b'd', None);
        assert!(
            done && after.state() == (Some(b'd'), b'd'.into()),
            "{cut:?}"
        );
    });
    assert!(olds > 0 && news > 0, "{olds} old, {news} new");
    count
}

/// Loses power at every place of an update, and again at every place of the next.
fn twice<const WRITE: usize, const ERASE: usize>() -> usize {
    let mut count = 0;
    cuts(&in_use::<WRITE, ERASE>(), b'c', |device, first| {
        let (_, (before, _)) = device.clone().started();
        count += cuts(&device, b'd', |device, second| {
            let at = (first, second);
            let (device, (found, oldest)) = device.started();
            let allowed = [before, Some(b'b'), Some(b'd')];
            assert!(
                found.is_some() && allowed.contains(&found),
                "{at:?}: {found:?}"
            );
            assert!(oldest >= found.unwrap().into(), "{at:?}");
            let (after, done, _) = device.receive(b'e', None);
            assert!(done && after.state() == (Some(b'e'), b'e'.into()), "{at:?}");
        });
    });
    count
}

fn printed(what: &str, count: usize) {
    println!("{count} losses of power: {what}");
}

#[test]
fn a_loss_of_power_anywhere_leaves_the_old_or_the_new_model() {
    printed("words of 4 bytes", once(&in_use::<4, 512>()));
    printed("words of 8 bytes", once(&in_use::<8, 128>()));
    printed("words of 1 byte", once(&in_use::<1, 1024>()));
    printed("one block", once(&in_use::<16, 2048>()));
    printed("words of 128 bytes", once(&in_use::<128, 256>()));
}

#[test]
fn a_loss_of_power_beside_a_damaged_model_lets_no_older_one_come() {
    printed("newest damaged", once(&damaged::<4, 512>()));
    printed("newest damaged, small blocks", once(&damaged::<32, 128>()));
}

#[test]
fn a_second_loss_of_power_in_the_next_update_does_no_harm_either() {
    printed("twice, words of 32 bytes", twice::<32, 512>());
    printed("twice, small blocks", twice::<32, 128>());
}

#[test]
#[ignore = "takes long: a million losses of power"]
fn a_second_loss_of_power_does_no_harm_with_small_words_either() {
    printed("twice, words of 8 bytes", twice::<8, 512>());
}
