//! Certificates for TLS.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use gossip::transport::{ClientAuth, Pem, Tls, TlsConfig};
use std::ffi::c_char;

/// Certificates, keys and roots for mutual TLS, being put together. Not thread-safe.
#[derive(Default)]
pub struct gossip_tls_config {
    server: Option<(Pem, Pem)>,
    client: Option<(Pem, Pem)>,
    roots: Option<Pem>,
    client_roots: Option<Pem>,
    server_name: Option<String>,
}

/// Checked certificates in use, for any number of comms and nodes; can be replaced while they run.
pub struct gossip_tls(pub(super) Tls);

impl Owned for gossip_tls_config {}
impl Owned for gossip_tls {}

impl gossip_tls_config {
    fn build(&self) -> Outcome<TlsConfig> {
        let roots = self.roots.clone().ok_or_else(|| super::invalid("TLS needs roots: gossip_tls_config_add_roots"))?;
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

/// An empty one. To be freed with gossip_tls_config_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_new(
    config: *mut *mut gossip_tls_config,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(config, "config")?.give(gossip_tls_config::default()))
}

/// Our certificate (followed by its intermediates, if any) and its private key, both PEM in memory, shown in both
/// directions. Without a pair one can only dial, and only peers that ask for none. The bytes are copied.
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

/// As gossip_tls_config_set_pair, from files, which are read now.
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

/// Another pair to show when dialling. The bytes are copied.
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

/// Roots that vouch for the servers that are dialled, PEM; may be called several times. The bytes are copied.
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

/// As gossip_tls_config_add_roots, from a file, which is read now.
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

/// Requires of peers that dial us a certificate that these roots vouch for, PEM; others get no connection. Without it, as in
/// Fabric, a certificate is asked for and the gossip handshake authenticates. May be called several times.
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

/// Checks dialled servers' certificates for this name instead of the one in the endpoint.
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

/// Frees it. NULL is nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_config_free(config: *mut gossip_tls_config) {
    gossip_tls_config::free(config);
}

/// Checks a configuration, which stays the caller's. GOSSIP_CONFIG names file and field: unreadable PEM, no certificate in
/// it, a key that does not belong to its certificate. To be freed with gossip_tls_free.
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

/// Replaces the certificates: the next dial and the next accepted connection use the new ones, existing ones go on. After an
/// error the old ones stay. Whether clients are verified cannot change, nor can the pair be taken away.
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

/// Seconds since 1970 at which the certificates that are shown expire, the first of them; INT64_MAX if none is shown.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_expires(tls: *const gossip_tls) -> i64 {
    super::look(tls, i64::MAX, |tls| tls.0.expires().map_or(i64::MAX, super::crypto::unix_seconds))
}

/// Frees it; what uses it goes on to. NULL is nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_tls_free(tls: *mut gossip_tls) {
    gossip_tls::free(tls);
}
