//! The clients' side: real `curl`, bare TCP connects and pings, each from inside a namespace.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    netns::NetNs,
    process::{self, Running},
};

/// What became of a TCP connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody answered the SYN: dropped.
    Timeout,
    /// A RST answered it.
    Refused,
    /// The network said no.
    Unreachable,
    /// The handshake succeeded and the other side closed or reset at once: refused at accept.
    Cut,
    /// Connected, and the other side waits for us to speak.
    Open,
}

/// Long enough for a handshake on a busy machine, shorter than the first retransmission of a SYN (1 s).
const CONNECT: Duration = Duration::from_millis(600);
/// For a connection that must come about: a SYN that is lost behind a flood is sent again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection must stay up to count as open.
const GRACE: Duration = Duration::from_millis(250);

/// Connects to `target` from `namespace`.
#[must_use]
#[track_caller]
pub fn reach(namespace: &NetNs, target: impl Into<SocketAddr>) -> Reach {
    attempt(namespace, None, target.into(), CONNECT).0
}

/// Connects to `target` from the address `source` of `namespace`.
#[must_use]
#[track_caller]
pub fn reach_from(namespace: &NetNs, source: IpAddr, target: impl Into<SocketAddr>) -> Reach {
    attempt(namespace, Some(source), target.into(), CONNECT).0
}

/// A connection from `namespace` that must come about.
#[must_use]
#[track_caller]
pub fn connect(namespace: &NetNs, target: impl Into<SocketAddr>) -> TcpStream {
    let target = target.into();
    match attempt(namespace, None, target, PATIENCE) {
        (Reach::Open, Some(stream)) => stream,
        (other, _) => panic!("{target} from {}: {other:?}", namespace.name()),
    }
}

fn attempt(
    namespace: &NetNs,
    source: Option<IpAddr>,
    target: SocketAddr,
    within: Duration,
) -> (Reach, Option<TcpStream>) {
    let socket = namespace.within(|| {
        let socket =
            Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP)).expect("socket");
        if let Some(source) = source {
            socket
                .bind(&SocketAddr::new(source, 0).into())
                .unwrap_or_else(|error| panic!("bind {source}: {error}"));
        }
        socket
    });
    if let Err(error) = socket.connect_timeout(&target.into(), within) {
        let reach = if error.kind() == ErrorKind::TimedOut {
            Reach::Timeout
        } else if error.kind() == ErrorKind::ConnectionRefused {
            Reach::Refused
        } else if error.kind() == ErrorKind::ConnectionReset {
            // The handshake succeeded, and the RST was here before this thread looked.
            Reach::Cut
        } else if matches!(error.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) {
            Reach::Unreachable
        } else {
            panic!("connect {target}: {error}")
        };
        return (reach, None);
    }
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(GRACE)).expect("read timeout");
    match stream.read(&mut [0]) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            (Reach::Open, Some(stream))
        }
        Err(_) | Ok(0) => (Reach::Cut, None),
        Ok(_) => panic!("{target} spoke first"),
    }
}

/// Whether `target` answers one echo request.
#[must_use]
pub fn ping(namespace: &NetNs, target: IpAddr) -> bool {
    let mut command = namespace.command("ping");
    command.args(["-n", "-c", "1", "-W", "1", &target.to_string()]);
    process::run(&mut command, Duration::from_secs(5)).code == Some(0)
}

/// One run of `curl`, being put together.
#[derive(Debug)]
pub struct Curl {
    command: Command,
}

/// What `curl` got.
#[derive(Clone, Debug)]
pub struct Answer {
    /// curl's exit code: 0 an HTTP answer, 7 refused, 28 timed out, 35 TLS failed, 52 empty, 56 reset.
    pub exit: i32,
    /// HTTP status, 0 without an answer.
    pub status: u64,
    /// Header block of the final answer.
    pub head: String,
    pub body: String,
    /// Everything, for messages.
    pub framed: String,
}

/// A `curl` of `url` in `namespace`, with a time limit of five seconds.
#[must_use]
pub fn curl(namespace: &NetNs, url: &str) -> Curl {
    curl_anywhere(Some(namespace), url)
}

/// As [`curl`], in this process's own namespace when there is no other.
#[must_use]
pub fn curl_anywhere(namespace: Option<&NetNs>, url: &str) -> Curl {
    let mut command = namespace.map_or_else(|| Command::new("curl"), |namespace| namespace.command("curl"));
    command.args(["-q", "-sS", "-i", "--max-time", "20", "--noproxy", "*", "-w", "%{stderr}\n%{json}", url]);
    Curl { command }
}

// === impl Curl ===

impl Curl {
    /// Adds options of curl's own.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Reaches `host` at `address`.
    #[must_use]
    pub fn at(self, host: &str, address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        self.with(&["--resolve", &format!("{host}:{}:{ip}", address.port())])
    }

    /// Trusts only the authority in `file`.
    #[must_use]
    pub fn trust(self, file: &Path) -> Self {
        self.with(&["--cacert", &file.to_string_lossy()])
    }

    /// Does not verify the certificate.
    #[must_use]
    pub fn insecure(self) -> Self {
        self.with(&["-k"])
    }

    #[must_use]
    pub fn header(self, line: &str) -> Self {
        self.with(&["-H", line])
    }

    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header(&format!("Authorization: {token}"))
    }

    /// Runs it.
    #[track_caller]
    pub fn run(mut self) -> Answer {
        let finished = process::run(&mut self.command, Duration::from_secs(30));
        let report: Value = finished
            .stderr
            .lines()
            .rev()
            .find(|line| line.starts_with('{'))
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let (head, body) = split(&finished.stdout);
        Answer {
            exit: finished.code.unwrap_or(-1),
            status: report["http_code"].as_u64().unwrap_or_default(),
            head,
            body,
            framed: finished.framed(),
        }
    }

    /// Leaves it running, with its standard output in a pipe; for streams.
    #[track_caller]
    pub fn stream(mut self) -> Running {
        self.command.arg("-N").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Running::spawn(&mut self.command)
    }
}

/// The last header block and the body of `curl -i` output.
fn split(output: &str) -> (String, String) {
    let mut rest = output;
    loop {
        let Some((head, body)) = rest.split_once("\r\n\r\n") else { return (String::new(), rest.to_owned()) };
        // A 100 comes with a header block of its own.
        if !head.contains(" 100") || !body.starts_with("HTTP/") {
            return (head.to_owned(), body.to_owned());
        }
        rest = body;
    }
}

// === impl Answer ===

impl Answer {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(&self, status: u64) -> &Self {
        assert_eq!((self.exit, self.status), (0, status), "{}", self.framed);
        self
    }

    /// Asserts that the gateway refused with this status and reason.
    #[track_caller]
    pub fn expect_refusal(&self, status: u64, reason: &str) {
        self.expect(status);
        assert_eq!(self.header("x-gateway-error"), Some(reason), "{}", self.framed);
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        assert_eq!(body["error"]["reason"], reason, "{}", self.framed);
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}\n{}", self.framed))
    }
}
