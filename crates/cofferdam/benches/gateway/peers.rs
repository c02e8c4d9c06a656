//! The server, and what stands between it and a client in place of the gateway.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The name of this machine inside an enclosure; the server's certificate is for it.
pub const HOST: &str = "host.cofferdam";
/// The body whose bytes a second are measured.
pub const BODY: u64 = 1 << 20;

/// A process that ends with this value.
pub struct Served {
    child: Child,
    pub port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything outside the enclosure.
pub struct Peers {
    pub work: tempfile::TempDir,
    pub sink: Served,
    pub relay: Served,
    pub server: Served,
    pub tinyproxy: Option<Served>,
    pub mitmproxy: Option<Served>,
}

impl Peers {
    pub fn start(large: u64) -> Peers {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(tmp).unwrap();
        let work = tempfile::Builder::new().prefix("gateway").tempdir_in(tmp).unwrap();
        let at = work.path();
        for directory in ["project", "config", "state", "www"] {
            std::fs::create_dir(at.join(directory)).unwrap();
        }
        compile(&at.join("project/tcp"));
        certificates(at);
        std::fs::write(at.join("www/body"), vec![b'x'; BODY as usize]).unwrap();
        std::fs::File::create(at.join("www/large")).unwrap().set_len(large << 20).unwrap();
        let sink = tcp(at, &["sink"]);
        let relay = tcp(at, &["relay", &sink.port.to_string()]);
        let server = nginx(at);
        let tinyproxy = or_skip("tinyproxy (Debian's tinyproxy-bin)", tinyproxy(at));
        let mitmproxy = or_skip("mitmproxy (PyPI)", mitmproxy(at, tmp, server.port));
        Peers { sink, relay, server, tinyproxy, mitmproxy, work }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }
}

fn or_skip(what: &str, peer: Result<Served, String>) -> Option<Served> {
    peer.map_err(|why| eprintln!("NOT COMPARED with {what}: {why}")).ok()
}

fn compile(program: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gateway/tcp.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-pthread", "-o"]).arg(program).arg(source);
    assert!(cc.status().unwrap().success(), "{cc:?}");
}

fn tcp(at: &Path, words: &[&str]) -> Served {
    let mut command = Command::new(at.join("project/tcp"));
    let mut child = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    Served { child, port: port.trim().parse().unwrap() }
}

/// `ca.pem`, and `server.pem` with `server.key` signed by it, made for this run of the bench.
fn certificates(at: &Path) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "bench authority"); // else both have rcgen's, which OpenSSL takes for a loop
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(at.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let server = CertificateParams::new([HOST.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let signed = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(at.join("server.pem"), signed.pem()).unwrap();
    std::fs::write(at.join("server.key"), key.serialize_pem()).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Starts what is to listen at a port of ours.
fn serve(command: &mut Command, port: u16, log: &Path) -> Result<Served, String> {
    let said = std::fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
    let child = command.spawn().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    let mut served = Served { child, port };
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if served.child.try_wait().unwrap().is_some() || Instant::now() > until {
            return Err(format!("it does not serve: {}", std::fs::read_to_string(log).unwrap_or_default()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(served)
}

/// HTTP/1.1 and HTTP/2 over TLS: `/` answers two bytes, `/body` and `/large` files.
fn nginx(at: &Path) -> Served {
    let port = free_port();
    let configuration = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
         events {{ worker_connections 8192; }}
         http {{
           access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; http2_max_concurrent_streams 256;
           client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
           server {{
             listen 127.0.0.1:{port} ssl http2; ssl_certificate server.pem; ssl_certificate_key server.key;
             ssl_protocols TLSv1.3;
             location = / {{ return 200 ok; }}
             location / {{ root www; }}
           }}
         }}"
    );
    std::fs::write(at.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(at).args(["-c", "nginx.conf"]).env("PATH", with_sbin());
    serve(&mut command, port, &at.join("nginx.log")).unwrap_or_else(|why| panic!("this bench needs nginx: {why}"))
}

fn with_sbin() -> String {
    format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

fn tinyproxy(at: &Path) -> Result<Served, String> {
    let port = free_port();
    let configuration =
        format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 4000\nTimeout 600\nLogLevel Critical\n");
    std::fs::write(at.join("tinyproxy.conf"), configuration).unwrap();
    let mut command = Command::new("tinyproxy");
    command.arg("-d").arg("-c").arg(at.join("tinyproxy.conf"));
    serve(&mut command, port, &at.join("tinyproxy.log"))
}

/// Before the HTTPS server; it verifies it, as the gateway does, and streams bodies, which it would hold whole otherwise.
fn mitmproxy(at: &Path, tmp: &Path, server: u16) -> Result<Served, String> {
    let port = free_port();
    let ca = format!("ssl_verify_upstream_trusted_ca={}", at.join("ca.pem").display());
    let own = format!("confdir={}", at.join("mitmproxy").display());
    let mut command = Command::new(mitmdump(tmp)?);
    command.args(["--quiet", "--mode", &format!("reverse:https://127.0.0.1:{server}")]);
    command.args(["--listen-host", "127.0.0.1", "--listen-port", &port.to_string()]);
    for set in [&own, &ca, "stream_large_bodies=64k", "flow_detail=0"] {
        command.args(["--set", set]);
    }
    serve(&mut command, port, &at.join("mitmproxy.log"))
}

/// The `mitmdump` of `COFFER_BENCH_MITMDUMP`, or of a virtual environment that is made once and kept.
fn mitmdump(tmp: &Path) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("COFFER_BENCH_MITMDUMP") {
        return Ok(given.into());
    }
    let kept = tmp.join("mitmproxy");
    let program = kept.join("bin/mitmdump");
    if !program.exists() {
        let done = |command: &mut Command| match command.stdin(Stdio::null()).stdout(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
            Err(e) => Err(format!("{command:?}: {e}")),
        };
        done(Command::new("python3").args(["-m", "venv"]).arg(&kept))?;
        done(Command::new(kept.join("bin/pip")).args(["install", "--quiet", "mitmproxy"]))?;
    }
    Ok(program)
}
