//! Suite `net`: the real daemon behind real interfaces, in network namespaces. Needs root and fails loudly without.
//!
//! Where a new test goes:
//! - `site`: not tests; the gateway host with one public listener and one service that most tests begin with.
//! - `harness_itself`: the witnesses see what happens, else they would prove everything.
//! - `allowlist`: what the list says is who gets in (PA-2 … PA-5), its limit and its counters.
//! - `operability`: what an operator is told and kept from: lockout, who would be cut, explain, drops, export --nft.
//! - `portal`: open and closed, ping (PA-1, PA-7, PA-8).
//! - `failsafe`: what can become of the kernel filter, a test a row (the table in docs/filter.md).
//! - `firewall`: the host's own packet filter and the allowlist have nothing to do with each other (PA-11).
//! - `evasion`: packets dressed up to get round the list; who dropped them; the same without a filter. The packets are
//!   rows in `attempts`: a new way to get in is a new row there.
//! - `bystanders`: packets that are none of the filter's business, as rows.
//! - `interfaces`: other interfaces, other ports and addresses, many listeners on one port.
//! - `revocation`: what a removed source still gets (PA-9), `--drain`.
//! - `latency`: how soon a change is in force. Figures, no timed assertion.
//! - `survival`: `kill -9`, restarts, upgrades to another table layout, `detach`, under a flood.
//! - `churn`: a thousand replaced lists while a client works (PA-10).
//! - `private`: private networks (PV, XA, XR), their isolation, large lists. What they begin with is in its `mod.rs`.
//! - `dns`: names, asked by dig and through unbound (PA-6, PV-4, PV-6, CD-5, AD-1 … AD-3).
//! - `endpoints`: endpoints of platform services (PL-1 … PL-7), the gateway's names (PA-6).
//! - `defence`: monitoring, bans, budgets and caps for sources that the list admits.
//! - `service`: tokens, limits, domains, certificates, routes, end to end (SV-3, SV-4, SV-7).
//! - `privileges`: as another user, and without any privilege.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests panic where they fail, and report figures"
)]

mod allowlist;
mod attempts;
mod bystanders;
mod churn;
mod defence;
mod dns;
mod endpoints;
mod evasion;
mod failsafe;
mod firewall;
mod harness_itself;
mod interfaces;
mod latency;
mod operability;
mod portal;
mod private;
mod privileges;
mod revocation;
mod service;
mod site;
mod survival;
