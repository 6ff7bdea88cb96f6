//! Connects to the first of several addresses that answers (Happy Eyeballs, RFC 8305).
//!
//! A name may have an address that is dead or whose family leads nowhere. The next one is tried while the first is
//! still waited for, so that a dead one costs a quarter of a second instead of the whole deadline.

use std::{future::Future, io, net::SocketAddr, pin::Pin, task::Poll, time::Duration};

use tokio::{net::TcpStream, time::sleep};

/// How long the next address waits for the one before (RFC 8305 §5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address that answers; the others are given up.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    race(interleaved(addresses), STAGGER, TcpStream::connect::<SocketAddr>).await
}

type Attempt<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// Starts an attempt for each address in turn, the next after `stagger` or as soon as one failed.
async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    stagger: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>> + 'static,
{
    let mut rest = addresses.into_iter();
    let Some(first) = rest.next() else {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no address"));
    };
    // Nearly every instance has one address, and needs neither box nor timer.
    if rest.len() == 0 {
        return attempt(first).await;
    }
    let mut running: Vec<Attempt<T>> = vec![Box::pin(attempt(first))];
    let mut timer = Box::pin(sleep(stagger));
    std::future::poll_fn(move |context| {
        loop {
            let mut failed = None;
            let mut index = 0;
            while let Some(future) = running.get_mut(index) {
                match future.as_mut().poll(context) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        failed = Some(error);
                        drop(running.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            let due = timer.as_mut().poll(context).is_ready();
            if !due && failed.is_none() {
                return Poll::Pending;
            }
            match (rest.next(), failed) {
                (Some(next), _) => {
                    running.push(Box::pin(attempt(next)));
                    timer.set(sleep(stagger));
                }
                (None, Some(error)) if running.is_empty() => return Poll::Ready(Err(error)),
                // Everybody was started; a timer that is over must not be asked again.
                (None, _) => timer.set(sleep(Duration::from_secs(3600))),
            }
        }
    })
    .await
}

/// The families in turn, beginning with the one that the resolver prefers (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(v6_first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == v6_first);
    let mut mixed = Vec::with_capacity(preferred.len() + other.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        let turn = [preferred.next(), other.next()];
        if turn == [None, None] {
            return mixed;
        }
        mixed.extend(turn.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        io,
        net::SocketAddr,
        rc::Rc,
        time::{Duration, Instant},
    };

    use super::{interleaved, race};

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_stays_first() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleaved(mixed), expected);
        let only = addresses(&["1.1.1.1:1", "2.2.2.2:1"]);
        assert_eq!(interleaved(only.clone()), only);
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    /// What each port does: 1 never answers, 2 refuses at once, 3 answers after 10 ms.
    fn run(ports: &[u16]) -> (io::Result<u16>, Vec<u16>, Duration) {
        let started = Rc::new(RefCell::new(Vec::new()));
        let places = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let log = Rc::clone(&started);
        let attempt = move |at: SocketAddr| {
            log.borrow_mut().push(at.port());
            async move {
                match at.port() {
                    1 => std::future::pending().await,
                    2 => Err(io::ErrorKind::ConnectionRefused.into()),
                    port => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        Ok(port)
                    }
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let start = Instant::now();
        let result = runtime.block_on(async {
            let patience = Duration::from_secs(2);
            let racing = race(places, Duration::from_millis(300), attempt);
            tokio::time::timeout(patience, racing)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        });
        let log = started.borrow().clone();
        (result, log, start.elapsed())
    }

    #[test]
    fn a_silent_address_costs_one_stagger_and_a_refusing_one_nothing() {
        let (result, started, took) = run(&[1, 3]);
        assert_eq!((result.unwrap(), started), (3, vec![1, 3]));
        assert!(took >= Duration::from_millis(300));
        let (result, started, took) = run(&[2, 2, 2, 3]);
        assert_eq!((result.unwrap(), started), (3, vec![2, 2, 2, 3]));
        assert!(took < Duration::from_millis(300), "a refusal is not waited for: {took:?}");
        let (result, started, _) = run(&[1, 2, 1, 3]);
        assert_eq!((result.unwrap(), started), (3, vec![1, 2, 1, 3]));
    }

    #[test]
    fn the_winner_leaves_later_addresses_alone_and_all_failures_fail() {
        let (result, started, _) = run(&[3, 1]);
        assert_eq!((result.unwrap(), started), (3, vec![3]));
        let (result, started, _) = run(&[2, 2]);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(started, [2, 2]);
        assert_eq!(run(&[2]).0.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(run(&[]).0.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(run(&[2, 1]).0.unwrap_err().kind(), io::ErrorKind::TimedOut, "the caller's deadline");
    }
}
