//! How a step's connections verify the other side: the machine's roots, or the Connection's own authority.
//! Not client certificates, which no Connection has.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A verifying client configuration; `authority` is PEM that is trusted instead of the machine's roots.
///
/// The crypto provider is named here and not taken from the process, so that nothing depends on who started first.
/// Errors are sentences for users.
pub(crate) fn client_config(authority: Option<&[u8]>) -> Result<ClientConfig, String> {
    let roots = match authority {
        Some(pem) => own_roots(pem)?,
        None => machine_roots().clone(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn own_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "the CA is not PEM".to_owned())?;
        roots
            .add(certificate)
            .map_err(|_| "the CA holds a certificate that cannot be an authority".to_owned())?;
    }
    if roots.is_empty() {
        Err("the CA holds no certificate in PEM".to_owned())
    } else {
        Ok(roots)
    }
}

/// Read once: the files do not change while a container lives. A file that does not parse is skipped, as others do.
fn machine_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_that_is_no_pem_is_refused() {
        assert!(client_config(None).is_ok());
        assert!(client_config(Some(b"hello")).unwrap_err().contains("no certificate"));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(client_config(Some(broken)).is_err());
    }
}
