//! Asks the program itself: runs its explaining entry point on a made-up frame, over the pinned tables.

use std::{
    collections::{BTreeMap, btree_map},
    net::{IpAddr, SocketAddr},
};

use aya::{Ebpf, TestRun as _, TestRunOptions, programs::Xdp};
use gateway_common::{decide::Verdict, explain};

use super::{
    load::{self, chain},
    object::Object,
    pin::Pins,
};
use crate::base::Refusal;

/// The entry point that counts nothing. Programs of the tiers differ in how they read a packet, not in what they
/// decide, so one entry point answers for both.
const ENTRY: &str = "gateway_explain";

/// Instances of the explaining program, by the device that they judge for. Each is loaded at the first question: the
/// device's index is a constant of the instance, as it is for those that are attached.
#[derive(Default)]
pub(crate) struct Explainer(BTreeMap<u32, Ebpf>);

impl Explainer {
    /// The verdict about the first segment of a connection that comes in at `(device, VLAN)`.
    ///
    /// # Errors
    /// The kernel does not load or run the program.
    pub(crate) fn judge(
        &mut self,
        object: &Object,
        pins: &Pins,
        (ifindex, vlan): (u32, u16),
        source: IpAddr,
        destination: SocketAddr,
    ) -> Result<Verdict, Refusal> {
        if let btree_map::Entry::Vacant(entry) = self.0.entry(ifindex) {
            let mut ebpf = load::ebpf(object, pins, ifindex)?;
            let program = ebpf.program_mut(ENTRY).ok_or_else(|| refuse("it has no such entry point"))?;
            let program: &mut Xdp = program.try_into().map_err(|error| refuse(chain(&error)))?;
            program.load().map_err(|error| refuse(chain(&error)))?;
            entry.insert(ebpf);
        }
        let program = self.0.get(&ifindex).and_then(|ebpf| ebpf.program(ENTRY));
        let program: &Xdp = program
            .ok_or_else(|| refuse("it has no such entry point"))?
            .try_into()
            .map_err(|error| refuse(chain(&error)))?;
        let frame = frame(source, destination, vlan);
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        let result = program.test_run(options).map_err(|error| refuse(chain(&error)))?;
        explain::verdict(result.return_value).ok_or_else(|| refuse("it returned no verdict"))
    }
}

fn refuse(why: impl std::fmt::Display) -> Refusal {
    Refusal::new("filter_explain", format_args!("the filter program cannot be asked: {why}"))
}

/// The SYN that opens a connection, with the outer tag `vlan` (0: untagged). Fields that the filter does not read
/// (addresses of the link, checksums, ports of the source) are zero.
fn frame(source: IpAddr, destination: SocketAddr, vlan: u16) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    if vlan != 0 {
        bytes.extend(0x8100_u16.to_be_bytes());
        bytes.extend(vlan.to_be_bytes());
    }
    match (source, destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend([0x08, 0x00]);
            // 20 bytes of header and as many of TCP; don't fragment, 64 hops.
            bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            bytes.extend([0x86, 0xdd]);
            bytes.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
            bytes.extend(octets(source));
            bytes.extend(octets(destination));
        }
    }
    bytes.extend(0_u16.to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    // Sequence and acknowledgement, a header of five words, SYN, window, checksum, urgent pointer.
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use gateway_common::parse::parse;

    use super::frame;
    use crate::snapshot::filter::address;

    #[test]
    fn the_frame_is_the_connection_that_was_asked_about() {
        for (source, destination) in [("192.0.2.1", "198.51.100.1:443"), ("2001:db8::9", "[2001:db8::1]:80")]
        {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            for vlan in [0, 7, 4094] {
                let packet = parse(&frame(source, destination, vlan)[..]).unwrap();
                assert_eq!(packet, address::connection(source, destination, vlan));
            }
        }
    }
}
