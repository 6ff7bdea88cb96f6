//! A service behind the gateway, end to end: what the product's documentation shows, word by word.

use harness::{Upstream, curl, topology::UPSTREAM_V4};

use super::site::{HOST, HTTPS_V4, Site};

/// SV-3, SV-4: the printed endpoint and token work as documented; without the token nobody gets in.
#[test]
fn the_printed_endpoint_and_token_work_and_nothing_else_does() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    assert!(!served.endpoints.is_empty(), "no endpoints");
    assert!(served.token.len() >= 16, "a short token");
    for endpoint in &served.endpoints {
        assert!(endpoint.contains("/api/predict/echo"), "{endpoint}");
    }
    let seed = |header: &str| {
        let url = "http://198.51.100.1/api/predict/echo/seed";
        let call = curl(&site.net.client, url);
        if header.is_empty() { call.run() } else { call.header(header).run() }
    };
    let token = &served.token;
    assert_eq!(seed(&format!("Authorization:{token}")).expect(200).body, "True");
    assert_eq!(seed(&format!("Authorization: Bearer {token}")).expect(200).body, "True");
    // The instance never sees the token.
    let last = served.upstream.last();
    assert_eq!(last["target"], "/seed", "{last}");
    assert!(last["headers"].get("authorization").is_none(), "{last}");
    let before = served.upstream.requests();
    for header in ["", "Authorization: wrong", "Authorization: Bearer wrong", "Authorization: Bearer"] {
        let answer = seed(header);
        assert_eq!(answer.expect(401).status, 401);
        assert!(answer.header("www-authenticate").is_some(), "{}", answer.framed);
        assert!(answer.header("x-gateway-error").is_some(), "{}", answer.framed);
    }
    assert_eq!(served.upstream.requests(), before, "a refused request reached the instance");
    // Over verified HTTPS, by the custom domain.
    assert_eq!(served.call(&site, "/seed").run().expect(200).body, "True");

    // Rotation: the old one stops, the new one works.
    let rotated = site.gateway.cli(&["token", "rotate", "echo"]).ok();
    let new = rotated["token"].as_str().expect("a token");
    assert_eq!(seed(&format!("Authorization: {token}")).status, 401);
    assert_eq!(seed(&format!("Authorization: {new}")).expect(200).body, "True");
    // It is printed once.
    let shown = site.gateway.human(&["service", "show", "echo"]).success();
    assert!(!shown.contains(new), "{shown}");
    assert!(!site.gateway.export().contains(new));
}

/// SV-5: method, path, query, body and headers arrive as they were sent.
#[test]
fn requests_arrive_as_they_were_sent() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let answer = served
        .call(&site, "/v1/chat/completions?a=1&b=%20x")
        .with(&["-X", "PUT", "--data-binary", "{\"model\": \"m\"}"])
        .header("Content-Type: application/json")
        .header("X-Odd: a,b")
        .run();
    let echo = answer.expect(200).json();
    assert_eq!((&echo["method"], &echo["body"]), (&"PUT".into(), &14.into()), "{echo}");
    assert_eq!(echo["target"], "/v1/chat/completions?a=1&b=%20x");
    assert_eq!(echo["headers"]["content-type"], "application/json");
    assert_eq!(echo["headers"]["x-odd"], "a,b");
    assert_eq!(answer.header("x-instance"), Some("one"));
    assert_eq!(served.call(&site, "/chunked").run().expect(200).body, "onetwothree");
    let answer = served.call(&site, "/seed").with(&["--http2"]).run();
    assert_eq!(answer.expect(200).body, "True");
    assert!(answer.head.starts_with("HTTP/2 200"), "{}", answer.framed);
    let answer = served.call(&site, "/seed").with(&["--http1.1"]).run();
    assert!(answer.expect(200).head.starts_with("HTTP/1.1 200"), "{}", answer.framed);
}

