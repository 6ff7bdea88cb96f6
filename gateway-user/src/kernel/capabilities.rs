//! What this process may do, and which kernel it runs on.

use caps::{CapSet, Capability};

use crate::base::Refusal;

/// What the filter needs, and for what.
pub(crate) const NEEDED: [(Capability, &str); 3] = [
    (Capability::CAP_BPF, "to load the filter"),
    (Capability::CAP_PERFMON, "to load it without the verifier's speculation limits"),
    (Capability::CAP_NET_ADMIN, "to attach it to an interface, and to add addresses"),
];

/// Whether this thread has `capability`.
pub(crate) fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Which of the needed capabilities are missing, as a refusal.
pub(crate) fn missing() -> Option<Refusal> {
    let missing: Vec<String> = NEEDED
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(capability, _)| capability.to_string())
        .collect();
    if missing.is_empty() {
        return None;
    }
    let text = format!("the kernel filter needs {}", missing.join(", "));
    Some(Refusal::new("filter_privileges", text).remedy(
        "run as root, or give them with AmbientCapabilities= (systemd) or setcap; filter = \"auto\" runs without the \
         filter",
    ))
}

/// The running kernel's release, as it calls itself.
pub(crate) fn release() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The first two numbers of the release.
pub(crate) fn version() -> (u32, u32) {
    let release = release();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
