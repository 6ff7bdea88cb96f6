//! Loads the program, and turns what the kernel says against it into a refusal with its cure.

use std::io;

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, SchedClassifier, Xdp, links::LinkError, xdp::XdpError},
    sys::SyscallError,
};

use super::{
    capabilities,
    doctor::single_buffer_mtu,
    interface::Target,
    marks,
    object::{self, Object},
    pin::Pins,
    tier::Tier,
};
use crate::base::Refusal;

/// The entry point for drivers that hand over packets in several buffers (5.18), tried first.
pub(crate) const WITH_FRAGS: &str = "gateway_frags";
/// The entry point for every kernel.
pub(crate) const PLAIN: &str = "gateway";

/// The entry point of the second tier.
pub(crate) const CLASSIFIER: &str = "gateway_tc";
/// Length of the Ethernet header, which precedes the network header in a socket buffer of most devices.
const ETHERNET_HEADER: u32 = 14;

/// A loaded program for one device. Nothing stays loaded when it is dropped unattached.
pub(crate) struct Program {
    ebpf: Ebpf,
    entry: &'static str,
    pub(crate) tier: Tier,
    /// Why it is not of the native tier.
    pub(crate) why: Option<Refusal>,
}

impl Program {
    /// Loads the native instance that judges packets of the target's device, over the pinned tables.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub(crate) fn native(object: &Object, pins: &Pins, target: &Target) -> Result<Self, Refusal> {
        Self::load(object, pins, target, Tier::Native)
    }

    /// Loads the instance of the second tier; `why` says why the first is none here.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub(crate) fn tcx(
        object: &Object,
        pins: &Pins,
        target: &Target,
        why: Option<Refusal>,
    ) -> Result<Self, Refusal> {
        Ok(Self { why, ..Self::load(object, pins, target, Tier::Tcx)? })
    }

    fn load(object: &Object, pins: &Pins, target: &Target, tier: Tier) -> Result<Self, Refusal> {
        let header = if target.ethernet { ETHERNET_HEADER } else { 0 };
        let mut ebpf = instance(object, pins, target.ifindex, header)?;
        let entries = match tier {
            Tier::Native => [WITH_FRAGS, PLAIN].as_slice(),
            Tier::Tcx => &[CLASSIFIER],
        };
        let mut refused = None;
        for entry in entries.iter().copied() {
            let loaded = match tier {
                Tier::Native => xdp(&mut ebpf, entry).and_then(Xdp::load),
                Tier::Tcx => classifier(&mut ebpf, entry).and_then(SchedClassifier::load),
            };
            match loaded {
                Ok(()) => return Ok(Self { ebpf, entry, tier, why: None }),
                Err(error) => {
                    tracing::warn!(entry, error = chain(&error), "the kernel does not take this entry point");
                    refused = Some(error);
                }
            }
        }
        Err(refused.map_or_else(|| refuse_load("no entry point"), |error| refuse_program(&error)))
    }

    /// The loaded program of the native tier.
    ///
    /// # Errors
    /// It is one of the other tier.
    pub(crate) fn xdp(&mut self) -> Result<&mut Xdp, ProgramError> {
        xdp(&mut self.ebpf, self.entry)
    }

    /// The loaded program of the second tier.
    ///
    /// # Errors
    /// It is one of the other tier.
    pub(crate) fn classifier(&mut self) -> Result<&mut SchedClassifier, ProgramError> {
        classifier(&mut self.ebpf, self.entry)
    }
}

/// Opens the object; makes and pins the tables that are not pinned yet.
///
/// # Errors
/// A map cannot be made, or the object does not fit this loader.
pub(crate) fn ebpf(object: &Object, pins: &Pins, ifindex: u32) -> Result<Ebpf, Refusal> {
    instance(object, pins, ifindex, ETHERNET_HEADER)
}

/// Whether the kernel takes an entry point. Nothing of it stays, and no table is pinned.
///
/// # Errors
/// It does not.
pub(crate) fn trial(object: &Object, entry: &str) -> Result<(), Refusal> {
    let mut ebpf = EbpfLoader::new().load(&object.bytes).map_err(|error| refuse_object(&error))?;
    let loaded = if entry == CLASSIFIER {
        classifier(&mut ebpf, entry).and_then(SchedClassifier::load)
    } else {
        xdp(&mut ebpf, entry).and_then(Xdp::load)
    };
    loaded.map_err(|error| refuse_program(&error))
}

