//! Pure: metric names.
//!
//! To add one: a constant here with its help text beside it, one line in `collect.rs` (or in a collector of your own
//! room, handed to `Metrics::register`), a row in the README's table. Counters end in `_total` when exposed (the
//! exposition adds it); units are in the name; labels are names that operators gave, never internal ids.

/// Requests by gateway, service and status class.
pub const REQUESTS: (&str, &str) = ("gateway_requests", "Requests answered, by service and status class");
/// Request body bytes.
pub const BYTES_IN: (&str, &str) = ("gateway_request_bytes", "Request body bytes passed to instances");
/// Response body bytes.
pub const BYTES_OUT: (&str, &str) = ("gateway_response_bytes", "Response body bytes passed to clients");
/// Requests in flight.
pub const ACTIVE: (&str, &str) = ("gateway_requests_active", "Requests in flight");
/// Time to the last byte.
pub const LATENCY: (&str, &str) =
    ("gateway_request_duration_seconds", "Time from request head to the last byte");
/// Upstream retries.
pub const RETRIES: (&str, &str) = ("gateway_upstream_retries", "Requests sent once more");
/// Retries that were not made.
pub const RETRIES_REFUSED: (&str, &str) =
    ("gateway_upstream_retries_refused", "Retries that the service's budget did not allow");
/// Waiting requests.
pub const QUEUE_WAITING: (&str, &str) =
    ("gateway_queue_waiting", "Requests that wait for a free place at an instance");
/// Requests that had to wait.
pub const QUEUE_WAITED: (&str, &str) =
    ("gateway_queue_waited", "Requests that found every instance at its bound");
/// 450s.
pub const QUEUE_REFUSED: (&str, &str) =
    ("gateway_queue_refused", "Requests refused because the queue was full or the wait too long");
/// Copies of requests.
pub const MIRRORED: (&str, &str) =
    ("gateway_mirrored", "Copies of requests for a mirror, by result (sent, failed, dropped)");
/// State of an instance.
pub const INSTANCE_STATE: (&str, &str) =
    ("gateway_instance_state", "1 for each instance, with its state (up, unhealthy, ejected, probation)");
/// Requests in flight at an instance.
pub const INSTANCE_ACTIVE: (&str, &str) = ("gateway_instance_active", "Requests in flight at the instance");
/// Requests of an instance.
pub const INSTANCE_REQUESTS: (&str, &str) =
    ("gateway_instance_requests", "Attempts sent to the instance, or meant for it");
/// Failures of an instance.
pub const INSTANCE_FAILURES: (&str, &str) = (
    "gateway_instance_failures",
    "Failures that count against the instance: not reached, too slow, 502, 503, 504",
);
/// Ejections of an instance.
pub const INSTANCE_EJECTIONS: (&str, &str) =
    ("gateway_instance_ejections", "Times that failures in a row took the instance out");
/// Failed checks of an instance.
pub const INSTANCE_CHECKS_FAILED: (&str, &str) =
    ("gateway_instance_checks_failed", "Active checks of the instance that failed");
/// Upstream connections opened.
pub const CONNECTS: (&str, &str) = ("gateway_upstream_connects", "Connections opened to instances");
/// 401s.
pub const UNAUTHORIZED: (&str, &str) = ("gateway_unauthorized", "Requests without a valid token");
/// 429s.
pub const THROTTLED: (&str, &str) = ("gateway_throttled", "Requests over a service's rate");
/// Accepted connections.
pub const ACCEPTED: (&str, &str) = ("gateway_connections_accepted", "Connections admitted at accept");
/// Refused connections.
pub const REFUSED: (&str, &str) = (
    "gateway_connections_refused",
    "Connections closed at accept or for want of a PROXY protocol header, by reason",
);
/// Live connections.
pub const LIVE: (&str, &str) = ("gateway_connections", "Client connections open now");
/// Cut connections.
pub const CUT: (&str, &str) =
    ("gateway_connections_cut", "Connections cut because their source lost its access");
/// Request body bytes by listener and channel.
pub const LISTENER_BYTES_IN: (&str, &str) = (
    "gateway_listener_request_bytes",
    "Request body bytes by listener and channel (public, private, remote)",
);
/// Response body bytes by listener and channel.
pub const LISTENER_BYTES_OUT: (&str, &str) = (
    "gateway_listener_response_bytes",
    "Response body bytes by listener and channel (public, private, remote)",
);
/// Bytes judged by the kernel filter.
pub const FILTER_BYTES: (&str, &str) =
    ("gateway_filter_bytes", "Bytes to listeners judged in the kernel, by listener, channel and reason");
/// TLS handshakes.
pub const HANDSHAKES: (&str, &str) = ("gateway_tls_handshakes", "TLS handshakes, by result");
/// HTTP/2 floods.
pub const FLOODS: (&str, &str) = (
    "gateway_http2_floods",
    "HTTP/2 connections closed because their client floods the gateway, by what with",
);
/// Answers of the gateway itself.
pub const OWN_ANSWERS: (&str, &str) =
    ("gateway_own_answers", "Answers that no service gave, by status class");
/// Live generation.
pub const GENERATION: (&str, &str) =
    ("gateway_generation", "Number of the configuration that the proxy serves");
/// Lost log lines.
pub const LOG_LOST: (&str, &str) =
    ("gateway_access_log_lost", "Access log lines dropped because the writer was behind");
/// Panics.
pub const PANICS: (&str, &str) = ("gateway_panics", "Panics caught, by place");
/// The byte budget in use.
pub const MEMORY_USED: (&str, &str) =
    ("gateway_memory_used_bytes", "Bytes of the budget that connections and requests hold, by its own count");
/// The byte budget.
pub const MEMORY_LIMIT: (&str, &str) =
    ("gateway_memory_limit_bytes", "Bytes that connections and requests may hold");
/// Places for connections.
pub const CONNECTIONS_LIMIT: (&str, &str) =
    ("gateway_connections_limit", "Client connections that may be open at once");
/// Requests refused for lack of room.
pub const OVERLOADED: (&str, &str) =
    ("gateway_overloaded", "Requests and HTTP/2 connections refused because the budget was used up");
/// Waiting clients sent away.
pub const EVICTED: (&str, &str) =
    ("gateway_connections_evicted", "Idle connections and stuck handshakes that were ended to make room");
/// Workers that take no connections.
pub const PAUSED: (&str, &str) =
    ("gateway_accept_paused", "Workers that take no connections now, by what there is no more of");
/// How often they stopped.
pub const PAUSES: (&str, &str) =
    ("gateway_accept_pauses", "How often a worker stopped taking connections, by what there was no more of");
/// Packets judged by the kernel filter.
pub const FILTER_PACKETS: (&str, &str) =
    ("gateway_filter_packets", "Packets to listeners judged in the kernel, by listener and reason");
/// Lost drop events.
pub const FILTER_EVENTS_LOST: (&str, &str) =
    ("gateway_filter_events_lost", "Sampled drops that found the ring buffer full");
/// Tier in force.
pub const FILTER_INTERFACE: (&str, &str) =
    ("gateway_filter_interface", "1 for each listener interface, with the tier that judges there first");
/// Queries to the name server.
pub const DNS_QUERIES: (&str, &str) = (
    "gateway_dns_queries",
    "Queries to the name server, by view and outcome (the response code, ignored, rate_limited)",
);
/// Answers that did not fit into a datagram.
pub const DNS_TRUNCATED: (&str, &str) =
    ("gateway_dns_truncated", "Answers that were too long for UDP, by view; the asker comes back over TCP");
