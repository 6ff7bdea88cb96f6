//! The record of a sampled drop in the ring buffer.

/// One sampled drop, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropEvent {
    pub source: [u32; 4],
    pub destination: [u32; 4],
    /// Low 32 bits of the generation that judged the packet.
    pub generation: u32,
    pub ifindex: u32,
    /// Length of the packet in bytes.
    pub length: u32,
    pub listener: u32,
    /// Host order; 0 where there is none.
    pub source_port: u16,
    pub destination_port: u16,
    pub vlan: u16,
    /// 4 or 6; 0 when no IP header could be read.
    pub family: u8,
    /// Number of a [`crate::reason::Reason`].
    pub reason: u8,
    pub reserved: [u32; 2],
}

impl DropEvent {
    /// Size of the record.
    pub const SIZE: usize = size_of::<Self>();
}