fn instance(object: &Object, pins: &Pins, ifindex: u32, header: u32) -> Result<Ebpf, Refusal> {
    let directory = pins.maps(&object.layout);
    let mut loader = EbpfLoader::new();
    for name in object::names() {
        loader.map_pin_path(name, directory.join(object::pin_name(name)));
    }
    let marks = marks::pinned(&directory.join(object::pin_name(object::MARKS)));
    if let Some(marks) = &marks {
        loader.override_global("MARKS", marks, true);
    }
    loader.override_global("INTERFACE", &ifindex, true);
    loader.override_global("LINK_HEADER", &header, true);
    loader.load(&object.bytes).map_err(|error| refuse_object(&error))
}

fn xdp<'a>(ebpf: &'a mut Ebpf, entry: &str) -> Result<&'a mut Xdp, ProgramError> {
    ebpf.program_mut(entry).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn classifier<'a>(ebpf: &'a mut Ebpf, entry: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    ebpf.program_mut(entry).ok_or(ProgramError::NotLoaded)?.try_into()
}

// === refusals ===

fn refuse_load(why: impl std::fmt::Display) -> Refusal {
    Refusal::new("filter_load", format_args!("the filter program cannot be loaded: {why}"))
}

fn refuse_object(error: &EbpfError) -> Refusal {
    match error {
        EbpfError::MapError(error) => refuse_map("made", error),
        EbpfError::ProgramError(error) => refuse_program(error),
        EbpfError::FileError { .. }
        | EbpfError::UnexpectedPinningType { .. }
        | EbpfError::ParseError(_)
        | EbpfError::BtfError(_)
        | EbpfError::RelocationError(_)
        | EbpfError::BtfRelocationError(_)
        | EbpfError::NoBTF => refuse_load(chain(error)),
    }
}

/// A table operation that the kernel refused; `what` completes "cannot be …".
pub(crate) fn refuse_map(what: &str, error: &MapError) -> Refusal {
    let refusal =
        Refusal::new("filter_tables", format_args!("the filter's tables cannot be {what}: {}", chain(error)));
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => refusal.remedy(CAPABILITIES),
        Some(libc::ENOMEM | libc::E2BIG) => refusal.remedy(
            "free memory, or raise the memory limit of the service (kernels before 5.11 count maps against \
             RLIMIT_MEMLOCK)",
        ),
        _ => refusal,
    }
}

const CAPABILITIES: &str =
    "run as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or set filter = \"auto\"";

fn refuse_program(error: &ProgramError) -> Refusal {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return refuse_load(chain(error));
    };
    match io_error.raw_os_error() {
        Some(libc::EPERM) => refuse_load("the kernel does not permit it").remedy(CAPABILITIES),
        Some(libc::ENOSYS) => refuse_load("this kernel has no eBPF")
            .remedy("use a kernel with CONFIG_BPF_SYSCALL (5.15 or newer), or set filter = \"auto\""),
        _ => {
            let log = verifier_log.to_string();
            // The verifier explains itself in the last lines.
            let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
            let last = lines.iter().rev().take(4).rev().copied().collect::<Vec<_>>().join(" / ");
            refuse_load(format_args!("the verifier refused it ({io_error}): {last}")).remedy(
                "use kernel 5.15 or newer and report this, with `gateway doctor`; filter = \"auto\" runs \
                 without it",
            )
        }
    }
}

const ACCEPT: &str = "set filter = \"auto\": the proxy then checks every connection at accept";

/// Native XDP is out of the question on the target's device.
pub(crate) fn refuse_native(target: &Target) -> Option<Refusal> {
    let device = &target.device;
    let why = if target.loopback {
        "the loopback interface has no native XDP".to_owned()
    } else if target.ethernet {
        return None;
    } else {
        format!("packets of {device} have no Ethernet header, which native XDP needs")
    };
    Some(Refusal::new("filter_no_native", why).field("interface", &target.interface).remedy(ACCEPT))
}

/// Why the second tier could not be attached to `target`.
pub(crate) fn refuse_tcx(target: &Target, error: &ProgramError) -> Refusal {
    let refusal = |why: String| {
        let text = format_args!("the filter cannot be attached to {} at ingress: {why}", target.device);
        Refusal::new("filter_attach", text).field("interface", &target.interface)
    };
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => {
            refusal("the kernel does not permit it".to_owned()).remedy(CAPABILITIES)
        }
        Some(libc::ENODEV) => refusal("it is gone".to_owned()),
        _ if capabilities::version() < (6, 6) => refusal("this kernel has no TCX".to_owned())
            .remedy(format_args!("use Linux 6.6 or newer, or {ACCEPT}")),
        Some(libc::ERANGE | libc::ENOSPC) => refusal("too many programs are there".to_owned())
            .remedy(format_args!("`bpftool net show dev {}` lists them", target.device)),
        _ => refusal(chain(error)).remedy(ACCEPT),
    }
}

