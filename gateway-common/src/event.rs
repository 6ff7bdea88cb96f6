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

    /// Reads a record as the program wrote it. `None`: the bytes are not one record.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        if bytes.len() != Self::SIZE || !rest.is_empty() {
            return None;
        }
        let mut words = words.iter().copied();
        let mut word = || words.next();
        let mut address = || Some([word()?, word()?, word()?, word()?].map(u32::from_ne_bytes));
        let (source, destination) = (address()?, address()?);
        let mut number = || word().map(u32::from_ne_bytes);
        let (generation, ifindex, length, listener) = (number()?, number()?, number()?, number()?);
        let halves = |[a, b, c, d]: [u8; 4]| (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        let (source_port, destination_port) = halves(word()?);
        let [vlan_first, vlan_second, family, reason] = word()?;
        Some(Self {
            source,
            destination,
            generation,
            ifindex,
            length,
            listener,
            source_port,
            destination_port,
            vlan: u16::from_ne_bytes([vlan_first, vlan_second]),
            family,
            reason,
            reserved: [0; 2],
        })
    }
}
