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
/// How long one side may take to end once the other has broken off.
const LINGER: Duration = Duration::from_secs(2);

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
    let (mut client_read, client_write) = split(client);
    let (mut instance_read, instance_write) = split(leftover.io.into_inner());
    let mut answered = 0;
    let up = async {
        let count = |count| passed.set(passed.get() + count);
        match pump(&mut client_read, instance_write, early, &deadline, idle, count).await {
            End::Clean => Ok(()),
            End::Broken => Err(End::Broken),
            End::Refused => {
                // The instance takes no more; what it said before is still on its way down.
                deadline.arm(LINGER);
                let mut block = vec![0; BLOCK];
                while let Ok(1..) = client_read.read(&mut block).await {}
                Ok(())
            }
        }
    };
    let down = async {
        let count = |count| answered += count;
        match pump(&mut instance_read, client_write, leftover.read_buf, &deadline, idle, count).await {
            End::Clean => Ok(()),
            End::Broken => {
                deadline.arm(LINGER);
                Ok(())
            }
            End::Refused => Err(End::Refused),
        }
    };
    // An end of one side is passed on, and the other may still talk; a client that is gone ends both.
    let both = async { tokio::try_join!(up, down) };
    let result = deadline.bound(both).await;
    record.bytes_out = answered;
    match result {
        Ok(_) => record.completed(),
        Err(_) => record.broken(Failure::Idle),
    }
}

/// How one direction of a tunnel ended.
enum End {
    /// The side that is read has said all.
    Clean,
    /// It broke off.
    Broken,
    /// The other side takes nothing any more.
    Refused,
}

/// Copies until the end, then passes the end on. Every block puts the common deadline off.
async fn pump<R: AsyncRead, W: AsyncWrite>(
    from: &mut ReadHalf<R>,
    mut to: WriteHalf<W>,
    early: Bytes,
    deadline: &Deadline,
    idle: Duration,
    mut count: impl FnMut(u64),
) -> End {
    if !early.is_empty() {
        if to.write_all(&early).await.is_err() {
            return End::Refused;
        }
        count(early.len() as u64);
    }
    let mut block = vec![0; BLOCK];
    loop {
        let length = match from.read(&mut block).await {
            Ok(0) => break pass_on(to, End::Clean).await,
            Ok(length) => length,
            Err(_) => break pass_on(to, End::Broken).await,
        };
        deadline.arm(idle);
        let written = to.write_all(block.get(..length).unwrap_or_default()).await;
        if written.is_err() || to.flush().await.is_err() {
            break End::Refused;
        }
        count(length as u64);
    }
}

/// Tells the other side that nothing more comes. One that is gone need not know.
async fn pass_on<W: AsyncWrite>(mut to: WriteHalf<W>, end: End) -> End {
    let _ = to.shutdown().await;
    end
}
