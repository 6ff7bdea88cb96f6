//! The story: nobody, the client, the outsider added, the outsider cut. Each step checks what it shows.

use std::{
    io::{BufRead as _, BufReader},
    process::Child,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{
    playground::{DOMAIN, Playground, Said},
    screen::Who,
};

const URL: &str = "https://models.example.org/api/predict/hello";
const TOKEN: &str = "Authorization: $TOKEN";
const HELLO: &str = "Hello from the model";
/// curl's exit codes.
const TIMED_OUT: i32 = 28;

/// Plays the whole story.
pub(super) fn play(playground: &mut Playground) -> anyhow::Result<()> {
    prepare(playground)?;
    nobody(playground)?;
    allow_the_client(playground)?;
    outsider_is_dropped(playground)?;
    outsider_is_added(playground)?;
    outsider_is_cut(playground)?;
    counters(playground)
}

fn prepare(playground: &mut Playground) -> anyhow::Result<()> {
    let screen = playground.screen;
    screen.heading(1, "A playground of network namespaces, and the gateway in it");
    screen.say(
        "  client   198.51.100.10 ─┐\n\
        \x20                          ├─ eth0 198.51.100.1  gateway host ── eth1 ── 10.9.0.2 service\n\
        \x20 outsider 198.51.100.66 ─┘",
    );
    playground.build()?;
    playground.start_gateway()?;
    let folder = playground.folder.clone();
    let (chain, key) = (folder.join("server.pem"), folder.join("server.key"));
    let (chain, key) = (chain.to_string_lossy(), key.to_string_lossy());
    let host = |words: &[&str]| succeeds(playground, words);
    host(&[
        "gateway",
        "listener",
        "add",
        "public",
        "--exposure",
        "public",
        "--interface",
        "eth0",
        "--address",
        "198.51.100.1",
        "--open",
    ])?;
    host(&["gateway", "cert", "add", "models", "--chain", &chain, "--key", &key])?;
    host(&["gateway", "domain", "add", DOMAIN, "--exposure", "public", "--cert", "models"])?;
    let added = host(&["gateway", "service", "add", "hello", "--instance", "10.9.0.2:8000"])?;
    let token =
        added.stdout.lines().find_map(|line| Some(line.strip_prefix("token")?.rsplit_once(": ")?.1.trim()));
    playground.token = token.context("no token was printed")?.to_owned();
    screen.command(Who::Host, &format!("TOKEN={}", playground.token));
    let link = playground.type_in(Who::Host, &["ip", "link", "show", "dev", "eth0"])?;
    // ip prints `xdp` for a native program, `xdpgeneric` for the slow kind.
    let native = link.stdout.split_whitespace().any(|word| word == "xdp");
    shows(playground, native, "the XDP program is on eth0, in native mode")
}

fn nobody(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(2, "The port is open, the allowlist is empty: nobody gets in");
    let said = playground.type_in(Who::Client, &["curl", "-H", TOKEN, URL])?;
    shows(
        playground,
        said.code == TIMED_OUT,
        "the client's SYN is dropped at the interface: not even a refusal",
    )?;
    let said = playground.type_in(Who::Client, &["ping", "-c", "1", "-W", "1", "198.51.100.1"])?;
    shows(playground, said.code == 0, "ping answers, as on a public endpoint it always does")
}

fn allow_the_client(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(3, "Allow the client");
    let said = succeeds(playground, &["gateway", "allow", "add", "public", "198.51.100.10"])?;
    let said_took = said.took;
    let said = playground.type_in(Who::Client, &["curl", "-H", TOKEN, URL])?;
    served(playground, &said, &format!("served over verified HTTPS; the change took {said_took:.0?}"))?;
    let said = playground
        .type_in(Who::Client, &["curl", "-w", "%{http_code}", "-H", "Authorization: guessed", URL])?;
    shows(playground, said.stdout.contains("401"), "and without the right token it is told 401")
}

fn outsider_is_dropped(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(4, "The outsider, who is not on the list");
    let said = playground.type_in(Who::Outsider, &["curl", "-H", TOKEN, URL])?;
    shows(playground, said.code == TIMED_OUT, "dropped, although it knows the token")?;
    let seen = playground.seen_by_host()?;
    shows(
        playground,
        seen == 0,
        &format!("packets of the outsider that the host's own firewall saw: {seen}. XDP was first"),
    )?;
    let said = playground.type_in(
        Who::Host,
        &["gateway", "explain", "198.51.100.66", "198.51.100.1:443", "--interface", "eth0"],
    )?;
    shows(playground, said.code == 0 && said.stdout.contains("not_allowed"), "the daemon says why")
}

fn outsider_is_added(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(5, "Add the outsider");
    succeeds(playground, &["gateway", "allow", "add", "public", "198.51.100.66"])?;
    let said = playground.type_in(Who::Outsider, &["curl", "-H", TOKEN, URL])?;
    served(playground, &said, "served with the next packet")
}

fn outsider_is_cut(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(6, "Remove it while it streams");
    let ticks = format!("{URL}/ticks");
    let mut curl = playground.stream(Who::Outsider, &["curl", "-N", "-H", TOKEN, &ticks])?;
    let result = watch_the_cut(playground, &mut curl);
    let _ = curl.kill();
    let _ = curl.wait();
    result?;
    let said = playground.type_in(Who::Outsider, &["curl", "-H", TOKEN, URL])?;
    shows(playground, said.code == TIMED_OUT, "and its next connection is dropped at the interface again")?;
    let said = playground.type_in(Who::Client, &["curl", "-H", TOKEN, URL])?;
    served(playground, &said, "the client never noticed")
}

fn watch_the_cut(playground: &Playground, curl: &mut Child) -> anyhow::Result<()> {
    let pipe = curl.stdout.take().context("no pipe")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok).filter(|line| !line.is_empty()) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let next = |limit: Duration| {
        let end = Instant::now() + limit;
        loop {
            playground.check_interrupt()?;
            match lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => return Ok(Some(line)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() > end => {
                    bail!("nothing came for {limit:?}")
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    };
    for _ in 0..5 {
        let Some(line) = next(Duration::from_secs(5))? else { bail!("the stream ended before it was cut") };
        playground.screen.output(&line);
    }
    let start = Instant::now();
    succeeds(playground, &["gateway", "allow", "remove", "public", "198.51.100.66"])?;
    while next(Duration::from_secs(5))?.is_some() {}
    let cut = start.elapsed();
    let status = curl.wait()?;
    let mut said = String::new();
    if let Some(mut pipe) = curl.stderr.take() {
        std::io::Read::read_to_string(&mut pipe, &mut said)?;
    }
    playground.screen.output(&said);
    let fast = cut < Duration::from_secs(1);
    shows(
        playground,
        fast && !status.success(),
        &format!("the live stream was cut {cut:.0?} after the command began"),
    )
}

fn counters(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(7, "What was dropped, and what passed");
    let drops = playground.type_in(Who::Host, &["gateway", "drops"])?;
    shows(
        playground,
        drops.code == 0 && drops.stdout.contains("not_allowed"),
        "drops by listener and reason",
    )?;
    let list = playground.type_in(Who::Host, &["gateway", "allow", "list", "public"])?;
    shows(playground, list.stdout.contains("198.51.100.10/32"), "packets by entry of the allowlist")
}

/// Keeps the playground until Ctrl-C.
pub(super) fn leave_open(playground: &Playground) -> anyhow::Result<()> {
    playground.screen.heading(8, "Your turn");
    let folder = playground.folder.display();
    println!(
        "The playground stays until you press Ctrl-C. In another root shell:\n\n\
         export GATEWAY_SOCKET={folder}/control.sock CURL_HOME={folder} TOKEN={token}\n\
         alias gateway={binary}\n\
         alias client='nsenter --net={client}' outsider='nsenter --net={outsider}' host='nsenter --net={host}'\n\n\
         gateway status\n\
         client curl -H \"Authorization: $TOKEN\" {URL}\n\
         gateway allow add public 198.51.100.66\n\
         outsider curl -H \"Authorization: $TOKEN\" {URL}\n\
         gateway allow list public; gateway drops --follow\n\
         gateway explain 198.51.100.66 198.51.100.1:443\n\
         gateway listener close public; gateway history; gateway export\n\
         host tcpdump -ni eth0 port 443          # sees nothing of who is not on the list\n",
        token = playground.token,
        binary = playground.binary.display(),
        client = playground.namespace("client"),
        outsider = playground.namespace("outsider"),
        host = playground.namespace("host"),
    );
    while !playground.interrupted() {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn succeeds(playground: &Playground, words: &[&str]) -> anyhow::Result<Said> {
    let said = playground.type_in(Who::Host, words)?;
    if said.code != 0 {
        bail!("`{}` failed with {}", playground.line(words), said.code);
    }
    Ok(said)
}

fn served(playground: &Playground, said: &Said, text: &str) -> anyhow::Result<()> {
    shows(playground, said.code == 0 && said.stdout.contains(HELLO), text)
}

fn shows(playground: &Playground, holds: bool, text: &str) -> anyhow::Result<()> {
    if holds {
        playground.screen.shows(text);
        return Ok(());
    }
    playground.screen.fails(text);
    bail!("a step did not show what it must: {text}")
}
