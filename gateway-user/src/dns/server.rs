//! The server's thread: reads queries from sockets that it is given, and answers each from its socket's view.
//!
//! One thread with a runtime of its own: an answer is a look-up in memory, and a flood of queries must not take time
//! from the proxy's workers beyond that one thread.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::RandomState,
    io,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::Builder,
    sync::mpsc::UnboundedReceiver,
    task::{JoinHandle, LocalSet},
    time::timeout,
};

use super::{
    answer::{HEADER, Transport, code_name, respond, slip},
    limit::{Limit, Pass},
    socket::Pair,
    view::Slot,
};
use crate::{base::clock, observe::dns::ViewTraffic};

/// Largest query that is read. Real ones have at most 300 bytes and a few options.
const LARGEST_QUERY: usize = 4096;
/// Connections at a time to one view, of all askers and of one.
const CONNECTIONS: usize = 256;
const CONNECTIONS_OF_ONE: usize = 16;
/// How long a connection may say nothing, and how long it may take over one message.
const IDLE: Duration = Duration::from_secs(10);
const MESSAGE: Duration = Duration::from_secs(5);

/// Whether an address cannot be reached by an interface.
pub(super) type IsDead = Arc<dyn Fn(&str, IpAddr) -> bool + Send + Sync>;

/// What a pair of sockets answers from and counts to.
#[derive(Clone)]
pub(super) struct Desk {
    /// Of the view: what one view's askers use up is not missing in another.
    pub(super) number: u32,
    pub(super) slot: Slot,
    pub(super) traffic: Arc<ViewTraffic>,
    /// For the log.
    pub(super) view: Arc<str>,
}

/// What the control thread asks of the server's.
pub(super) enum Command {
    Open {
        id: u32,
        pair: Pair,
        desk: Desk,
    },
    Close(u32),
    /// Says that everything before it is done.
    Sync(mpsc::Sender<()>),
    Stop,
}

struct Server {
    limit: RefCell<Limit<RandomState>>,
    started: Instant,
    dead: IsDead,
    /// Open connections by view, and by asker.
    connections: RefCell<HashMap<u32, HashMap<IpAddr, usize>>>,
}

/// Runs on the calling thread until it is told to stop.
pub(super) fn run(rate: u32, dead: IsDead, commands: UnboundedReceiver<Command>) -> io::Result<()> {
    // A query is a stranger's: what this thread can do is what such a query could at worst make it do.
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted, caps::CapSet::Inheritable] {
        if let Err(error) = caps::clear(None, set) {
            tracing::warn!(%error, "the name server cannot give up capabilities");
        }
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = Rc::new(Server {
        limit: RefCell::new(Limit::new(rate, RandomState::new())),
        started: clock::now(),
        dead,
        connections: RefCell::default(),
    });
    LocalSet::new().block_on(&runtime, obey(server, commands));
    Ok(())
}

async fn obey(server: Rc<Server>, mut commands: UnboundedReceiver<Command>) {
    let mut open: HashMap<u32, [JoinHandle<()>; 2]> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open { id, pair, desk } => match sockets(pair) {
                Ok((udp, tcp)) => {
                    let udp = tokio::task::spawn_local(datagrams(Rc::clone(&server), udp, desk.clone()));
                    let tcp = tokio::task::spawn_local(connections(Rc::clone(&server), tcp, desk));
                    open.insert(id, [udp, tcp]);
                }
                Err(error) => {
                    tracing::error!(view = %desk.view, %error, "the name server cannot use its sockets")
                }
            },
            Command::Close(id) => {
                for task in open.remove(&id).into_iter().flatten() {
                    task.abort();
                    // Its socket is closed when it has ended, and only then the place is free.
                    let _ = task.await;
                }
            }
            Command::Sync(done) => {
                let _ = done.send(());
            }
            Command::Stop => return,
        }
    }
}

fn sockets(pair: Pair) -> io::Result<(UdpSocket, TcpListener)> {
    Ok((UdpSocket::from_std(pair.udp)?, TcpListener::from_std(pair.tcp)?))
}

// === UDP ===

