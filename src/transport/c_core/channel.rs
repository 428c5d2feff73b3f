//! The dialling side: a connection to one endpoint.

use super::call::{Call, Refused};
use super::credentials::{ChannelCredentials, Flaw};
use super::library::{keep_engine_after_failure, Library};
use super::options::{deadline, Quota, Settings, StreamOptions};
use super::queue::CallQueue;
use super::slice;
use super::stream::CallStream;
use super::unary::Unary;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;
use crate::transport::{StreamInfo, Tls};
use bytes::Bytes;
use grpcio_sys::*;
use std::ffi::CString;
use std::net::Ipv6Addr;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

/// A channel to one endpoint. It connects with its first call, over a separate connection, which closes when the
/// channel and the calls on it are dropped.
pub(super) struct Channel(Arc<CoreChannel>);

pub(super) struct CoreChannel {
    raw: *mut grpc_channel,
    endpoint: String,
    stream_options: StreamOptions,
    local_cert: Option<Bytes>,
    tls: bool,
    /// The reason why the server's certificate was rejected.
    flaw: Flaw,
    /// The peer's address, known from the first answer.
    remote_addr: Mutex<Option<String>>,
    /// Kept for later channels. Declared before the library, which it needs.
    _quota: Option<Arc<Quota>>,
    _library: Library,
}

// SAFETY: channels of the core may be used from any thread.
unsafe impl Send for CoreChannel {}
// SAFETY: as above.
unsafe impl Sync for CoreChannel {}

impl Channel {
    /// Creates a channel to `host:port`, with TLS if `tls` is given. Neither blocks nor connects yet. A connection
    /// attempt times out after `connect` (in the C core, 100 ms at least).
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the endpoint is malformed. [`ErrorKind::Full`]: the C core must be started, and too few
    /// file descriptors or threads are available for it.
    pub fn new(endpoint: &str, tls: Option<&Tls>, settings: &Settings, connect: Duration) -> Result<Channel> {
        let target = target(endpoint)?;
        let library = Library::acquire()?;
        let mut args = settings.channel_args(connect);
        let quota = settings.quota();
        args.quota(quota.clone());
        // The name that TLS checks and that is sent to the server, regardless of the form of the target.
        args.text(c"grpc.default_authority", text(endpoint)?);
        let flaw = Flaw::default();
        let (credentials, local_cert) = match tls {
            Some(tls) => {
                let (credentials, local_cert, server_name) = ChannelCredentials::tls(tls, &flaw);
                if let Some(name) = server_name {
                    args.text(c"grpc.ssl_target_name_override", name);
                }
                (credentials, local_cert)
            }
            None => (ChannelCredentials::insecure(), None),
        };
        // SAFETY: all arguments are valid during the call; the core copies them and references the credentials.
        let raw = args.with(|args| unsafe { grpc_channel_create(target.as_ptr(), credentials.raw(), args) });
        Ok(Channel(Arc::new(CoreChannel {
            raw,
            endpoint: endpoint.to_owned(),
            stream_options: settings.stream_options(),
            local_cert,
            tls: tls.is_some(),
            flaw,
            remote_addr: Mutex::new(None),
            _quota: quota,
            _library: library,
        })))
    }

    /// Starts a unary call, without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the C core refuses it.
    pub fn unary(&self, method: &str, request: Bytes) -> Result<Unary> {
        let call = self.call(method, None)?;
        call.start_unary(request).map_err(|e| self.0.refused(e))?;
        Ok(Unary::new(call, self.0.clone()))
    }

