//! Clients that ask once over HTTPS/1.1 and then say nothing: what `cargo xtask bench proxy` weighs the proxies with.
//!
//! It prints `ready` when every connection was answered, holds them until its stdin ends, and then says how many of
//! them are still open. A connection's TLS state goes as soon as its answer is there: only the proxy's side is weighed.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::{
    ClientConfig, ClientConnection, StreamOwned, client::Resumption, crypto::aws_lc_rs, pki_types::ServerName,
};

/// Whom to ask for what.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    host: String,
    #[arg(long)]
    path: String,
    /// Bearer token.
    #[arg(long)]
    token: String,
    /// Bytes of the body that is expected.
    #[arg(long)]
    body: usize,
    #[arg(long, default_value_t = 9000)]
    connections: usize,
}

/// Connections that are opened at the same time.
const BATCH: usize = 8;
/// Any single step of a connection.
const STEP: Duration = Duration::from_secs(10);
/// Until all are open: the gateway ends what was idle for 75 s.
const OPENING: Duration = Duration::from_secs(50);
/// However it went, nothing is held for longer.
const LIFE: Duration = Duration::from_secs(150);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    thread::spawn(|| {
        thread::sleep(LIFE);
        eprintln!("nobody closed stdin for {LIFE:?}");
        std::process::exit(1);
    });
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    ensure!(hard > options.connections as u64 + 64, "no more than {hard} files may be open");
    let config = Arc::new(config());
    let start = Instant::now();
    let lanes = thread::scope(|scope| {
        let lanes: Vec<_> = (0..BATCH)
            .map(|lane| {
                let config = &config;
                scope.spawn(move || {
                    (lane..options.connections).step_by(BATCH).map(|_| open(options, config, start)).collect()
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| Err(anyhow!("a thread of the clients panicked"))))
            .collect::<anyhow::Result<Vec<Vec<TcpStream>>>>()
    })?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let mut held = 0_usize;
    for stream in lanes.iter().flatten() {
        held += usize::from(is_open(stream)?);
    }
    println!("held {held}");
    Ok(())
}

/// TLS 1.3 or 1.2 over X25519, as the peers have it, and a whole handshake each time.
fn config() -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = harness::anybody::config(provider);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// One connection after one whole answer.
fn open(options: &Options, config: &Arc<ClientConfig>, start: Instant) -> anyhow::Result<TcpStream> {
    ensure!(start.elapsed() < OPENING, "not all connections were open after {OPENING:?}");
    let stream = TcpStream::connect_timeout(&options.address, STEP).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    let name = ServerName::try_from(options.host.clone())?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, stream);
    write!(
        stream,
        "GET {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        options.path, options.host, options.token
    )?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    while !is_whole(&answer, options.body)? {
        let count = stream.read(&mut block).context("no whole answer")?;
        ensure!(count > 0, "closed within the answer");
        answer.extend_from_slice(&block[..count]);
    }
    Ok(stream.sock)
}

/// Whether head and body are there; anything but 200 is an error.
fn is_whole(answer: &[u8], body: usize) -> anyhow::Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        bail!("not a 200: {}", String::from_utf8_lossy(&answer[..end]));
    }
    Ok(answer.len() >= end + 4 + body)
}

/// Whether the other side has not closed it. Session tickets may still wait to be read.
fn is_open(mut stream: &TcpStream) -> anyhow::Result<bool> {
    stream.set_nonblocking(true)?;
    let mut block = [0; 4096];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        }
    }
}
