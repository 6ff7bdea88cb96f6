//! Pure: which of the two kernel tiers guards a device.

/// Where a program judges a device's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// XDP in the driver, before the kernel spends anything on the packet.
    Native,
    /// TCX at ingress: later, but on every device (Linux 6.6).
    Tcx,
}

impl Tier {
    /// For the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tcx => "tcx",
        }
    }
}

/// Refusals of the native tier after which the other is tried. What is missing here is a mistake that TCX would hide:
/// a program of somebody else, privileges, a device that is gone, or tags that somebody should leave in the frame.
pub(crate) fn may_fall_back(code: &str) -> bool {
    matches!(code, "filter_no_native" | "filter_device" | "filter_load")
}
