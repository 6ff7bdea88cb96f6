//! A service `echo` behind the daemon, and ways to call it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use harness::{
    Desk, Upstream,
    client::{Curl, curl_anywhere},
};

/// The listener's ports on loopback.
pub(crate) const HTTP: &str = "http://127.0.0.2:9080";
pub(crate) const HTTPS: &str = "https://127.0.0.2:9443";

pub(crate) struct Call {
    pub(crate) desk: Desk,
    pub(crate) upstream: Upstream,
    pub(crate) token: String,
}

impl Call {
    /// A daemon with one instance behind the service `echo`.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::at(Desk::with_open_front())
    }

    /// The same with settings of the test's own.
    #[track_caller]
    pub(crate) fn with_settings(toml: &str) -> Self {
        Self::at(Desk::with_settings(toml).open())
    }

    #[track_caller]
    fn at(desk: Desk) -> Self {
        let upstream = desk.within(|| Upstream::local("one"));
        let added = desk.ok(&["service", "add", "echo", "--instance", &upstream.instance()]);
        let token = added.get("token").and_then(|token| token.as_str()).expect("a token").to_owned();
        Self { desk, upstream, token }
    }

    /// A call of `url` from where the daemon's loopback is.
    pub(crate) fn curl(&self, url: &str) -> Curl {
        curl_anywhere(self.desk.namespace.as_ref(), url)
    }

    /// A call of the service with its token.
    pub(crate) fn echo(&self, path: &str) -> Curl {
        self.curl(&format!("{HTTP}/api/predict/echo{path}")).token(&self.token)
    }

    /// A connection to the listener's HTTP port.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        let target: SocketAddr = "127.0.0.2:9080".parse().expect("an address");
        let stream = self.desk.within(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)));
        let stream = stream.expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream
    }

    /// Sends bytes as they are and reads until the other side closes or is silent.
    #[track_caller]
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(Duration::from_millis(700))).expect("timeout");
        // The other side may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            answer.extend(buffer.iter().take(read));
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}
