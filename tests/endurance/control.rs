//! Edits over the control socket: a process for each would measure the machine, not the gateway.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// Longer than any edit takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The control socket of a daemon.
#[derive(Clone, Debug)]
pub(crate) struct Control(PathBuf);

/// One request on the control socket.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
}

// === impl Control ===

impl Control {
    pub(crate) fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// Makes an edit; returns status and answer.
    pub(crate) async fn ask(&self, edit: &Edit) -> (u16, Value) {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.0).await?;
            let body = if edit.body.is_null() { String::new() } else { edit.body.to_string() };
            let head = format!(
                "{} {} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                edit.method,
                edit.path,
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = timeout(PATIENCE, exchange).await.expect("the control socket answers in time").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        let status =
            head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}
