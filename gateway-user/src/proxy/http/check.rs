//! Pure: what is wrong with a head that came over HTTP/2, besides what the stages look at: hyper takes more than a client
//! of HTTP/1.1 could say.

use http::{HeaderMap, header, request::Parts, uri::Scheme};

use super::head::check_line;
use crate::proxy::failure::Failure;

/// Refuses a head whose path and query are `asked`, or that has more than `most` fields.
pub(super) fn check(parts: &Parts, asked: &str, most: usize) -> Result<(), Failure> {
    if is_crowded(&parts.headers, most) {
        return Err(Failure::HeadTooLarge);
    }
    check_line(parts.method.as_str(), asked)?;
    // RFC 9113 §8.3.1. The scheme is known only with an authority; nothing is decided by it.
    let scheme = parts.uri.scheme().map_or("http", Scheme::as_str);
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    if !is_web || !(asked.starts_with('/') || asked == "*") {
        return Err(Failure::BadPath);
    }
    Ok(())
}

/// Whether there are more fields than `most`. The pieces into which HTTP/2 clients cut their cookies are one field, which
/// the parser's bound on bytes keeps small (RFC 9113 §8.2.3).
fn is_crowded(fields: &HeaderMap, most: usize) -> bool {
    fields.len() > most && fields.len() - fields.get_all(header::COOKIE).iter().count() > most
}

#[cfg(test)]
mod tests {
    use http::{Request, header::COOKIE};

    use super::check;
    use crate::proxy::failure::Failure;

    fn checked(method: &str, uri: &str) -> Result<(), Failure> {
        let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let asked = parts.uri.path_and_query().unwrap().as_str();
        check(&parts, asked, 2)
    }

    #[test]
    fn targets_are_those_of_http_1() {
        for (method, uri) in [("GET", "/a?b"), ("GET", "https://a.example/"), ("OPTIONS", "*")] {
            assert_eq!(checked(method, uri), Ok(()), "{method} {uri}");
        }
        for (method, uri, failure) in [
            ("GET", "*", Failure::BadPath),
            ("GET", "ftp://a.example/", Failure::BadPath),
            ("GET", "http://a.example?b", Failure::BadPath),
            ("GET", "/\u{e9}", Failure::BadPath),
            ("GET", "/?\u{e9}", Failure::BadPath),
            ("GET", &"/a".repeat(9000), Failure::TargetTooLong),
            (&"M".repeat(33), "/", Failure::BadMethod),
        ] {
            assert_eq!(checked(method, uri), Err(failure), "{method} {uri}");
        }
    }

    #[test]
    fn the_pieces_of_a_cookie_are_one_field() {
        let request = |fields: &[&str]| {
            let builder = fields.iter().fold(Request::builder().uri("/"), |all, name| all.header(*name, "1"));
            check(&builder.body(()).unwrap().into_parts().0, "/", 2)
        };
        assert_eq!(request(&["a", COOKIE.as_str(), COOKIE.as_str(), COOKIE.as_str()]), Ok(()));
        assert_eq!(request(&["a", "b", "c", COOKIE.as_str()]), Err(Failure::HeadTooLarge));
    }
}
