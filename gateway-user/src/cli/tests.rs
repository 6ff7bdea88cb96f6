//! The command line's own rules: clap's self-check, flags everywhere, exit codes.

use std::path::PathBuf;

use clap::Parser as _;

use super::{Cli, Command, UNREACHABLE, remote};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_parser_is_consistent() {
    Cli::describe().debug_assert();
}

#[test]
fn every_line_of_the_contract_parses() {
    for line in [
        "gateway run --config f --state d --socket s --pin-dir p --admin 127.0.0.1:1 --user u",
        "gateway status --json",
        "gateway show",
        "gateway show default --json",
        "gateway endpoint-service add dsw --service-name com.example.privatelink.{region}.dsw \
         --dns dsw-vpc.{region}.example.com --region cn-a,cn-b --region cn-c --service dsw --cert c --replace",
        "gateway endpoint-service list --search dsw",
        "gateway endpoint-service show dsw",
        "gateway endpoint-service delete dsw --dry-run",
        "gateway endpoint add e --service dsw --vpc s1 --subnet a=10.0.0.20/24 --subnet b:vsw-b=10.0.1.20/24@eth1 \
         --allow 10.0.0.0/16 --region cn-a --ip-version ipv4 --client-token t --no-http --https 8443 --dry-run",
        "gateway endpoint list",
        "gateway endpoint show e",
        "gateway endpoint delete e",
        "gateway endpoint allow add e 10.0.0.0/24,10.0.1.0/24",
        "gateway endpoint allow remove e 10.0.0.0/24",
        "gateway doctor --json",
        "gateway version",
        "gateway detach --pin-dir p",
        "gateway apply -f f --dry-run",
        "gateway diff -f f",
        "gateway export --with-secrets f",
        "gateway export --nft",
        "gateway history",
        "gateway apply -f x.toml --confirm 30s",
        "gateway confirm",
        "gateway rollback 7 --yes --dry-run",
        "gateway listener add edge --exposure public --interface eth0 --address 192.0.2.1 --address 2001:db8::1 \
         --http 8080 --no-https --open --wait-address --dry-run",
        "gateway listener add edge --interface eth0 --address * --no-http --https 8443",
        "gateway listener open edge",
        "gateway listener close edge --dry-run",
        "gateway listener show edge",
        "gateway listener delete edge",
        "gateway listener list --socket /s",
        "gateway allow list edge",
        "gateway allow add edge 10.0.0.0/8,192.0.2.1 --dry-run",
        "gateway allow add edge 10.0.0.0/8 192.0.2.1",
        "gateway allow add edge -",
        "gateway allow remove edge 10.0.0.0/8 --drain 30s",
        "gateway allow set edge - --allow-empty",
        "gateway allow set edge --allow-empty",
        "gateway cert add c --chain f --key k",
        "gateway cert list",
        "gateway cert show c",
        "gateway cert delete c",
        "gateway domain add api.example.org --exposure vpc:a --cert c --https-only",
        "gateway domain check api.example.org",
        "gateway domain list",
        "gateway domain delete api.example.org",
        "gateway service add chat --instance a:1,b:2 --instance c:3 --protocol grpc --exposure all --body-limit 1MiB \
         --qps 5 --token-file -",
        "gateway service add chat --instance a:1 --no-auth",
        "gateway service add chat --instance a:1=3 --instance b:2 --protocol http2 --tls verify --tls-server-name n \
         --tls-ca f --balance hash --hash-on header:x-session --health /healthz --health-interval 5s \
         --health-timeout 2s --healthy 2 --unhealthy 3 --outlier-failures 5 --outlier-ejection 10s \
         --max-ejected-percent 50 --retry-attempts 3 --retry-budget 20 --max-in-flight 8 --queue 64 --queue-wait 5s \
         --slow-start 30s --compression br,gzip,zstd --decompress",
        "gateway service update chat --health off --tls-ca off --tls-server-name off --hash-on off --max-in-flight off \
         --compression off --decompress=false --dry-run",
        "gateway listener add edge --interface eth0 --address * --proxy-protocol --trusted-forwarders 10.0.0.0/8",
        "gateway listener update edge --proxy-protocol=false --trusted-forwarders off",
        "gateway listener update edge --interface eth1 --address 192.0.2.1 --no-http --https 8443 --wait-address",
        "gateway vpc update s1 --interface eth1 --address 10.0.0.10/24 --zone i --vswitch off --probe 10.0.0.9 \
         --authoritative-dns=false --no-http --proxy-protocol --dry-run",
        "gateway vpc show s1",
        "gateway route update r --service a=9,b --mirror c=10 --retry-unsafe --strip-prefix=false --host off",
        "gateway route update r --method off --header off",
        "gateway route update r --header x-a=1 --without-header x-b,x-c",
        "gateway route show r",
        "gateway service show chat --examples",
        "gateway service update chat --qps 7",
        "gateway service update chat --qps off",
        "gateway service update chat --no-qps",
        "gateway service list",
        "gateway service delete chat",
        "gateway token rotate chat",
        "gateway route add r --host h --path-prefix /p --service a=9 --service b",
        "gateway route list",
        "gateway route delete r",
        "gateway stats --watch",
        "gateway drops --follow",
        "gateway explain 192.0.2.1 198.51.100.1:443 --interface eth0",
        "gateway top",
        "gateway completions bash",
        "gateway man /tmp/x",
    ] {
        let words = line.split_whitespace();
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn usage_errors_exit_2() {
    for line in [
        "gateway",
        "gateway nonsense",
        "gateway listener add edge --address 192.0.2.1",
        "gateway listener add edge --interface a --address b --http 1 --no-http",
        "gateway allow add edge",
        "gateway allow set edge",
        "gateway service add s --token-file f --no-auth",
        "gateway rollback x",
        "gateway service add s --instance a:1 --max-in-flight 0",
        "gateway service add s --instance a:1 --retry-budget 256",
        "gateway service update s --decompress=maybe",
        "gateway listener update e --https 1 --no-https",
    ] {
        match parse(line) {
            Err(error) => assert_eq!(error.exit_code(), 2, "{line}"),
            Ok(_) => panic!("{line} should not parse"),
        }
    }
}

#[test]
fn without_a_daemon_the_exit_code_is_3() {
    let mut cli = parse("gateway status").unwrap();
    cli.global.socket = Some(PathBuf::from("/nonexistent/control.sock"));
    let Command::Remote(verb) = &cli.command else { panic!("status talks to the daemon") };
    assert_eq!(remote(&cli.global, verb), UNREACHABLE);
}
