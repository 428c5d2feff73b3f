//! TLS certificates.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use gossip::transport::{ClientAuth, Pem, Tls, TlsConfig};
use std::ffi::c_char;

/// Certificates, keys and roots for mutual TLS, for gossip_tls_new. Not thread-safe.
#[derive(Default)]
pub struct gossip_tls_config {
    server: Option<(Pem, Pem)>,
    client: Option<(Pem, Pem)>,
    roots: Option<Pem>,
    client_roots: Option<Pem>,
    server_name: Option<String>,
}

/// Checked certificates in use by any number of comms and nodes; can be replaced while they run.
pub struct gossip_tls(pub(super) Tls);

impl Owned for gossip_tls_config {}
impl Owned for gossip_tls {}

impl gossip_tls_config {
    fn build(&self) -> Outcome<TlsConfig> {
        let roots = self
            .roots
            .clone()
            .ok_or_else(|| super::invalid("TLS needs root certificates: call gossip_tls_config_add_roots"))?;
        let mut config = match &self.server {
            Some((cert, key)) => TlsConfig::new(cert.clone(), key.clone(), roots),
            None => TlsConfig::client_only(roots),
        };
        if let Some((cert, key)) = &self.client {
            config = config.client_pair(cert.clone(), key.clone());
        }
        if let Some(roots) = &self.client_roots {
            config = config.client_auth(ClientAuth::Verify(roots.clone()));
        }
        if let Some(name) = &self.server_name {
            config = config.server_name(name.clone());
        }
        Ok(config)
    }
}

fn and(roots: &mut Option<Pem>, more: Pem) {
    *roots = Some(match roots.take() {
        Some(roots) => roots.and(more),
        None => more,
    });
}

unsafe fn memory(data: *const u8, len: usize, name: &str) -> Outcome<Pem> {
    Ok(Pem::new("from memory", handle::array(data, len, name)?))
}

unsafe fn pair(cert: *const u8, cert_len: usize, key: *const u8, key_len: usize) -> Outcome<Option<(Pem, Pem)>> {
    Ok(Some((memory(cert, cert_len, "cert")?, memory(key, key_len, "key")?)))
}

/// Creates an empty configuration. Free it with gossip_tls_config_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_new(
    config: *mut *mut gossip_tls_config,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(config, "config")?.give(gossip_tls_config::default()))
}

/// Sets our certificate (followed by its intermediates, if any) and its private key, both PEM in memory, presented in
/// both directions. Without a pair it is only possible to dial, and only peers that request no certificate. The bytes
/// are copied.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_set_pair(
    config: *mut gossip_tls_config,
    cert: *const u8,
    cert_len: usize,
    key: *const u8,
    key_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        config.server = pair(cert, cert_len, key, key_len)?;
        Ok(())
    })
}

/// Does the same as gossip_tls_config_set_pair, from files, which are read now.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_set_pair_files(
    config: *mut gossip_tls_config,
    cert_path: *const c_char,
    key_path: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        let (cert, key) = (handle::text(cert_path, "cert_path")?, handle::text(key_path, "key_path")?);
        config.server = Some((Pem::file(cert)?, Pem::file(key)?));
        Ok(())
    })
}

/// Sets a different pair to present when dialling. The bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_set_client_pair(
    config: *mut gossip_tls_config,
    cert: *const u8,
    cert_len: usize,
    key: *const u8,
    key_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        config.client = pair(cert, cert_len, key, key_len)?;
        Ok(())
    })
}

/// Adds PEM roots that certify dialled servers; may be called several times. The bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_add_roots(
    config: *mut gossip_tls_config,
    roots: *const u8,
    roots_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        and(&mut config.roots, memory(roots, roots_len, "roots")?);
        Ok(())
    })
}

/// Does the same as gossip_tls_config_add_roots, from a file, which is read now.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_add_roots_file(
    config: *mut gossip_tls_config,
    path: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        and(&mut config.roots, Pem::file(handle::text(path, "path")?)?);
        Ok(())
    })
}

/// Requires that peers that dial us present a certificate that these PEM roots certify; others are not connected.
/// Without this call, as in Fabric, a certificate is requested and the gossip handshake authenticates the peer. May be
/// called several times.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_verify_clients(
    config: *mut gossip_tls_config,
    roots: *const u8,
    roots_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        and(&mut config.client_roots, memory(roots, roots_len, "roots")?);
        Ok(())
    })
}

/// Sets the name that dialled servers' certificates are checked for instead of the one in the endpoint.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_set_server_name(
    config: *mut gossip_tls_config,
    name: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get_mut(config, "config")?.server_name = Some(handle::text(name, "name")?.to_owned());
        Ok(())
    })
}

/// Frees the configuration. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_free(config: *mut gossip_tls_config) {
    gossip_tls_config::free(config);
}

/// Creates checked certificates from a configuration, which remains the caller's. GOSSIP_CONFIG: unreadable PEM, no
/// certificate in it, or a key that does not belong to its certificate; the error names the file and the field. Free it
/// with gossip_tls_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_new(
    config: *const gossip_tls_config,
    tls: *mut *mut gossip_tls,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let tls = Out::new(tls, "tls")?;
        tls.give(gossip_tls(Tls::new(handle::get(config, "config")?.build()?)?))
    })
}

/// Replaces the certificates: the next dial and the next accepted connection use the new ones; existing connections
/// continue. After an error the old ones remain. Client verification cannot be turned on or off, and the pair cannot be
/// removed.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_replace(
    tls: *const gossip_tls,
    config: *const gossip_tls_config,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(tls, "tls")?.0.replace(handle::get(config, "config")?.build()?)?))
}

/// Returns the earliest time, in seconds since 1970, at which a certificate that we present expires; INT64_MAX if none
/// is presented.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_expires(tls: *const gossip_tls) -> i64 {
    super::look(tls, i64::MAX, |tls| tls.0.expires().map_or(i64::MAX, super::crypto::unix_seconds))
}

/// Frees the handle. Comms and nodes that use it continue to do so. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_free(tls: *mut gossip_tls) {
    gossip_tls::free(tls);
}
