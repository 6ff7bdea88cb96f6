//! After a 101: bytes both ways until one side ends or nothing passes for too long (WebSocket and other upgrades).

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::oneshot,
};

use super::body::Progress;
use crate::proxy::{
    failure::Failure,
    upstream::{Lease, Leftover},
    worker::{record::Record, timer::Deadline},
};

/// Bytes moved at once.
const BLOCK: usize = 16 * 1024;

/// A tunnel that begins when the client has its 101.
pub(crate) struct Pending {
    pub(crate) leftover: oneshot::Receiver<Leftover>,
    pub(crate) lease: Lease,
    pub(crate) record: Record,
    pub(crate) idle: Duration,
}

/// Joins the client's stream, with what was read of it already, to the instance's.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(client: S, early: Bytes, pending: Pending) {
    let Pending { leftover, lease, mut record, idle } = pending;
    let Ok(leftover) = leftover.await else {
        record.broken(Failure::Broken);
        return;
    };
    drop(lease);
    let timers = Rc::clone(&record.worker().timers);
    let deadline = timers.deadline(idle);
    let progress = Rc::new(Progress::default());
    record.progress = Some(Rc::clone(&progress));
    let passed = &progress.passed;
    let (client_read, client_write) = split(client);
    let (instance_read, instance_write) = split(leftover.io.into_inner());
    let mut answered = 0;
    let up =
        pump(client_read, instance_write, early, &deadline, idle, |count| passed.set(passed.get() + count));
    let down =
        pump(instance_read, client_write, leftover.read_buf, &deadline, idle, |count| answered += count);
    // A clean end of one side is passed on and the other may still talk; an error ends both.
    let both = async { tokio::try_join!(up, down) };
    let result = deadline.bound(both).await;
    record.bytes_out = answered;
    match result {
        Ok(_) => record.completed(),
        Err(_) => record.broken(Failure::Idle),
    }
}

/// Copies until the end, then passes the end on. Every block puts the common deadline off.
async fn pump<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    early: Bytes,
    deadline: &Deadline,
    idle: Duration,
    mut count: impl FnMut(u64),
) -> std::io::Result<()> {
    if !early.is_empty() {
        to.write_all(&early).await?;
        count(early.len() as u64);
    }
    let mut block = vec![0; BLOCK];
    loop {
        let length = from.read(&mut block).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        deadline.arm(idle);
        to.write_all(block.get(..length).unwrap_or_default()).await?;
        to.flush().await?;
        count(length as u64);
    }
}
