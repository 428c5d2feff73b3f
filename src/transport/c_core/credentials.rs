//! Certificates and keys in the C core's form.

use crate::error::Result;
use crate::sync::Mutex;
use crate::transport::server_name::check_pem;
use crate::transport::tls::{config_error, Pair, Tls};
use bytes::Bytes;
use grpcio_sys::*;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Returns the core's form of a certificate and key, which borrows from the pair.
fn raw(pair: &Pair) -> grpc_ssl_pem_key_cert_pair {
    grpc_ssl_pem_key_cert_pair { private_key: pair.key.as_ptr(), cert_chain: pair.chain.as_ptr() }
}

/// Credentials of a channel, released when dropped.
pub(super) struct ChannelCredentials(*mut grpc_channel_credentials);

impl ChannelCredentials {
    /// Returns credentials without TLS.
    pub(super) fn insecure() -> Self {
        // SAFETY: takes nothing, returns an object of ours.
        ChannelCredentials(unsafe { grpc_insecure_credentials_create() })
    }

    /// Returns credentials with TLS, the certificate that is presented, and the name to check. `flaw` receives the
    /// defect of a rejected server certificate.
    pub(super) fn tls(tls: &Tls, flaw: &Flaw) -> (Self, Option<Bytes>, Option<CString>) {
        let (_, checked) = tls.current();
        let client = checked.client.as_ref();
        let mut pair = client.map(raw);
        let pair = pair.as_mut().map_or(null_mut(), |pair| pair as *mut _);
        let verify = verify_peer_options {
            verify_peer_callback: Some(check_server),
            verify_peer_callback_userdata: Arc::into_raw(flaw.0.clone()).cast_mut().cast::<c_void>(),
            verify_peer_destruct: Some(release_flaw),
        };
        // SAFETY: the strings live in `checked` during the call; the core copies them and the options. The pair may be
        // null. The reference in the options is released by `release_flaw`, with the credentials.
        let raw = unsafe { grpc_ssl_credentials_create(checked.roots.as_ptr(), pair, &verify, null_mut()) };
        (ChannelCredentials(raw), client.map(|pair| pair.der.clone()), checked.server_name.clone())
    }

    pub(super) fn raw(&self) -> *mut grpc_channel_credentials {
        self.0
    }
}

impl Drop for ChannelCredentials {
    fn drop(&mut self) {
        // SAFETY: ours, released once; channels hold their own reference.
        unsafe { grpc_channel_credentials_release(self.0) }
    }
}

/// Holds the reason why checks beyond the core's own rejected a server's certificate. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Flaw(Arc<Mutex<Option<String>>>);

impl Flaw {
    /// Returns the reason for the last rejection.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// Checks a server certificate that passed the core's own checks. The core calls this on a polling thread: it neither
/// blocks nor panics.
unsafe extern "C" fn check_server(name: *const c_char, pem: *const c_char, flaw: *mut c_void) -> c_int {
    let checked = std::panic::catch_unwind(|| {
        // SAFETY: the core passes two NUL-terminated strings that live during the call, and the reference of `tls`,
        // which lives as long as the credentials.
        let (name, pem, flaw) =
            unsafe { (CStr::from_ptr(name), CStr::from_ptr(pem), &*flaw.cast::<Mutex<Option<String>>>()) };
        match check_pem(pem.to_bytes(), &name.to_string_lossy()) {
            Ok(()) => 0,
            Err(why) => {
                *flaw.lock() = Some(format!("the server's TLS certificate {why}"));
                1
            }
        }
    });
    checked.unwrap_or(1)
}

/// Called by the core when it releases the credentials.
unsafe extern "C" fn release_flaw(flaw: *mut c_void) {
    // SAFETY: the reference that `tls` gave to the core, released once.
    drop(unsafe { Arc::from_raw(flaw.cast::<Mutex<Option<String>>>()) });
}

/// Credentials of a server, released when dropped. With TLS the core calls `fetch` for each connection, so the state
/// must live until the server is destroyed.
pub(super) struct ServerCredentials {
    raw: *mut grpc_server_credentials,
    _fetch: Option<Box<Fetch>>,
}

// SAFETY: only created, passed to the core and released, and the core's reference counts are atomic.
unsafe impl Send for ServerCredentials {}

struct Fetch {
    tls: Tls,
    /// The generation that the core has; `u64::MAX` before its first call.
    known: AtomicU64,
}

impl ServerCredentials {
    /// Creates the credentials of a server, with or without TLS.
    pub(super) fn new(tls: Option<Tls>) -> Result<Self> {
        let Some(tls) = tls else {
            // SAFETY: takes nothing, returns an object of ours.
            return Ok(ServerCredentials { raw: unsafe { grpc_insecure_server_credentials_create() }, _fetch: None });
        };
        if tls.current().1.server.is_none() {
            return Err(config_error(
                "a server needs a certificate and a key; this configuration is only for dialling",
            ));
        }
        use grpc_ssl_client_certificate_request_type as Policy;
        let policy = match tls.current().1.client_roots {
            None => Policy::GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY,
            Some(_) => Policy::GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
        };
        let fetch = Box::new(Fetch { tls, known: AtomicU64::new(u64::MAX) });
        let state = (&raw const *fetch).cast_mut().cast::<c_void>();
        // SAFETY: `fetch` is on the heap and lives until this object is dropped, after the server. The credentials take
        // over the options.
        let raw = unsafe {
            let options =
                grpc_ssl_server_credentials_create_options_using_config_fetcher(policy, Some(fetch_config), state);
            grpc_ssl_server_credentials_create_with_options(options)
        };
        Ok(ServerCredentials { raw, _fetch: Some(fetch) })
    }

    pub(super) fn raw(&self) -> *mut grpc_server_credentials {
        self.raw
    }
}

impl Drop for ServerCredentials {
    fn drop(&mut self) {
        // SAFETY: ours, released once; the server held its own reference.
        unsafe { grpc_server_credentials_release(self.raw) }
    }
}

/// Called by the core before each inbound handshake, on a polling thread: it neither blocks nor panics.
unsafe extern "C" fn fetch_config(
    state: *mut c_void,
    config: *mut *mut grpc_ssl_server_certificate_config,
) -> grpc_ssl_certificate_config_reload_status {
    // SAFETY: `state` is the `Fetch` of `ServerCredentials::new`, alive while the server is.
    let fetch = unsafe { &*state.cast::<Fetch>() };
    let (generation, checked) = fetch.tls.current();
    if fetch.known.swap(generation, Ordering::Relaxed) == generation {
        return grpc_ssl_certificate_config_reload_status::GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    let Some(pair) = checked.server.as_ref().map(raw) else {
        return grpc_ssl_certificate_config_reload_status::GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    };
    let roots = checked.client_roots.as_ref().map_or(null(), |roots| roots.as_ptr());
    // SAFETY: the core copies the strings, which live in `checked`, and takes over the object it is given.
    unsafe { *config = grpc_ssl_server_certificate_config_create(roots, &pair, 1) };
    grpc_ssl_certificate_config_reload_status::GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
}
