//! How the addresses of each family compare with what a slot holds.

use crate::{
    decide::{Slots, Verdict},
    list::Listed,
    table::{SLOT_ENTRIES, SLOT_INLINE, Slot},
};

/// An address as it came off the wire: `u32` for IPv4, its two halves for IPv6.
pub trait Comparable: Copy {
    /// Whether the slot has this address, or stands for every address of the family.
    fn is_at(self, slot: &Slot) -> bool;
    /// Whether the slot names one address of this family, if it has any.
    fn is_exact(slot: &Slot) -> bool;
    /// Whether an entry lies in this source's bucket.
    fn is_near(self, slot: &Slot) -> bool;
    /// The number of the slot's large list of this family, 0 for none.
    fn list(slot: &Slot) -> u32;
    /// Whether the slot has a large list of this family and no entry beside it.
    fn is_only_list(slot: &Slot) -> bool;
    /// What that list says about this source.
    fn listed<S: Slots>(self, slots: &S, list: u32) -> Listed;
    /// The id of the first entry that holds this address, or [`Verdict::NO_ENTRY`]. Entries are ordered, so the first
    /// is the one that counts.
    fn entry(self, slot: &Slot) -> u8;
}

/// Calls `$try!` for each of the places that are compared without looking at the count, in order. A loop would be one
/// comparison and one branch more per place, on the path of every packet that is dropped.
macro_rules! inline_places {
    ($try:ident) => {
        $try!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
}

const _: () = assert!(SLOT_INLINE == 15);

impl Comparable for u32 {
    #[inline(always)]
    fn is_at(self, slot: &Slot) -> bool {
        self & slot.mask4 == slot.addr4
    }

    #[inline(always)]
    fn is_exact(slot: &Slot) -> bool {
        slot.mask4 != 0
    }

    #[inline(always)]
    fn is_near(self, slot: &Slot) -> bool {
        has(&slot.buckets4, u64::from(self.to_be() >> (slot.shift4 & 31)))
    }

    #[inline(always)]
    fn list(slot: &Slot) -> u32 {
        slot.list4
    }

    #[inline(always)]
    fn is_only_list(slot: &Slot) -> bool {
        slot.list4 != 0 && slot.count4 == 0
    }

    #[inline(always)]
    fn listed<S: Slots>(self, slots: &S, list: u32) -> Listed {
        slots.listed4(list, u32::from_be(self))
    }

    #[inline(always)]
    fn entry(self, slot: &Slot) -> u8 {
        macro_rules! compare {
            ($($place:literal)*) => {$(
                let entry = &slot.entries4[$place];
                if self & entry.mask == entry.net {
                    return slot.ids4[$place];
                }
            )*};
        }
        inline_places!(compare);
        for place in SLOT_INLINE..SLOT_ENTRIES {
            if place as u32 >= slot.count4 {
                break;
            }
            let (Some(entry), Some(id)) = (slot.entries4.get(place), slot.ids4.get(place)) else { break };
            if self & entry.mask == entry.net {
                return *id;
            }
        }
        Verdict::NO_ENTRY
    }
}

impl Comparable for [u64; 2] {
    #[inline(always)]
    fn is_at(self, slot: &Slot) -> bool {
        self[0] & slot.mask6 == slot.addr6[0] && self[1] & slot.mask6 == slot.addr6[1]
    }

    #[inline(always)]
    fn is_exact(slot: &Slot) -> bool {
        slot.mask6 != 0
    }

    #[inline(always)]
    fn is_near(self, slot: &Slot) -> bool {
        has(&slot.buckets6, self[0].to_be() >> (slot.shift6 & 63))
    }

    #[inline(always)]
    fn list(slot: &Slot) -> u32 {
        slot.list6
    }

    #[inline(always)]
    fn is_only_list(slot: &Slot) -> bool {
        slot.list6 != 0 && slot.count6 == 0
    }

    #[inline(always)]
    fn listed<S: Slots>(self, slots: &S, list: u32) -> Listed {
        slots.listed6(list, [u64::from_be(self[0]), u64::from_be(self[1])])
    }

    #[inline(always)]
    fn entry(self, slot: &Slot) -> u8 {
        let [first, second] = self;
        macro_rules! compare {
            ($($place:literal)*) => {$(
                let entry = &slot.entries6[$place];
                if first & entry.mask[0] == entry.net[0] && second & entry.mask[1] == entry.net[1] {
                    return slot.ids6[$place];
                }
            )*};
        }
        inline_places!(compare);
        for place in SLOT_INLINE..SLOT_ENTRIES {
            if place as u32 >= slot.count6 {
                break;
            }
            let (Some(entry), Some(id)) = (slot.entries6.get(place), slot.ids6.get(place)) else { break };
            if first & entry.mask[0] == entry.net[0] && second & entry.mask[1] == entry.net[1] {
                return *id;
            }
        }
        Verdict::NO_ENTRY
    }
}

/// Whether an entry lies in the bucket that the low eight bits of `source` name.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "two bits name one of four; the compiler sees it and checks nothing"
)]
fn has(buckets: &[u64; 4], source: u64) -> bool {
    let word = buckets[(source >> 6 & 3) as usize];
    word >> (source & 63) & 1 != 0
}
