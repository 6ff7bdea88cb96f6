//! The order of checks: host, route and exposure, authentication, length, throttle, instance. Each refusal is JSON with a
//! reason, and names the request.

use crate::call::{Call, HTTP, HTTPS};

#[test]
fn the_first_check_that_fails_answers() {
    let call = Call::new();
    call.desk.ok(&["domain", "add", "a.example.org", "--exposure", "public"]);
    let ask = |host: &str, path: &str, more: &[&str]| {
        call.curl(&format!("{HTTP}{path}")).header(&format!("Host: {host}")).with(more).run()
    };
    // An unknown host, whatever else is wrong.
    ask("nowhere.example.org", "/api/predict/echo/x", &[]).expect_refusal(404, "unknown_host");
    // A known host and no such service, before anybody asks for a token.
    ask("a.example.org", "/api/predict/none/x", &[]).expect_refusal(404, "no_route");
    ask("a.example.org", "/", &[]).expect_refusal(404, "no_route");
    // A service without a token, before its body is looked at.
    let big = ["-H", "Content-Length: 9999999", "-X", "POST"];
    let answer = ask("a.example.org", "/api/predict/echo/x", &big);
    assert_eq!(answer.status, 401, "{}", answer.framed);
    let token = format!("Authorization: {}", call.token);
    let answer = ask("a.example.org", "/api/predict/echo/x", &[&big[..], &["-H", &token]].concat());
    assert_eq!(answer.status, 413, "{}", answer.framed);
    assert_eq!(call.upstream.requests(), 0);
    // The address itself, with any port, is a host.
    for host in
        ["127.0.0.2", "127.0.0.2:9080", "127.0.0.2:1", "a.example.org", "A.example.ORG", "a.example.org:9080"]
    {
        ask(host, "/api/predict/echo/seed", &["-H", &token]).expect(200);
    }
}

#[test]
fn a_service_that_is_not_exposed_here_does_not_exist() {
    let call = Call::new();
    let words = ["service", "add", "inner", "--exposure", "vpc", "--no-auth", "--instance"];
    call.desk.ok(&[&words[..], &[call.upstream.instance().as_str()]].concat());
    call.curl(&format!("{HTTP}/api/predict/inner/seed")).run().expect_refusal(404, "no_route");
}

#[test]
fn an_open_service_needs_no_token_and_gets_none() {
    let call = Call::new();
    call.desk.ok(&["service", "add", "open", "--no-auth", "--instance", &call.upstream.instance()]);
    let answer = call.curl(&format!("{HTTP}/api/predict/open/seed")).run();
    assert_eq!(answer.expect(200).body, "True");
    let words = ["service", "add", "second", "--forward-token", "--instance", &call.upstream.instance()];
    let added = call.desk.ok(&words);
    let token = added.get("token").and_then(|token| token.as_str()).expect("a token").to_owned();
    call.curl(&format!("{HTTP}/api/predict/second/x")).token(&token).run().expect(200);
    let last = call.upstream.last();
    assert_eq!(last.pointer("/headers/authorization"), Some(&token.into()), "{last}");
}

#[test]
fn a_refusal_names_its_request_and_never_a_secret() {
    let call = Call::new();
    let answer = call.curl(&format!("{HTTP}/api/predict/echo/x")).token("guess-me-if-you-can").run();
    answer.expect(401);
    let body = answer.json();
    let id = body.pointer("/error/request_id").and_then(|id| id.as_str()).expect("a request id");
    assert_eq!(answer.header("x-request-id"), Some(id));
    for field in ["code", "reason", "message"] {
        assert!(body.pointer(&format!("/error/{field}")).is_some(), "{body}");
    }
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
    assert!(!answer.body.contains("guess-me"), "{}", answer.body);
    call.desk.gateway.wait_for_log(id);
    assert!(!call.desk.gateway.log().contains("guess-me"), "the log has a token");
    // Answers of the instance pass unchanged, and have no mark of ours.
    let answer = call.echo("/x").run();
    assert_eq!(answer.expect(200).header("x-gateway-error"), None);
}

/// No SNI, or an address: the default certificate. A name that the certificate does not cover: 421.
#[test]
fn names_in_tls_and_in_http_belong_together() {
    let call = Call::new();
    let authority = harness::Authority::new();
    let files = authority.leaf(&["a.example.org"]).write(call.desk.gateway.scratch(), "a");
    call.desk.ok(&["cert", "add", "a", "--chain", files.chain(), "--key", files.key()]);
    for host in ["a.example.org", "b.example.org"] {
        let mut words = vec!["domain", "add", host, "--exposure", "public"];
        if host.starts_with('a') {
            words.extend(["--cert", "a"]);
        }
        call.desk.ok(&words);
    }
    call.curl(&format!("{HTTPS}/api/predict/echo/seed")).token(&call.token).insecure().run().expect(200);
    let trust = authority.write(call.desk.gateway.scratch());
    let at = "127.0.0.2:9443".parse().expect("an address");
    let ask = |host: &str| {
        let url = "https://a.example.org:9443/api/predict/echo/seed";
        let call = call.curl(url).at("a.example.org", at).trust(&trust).token(&call.token);
        call.header(&format!("Host: {host}")).with(&["--http1.1"]).run()
    };
    ask("a.example.org").expect(200);
    let answer = ask("b.example.org");
    assert_eq!(answer.status, 421, "{}", answer.framed);
}

/// gRPC clients get their status in trailers-only form, not JSON that they cannot read.
#[test]
fn grpc_is_refused_in_its_own_words() {
    let call = Call::new();
    call.desk.ok(&["service", "add", "rpc", "--protocol", "grpc", "--instance", &call.upstream.instance()]);
    let answer = call
        .curl(&format!("{HTTP}/api/predict/rpc/pkg.Service/Method"))
        .header("Content-Type: application/grpc")
        .header("TE: trailers")
        .with(&["--http2-prior-knowledge", "-X", "POST"])
        .run();
    assert_eq!(answer.expect(200).header("grpc-status"), Some("16"), "{}", answer.framed);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/grpc")));
}
