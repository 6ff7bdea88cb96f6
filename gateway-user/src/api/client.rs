//! The client of the control socket: one request per connection, blocking, with a runtime of its own.

use std::{
    future::Future,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::wire::{self, ErrorReply};
use crate::base::Refusal;

/// How long an answer may take. Changes wait for every worker, which takes milliseconds; a minute means it hangs.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
}

impl Call {
    /// A request without body. `segments` are the path below `/v1`, escaped here.
    #[must_use]
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let mut path = wire::PREFIX.to_owned();
        for segment in segments {
            path.push('/');
            escape(segment, &mut path);
        }
        Self { method, path, query: Vec::new(), body: None }
    }

    /// A read.
    #[must_use]
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// A change.
    #[must_use]
    pub fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// A removal.
    #[must_use]
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// Sends a JSON body.
    #[must_use]
    pub fn json(mut self, body: &impl serde::Serialize) -> Self {
        // Wire types have string keys only and no failing serialiser, so this cannot fail.
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        self.body = Some((wire::JSON, bytes.into()));
        self
    }

    /// Sends a declarative file as it is.
    #[must_use]
    pub fn toml(mut self, text: String) -> Self {
        self.body = Some((wire::TOML, text.into_bytes().into()));
        self
    }

    fn request(self) -> Result<Request<Full<Bytes>>, Failure> {
        let mut target = self.path;
        for (index, (key, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(key);
            target.push('=');
            escape(value, &mut target);
        }
        let mut builder = Request::builder().method(self.method).uri(target).header("host", "gateway");
        let mut bytes = Bytes::new();
        if let Some((media, body)) = self.body {
            builder = builder.header("content-type", media);
            bytes = body;
        }
        builder.body(Full::new(bytes)).map_err(|error| Failure::Broken(error.to_string()))
    }
}

/// Percent-encodes everything outside RFC 3986's unreserved set.
fn escape(text: &str, into: &mut String) {
    use std::fmt::Write as _;

    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody answers at any of these sockets.
    #[error("no gateway daemon answers at {}", tried(.0))]
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// The connection broke or the answer is not ours.
    #[error("the gateway daemon did not answer properly: {0}")]
    Broken(String),
}

fn tried(sockets: &[(PathBuf, io::Error)]) -> String {
    let each: Vec<String> =
        sockets.iter().map(|(path, error)| format!("{} ({error})", path.display())).collect();
    each.join(", ")
}

/// The sockets to try, in order: the one that was named, or else the user's and the system's (DESIGN §6).
#[must_use]
pub fn candidates(flag: Option<&Path>) -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = flag {
        return vec![path.to_owned()];
    }
    if let Some(path) = variable("GATEWAY_SOCKET") {
        return vec![path];
    }
    let mut sockets = Vec::new();
    if let Some(base) = variable("XDG_RUNTIME_DIR") {
        sockets.push(base.join("gateway/control.sock"));
    } else if let Some(base) =
        variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))
    {
        // Where a daemon without a runtime directory puts it.
        sockets.push(base.join("gateway/control.sock"));
    }
    sockets.push(PathBuf::from("/run/gateway/control.sock"));
    sockets
}

/// A client of one daemon.
#[derive(Debug)]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    sockets: Vec<PathBuf>,
}

impl Client {
    /// A client that tries `sockets` in order, anew for each request.
    ///
    /// # Errors
    /// The process may not create an event loop (out of file descriptors).
    pub fn new(sockets: Vec<PathBuf>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Broken(error.to_string()))?;
        Ok(Self { runtime, sockets })
    }

    /// Sends `call` and returns the decoded answer.
    ///
    /// # Errors
    /// The daemon refused, does not answer, or answers something that is not JSON.
    pub fn send(&self, call: Call) -> Result<Value, Failure> {
        let whole = async {
            let (status, body) = self.exchange(call).await?;
            let bytes = body.collect().await.map_err(|error| Failure::Broken(error.to_string()))?.to_bytes();
            decode(status, &bytes)
        };
        self.runtime.block_on(within(ANSWER_DEADLINE, whole))
    }

    /// Sends `call` and hands over each line of a followed stream until `each` breaks or the daemon ends it.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn follow(&self, call: Call, mut each: impl FnMut(Value) -> ControlFlow<()>) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let (status, mut body) = within(ANSWER_DEADLINE, self.exchange(call)).await?;
            let mut pending = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| Failure::Broken(error.to_string()))?;
                pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                if !status.is_success() {
                    continue;
                }
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    if each(decode(status, &line)?).is_break() {
                        return Ok(());
                    }
                }
            }
            if status.is_success() { Ok(()) } else { decode(status, &pending).map(drop) }
        })
    }

    async fn exchange(&self, call: Call) -> Result<(StatusCode, Incoming), Failure> {
        let request = call.request()?;
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::Broken(error.to_string()))?;
        self.runtime.spawn(connection);
        let response =
            sender.send_request(request).await.map_err(|error| Failure::Broken(error.to_string()))?;
        let (head, body) = response.into_parts();
        Ok((head.status, body))
    }

    async fn connect(&self) -> Result<UnixStream, Failure> {
        let mut failures = Vec::new();
        for path in &self.sockets {
            match UnixStream::connect(path).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failures.push((path.clone(), error)),
            }
        }
        // A socket that exists and may not be opened is a refusal, not an absent daemon.
        match failures.iter().find(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied) {
            Some((path, _)) => Err(Failure::Refused(
                Refusal::new("forbidden", "this user may not open the control socket")
                    .field("socket", path.display())
                    .remedy("run as root, as the daemon's user, or as a member of its control_group"),
            )),
            None => Err(Failure::Unreachable(failures)),
        }
    }
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(Failure::Broken(format!("no answer within {} s", deadline.as_secs()))))
}

fn decode(status: StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
    if status.is_success() {
        return serde_json::from_slice(bytes).map_err(|error| Failure::Broken(error.to_string()));
    }
    match serde_json::from_slice::<ErrorReply>(bytes) {
        Ok(reply) => Err(Failure::Refused(reply.error)),
        Err(_) => Err(Failure::Broken(format!("status {status} without an error object"))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Call, candidates};

    #[test]
    fn segments_and_values_are_escaped() {
        let call = Call::get(&["listeners", "vpc:a/b", "allow"]).query("interface", "e 0&x");
        let request = call.request().unwrap();
        assert_eq!(request.uri().to_string(), "/v1/listeners/vpc%3Aa%2Fb/allow?interface=e%200%26x");
    }

    #[test]
    fn a_named_socket_is_the_only_one_tried() {
        assert_eq!(candidates(Some(Path::new("/x"))), [Path::new("/x")]);
    }
}
