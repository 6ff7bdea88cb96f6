//! One active check: a real connection, and a real request where the check has a path.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::{task::spawn_local, time::timeout};

use super::super::{LocalExecutor, Place, Resolver, Stream, dial::dial};
use crate::{
    proxy::view::View,
    snapshot::upstream::{HealthCheck, Probe},
};

/// Checks the instance once; the error says what was wrong, in words for the log.
pub(super) async fn probe(
    place: &Place,
    http2: bool,
    check: &HealthCheck,
    resolver: &Rc<Resolver>,
    view: &View,
) -> Result<(), String> {
    let asked = async {
        // The deadline of the whole is the one that counts.
        let stream = dial(place, resolver, view, Duration::MAX / 4)
            .await
            .map_err(|failure| failure.message().to_owned())?;
        match &check.probe {
            Probe::Tcp => Ok(()),
            Probe::Http(path) => {
                let status = ask(stream, place, http2, path).await?;
                if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
            }
        }
    };
    timeout(check.timeout, asked).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
}

async fn ask(stream: Stream, place: &Place, http2: bool, path: &str) -> Result<StatusCode, String> {
    let io = TokioIo::new(stream);
    let request = Request::get(path).header(header::USER_AGENT, "gateway-health-check");
    let no = |error: &dyn std::fmt::Display| error.to_string();
    if http2 {
        let scheme = if place.tls.is_some() { "https" } else { "http" };
        let request = request.uri(format!("{scheme}://{}{path}", place.name));
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| no(&error))?;
        let (mut sender, connection) =
            http2::handshake(LocalExecutor, io).await.map_err(|error| no(&error))?;
        let driver = Driver(spawn_local(async move { drop(connection.await) }));
        let answer = sender.send_request(request).await.map_err(|error| no(&error))?;
        drop(driver);
        Ok(answer.status())
    } else {
        let request = request.header(header::HOST, &place.name).header(header::CONNECTION, "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| no(&error))?;
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| no(&error))?;
        let driver = Driver(spawn_local(async move { drop(connection.await) }));
        let answer = sender.send_request(request).await.map_err(|error| no(&error))?;
        drop(driver);
        Ok(answer.status())
    }
}

/// The task that drives a connection; the connection ends with the check, also with one that is given up.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
