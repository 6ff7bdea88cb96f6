//! Layout asserts and the hash that names this ABI in the pin directory.

use crate::{
    counters::{Counter, Sampling},
    event::DropEvent,
    table::{EndpointKey, Entry4, Entry6, SLOT_ENTRIES, Slot},
};

const _: () = {
    // Sum of the fields == size of the type: there is no padding.
    assert!(
        size_of::<Slot>() == 16 + 8 * 4 + 64 + SLOT_ENTRIES * (size_of::<Entry4>() + size_of::<Entry6>())
    );
    assert!(size_of::<EndpointKey>() == 32);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<Sampling>() == 24);
    assert!(size_of::<DropEvent>() == 64);
};
