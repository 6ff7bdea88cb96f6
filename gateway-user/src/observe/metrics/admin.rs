//! The admin server: `/metrics`, `/healthz` (the process runs) and `/readyz` (every data path serves a generation).

use std::{convert::Infallible, future::Future, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, pin, select, sync::Semaphore, task};

use super::Metrics;

/// Scrapes at the same time; the admin address is for a handful of local clients.
const CONNECTIONS: usize = 32;
/// A connection may last this long, whatever it does.
const LIFETIME: Duration = Duration::from_secs(30);

/// Serves until `shutdown` completes. Must run inside a `LocalSet` (the control runtime has one).
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    ready: impl Fn() -> bool + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let ready: Rc<dyn Fn() -> bool> = Rc::new(ready);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    pin!(shutdown);
    loop {
        let accepted = select! {
            () = &mut shutdown => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: try again when some may have been closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (metrics, ready) = (Arc::clone(&metrics), Rc::clone(&ready));
        task::spawn_local(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, &metrics, &*ready);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is its own business.
            let _ = tokio::time::timeout(LIFETIME, connection).await;
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, ready: &dyn Fn() -> bool) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.render())
        }
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") if ready() => {
            (StatusCode::OK, "text/plain", "ready\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/readyz") => {
            (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "try /metrics, /healthz or /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