    /// Opens a stream, waiting at most `timeout` for the connection and for capacity on it. `limit` bounds the lifetime
    /// of the stream. `cancel` ends the wait.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] with the C core's text if the connection cannot be made, [`ErrorKind::Timeout`],
    /// [`ErrorKind::Stopped`] if cancelled.
    pub fn stream(
        &self,
        method: &str,
        limit: Option<Duration>,
        timeout: Duration,
        cancel: &Cancel,
    ) -> Result<CallStream> {
        let call = Arc::new(self.call(method, limit)?);
        call.start_dialled().map_err(|e| self.0.refused(e))?;
        super::unary::wait_connected(&call, &self.0, timeout, cancel)?;
        let info = StreamInfo {
            remote_addr: self.0.address(&call),
            remote_cert: call.certificate(),
            local_cert: self.0.local_cert.clone(),
            tls: self.0.tls,
        };
        Ok(CallStream::dialled(call, limit.is_some(), info, self.0.stream_options))
    }

    fn call(&self, method: &str, limit: Option<Duration>) -> Result<Call> {
        let queue = CallQueue::new();
        let method = slice::copied(method.as_bytes());
        // SAFETY: channel and queue are valid; the host may be null; the core takes its own reference to the method, so
        // that ours is released once. The call keeps the channel alive.
        unsafe {
            let parent = null_mut();
            let deadline = deadline(limit);
            let raw =
                grpc_channel_create_call(self.0.raw, parent, 0, queue.raw(), method, null(), deadline, null_mut());
            grpc_slice_unref(method);
            if raw.is_null() {
                return Err(self.0.refused(Refused));
            }
            Ok(Call::new(raw, queue, self.0.clone()))
        }
    }
}

impl CoreChannel {
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the reason for a failed connection: the rejected certificate, or else the core's text.
    pub(super) fn why_unreachable(&self, core: String) -> String {
        self.flaw.reason().unwrap_or(core)
    }

    pub(super) fn max_receive(&self) -> usize {
        self.stream_options.max_receive
    }

    /// Returns the peer's address. A call knows it only from the server's first answer on, so the address from an
    /// earlier call is remembered.
    pub(super) fn address(&self, call: &Call) -> String {
        let mut known = self.remote_addr.lock();
        if known.is_none() {
            let address = call.address();
            if address.parse::<std::net::SocketAddr>().is_err() {
                return self.endpoint.clone();
            }
            *known = Some(address);
        }
        known.clone().unwrap_or_default()
    }

    fn refused(&self, _: Refused) -> Error {
        Error::new(ErrorKind::Internal, "the C core refused to start a call").with_peer(&self.endpoint)
    }
}

impl Drop for CoreChannel {
    fn drop(&mut self) {
        keep_engine_after_failure();
        // SAFETY: ours, destroyed once; the calls on it held this object.
        unsafe { grpc_channel_destroy(self.raw) }
    }
}

/// Returns the C core's form of `host:port`. Names are resolved; addresses are used as they are.
fn target(endpoint: &str) -> Result<CString> {
    let malformed = |why: &str| {
        Err(Error::new(ErrorKind::Config, format!("malformed endpoint {endpoint:?}: {why}; expected host:port")))
    };
    let Some((host, port)) = endpoint.rsplit_once(':') else {
        return malformed("no port");
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0 && port.to_string() == *endpoint.rsplit(':').next().unwrap_or(""))
    {
        return malformed("the port is not a number from 1 to 65535");
    }
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => text(&format!("ipv6:%5B{address}%5D:{port}")),
            Err(_) => malformed("the text in brackets is not an IPv6 address"),
        };
    }
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return malformed("the host is not a name or an address (IPv6 in brackets)");
    }
    text(&format!("dns:///{host}:{port}"))
}

fn text(s: &str) -> Result<CString> {
    CString::new(s).map_err(|_| Error::new(ErrorKind::Config, format!("{s:?} contains a zero byte")))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn endpoints_are_checked() {
        for good in ["localhost:7051", "10.0.0.1:1", "[::1]:65535", "peer0.org1.example.com:7051", "a_b-c:80"] {
            assert!(target(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":",
            "h",
            "h:",
            ":7051",
            "h:0",
            "h:65536",
            "h:99999",
            "h:+1",
            "h:01",
            "::1:7051",
            "[x]:1",
            "unix:/a:1",
            "h\0:1",
            "a b:1",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }
}
