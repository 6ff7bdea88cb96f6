//! Every version and package name that the build, the tests and the benchmarks install, in this one place.
//!
//! The pair `RUSTC_WEB` and `BPF_LINKER` belongs together: the LLVM of the rustc that emits the bitcode must not be
//! newer than the LLVM that bpf-linker links (bpf-linker issue 426). Move them in one commit.

/// A cargo-installed tool: the binary's name, its version and how to build it.
pub(crate) struct CargoTool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) takes: &'static str,
}

/// What `cargo install` is told after the name and version: a root below `target/`, so that nothing of the user's
/// changes, is added by `setup`.
impl CargoTool {
    /// The command that installs this tool, for people to copy.
    pub(crate) fn recipe(&self) -> String {
        let environment: String = self.environment.iter().map(|(k, v)| format!("{k}={v} ")).collect();
        let arguments = self.arguments.join(" ");
        format!(
            "{environment}cargo install {} --version {} {arguments} --root target/tools",
            self.name, self.version
        )
    }
}

/// Debian's rustc with a ready-compiled `core` for the BPF targets, and the LLVM that bpf-linker links.
pub(crate) const EBPF_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];

/// What Debian's rustc-web installs; named by its full path because rustup's `rustc` stands earlier on PATH.
pub(crate) const RUSTC_WEB: &str = "/usr/bin/rustc";

/// Builds without LLVM_PREFIX look in the wrong directory and fail at `-lLLVM`.
pub(crate) const BPF_LINKER: CargoTool = CargoTool {
    name: "bpf-linker",
    version: "0.13.0",
    arguments: &["--no-default-features", "--features", "llvm-22", "--locked"],
    environment: &[("LLVM_PREFIX", "/usr/lib/llvm-22")],
    takes: "about 1 minute",
};

pub(crate) const NEXTEST: CargoTool = CargoTool {
    name: "cargo-nextest",
    version: "0.9.143",
    arguments: &["--locked"],
    environment: &[],
    takes: "about 4 minutes",
};

/// What the suites and the demo call: namespaces, captures, packets by hand, certificates, processes, names.
pub(crate) const TEST_PACKAGES: &[&str] = &[
    "iproute2",
    "iputils-ping",
    "nftables",
    "tcpdump",
    "ethtool",
    "curl",
    "openssl",
    "python3-scapy",
    "netsniff-ng",
    "procps",
    "bind9-dnsutils",
    "knot-dnsutils",
    "unbound",
];

/// What `cargo xtask bench` compares with and loads with.
pub(crate) const BENCH_PACKAGES: &[&str] = &["wrk", "nginx-light", "haproxy"];

/// The BPF target of this host's byte order.
pub(crate) const BPF_TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// `target-cpu=v3` (kernel 5.1 and newer) is 10 % cheaper per packet than the linker's default (measured on the
/// complete program). Debug information is what the BTF is made from.
pub(crate) const BPF_RUSTFLAGS: &str = "-C debuginfo=2 -C link-arg=--btf -C target-cpu=v3";
