//! The self-signed certificate for names without one: made once, kept, so that a client that pinned it stays content.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Chain and key in DER.
type Material = (Vec<Vec<u8>>, Vec<u8>);

/// Reads the certificate at `path`, or makes it.
pub(super) fn load(path: Option<&Path>) -> io::Result<Material> {
    let Some(path) = path else { return generate().and_then(|pem| parse(&pem)) };
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("default certificate {}: {error} (delete it to have a new one)", path.display()),
        )
    };
    match fs::read_to_string(path) {
        Ok(pem) => parse(&pem).map_err(named),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pem = generate()?;
            write(path, &pem).map_err(named)?;
            parse(&pem)
        }
        Err(error) => Err(named(error)),
    }
}

/// Whole or not at all: a file half-written by a crash would keep the daemon from starting.
fn write(path: &Path, pem: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

fn generate() -> io::Result<String> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(io::Error::other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "gateway default certificate");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    // RFC 5280 §4.1.2.5: no well-defined end.
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn parse(pem: &str) -> io::Result<Material> {
    let chain: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|item| item.map(|der| der.as_ref().to_vec()))
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
    if chain.is_empty() {
        return Err(io::Error::other("no certificate in it"));
    }
    Ok((chain, key.secret_der().to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::load;

    #[test]
    fn it_is_made_once_and_only_the_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.pem");
        let first = load(Some(&path)).unwrap();
        assert_eq!(load(Some(&path)).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "garbage").unwrap();
        assert!(load(Some(&path)).unwrap_err().to_string().contains("delete it"));
    }
}
