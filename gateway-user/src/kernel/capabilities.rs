//! What the kernel filter needs of the host, checked one by one for `gateway doctor`.

use std::path::Path;

use caps::{CapSet, Capability};
use serde::Serialize;

use super::{Config, FilterMode, ethtool, load::single_buffer_mtu, netlink, object::Object};

/// One check of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable word; for an interface followed by a space and its name.
    pub check: String,
    pub ok: bool,
    pub detail: String,
    /// What to do where it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Check {
    fn new(check: impl Into<String>, ok: bool, detail: impl Into<String>, cure: &str) -> Self {
        Self { check: check.into(), ok, detail: detail.into(), cure: (!ok).then(|| cure.to_owned()) }
    }
}

/// Looks at capabilities, BPF file system, BTF, the kernel, the object, and each interface. Changes nothing and loads
/// nothing; works without a daemon.
#[must_use]
pub fn probe(config: &Config) -> Vec<Check> {
    if config.mode == FilterMode::Off {
        return vec![Check::new("filter", true, "off by the settings", "")];
    }
    let mut checks = vec![kernel(), btf(), bpffs(config), object(config)];
    for (capability, what) in [
        (Capability::CAP_BPF, "to load the filter"),
        (Capability::CAP_PERFMON, "to load it without the verifier's speculation limits"),
        (Capability::CAP_NET_ADMIN, "to attach it to an interface"),
    ] {
        let ok = caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let cure = "run as root, or give it with AmbientCapabilities= (systemd) or setcap; filter = \"auto\" runs without it";
        checks.push(Check::new(capability.to_string().to_lowercase(), ok, what, cure));
    }
    checks.extend(interfaces());
    checks
}

fn release() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The first two numbers of the running kernel's version.
pub(crate) fn version() -> (u32, u32) {
    let release = release();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel() -> Check {
    Check::new(
        "kernel",
        version() >= (5, 15),
        release(),
        "use Linux 5.15 or newer (6.18 is what is tested), or filter = \"auto\"",
    )
}

fn btf() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    let ok = Path::new(path).exists();
    Check::new(
        "btf",
        ok,
        path,
        "use a kernel with CONFIG_DEBUG_INFO_BTF=y; the filter may still load without",
    )
}

fn bpffs(config: &Config) -> Check {
    let directory = &config.pin_dir;
    let existing = directory.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let ok = nix::sys::statfs::statfs(existing)
        .is_ok_and(|system| system.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC);
    Check::new("bpffs", ok, directory.display().to_string(), "mount -t bpf bpf /sys/fs/bpf")
}

fn object(config: &Config) -> Check {
    match Object::open(config.object.as_deref()) {
        Ok(object) => Check::new("object", true, format!("layout {}", object.layout), ""),
        Err(refusal) => {
            Check::new("object", false, refusal.message.clone(), refusal.remedy.as_deref().unwrap_or(""))
        }
    }
}

/// Native XDP depends on the driver and its settings; what is known of them is said before an attach fails.
fn interfaces() -> Vec<Check> {
    let links = match netlink::links() {
        Ok(links) => links,
        Err(error) => {
            return vec![Check::new(
                "interfaces",
                false,
                error.to_string(),
                "check /proc and the network namespace",
            )];
        }
    };
    let mut checks = Vec::new();
    for link in links.iter().filter(|link| !link.loopback && link.vlan.is_none()) {
        let driver = ethtool::driver(&link.name).unwrap_or_else(|| "unknown".to_owned());
        let limit = single_buffer_mtu(&driver);
        let detail = format!("{}: driver {driver}, MTU {}", link.name, link.mtu);
        let cure = format!(
            "MTU above {limit}: works if {driver} takes packets in fragments (Linux 5.18), else `ip link set dev {} mtu {limit}`",
            link.name
        );
        checks.push(Check::new(format!("mtu {}", link.name), link.mtu <= limit.max(1500), detail, &cure));
        let on_top = links.iter().any(|upper| upper.vlan.is_some() && upper.parent == Some(link.index));
        if on_top {
            let stripped = ethtool::strips_vlan(&link.name).unwrap_or(false);
            let cure = format!("for listeners on its VLANs: `ethtool -K {} rxvlan off`", link.name);
            checks.push(Check::new(
                format!("vlan {}", link.name),
                !stripped,
                format!("{}: VLAN tags reach the filter", link.name),
                &cure,
            ));
        }
    }
    checks
}