/// Why the program could not be attached to `target`.
pub(crate) fn refuse_attach(target: &Target, driver: Option<&str>, error: &ProgramError) -> Refusal {
    let driver = driver.unwrap_or("unknown");
    let coded = |code, why: String| {
        Refusal::new(code, format_args!("the filter cannot be attached to {}: {why}", target.device))
            .field("interface", &target.interface)
    };
    let refusal = |why| coded("filter_attach", why);
    // What the device or its settings do not allow natively, and the second tier does not mind.
    let device_refusal = |why| coded("filter_device", why);
    // aya asks again over netlink after EINVAL, and then says what the driver answered.
    let over_netlink = matches!(error, ProgramError::XdpError(XdpError::NetlinkError(_)));
    let code = errno(error).or(over_netlink.then_some(libc::EINVAL));
    let (device, limit) = (&target.device, single_buffer_mtu(driver));
    match code {
        Some(libc::EOPNOTSUPP) => {
            coded("filter_no_native", format!("its driver ({driver}) has no native XDP")).remedy(ACCEPT)
        }
        Some(libc::EBUSY | libc::EEXIST) => refusal("another XDP program is there".to_owned()).remedy(
            format_args!("take it off first (`ip link set dev {device} xdp off`, or stop what owns it)"),
        ),
        Some(libc::ERANGE | libc::EMSGSIZE) => {
            device_refusal(format!("MTU {} is too large for {driver}", target.mtu)).remedy(format_args!(
                "`ip link set dev {device} mtu {limit}` (and on the other end of a veth pair)"
            ))
        }
        Some(libc::EPERM | libc::EACCES) => {
            refusal("the kernel does not permit it".to_owned()).remedy(CAPABILITIES)
        }
        Some(libc::ENODEV) => refusal("it is gone".to_owned()),
        Some(libc::ENOMEM | libc::ENOSPC) => {
            device_refusal(format!("{driver} has too few queues or too little memory")).remedy(format_args!(
                "lower the channels: `ethtool -L {device} combined N` with half of the maximum"
            ))
        }
        Some(libc::EINVAL) => device_refusal(chain(error)).remedy(format_args!(
            "check with `gateway doctor`: MTU at most {limit}, LRO and GRO_HW off \
             (`ethtool -K {device} lro off rx-gro-hw off`), bond mode and hash policy"
        )),
        _ => refusal(chain(error)),
    }
}

/// A program of somebody else is on the device; it is never replaced.
pub(crate) fn refuse_foreign(target: &Target, id: u32) -> Refusal {
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    let called = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    Refusal::new(
        "filter_foreign_program",
        format_args!(
            "{} already has the XDP program {id}{called}, which is not this gateway's",
            target.device
        ),
    )
    .field("interface", &target.interface)
    .remedy(format_args!(
        "stop what owns it, or take it off with `ip link set dev {} xdp off`; it is never replaced",
        target.device
    ))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The errno at the end of an error's causes.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(io) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io);
        }
        if let Some(SyscallError { io_error, .. }) = error.downcast_ref() {
            return io_error.raw_os_error();
        }
        current = error.source();
    }
    None
}

/// A link operation that failed.
pub(crate) fn refuse_link(device: &str, error: &LinkError) -> Refusal {
    Refusal::new(
        "filter_link",
        format_args!("the filter's link on {device} cannot be read: {}", chain(error)),
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::{programs::ProgramError, sys::SyscallError};

    use super::refuse_attach;
    use crate::kernel::interface::Target;

    #[test]
    fn every_errno_of_an_attach_has_its_cure() {
        let target = Target {
            interface: "eth0.7".to_owned(),
            device: "eth0".to_owned(),
            ifindex: 2,
            vlan: 7,
            mtu: 9000,
            loopback: false,
            ethernet: true,
            hardware: vec!["eth0".to_owned()],
            programs: Vec::new(),
        };
        for (errno, message, remedy) in [
            (libc::EOPNOTSUPP, "no native XDP", "auto"),
            (libc::EBUSY, "another XDP program", "xdp off"),
            (libc::ERANGE, "MTU 9000", "mtu 3506"),
            (libc::EPERM, "not permit", "CAP_BPF"),
            (libc::ENOMEM, "queues", "ethtool -L eth0"),
        ] {
            let io_error = io::Error::from_raw_os_error(errno);
            let error = ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error });
            let refusal = refuse_attach(&target, Some("virtio_net"), &error);
            assert!(refusal.message.contains(message), "{refusal}");
            assert!(refusal.remedy.as_deref().unwrap_or_default().contains(remedy), "{refusal}");
        }
    }
}
