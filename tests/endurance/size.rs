//! How much of everything: the size for every change, or the whole one.

/// `quick` for every change, `full` when `GATEWAY_ENDURE=full`.
pub(crate) fn of<T>(quick: T, full: T) -> T {
    if is_full() { full } else { quick }
}

/// Whether the whole size is wanted: by hand, on a quiet machine with a release build, where times are asserted too.
pub(crate) fn is_full() -> bool {
    match std::env::var("GATEWAY_ENDURE").as_deref() {
        Ok("full") => true,
        Ok(other) => panic!("GATEWAY_ENDURE={other}: the one value is `full`"),
        Err(_) => false,
    }
}
