//! The command line: clap types and one file per group of verbs. It knows the daemon only through `api::client`.
//!
//! Every verb prints for people, or with `--json` exactly the daemon's answer. Refusals go to stderr as prose and, with
//! `--json`, to stdout as `{"error": …}` too. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no daemon.

mod account;
mod allow;
mod arguments;
mod ban;
mod caller;
mod cert;
mod change;
mod dns;
mod domain;
mod drops;
mod endpoint;
mod explain;
mod gateway;
mod generate;
mod listener;
mod monitor;
mod output;
mod route;
mod service;
mod stats;
mod status;
mod store;
mod upstream;
mod vpc;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub use output::{print_error, print_json, print_text};

use crate::{
    api::client::{self, Client, Failure},
    base::Refusal,
};

/// Done.
pub const DONE: u8 = 0;
/// Refused or failed; also a difference found by `diff` and a failed check.
pub const REFUSED: u8 = 1;
/// The daemon does not answer.
pub const UNREACHABLE: u8 = 3;

/// A dedicated gateway: an XDP allowlist in front of a TLS proxy, changed live.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about, long_about = None, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Print JSON on stdout instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's control socket (default: $GATEWAY_SOCKET, then the user's, then the system's)
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Every verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Process(Process),
    #[command(flatten)]
    Remote(Remote),
    #[command(flatten)]
    Generate(generate::Generate),
}

/// Verbs that work without a daemon; `main` dispatches them.
#[derive(Debug, Subcommand)]
pub enum Process {
    /// Run the daemon in the foreground
    Run(RunArgs),
    /// Check kernel, privileges, drivers and paths, and say what to change
    Doctor(HostArgs),
    /// Take the filter off the interfaces and remove its pins; the daemon must not be running
    Detach(HostArgs),
    /// Print version and build
    Version,
}

/// Where the daemon keeps its things and what it runs as.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Settings of the process (TOML), never resources
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where the filter's links and maps are pinned
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
    /// Metrics and health address, or `off`
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Drop to this user, keeping only the capabilities that the data path needs
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// Which daemon's files a host-side verb looks at.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Settings of the process (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where the filter's links and maps are pinned
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
    /// Only this interface (default: all)
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
}

/// Verbs that talk to the daemon.
#[derive(Debug, Subcommand)]
pub enum Remote {
    /// What the daemon runs: generation, filter, workers, listeners
    Status,
    /// The gateway and the names that clients call it by
    Show(gateway::ShowArgs),
    /// Make the configuration what a file says
    Apply(store::ApplyArgs),
    /// Keep what was applied with `--confirm`
    Confirm(store::ConfirmArgs),
    /// Show what `apply` would change; exit 0 if nothing, 1 if something
    Diff(store::DiffArgs),
    /// Print the configuration as a file that `apply` takes
    Export(store::ExportArgs),
    /// List the generations that `rollback` can return to
    History(store::HistoryArgs),
    /// Return to an earlier generation
    Rollback(store::RollbackArgs),
    /// Where clients connect: interface, addresses, ports
    #[command(subcommand)]
    Listener(listener::Verb),
    /// Tenants who own private networks
    #[command(subcommand)]
    Account(account::Verb),
    /// What tenants have granted to this gateway
    #[command(subcommand)]
    Grant(account::GrantVerb),
    /// Private networks and their endpoints
    #[command(subcommand)]
    Vpc(vpc::Verb),
    /// Platform services that endpoints lead to
    #[command(subcommand)]
    EndpointService(endpoint::ServiceVerb),
    /// Private ways from a private network to a platform service
    #[command(subcommand)]
    Endpoint(endpoint::Verb),
    /// Who may connect to a listener
    #[command(subcommand)]
    Allow(allow::Verb),
    /// Keep an allowed source out for a while
    #[command(subcommand)]
    Ban(ban::Verb),
    /// Let what an allowlist would drop pass for a while, and count it
    Monitor(monitor::MonitorArgs),
    /// Certificates for HTTPS
    #[command(subcommand)]
    Cert(cert::Verb),
    /// Custom host names
    #[command(subcommand)]
    Domain(domain::Verb),
    /// Names of the gateway and of its private networks
    #[command(subcommand)]
    Dns(dns::Verb),
    /// What is called: instances, tokens, limits
    #[command(subcommand)]
    Service(service::Verb),
    /// Tokens of services
    #[command(subcommand)]
    Token(service::TokenVerb),
    /// Which requests go to which service
    #[command(subcommand)]
    Route(route::Verb),
    /// Packets and requests since the start
    Stats(stats::StatsArgs),
    /// Dropped packets by reason, and samples of them
    Drops(drops::DropsArgs),
    /// What would happen to a packet, and why
    Explain(explain::ExplainArgs),
    /// Live view of rates
    Top(stats::TopArgs),
}

