//! The gateway's own answers: one table from failure to response.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{body::Answer, fields::X_REQUEST_ID};
use crate::proxy::{failure::Failure, worker::record::RequestId};

const X_GATEWAY_ERROR: HeaderName = HeaderName::from_static("x-gateway-error");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a refusal says besides the failure itself.
pub(crate) struct Details<'a> {
    pub(crate) id: &'a RequestId,
    /// Answer as gRPC: trailers only, HTTP status 200.
    pub(crate) grpc: bool,
    /// Seconds after which a retry makes sense.
    pub(crate) retry: Option<u64>,
    /// The limit that was passed, if the client may know it.
    pub(crate) limit: Option<u64>,
}

/// Refuses a request.
pub(crate) fn refuse(failure: Failure, details: &Details<'_>) -> Response<Answer> {
    let mut response = if details.grpc { grpc(failure) } else { json(failure, details) };
    let headers = response.headers_mut();
    headers.insert(X_GATEWAY_ERROR, HeaderValue::from_static(failure.name()));
    headers.insert(X_REQUEST_ID, details.id.header());
    if let Some(seconds) = details.retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure == Failure::Unauthorized {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gateway\""));
    }
    if failure == Failure::BadEncoding {
        // RFC 9110 §12.5.3: what would be taken.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    }
    if failure == Failure::BadMethod {
        headers
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    response
}

fn json(failure: Failure, details: &Details<'_>) -> Response<Answer> {
    let limit = details.limit.map_or(String::new(), |limit| format!(" (limit: {limit} bytes)"));
    // Every part is our own text without quotes or backslashes.
    let text = format!(
        "{{\"error\":{{\"code\":{},\"reason\":\"{}\",\"message\":\"{}{limit}\",\"request_id\":\"{}\"}}}}\n",
        failure.status(),
        failure.name(),
        failure.message(),
        details.id.as_str(),
    );
    let mut response = Response::new(Answer::Own(Some(Bytes::from(text))));
    *response.status_mut() =
        StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn grpc(failure: Failure) -> Response<Answer> {
    let mut response = Response::new(Answer::Own(None));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(failure.grpc())));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(failure.message()));
    response
}

/// Sends the client to the same place over HTTPS; 308 keeps method and body (RFC 9110 §15.4.9).
pub(crate) fn redirect(location: &str, id: &RequestId) -> Response<Answer> {
    let mut response = Response::new(Answer::Own(None));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    response
}

/// The same in a box, where an answer is the rare case.
pub(crate) fn boxed(failure: Failure, details: &Details<'_>) -> Box<Response<Answer>> {
    Box::new(refuse(failure, details))
}
