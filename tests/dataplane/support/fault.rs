//! A faulty way to a real instance: a relay that stalls, closes or passes, as a test says, also for connections that are
//! open already.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    time::timeout,
};

/// A request that pauses for so long is taken for whole.
const PAUSE: Duration = Duration::from_millis(20);

/// What the relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Everything passes.
    None,
    /// So many bytes of the answers of a connection pass; then it is silent, and open.
    StallAfter(usize),
    /// A request is read, until nothing more comes for a moment, and the connection closed.
    Close,
}

/// A running relay. Connections that it had before a change of fault are closed.
pub(crate) struct Faulty {
    pub(crate) address: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Connections that came.
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Faulty {
    pub(crate) fn new(instance: SocketAddr, fault: Fault) -> Self {
        let (ready, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (fault, faults) = watch::channel(fault);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! { _ = stopped => {}, () = accept(listener, instance, faults, count) => {} }
            });
        });
        let address = address.recv().unwrap();
        Self { address, fault, connections, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send(fault).unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn accept(
    listener: TcpListener,
    instance: SocketAddr,
    faults: watch::Receiver<Fault>,
    count: Arc<AtomicUsize>,
) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        count.fetch_add(1, SeqCst);
        let mut faults = faults.clone();
        tokio::spawn(async move {
            let fault = *faults.borrow_and_update();
            tokio::select! {
                _ = faults.changed() => {}
                () = relay(client, instance, fault) => {}
            }
        });
    }
}

async fn relay(mut client: TcpStream, instance: SocketAddr, fault: Fault) {
    let mut left = match fault {
        Fault::None => usize::MAX,
        Fault::StallAfter(bytes) => bytes,
        Fault::Close => {
            let mut block = [0; 65536];
            while let Ok(Ok(1..)) = timeout(PAUSE, client.read(&mut block)).await {}
            return;
        }
    };
    let Ok(mut server) = TcpStream::connect(instance).await else { return };
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(length @ 1..) if server.write_all(&up[..length]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut down), if left > 0 => match read {
                Ok(length @ 1..) => {
                    let passed = length.min(left);
                    left -= passed;
                    if client.write_all(&down[..passed]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            // A stalled relay never ends by itself: the gateway has to.
            () = tokio::time::sleep(Duration::from_secs(60)) => return,
        }
    }
}
