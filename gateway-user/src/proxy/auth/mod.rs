//! Pure: the service token check. Only SHA-256 digests are known here; the token itself is on the client's side.

use aws_lc_rs::{constant_time, digest};

use crate::{proxy::http::head::Fields, snapshot::http::Access};

/// Longest token that is looked at; a longer one cannot be valid.
const TOKEN_MAX: usize = 4096;

/// Whether the request may call a service with this access.
pub(crate) fn admits(access: &Access, fields: &impl Fields) -> bool {
    match access {
        Access::Open => true,
        Access::Tokens(digests) => presented(fields).is_some_and(|token| known(digests, token)),
    }
}

/// The token in `Authorization`, raw or after `Bearer`. Several fields are no token: which of them would count?
fn presented(fields: &impl Fields) -> Option<&[u8]> {
    let mut values = fields.all("authorization");
    let value = values.next().filter(|_| values.next().is_none())?.trim_ascii();
    let token = match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => value,
    };
    (!token.is_empty() && token.len() <= TOKEN_MAX).then_some(token)
}

/// Compares with every digest in constant time: the time tells neither which digest matched nor how far.
fn known(digests: &[[u8; 32]], token: &[u8]) -> bool {
    let presented = digest::digest(&digest::SHA256, token);
    let mut found = false;
    for digest in digests {
        found |= constant_time::verify_slices_are_equal(digest, presented.as_ref()).is_ok();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::admits;
    use crate::{proxy::http::head::List, snapshot::http::Access};

    fn access(tokens: &[&str]) -> Access {
        let digest = |token: &&str| {
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes())
                .as_ref()
                .try_into()
                .unwrap()
        };
        Access::Tokens(tokens.iter().map(digest).collect())
    }

    #[test]
    fn raw_and_bearer_tokens_are_taken() {
        let access = access(&["other", "sesame"]);
        for good in ["sesame", "Bearer sesame", "bearer sesame", "BEARER  sesame ", " sesame"] {
            assert!(admits(&access, &List(&[("authorization", good)])), "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "sesame2", "Basic sesame", "Sesame", "bearersesame"] {
            assert!(!admits(&access, &List(&[("authorization", bad)])), "{bad}");
        }
        assert!(!admits(&access, &List(&[])));
        assert!(!admits(&access, &List(&[("authorization", "sesame"), ("authorization", "sesame")])));
    }

    #[test]
    fn no_token_is_valid_where_none_was_given_out() {
        assert!(!admits(&access(&[]), &List(&[("authorization", "")])));
        assert!(admits(&Access::Open, &List(&[])));
    }
}