async fn datagrams(server: Rc<Server>, socket: UdpSocket, desk: Desk) {
    let mut buffer = vec![0; LARGEST_QUERY];
    loop {
        let (length, asker) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error of an earlier answer, for example; the socket is as good as before.
            Err(error) => {
                tracing::debug!(view = %desk.view, %error, "reading a query");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let query = buffer.get(..length).unwrap_or_default();
        let now = clock::now().saturating_duration_since(server.started);
        let pass = server.limit.borrow_mut().take(desk.number, asker.ip(), now);
        let answer = match pass {
            Pass::Answer => server.answer(query, asker, &desk, Transport::Udp),
            Pass::Slip | Pass::Drop => {
                desk.traffic.count("rate_limited");
                if pass == Pass::Slip { slip(query) } else { None }
            }
        };
        if let Some(answer) = answer {
            // A full buffer loses the answer, as a full link would.
            let _ = socket.try_send_to(&answer, asker);
        }
    }
}

// === TCP ===

async fn connections(server: Rc<Server>, listener: TcpListener, desk: Desk) {
    // Ends with the view: its sockets close, and with them what came in by them.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, asker)) => {
                    if let Some(place) = Place::take(&server, desk.number, asker.ip()) {
                        tasks.spawn_local(connection(Rc::clone(&server), stream, asker, desk.clone(), place));
                    }
                }
                // Too many open files, mostly: connections end by themselves.
                Err(error) => {
                    tracing::debug!(view = %desk.view, %error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

async fn connection(server: Rc<Server>, mut stream: TcpStream, asker: SocketAddr, desk: Desk, _place: Place) {
    let mut buffer = Vec::new();
    // One query after the other: whoever sends several at once gets the answers in their order (RFC 7766 §6.2.1.1).
    loop {
        let Ok(Ok(length)) = timeout(IDLE, stream.read_u16()).await else { return };
        let length = usize::from(length);
        if !(HEADER..=LARGEST_QUERY).contains(&length) {
            desk.traffic.count("ignored");
            return;
        }
        buffer.resize(length, 0);
        let Ok(Ok(_)) = timeout(MESSAGE, stream.read_exact(&mut buffer)).await else { return };
        let Some(answer) = server.answer(&buffer, asker, &desk, Transport::Tcp) else { return };
        let Ok(size) = u16::try_from(answer.len()) else { return };
        let message = [&size.to_be_bytes()[..], &answer].concat();
        let Ok(Ok(())) = timeout(MESSAGE, stream.write_all(&message)).await else { return };
    }
}

/// A connection's place among those that are allowed; given back when it ends.
struct Place {
    server: Rc<Server>,
    view: u32,
    asker: IpAddr,
}

impl Place {
    fn take(server: &Rc<Server>, view: u32, asker: IpAddr) -> Option<Self> {
        let mut connections = server.connections.borrow_mut();
        let connections = connections.entry(view).or_default();
        let own = connections.get(&asker).copied().unwrap_or_default();
        if connections.values().sum::<usize>() >= CONNECTIONS || own >= CONNECTIONS_OF_ONE {
            return None;
        }
        connections.insert(asker, own + 1);
        Some(Self { server: Rc::clone(server), view, asker })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.server.connections.borrow_mut();
        let Some(connections) = all.get_mut(&self.view) else { return };
        if let Some(own) = connections.get_mut(&self.asker) {
            *own -= 1;
            if *own == 0 {
                connections.remove(&self.asker);
            }
        }
        if connections.is_empty() {
            all.remove(&self.view);
        }
    }
}

// === both ===

impl Server {
    fn answer(&self, query: &[u8], asker: SocketAddr, desk: &Desk, transport: Transport) -> Option<Vec<u8>> {
        let view = desk.slot.load();
        let dead = |interface: &str, address: IpAddr| (self.dead)(interface, address);
        // The codec has asserts of its own; whoever finds one of them gets no answer, and everybody else theirs.
        let reply = catch_unwind(AssertUnwindSafe(|| respond(&view, &dead, query, transport)));
        let Ok(reply) = reply else {
            tracing::error!(view = %desk.view, %asker, bytes = ?query, "a query made the name server panic");
            desk.traffic.count("SERVFAIL");
            return None;
        };
        let Some(reply) = reply else {
            desk.traffic.count("ignored");
            return None;
        };
        let code = code_name(reply.code);
        desk.traffic.count(code);
        if reply.truncated {
            desk.traffic.count_truncated();
        }
        tracing::debug!(
            view = %desk.view,
            %asker,
            question = reply.question.map(|question| question.to_string()).unwrap_or_default(),
            code,
            truncated = reply.truncated,
            "name query"
        );
        Some(reply.bytes)
    }
}
