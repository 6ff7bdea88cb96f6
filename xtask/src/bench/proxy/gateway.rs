//! The gateway, set up through its command line like an operator does it.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{Candidate, PROXY_CORE, SERVICES, Scene, UPSTREAM};
use crate::bench::process::Server;
use crate::run;

pub(super) fn start(scene: &Scene, binary: &Path, port: u16) -> anyhow::Result<Candidate> {
    let gateway = binary.to_str().context("the path of the gateway is not UTF-8")?;
    let socket = scene.directory.join("control.sock");
    // The filter has a benchmark of its own; loopback has no native XDP. The accept check is always on.
    let config = scene.write("gateway.toml", "filter = \"off\"\nadmin = \"127.0.0.1:9145\"\n")?;
    let mut command = scene.namespace.pinned(PROXY_CORE, gateway);
    command.arg("run").arg("--config").arg(config).arg("--state").arg(scene.directory.join("state"));
    command.arg("--socket").arg(&socket);
    // The access log is what it prints.
    let mut server = Server::start(&mut command, &scene.directory.join("gateway.log"))?;
    let ask = |arguments: &[&str]| {
        let mut command = scene.namespace.command(gateway);
        command.args(arguments).arg("--socket").arg(&socket);
        command
    };
    server.wait_until(|| run::output(&mut ask(&["status"])).is_some()).context("gateway")?;
    for arguments in steps(scene, port)? {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = ask(&arguments).output()?;
        if !output.status.success() {
            bail!("gateway {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(Candidate { name: "gateway", server, port })
}

/// The commands that make the scene; each is what an operator would type.
fn steps(scene: &Scene, port: u16) -> anyhow::Result<Vec<Vec<String>>> {
    let file = |name: &str| scene.directory.join(name).display().to_string();
    let mut lines = vec![
        format!(
            "listener add bench --exposure public --interface lo --address 127.0.0.1 --no-http --https {port} --open"
        ),
        "allow add bench 127.0.0.0/8".to_owned(),
        format!("cert add bench --chain {} --key {}", file("cert.pem"), file("key.pem")),
    ];
    for n in 0..SERVICES {
        let token = format!("token-{n}");
        scene.write(&token, &format!("tok-{n:05}"))?;
        lines.extend([
            format!("service add svc{n} --instance {UPSTREAM} --qps 900000 --token-file {}", file(&token)),
            format!("domain add svc{n}.example.test --exposure public --cert bench"),
            format!("route add svc{n} --host svc{n}.example.test --path-prefix /api/ --service svc{n}"),
        ]);
    }
    Ok(lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect())
}
