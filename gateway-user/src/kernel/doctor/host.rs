//! The host as a whole: the kernel and what it can do, found by trying, and what this process may do.

use std::{fs, path::Path};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Check;
use crate::kernel::{
    Config, bpf_link,
    capabilities::{self, NEEDED},
    load,
    object::Object,
};

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mut checks = vec![kernel(), btf(), jit(), bpffs(config)];
    for (capability, what) in NEEDED {
        let name = capability.to_string();
        let cure = format!(
            "run as root, or AmbientCapabilities={name} (systemd), or `setcap {}+ep`; filter = \"auto\" runs without it",
            name.to_lowercase()
        );
        checks.push(Check::must(name.to_lowercase(), capabilities::has(capability), what, cure));
    }
    match Object::open(config.object.as_deref()) {
        Err(refusal) => {
            checks.push(Check::must("object", false, refusal.message, refusal.remedy.unwrap_or_default()));
        }
        Ok(object) => {
            checks.push(Check::must("object", true, format!("layout {}", object.layout), ""));
            // Without privileges everything is refused, which says nothing of the kernel.
            if capabilities::missing().is_none() {
                checks.extend(programs(&object));
                checks.push(tcx());
            }
        }
    }
    checks.push(marks());
    checks
}

fn kernel() -> Check {
    Check::must(
        "kernel",
        capabilities::version() >= (5, 15),
        capabilities::release(),
        "use Linux 5.15 or newer (6.18 is what is tested), or filter = \"auto\"",
    )
}

fn btf() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    Check::should(
        "btf",
        Path::new(path).exists(),
        path,
        "use a kernel with CONFIG_DEBUG_INFO_BTF=y; the filter may still load without",
    )
}

fn jit() -> Check {
    let path = "/proc/sys/net/core/bpf_jit_enable";
    // Not there for who may not look, and with CONFIG_BPF_JIT_ALWAYS_ON it cannot be off.
    let on = fs::read_to_string(path).map_or(true, |text| text.trim() != "0");
    let detail =
        if on { "programs are compiled to machine code" } else { "programs are interpreted, far slower" };
    Check::should("jit", on, detail, "`sysctl -w net.core.bpf_jit_enable=1`")
}

fn bpffs(config: &Config) -> Check {
    let directory = &config.pin_dir;
    let existing = directory.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let right = statfs(existing).is_ok_and(|system| system.filesystem_type() == BPF_FS_MAGIC);
    Check::must(
        "bpffs",
        right,
        directory.display().to_string(),
        "`mount -t bpf bpf /sys/fs/bpf`, and a line for it in /etc/fstab",
    )
}

/// The verifier's word on each entry point.
fn programs(object: &Object) -> Vec<Check> {
    let trial =
        |tier: &str, entry: &str| load::trial(object, entry).map_err(|error| (tier.to_owned(), error));
    let mut checks = Vec::new();
    let plain = trial("native", load::PLAIN);
    let frags = trial("native_frags", load::WITH_FRAGS);
    checks.push(match &plain {
        Ok(()) => Check::must("native", true, "the verifier takes the XDP program", ""),
        Err((_, refusal)) => {
            Check::must("native", false, refusal.message.clone(), refusal.remedy.clone().unwrap_or_default())
        }
    });
    checks.push(Check::should(
        "native_frags",
        frags.is_ok(),
        "packets in several buffers (jumbo frames)",
        "use Linux 5.18 or newer, or keep MTUs within one buffer",
    ));
    let tc = trial("ingress", load::CLASSIFIER);
    checks.push(match &tc {
        Ok(()) => Check::must("ingress", true, "the verifier takes the program of the second tier", ""),
        Err((_, refusal)) => Check::should(
            "ingress",
            false,
            refusal.message.clone(),
            refusal.remedy.clone().unwrap_or_default(),
        ),
    });
    checks
}

fn tcx() -> Check {
    // The loopback device is number 1 in every namespace.
    let right = bpf_link::ingress_programs(1).is_ok();
    Check::should(
        "tcx",
        right,
        "ingress of devices without native XDP",
        "use Linux 6.6 or newer; without it such devices need filter = \"auto\"",
    )
}

fn marks() -> Check {
    Check::should(
        "address_marks",
        capabilities::version() >= (5, 18),
        "the gateway's own addresses are told from others",
        "use Linux 5.18 or newer; before, only the record in the state directory tells",
    )
}
