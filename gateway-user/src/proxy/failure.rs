//! Pure: what can go wrong with a request, whose side it is on, and the words for client, log and metrics.

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Gateway,
    Upstream,
}

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $grpc:literal, $side:ident, $message:literal;)+) => {
        /// Why the gateway answers itself. Names are stable: they appear in `x-gateway-error`, logs and metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Failure { $($(#[$doc])* $variant,)+ }

        impl Failure {
            /// Every failure.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)+ } }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)+ } }

            /// The gRPC status code of the same failure (trailers-only answers).
            #[must_use]
            pub const fn grpc(self) -> u8 { match self { $(Self::$variant => $grpc,)+ } }

            /// Whose side it is on.
            #[must_use]
            pub const fn side(self) -> Side { match self { $(Self::$variant => Side::$side,)+ } }

            /// One sentence for the client. It names nothing that the client may not know.
            #[must_use]
            pub const fn message(self) -> &'static str { match self { $(Self::$variant => $message,)+ } }
        }
    };
}

failures! {
    /// What came is no HTTP/1.1 request head: a bare CR or LF, a folded line, a bad character (RFC 9112 §2.2, §5).
    BadHead = "bad_head", 400, 13, Client, "the request head is not valid HTTP";
    /// Two ways to tell the length of the body, or a Transfer-Encoding other than chunked (RFC 9112 §6.1).
    BadFraming = "bad_framing", 400, 13, Client, "the length of the request body is not clear";
    /// A chunk that is not one (RFC 9112 §7.1).
    BadChunk = "bad_chunk", 400, 13, Client, "the chunked request body is not valid";
    /// The head is longer, or has more fields, than the gateway takes.
    HeadTooLarge = "head_too_large", 431, 8, Client, "the request head is too large";
    /// The request target alone is longer than the gateway takes.
    TargetTooLong = "target_too_long", 414, 8, Client, "the request target is too long";
    /// A version other than HTTP/1.0 and HTTP/1.1.
    BadVersion = "bad_version", 505, 12, Client, "this version of HTTP is not supported";
    /// An expectation other than 100-continue (RFC 9110 §10.1.1).
    BadExpectation = "bad_expectation", 417, 12, Client, "this expectation cannot be met";
    /// The head began and did not arrive in time (HTTP/1.1; RFC 9110 §15.5.9).
    HeadTimeout = "head_timeout", 408, 4, Client, "the request head did not arrive in time";
    /// A body in a coding that the gateway was asked to decode and cannot, or that is not what it says.
    BadEncoding = "bad_encoding", 415, 3, Client, "the request body's content coding is not supported or not valid";
    /// No Host, two of them, or one that is not a host (RFC 9112 §3.2).
    BadHost = "bad_host", 400, 13, Client, "the request needs exactly one valid Host";
    /// Dot segments or bytes that do not belong in a path.
    BadPath = "bad_path", 400, 13, Client, "the request path is not normalised";
    /// Content-Length that is no number, or several that differ.
    BadLength = "bad_length", 400, 13, Client, "the declared length is not valid";
    /// CONNECT and other methods that a reverse proxy has no use for.
    BadMethod = "bad_method", 405, 12, Client, "this method is not supported here";
    /// The connection was made for another name (RFC 9110 §15.5.20).
    Misdirected = "misdirected", 421, 14, Client, "this connection's certificate does not cover the requested host";
    /// Nothing is served under this host name here.
    UnknownHost = "unknown_host", 404, 12, Client, "no such host here";
    /// No route and no service matches, or it is not exposed here.
    NoRoute = "no_route", 404, 12, Client, "no service is reached by this path here";
    /// A gRPC call to a service that does not speak it.
    GrpcDisabled = "grpc_disabled", 415, 12, Client, "this service does not serve gRPC";
    /// No token, or not a valid one.
    Unauthorized = "unauthorized", 401, 16, Client, "a valid service token is required";
    /// The body is larger than the service takes.
    BodyTooLarge = "body_too_large", 413, 8, Client, "the request body is larger than this service accepts";
    /// More requests than the service's rate.
    Throttled = "throttled", 429, 8, Client, "too many requests for this service";
    /// The client stopped sending its body.
    ClientTimeout = "client_timeout", 408, 4, Client, "the request body did not arrive in time";
    /// The client went away; nobody reads the answer.
    ClientGone = "client_gone", 499, 1, Client, "the client closed the connection";
    /// The gateway has no memory or no place left for the request.
    Overloaded = "overloaded", 503, 14, Gateway, "the gateway is overloaded";
    /// Every instance is at its bound, and the queue is full or the wait was too long.
    QueueFull = "queue_full", 450, 8, Gateway, "too many requests wait for this service";
    /// The service has no instance.
    NoInstance = "no_instance", 503, 14, Gateway, "no instance of this service is available";
    /// The instance's address is the gateway's own.
    Loop = "upstream_loop", 503, 14, Gateway, "this service's instance is the gateway itself";
    /// The name of the instance has no address.
    Resolve = "upstream_resolve", 502, 14, Upstream, "the address of the service could not be resolved";
    /// The instance refused the connection.
    Connect = "upstream_connect", 502, 14, Upstream, "the service could not be reached";
    /// No connection within the connect deadline.
    ConnectTimeout = "upstream_connect_timeout", 504, 14, Upstream, "the service could not be reached in time";
    /// TLS with the instance failed, or its certificate is not the one that is expected.
    UpstreamTls = "upstream_tls", 502, 14, Upstream, "no secure connection to the service could be made";
    /// The instance closed the connection before an answer.
    Reset = "upstream_reset", 502, 14, Upstream, "the service closed the connection before an answer";
    /// The answer is not HTTP.
    BadAnswer = "upstream_bad_answer", 502, 13, Upstream, "the service's answer is not valid";
    /// No answer within the first-byte deadline.
    FirstByte = "upstream_first_byte_timeout", 504, 4, Upstream, "the service did not answer in time";
    /// The answer stopped in the middle.
    Idle = "upstream_idle_timeout", 504, 4, Upstream, "the service's answer stopped";
    /// The answer broke off in the middle.
    Broken = "upstream_broken", 502, 13, Upstream, "the service's answer broke off";
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        for failure in Failure::ALL {
            assert_eq!(Failure::ALL.iter().filter(|other| other.name() == failure.name()).count(), 1);
            assert!(
                (400..600).contains(&failure.status()) && (1..=16).contains(&failure.grpc()),
                "{failure:?}"
            );
        }
    }
}
