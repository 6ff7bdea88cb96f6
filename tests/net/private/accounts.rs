//! Networks of other accounts: what their owners have to grant, what the site has to allow, and what a revocation does.

use std::net::SocketAddr;

use harness::{Reach, client, frame, proof::Witness, reach, wait};

use super::{Private, SETTINGS, add, call};

const GRANTS: [&str; 3] = ["gateway", "private_link", "private_zone"];

/// A site whose operator has turned the feature on.
fn site() -> Private {
    Private::with(&format!("{SETTINGS}cross_account = true\n"))
}

/// The words that attach the segment `red` of account `b`.
fn words(address: &str) -> Vec<&str> {
    let mut words = add("theirs", "red0", address, "i");
    words.extend(["--account", "b", "--vswitch", "vsw-b1"]);
    words
}

/// XA-1: a network of another account in the same region is attached, and its hosts reach the gateway's services
/// through the private endpoint.
#[test]
fn xa_1_a_network_of_another_account_reaches_our_services() {
    let private = site();
    let service = private.serve("echo", &[]);
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    cli(&["account", "add", "b"]);
    cli(&["grant", "add", "b", &GRANTS.join(",")]);
    cli(&words(&private.red.address()));
    let shown = cli(&["vpc", "show", "theirs"]);
    assert_eq!((&shown["account"], &shown["vswitch"]), (&"b".into(), &"vsw-b1".into()), "{shown}");
    for from in [&private.red.i, &private.red.k] {
        let answer = call(from, (private.red.vip(), 80), "echo", "/seed", &service.token).run();
        assert_eq!(answer.expect(200).body, "True");
    }
    // An account without a network is not one with one: the neighbour's hosts are strangers.
    let seen = reach(&private.blue.i, (private.red.vip(), 443));
    assert!(!matches!(seen, Reach::Open | Reach::Cut), "{seen:?}");
    // It is not deleted under its network.
    private.site.gateway.cli(&["account", "delete", "b"]).refused();
}

/// XA-2: each missing grant is named; with all three it works; revoked, the endpoint is as silent as a deleted one.
#[test]
fn xa_2_every_missing_grant_is_named_and_a_revoked_one_tears_down() {
    let private = site();
    let service = private.serve("echo", &[]);
    let address = private.red.address();
    let attach = words(&address);
    // Nobody has heard of the account.
    let error = private.site.gateway.cli(&attach).refused();
    assert!(error.to_string().contains("account"), "{error}");
    private.site.gateway.cli(&["account", "add", "b"]).ok();
    let mut missing: Vec<&str> = GRANTS.to_vec();
    for grant in GRANTS {
        let before = (private.site.gateway.generation(), private.site.gateway.export());
        let error = private.site.gateway.cli(&attach).refused();
        let value = error["value"].to_string();
        for one in GRANTS {
            assert_eq!(value.contains(one), missing.contains(&one), "{one}: {error}");
        }
        assert!(error["remedy"].is_string(), "{error}");
        assert_eq!((private.site.gateway.generation(), private.site.gateway.export()), before);
        assert!(!private.has_address("red0", private.red.vip().into()));
        private.site.gateway.cli(&["grant", "add", "b", grant]).ok();
        missing.retain(|one| *one != grant);
    }
    private.site.gateway.cli(&attach).ok();
    private.red.pin_neighbours();
    let target = SocketAddr::from((private.red.vip(), 443));
    let stream = call(&private.red.k, (private.red.vip(), 80), "echo", "/stream", &service.token)
        .with(&["--max-time", "300"])
        .stream();
    wait::until("the stream upstream", || (service.upstream.streams() == 1).then_some(()));
    assert_eq!(reach(&private.red.i, target), Reach::Open);

    for grant in GRANTS {
        private.site.gateway.cli(&["grant", "remove", "b", grant]).ok();
        wait::until("the stream to be cut", || (service.upstream.streams() == 0).then_some(()));
        assert_eq!(reach(&private.red.i, target), Reach::Timeout, "without {grant}");
        assert!(!client::ping(&private.red.i, private.red.vip().into()), "without {grant}");
        let witness = Witness::with(&private.site.net, &["red0"]);
        let syn = frame::syn(&private.red.link(), (private.red.ghost(), 4000).into(), target);
        witness.assert_dropped_on(&format!("without {grant}"), &private.red, &[syn]);
        private.site.net.gateway.check("nft", &["flush", "ruleset"]);
        // Granted again, it is there again.
        private.site.gateway.cli(&["grant", "add", "b", grant]).ok();
        wait::until("the endpoint to be back", || {
            (reach(&private.red.i, target) == Reach::Open).then_some(())
        });
    }
    drop(stream);
}

/// XA-3: without the site's consent no network of another account, whatever its owner grants; with the consent for that
/// one account, it.
#[test]
fn xa_3_the_site_has_to_allow_it() {
    let private = Private::bare();
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    cli(&["account", "add", "b", "--grant", &GRANTS.join(",")]);
    let address = private.red.address();
    let before = (private.site.gateway.generation(), private.site.gateway.export());
    let error = private.site.gateway.cli(&words(&address)).refused();
    assert!(error.to_string().contains("cross_account"), "{error}");
    assert_eq!((private.site.gateway.generation(), private.site.gateway.export()), before);
    assert!(!private.has_address("red0", private.red.vip().into()));
    // The gateway's own networks need nobody's consent.
    private.attach("blue", &private.blue);
    assert_eq!(reach(&private.blue.i, (private.blue.vip(), 443)), Reach::Open);
    // For one account.
    cli(&["account", "update", "b", "--cross-account", "true"]);
    cli(&words(&address));
    assert_eq!(reach(&private.red.i, (private.red.vip(), 443)), Reach::Open);
}

/// XA-4: a network of another account has to be in the gateway's region; the way across regions is another one.
#[test]
fn xa_4_another_accounts_network_has_to_be_in_the_region() {
    let private = site();
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    cli(&["account", "add", "b", "--grant", &GRANTS.join(",")]);
    let address = private.red.address();
    let mut elsewhere = words(&address);
    elsewhere.extend(["--region", "eu-2"]);
    let before = (private.site.gateway.generation(), private.site.gateway.export());
    let error = private.site.gateway.cli(&elsewhere).refused();
    assert!(error["remedy"].to_string().contains("XR-1"), "{error}");
    assert!(error.to_string().contains("eu-1") && error.to_string().contains("eu-2"), "{error}");
    assert_eq!((private.site.gateway.generation(), private.site.gateway.export()), before);
    assert!(!private.has_address("red0", private.red.vip().into()));
    let mut here = words(&address);
    here.extend(["--region", "eu-1"]);
    cli(&here);
    assert_eq!(reach(&private.red.i, (private.red.vip(), 443)), Reach::Open);
}