/// SV-7: 1 MiB passes, one byte more is 413; also when the length is not declared.
#[test]
fn a_mebibyte_passes_and_one_byte_more_does_not() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let limit = vec![b'x'; 1 << 20];
    let over = [&limit[..], b"x"].concat();
    let file = |name: &str, bytes: &[u8]| {
        let path = site.gateway.scratch().write(name, bytes);
        format!("@{}", path.display())
    };
    let (limit, over) = (file("limit", &limit), file("over", &over));
    let send = |body: &str, more: &[&str]| {
        served.call(&site, "/echo").with(&["--data-binary", body]).with(more).run()
    };
    assert_eq!(send(&limit, &[]).expect(200).json()["body"], 1 << 20);
    assert_eq!(
        send(&limit, &["-H", "Transfer-Encoding: chunked", "--http1.1"]).expect(200).json()["body"],
        1 << 20
    );
    let before = served.upstream.requests();
    // curl 7.88 (Debian 12) takes an answer that comes before its HTTP/2 upload has ended for a broken stream, whoever
    // sends it; what it gets over HTTP/2 is asserted by its effect on the instance only.
    send(&over, &["--http1.1"]).expect(413);
    assert!(matches!(send(&over, &["--http2"]).status, 0 | 413));
    assert_eq!(served.upstream.requests(), before, "a declared length is refused before anything is sent");
    send(&over, &["-H", "Transfer-Encoding: chunked", "--http1.1"]).expect(413);
    site.gateway.cli(&["service", "update", "echo", "--body-limit", "2MiB"]).ok();
    assert_eq!(send(&over, &[]).expect(200).json()["body"], (1 << 20) + 1);
}

/// Unknown hosts and paths, an absent instance, and a limit of requests per second: each has its reason.
#[test]
fn every_refusal_has_its_reason() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let at = |host: &str, path: &str| {
        curl(&site.net.client, &format!("http://198.51.100.1{path}"))
            .header(&format!("Host: {host}"))
            .token(&served.token)
    };
    at("unknown.example.net", "/").run().expect_refusal(404, "unknown_host");
    at(HOST, "/nowhere").run().expect_refusal(404, "no_route");
    at(HOST, "/api/predict/absent/x").run().expect_refusal(404, "no_route");
    // A listener that nobody is at: nothing listens on that port of the upstream host.
    let added = site.gateway.cli(&["service", "add", "gone", "--instance", "10.9.0.2:9"]).ok();
    let token = added["token"].as_str().expect("a token");
    let answer = curl(&site.net.client, "http://198.51.100.1/api/predict/gone/x").token(token).run();
    assert_eq!(answer.expect(502).status, 502);
    assert!(answer.header("x-gateway-error").is_some(), "{}", answer.framed);
    // 5 a second: of 40 at once some are served and some are told to come again.
    site.gateway.cli(&["service", "update", "echo", "--qps", "5"]).ok();
    let mut refused = 0;
    for _ in 0..40 {
        let answer = at(HOST, "/api/predict/echo/seed").run();
        if answer.status == 429 {
            refused += 1;
            assert!(answer.header("retry-after").is_some(), "{}", answer.framed);
        } else {
            answer.expect(200);
        }
    }
    assert!(refused > 0, "40 requests in a moment passed a limit of 5 a second");
}

