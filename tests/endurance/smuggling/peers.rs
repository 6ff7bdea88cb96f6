//! nginx and HAProxy as instances: each passes what it read to a server that remembers it, and notes in a log of its own
//! whose request it was. A request that nobody sent has no id there.

use std::{fs, net::SocketAddr, path::PathBuf, process::Stdio};

use harness::{Desk, gateway::free_address, process::Running, wait};

/// A running peer.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    log: PathBuf,
    _server: Running,
}

/// A line of a peer's log.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    /// The gateway's id of the request; `-` if there is none.
    pub(super) id: String,
    pub(super) method: String,
    /// All of it, for messages.
    pub(super) line: String,
}

// === impl Peer ===

impl Peer {
    /// nginx with `behind` behind it.
    #[track_caller]
    pub(super) fn nginx(desk: &Desk, behind: SocketAddr) -> Self {
        let address = desk.within(free_address);
        let folder = desk.gateway.scratch().path().display().to_string();
        let config = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             log_format seen '$http_x_request_id $request_method $request_uri $status';\n\
             access_log {folder}/nginx.log seen;\n\
             client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;\n\
             uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;\n\
             large_client_header_buffers 8 128k; client_max_body_size 0; keepalive_requests 1000000;\n\
             upstream behind {{ server {behind}; keepalive 64; }}\n\
             server {{ listen {address}; location / {{\n\
             proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $http_host; proxy_request_buffering off; proxy_next_upstream off;\n\
             }} }} }}\n"
        );
        Self::start(desk, "nginx", &["-c"], &config, &address)
    }

    /// HAProxy with `behind` behind it.
    #[track_caller]
    pub(super) fn haproxy(desk: &Desk, behind: SocketAddr) -> Self {
        let address = desk.within(free_address);
        let config = format!(
            "global\n maxconn 4096\n tune.bufsize 131072\n tune.http.maxhdr 512\n log stdout format raw local0\n\
             defaults\n mode http\n option dontlognull\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             frontend front\n bind {address}\n log global\n http-request capture req.hdr(x-request-id) len 64\n\
             log-format \"%[capture.req.hdr(0)] %HM %HU %ST\"\n default_backend behind\n\
             backend behind\n server behind {behind}\n"
        );
        Self::start(desk, "haproxy", &["-db", "-f"], &config, &address)
    }

    #[track_caller]
    fn start(desk: &Desk, program: &str, arguments: &[&str], config: &str, address: &str) -> Self {
        let config = desk.file(&format!("{program}.conf"), config);
        let log = desk.gateway.scratch().join(&format!("{program}.log"));
        let output = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = match &desk.namespace {
            Some(namespace) => namespace.command(program),
            None => std::process::Command::new(program),
        };
        command
            .args(arguments)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let mut server = Running::spawn(&mut command);
        let address: SocketAddr = address.parse().unwrap();
        wait::until(&format!("{program} to listen"), || {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(
                server.ended().is_none(),
                "{program} ended (`cargo xtask setup` installs it):\n{}",
                said()
            );
            desk.within(|| std::net::TcpStream::connect(address).is_ok().then_some(()))
        });
        Self { address, log, _server: server }
    }

    /// What it noted so far. A connection without a request, like the one that waited for its start, is none.
    pub(super) fn noted(&self) -> Vec<Noted> {
        let text = fs::read_to_string(&self.log).unwrap();
        let mut noted = Vec::new();
        for line in text.lines() {
            if let [id, method, _, status] = line.split(' ').collect::<Vec<_>>()[..]
                && status.parse::<u16>().is_ok()
                && !(id == "-" && method == "<BADREQ>" && status == "0")
            {
                noted.push(Noted { id: id.to_owned(), method: method.to_owned(), line: line.to_owned() });
            }
        }
        noted
    }
}
