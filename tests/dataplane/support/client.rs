//! A blocking HTTP/1.1 client that writes exactly what a test says, over TCP or TLS.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// Longer than anything takes; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    tcp: TcpStream,
    /// The leaf that the server showed.
    pub(crate) certificate: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `(status, x-gateway-error)`, after checking that the body says the same.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, &str) {
        let reason = self.header("x-gateway-error").unwrap_or_else(|| panic!("not a refusal: {self:?}"));
        let error = &self.json()["error"];
        assert_eq!(
            (error["code"].as_u64(), error["reason"].as_str()),
            (Some(u64::from(self.status)), Some(reason))
        );
        assert_eq!(error["request_id"].as_str(), self.header("x-request-id"));
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
        (self.status, reason)
    }
}

impl Client {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::connect(address).unwrap()
    }

    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        // The peer may have reset the connection already, which is what some tests are about.
        let _ = tcp.set_nodelay(true);
        Ok(Self { stream: BufReader::new(Box::new(tcp.try_clone()?)), tcp, certificate: Vec::new() })
    }

    /// A TLS connection; without `sni` the name is an IP literal, which sends none.
    pub(crate) fn tls(address: SocketAddr, sni: Option<&str>, alpn: &[&[u8]]) -> io::Result<Self> {
        Self::tls_announced(address, b"", sni, alpn)
    }

    /// A TLS connection that begins with the header of a PROXY protocol.
    pub(crate) fn tls_announced(
        address: SocketAddr,
        header: &[u8],
        sni: Option<&str>,
        alpn: &[&[u8]],
    ) -> io::Result<Self> {
        let Self { mut tcp, .. } = Self::connect(address)?;
        tcp.write_all(header)?;
        let mut config = tls_config();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(sni.map_or_else(|| address.ip().to_string(), str::to_owned)).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut wire = tcp.try_clone()?;
        while connection.is_handshaking() {
            connection.complete_io(&mut wire)?;
        }
        let certificate = connection.peer_certificates().unwrap()[0].to_vec();
        let stream = StreamOwned::new(connection, wire);
        Ok(Self { stream: BufReader::new(Box::new(stream)), tcp, certificate })
    }

    /// Whether a connection is reset before a byte is served. The reset can arrive while `connect` still returns.
    pub(crate) fn is_reset(address: SocketAddr) -> bool {
        match Self::connect(address) {
            Ok(mut client) => {
                let _ = client.try_send("GET / HTTP/1.1\r\n\r\n");
                matches!(client.ended(), Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
            }
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())?;
        self.stream.get_mut().flush()
    }

    /// Sends a whole request and reads the answer.
    pub(crate) fn call(&mut self, request: &str) -> Reply {
        self.send(request);
        self.reply(request.starts_with("HEAD"))
    }

    pub(crate) fn reply(&mut self, head_only: bool) -> Reply {
        self.try_reply(head_only).unwrap()
    }

    pub(crate) fn try_reply(&mut self, head_only: bool) -> io::Result<Reply> {
        let mut reply = self.head()?;
        let length = reply.header("content-length").map(|text| text.parse::<usize>().unwrap());
        if head_only || reply.status == 204 || reply.status == 304 || reply.status == 101 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                reply.body.extend(chunk);
            }
        } else if let Some(length) = length {
            reply.body = vec![0; length];
            self.stream.read_exact(&mut reply.body)?;
        } else {
            self.stream.read_to_end(&mut reply.body)?;
        }
        Ok(reply)
    }

    /// The head of an answer, skipping 100 Continue.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        let status = self.line()?;
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| io::Error::other(status.clone()))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 100 {
            return self.head();
        }
        Ok(Reply { status, headers, body: Vec::new() })
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        let end = self.line()?;
        assert_eq!(end, "");
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    pub(crate) fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// How the peer ends the connection; `None` if it is silent for longer than anything takes.
    pub(crate) fn ended(&mut self) -> Option<io::ErrorKind> {
        let mut byte = [0; 4096];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Some(io::ErrorKind::UnexpectedEof),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) => return Some(error.kind()),
            }
        }
    }

    /// Whether nothing comes, and the connection stays, for so long. What comes is still there to be read.
    pub(crate) fn is_quiet(&mut self, patience: Duration) -> bool {
        self.tcp.set_read_timeout(Some(patience)).unwrap();
        let seen = self.stream.fill_buf().map(<[u8]>::len).map_err(|error| error.kind());
        self.tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(seen, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }
}

/// A client that trusts everybody.
pub(crate) fn tls_config() -> ClientConfig {
    harness::anybody::config(rustls::crypto::aws_lc_rs::default_provider())
}

/// Certificates of a PEM text in DER.
pub(crate) fn der(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|item| item.unwrap().to_vec()).collect()
}

/// The key of a PEM text in DER.
pub(crate) fn key(pem: &str) -> Vec<u8> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap().secret_der().to_vec()
}
