//! nginx and HAProxy, set up for the same job as the gateway, and the upstream behind all three.

use std::fmt::Write as _;

use super::{Candidate, LOAD_CORE, PROXY_CORE, SERVICES, Scene, UPSTREAM};
use crate::bench::process::Server;

const TOKENS: usize = 10_000;

/// nginx as a static responder on the load's core.
pub(super) fn upstream(scene: &Scene) -> anyhow::Result<Server> {
    for (name, size) in [("b128", 128), ("b16k", 16 << 10)] {
        scene.write(name, &"abcdefghijklmnopqrstuvwxyz".chars().cycle().take(size).collect::<String>())?;
    }
    let directory = scene.directory.display();
    let config = format!(
        "daemon off; worker_processes 1; pid upstream.pid; error_log stderr crit; user root;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; sendfile off; tcp_nodelay on; open_file_cache max=10; output_buffers 2 64k;
  keepalive_timeout 900s; keepalive_requests 1000000000;
  server {{ listen {UPSTREAM} backlog=4096; root {directory};
    location /api/b128 {{ alias {directory}/b128; }}
    location /api/b16k {{ alias {directory}/b16k; }} }}
}}\n"
    );
    scene.write("upstream.conf", &config)?;
    let mut command = scene.namespace.pinned(LOAD_CORE, "nginx");
    command.arg("-p").arg(&scene.directory).args(["-c", "upstream.conf"]);
    Server::start(&mut command, &scene.directory.join("upstream.log"))
}

pub(super) fn nginx(scene: &Scene, port: u16) -> anyhow::Result<Candidate> {
    let tokens: String = (0..TOKENS).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "\"Bearer tok-{n:05}\" 1;");
        text
    });
    scene.write("tokens.nginx", &tokens)?;
    let mut services = String::new();
    for n in 0..SERVICES {
        let _ = writeln!(
            services,
            "  upstream u{n} {{ server {UPSTREAM}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 900s; }}
  server {{ listen 127.0.0.1:{port} ssl http2; server_name svc{n}.example.test; location / {{ return 404; }}
    location /api/ {{ if ($tok_ok = 0) {{ return 401; }} limit_req zone=rl burst=900000 nodelay; proxy_pass http://u{n}; }} }}"
        );
    }
    // The log is buffered, as nginx's own documentation advises for load: the peer is given its best.
    let config = format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid nginx.pid; error_log stderr crit; user root;
events {{ worker_connections 18000; multi_accept on; use epoll; }}
http {{
  log_format line escape=json '{{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr\",\"host\":\"$host\",\"method\":\"$request_method\",\"path\":\"$uri\",\"status\":$status,\"bytes\":$body_bytes_sent,\"seconds\":$request_time,\"upstream\":\"$upstream_addr\",\"upstream_seconds\":\"$upstream_response_time\",\"request_id\":\"$request_id\"}}';
  access_log access-nginx.log line buffer=64k flush=1s;
  server_tokens off; tcp_nodelay on; keepalive_timeout 900s; keepalive_requests 1000000000;
  map_hash_max_size 262144; map_hash_bucket_size 128;
  server_names_hash_max_size 4096; server_names_hash_bucket_size 128;
  map $http_authorization $tok_ok {{ default 0; include tokens.nginx; }}
  limit_req_zone $http_authorization zone=rl:16m rate=900000r/s;
  ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519;
  ssl_session_cache shared:S:32m; ssl_session_timeout 1h; ssl_session_tickets on;
  proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Request-Id $request_id;
  proxy_buffer_size 16k; proxy_buffers 16 32k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
  server {{ listen 127.0.0.1:{port} ssl http2 default_server reuseport backlog=4096; server_name _; return 404; }}
{services}}}\n"
    );
    scene.write("nginx.conf", &config)?;
    let mut command = scene.namespace.pinned(PROXY_CORE, "nginx");
    command.arg("-p").arg(&scene.directory).args(["-c", "nginx.conf"]);
    let server = Server::start(&mut command, &scene.directory.join("nginx.log"))?;
    Ok(Candidate { name: "nginx", server, port })
}

pub(super) fn haproxy(scene: &Scene, port: u16) -> anyhow::Result<Candidate> {
    let lines = |count: usize, line: fn(usize) -> String| (0..count).map(line).collect::<String>();
    scene.write("tokens.haproxy", &lines(TOKENS, |n| format!("Bearer tok-{n:05}\n")))?;
    scene.write("hosts.haproxy", &lines(SERVICES, |n| format!("svc{n}.example.test svc{n}\n")))?;
    let mut services = String::new();
    for n in 0..SERVICES {
        let _ = writeln!(services, "backend svc{n}\n  server s1 {UPSTREAM} pool-purge-delay 900s");
    }
    // It takes two descriptors for a connection, and does not start when there are fewer.
    let connections = (scene.descriptors.saturating_sub(1000) / 2).min(20_000);
    // Its log goes to its stdout, which is a file here.
    let config = format!(
        "global
  nbthread 1
  maxconn {connections}
  tune.ssl.cachesize 50000
  tune.ssl.lifetime 3600
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-curves X25519
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 900s
  timeout server 900s
  timeout http-keep-alive 900s
  timeout http-request 30s
  option http-no-delay
  http-reuse always
backend rl
  stick-table type string len 64 size 100k expire 60s store http_req_rate(10s)
frontend fe
  bind 127.0.0.1:{port} ssl crt both.pem alpn h2,http/1.1 backlog 4096
  acl tok_ok req.hdr(authorization) -m str -f tokens.haproxy
  http-request deny deny_status 401 unless tok_ok
  http-request track-sc0 req.hdr(authorization) table rl
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 500000000 }}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Request-Id %[rand(2147483647),hex]
  use_backend %[req.hdr(host),field(1,:),map(hosts.haproxy,none)] if {{ path_beg /api/ }}
  default_backend none
backend none
  http-request return status 404
{services}"
    );
    scene.write("haproxy.cfg", &config)?;
    let mut command = scene.namespace.pinned(PROXY_CORE, "haproxy");
    command.args(["-db", "-C"]).arg(&scene.directory).args(["-f", "haproxy.cfg"]);
    let server = Server::start(&mut command, &scene.directory.join("haproxy.log"))?;
    Ok(Candidate { name: "HAProxy", server, port })
}
