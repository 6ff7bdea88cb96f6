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
    // Real servers behind the gateway; also what the benchmarks compare with.
    "nginx-light",
    "haproxy",
    "python3-venv",
    "grpc-proto",
];

/// A folder below `target/tools` with Python packages, all of them pinned, those that they need too.
pub(crate) struct PythonTools {
    pub(crate) name: &'static str,
    pub(crate) packages: &'static [&'static str],
    pub(crate) takes: &'static str,
}

/// HTTP/2 frames by hand, gRPC, and the last virtualenv that makes an environment for Python 2.7.
pub(crate) const FRAME_TOOLS: PythonTools = PythonTools {
    name: "python",
    packages: &[
        "h2==4.4.1",
        "hyperframe==6.1.0",
        "hpack==4.2.0",
        "grpcio==1.85.1",
        "grpcio-tools==1.85.1",
        "protobuf==7.36.2",
        "virtualenv==20.21.1",
    ],
    takes: "half a minute",
};

/// Autobahn's WebSocket suite, for Python 2.7 only.
pub(crate) const AUTOBAHN: PythonTools = PythonTools {
    name: "autobahn",
    packages: &[
        "autobahntestsuite==25.10.1",
        "autobahn==0.10.9",
        "Automat==22.10.0",
        "Jinja2==2.11.3",
        "MarkupSafe==1.1.1",
        "PyHamcrest==1.10.1",
        "Twisted==19.10.0",
        "Werkzeug==1.0.1",
        "attrs==21.4.0",
        "cffi==1.15.1",
        "constantly==15.1.0",
        "cryptography==3.3.2",
        "hyperlink==21.0.0",
        "idna==2.10",
        "incremental==16.10.1",
        "klein==17.10.0",
        "pyOpenSSL==19.1.0",
        "pyasn1==0.5.1",
        "pyasn1-modules==0.3.0",
        "service-identity==18.1.0",
        "six==1.16.0",
        "txaio==2.1.0",
        "ujson==2.0.3",
        "unittest2==1.1.0",
        "wsaccel==0.6.6",
        "zope.interface==4.6.0",
    ],
    takes: "a minute",
};

/// What `cargo xtask bench` compares with and loads with.
pub(crate) const BENCH_PACKAGES: &[&str] = &["wrk"];

/// The BPF target of this host's byte order.
pub(crate) const BPF_TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// `target-cpu=v3` (kernel 5.1 and newer) is 10 % cheaper per packet than the linker's default (measured on the
/// complete program). Debug information is what the BTF is made from.
pub(crate) const BPF_RUSTFLAGS: &str = "-C debuginfo=2 -C link-arg=--btf -C target-cpu=v3";