/// How a change is made; every verb that changes something takes these.
#[derive(Debug, Args)]
struct Manner {
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Undo it after this time (`30s`) unless `gateway confirm` comes first: for changes that may lock you out
    #[arg(long, value_name = "DURATION", conflicts_with = "dry_run")]
    confirm: Option<String>,
    /// Do it although it cuts your own way in
    #[arg(long)]
    force: bool,
}

/// What a verb needs: the daemon and the form of the answer.
struct Session {
    client: Client,
    json: bool,
}

type Done = Result<u8, Failure>;

impl Cli {
    /// Parses the command line. Help and version end the process with 0, a usage error with 2.
    #[must_use]
    pub fn of_process() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            // clap cannot say whether --json was meant, for it did not get that far.
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                let refusal = Refusal::new("usage", first).remedy("see `gateway --help`");
                output::print_error_json(&refusal);
            }
            error.exit()
        })
    }

    /// The parser's description, for completions and man pages.
    #[must_use]
    pub fn describe() -> clap::Command {
        Self::command()
    }
}

/// Runs a verb that talks to the daemon, prints its answer, and returns the exit code.
#[must_use]
pub fn remote(global: &Global, verb: &Remote) -> u8 {
    let result = Client::new(client::candidates(global.socket.as_deref()))
        .and_then(|client| verb.run(&Session { client, json: global.json }));
    result.unwrap_or_else(|failure| report(&failure, global.json))
}

/// Runs `completions` or `man`.
#[must_use]
pub fn generate(global: &Global, verb: &generate::Generate) -> u8 {
    verb.run().unwrap_or_else(|failure| report(&failure, global.json))
}

impl Remote {
    fn run(&self, session: &Session) -> Done {
        match self {
            Self::Status => status::run(session),
            Self::Show(args) => args.run(session),
            Self::Apply(args) => args.run(session),
            Self::Confirm(args) => args.run(session),
            Self::Diff(args) => args.run(session),
            Self::Export(args) => args.run(session),
            Self::History(args) => args.run(session),
            Self::Rollback(args) => args.run(session),
            Self::Listener(verb) => verb.run(session),
            Self::Account(verb) => verb.run(session),
            Self::Grant(verb) => verb.run(session),
            Self::Vpc(verb) => verb.run(session),
            Self::EndpointService(verb) => verb.run(session),
            Self::Endpoint(verb) => verb.run(session),
            Self::Allow(verb) => verb.run(session),
            Self::Ban(verb) => verb.run(session),
            Self::Monitor(args) => args.run(session),
            Self::Cert(verb) => verb.run(session),
            Self::Domain(verb) => verb.run(session),
            Self::Dns(verb) => verb.run(session),
            Self::Service(verb) => verb.run(session),
            Self::Token(verb) => verb.run(session),
            Self::Route(verb) => verb.run(session),
            Self::Stats(args) => args.run(session),
            Self::Drops(args) => args.run(session),
            Self::Explain(args) => args.run(session),
            Self::Top(args) => args.run(session),
        }
    }
}

fn report(failure: &Failure, json: bool) -> u8 {
    let (refusal, code) = match failure {
        Failure::Refused(refusal) => (refusal.clone(), REFUSED),
        Failure::Unreachable(_) => (
            Refusal::new("unreachable", failure)
                .remedy("start it with `gateway run`, or name its socket with --socket or GATEWAY_SOCKET"),
            UNREACHABLE,
        ),
        Failure::Broken(_) => {
            (Refusal::new("broken_answer", failure).remedy("look into the daemon's log"), REFUSED)
        }
    };
    print_error(&refusal, json);
    code
}

#[cfg(test)]
mod tests;