/// A custom domain: its certificate by SNI, renewed without a pause; `--https-only` redirects.
#[test]
fn a_domain_has_its_certificate_and_renews_it_live() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let other = served.authority.leaf(&["other.example.org"]).write(site.gateway.scratch(), "other");
    site.gateway.cli(&["cert", "add", "other", "--chain", other.chain(), "--key", other.key()]).ok();
    let words =
        ["domain", "add", "other.example.org", "--exposure", "public", "--cert", "other", "--https-only"];
    site.gateway.cli(&words).ok();
    let call = |host: &str, trust: &std::path::Path| {
        curl(&site.net.client, &format!("https://{host}/api/predict/echo/seed"))
            .at(host, HTTPS_V4)
            .trust(trust)
            .token(&served.token)
            .run()
    };
    call(HOST, &served.trust).expect(200);
    call("other.example.org", &served.trust).expect(200);
    // An unknown name gets the default certificate, which no authority signed.
    assert_eq!(call("third.example.org", &served.trust).exit, 60);
    let redirected = curl(&site.net.client, "http://other.example.org/x?y=1")
        .at("other.example.org", (HTTPS_V4.ip(), 80).into())
        .run();
    assert_eq!(redirected.status, 308, "{}", redirected.framed);
    assert_eq!(redirected.header("location"), Some("https://other.example.org/x?y=1"));
    // A new certificate from another authority takes the old one's place for the next handshake.
    let authority = harness::Authority::new();
    let renewed = authority.leaf(&[HOST]).write(site.gateway.scratch(), "renewed");
    let trust = site.gateway.scratch().write("renewed-authority.pem", &authority.pem);
    site.gateway
        .cli(&["cert", "add", "models", "--replace", "--chain", renewed.chain(), "--key", renewed.key()])
        .ok();
    call(HOST, &trust).expect(200);
    assert_eq!(call(HOST, &served.trust).exit, 60);
}

/// A route splits by weight, and an edit of the weights holds for the next request.
#[test]
fn a_route_splits_by_weight() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    let second = Upstream::start(&site.net.upstream, UPSTREAM_V4.into(), 0, "two");
    let token = site.gateway.scratch().write("token", &served.token);
    let token = token.to_str().expect("UTF-8");
    site.gateway
        .cli(&["service", "add", "second", "--instance", &second.instance(), "--token-file", token])
        .ok();
    let words = ["route", "add", "split", "--host", HOST, "--path-prefix", "/models", "--service", "echo=3"];
    site.gateway.cli(&[&words[..], &["--service", "second=1"]].concat()).ok();
    let count = |requests: u32| {
        let urls: String = (0..requests)
            .map(|_| format!("url = \"https://{HOST}/models/fixed\"\noutput = \"/dev/null\"\n"))
            .collect();
        let file = site.gateway.scratch().write("urls", urls);
        let before = (served.upstream.requests(), second.requests());
        let answer = served
            .call(&site, "/fixed")
            .with(&["-K", file.to_str().expect("UTF-8"), "-o", "/dev/null"])
            .run();
        assert_eq!(answer.exit, 0, "{}", answer.framed);
        // One request of the command line itself went to `echo`.
        (served.upstream.requests() - before.0 - 1, second.requests() - before.1)
    };
    let (echo, other) = count(200);
    assert_eq!(echo + other, 200);
    assert!((30..=70).contains(&other), "{other} of 200 went to the service with weight 1 of 4");
    site.gateway.cli(&["route", "delete", "split"]).ok();
    let words = ["route", "add", "split", "--host", HOST, "--path-prefix", "/models", "--service", "echo=0"];
    site.gateway.cli(&[&words[..], &["--service", "second=1"]].concat()).ok();
    assert_eq!(count(20), (0, 20));
}

/// The log and the metrics name what happened.
#[test]
fn requests_are_logged_and_counted() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    served.call(&site, "/seed").run().expect(200);
    // The instance is told the number of the request, and the log has it.
    let id = served.upstream.last()["headers"]["x-request-id"].as_str().expect("a request id").to_owned();
    site.gateway.wait_for_log(&id);
    let log = site.gateway.log();
    let line = log.lines().find(|line| line.contains(&id)).expect("the line");
    let line: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((&line["status"], &line["service"]), (&200.into(), &"echo".into()), "{line}");
    assert!(!line.to_string().contains(&served.token), "the log has the token");
    let metrics = curl(&site.net.gateway, "http://127.0.0.1:9145/metrics").run();
    assert!(metrics.expect(200).body.contains("echo"), "{}", metrics.body);
    let stats = site.gateway.cli(&["stats"]).ok();
    assert!(stats["services"].to_string().contains("echo"), "{stats}");
}
