//! Address and certificate of the other end of a call.

use bytes::Bytes;
use grpcio_sys::*;
use openssl::base64;
use std::ffi::CStr;

/// Returns the remote address of a call, or the target if the connection is not up yet.
///
/// # Safety
/// The call must be valid.
pub(super) unsafe fn address(call: *mut grpc_call) -> String {
    // SAFETY: the core returns a string of ours, or null.
    unsafe {
        let raw = grpc_call_get_peer(call);
        if raw.is_null() {
            return String::new();
        }
        let text = CStr::from_ptr(raw).to_string_lossy().into_owned();
        gpr_free(raw.cast());
        plain(&text)
    }
}

/// Converts the core's notation: `ipv6:%5B::1%5D:7051` becomes `[::1]:7051`.
pub(crate) fn plain(uri: &str) -> String {
    let text = uri.strip_prefix("ipv4:").or_else(|| uri.strip_prefix("ipv6:")).unwrap_or(uri);
    text.replace("%5B", "[").replace("%5D", "]").replace("%25", "%")
}

/// Returns the remote side's TLS certificate, as DER.
///
/// # Safety
/// The call must be valid, and connected.
pub(super) unsafe fn certificate(call: *mut grpc_call) -> Option<Bytes> {
    // SAFETY: the context is a reference of ours until it is released; the property's bytes live as long and are copied.
    unsafe {
        let context = grpc_call_auth_context(call);
        if context.is_null() {
            return None;
        }
        let mut found = grpc_auth_context_find_properties_by_name(context, c"x509_pem_cert".as_ptr());
        let property = grpc_auth_property_iterator_next(&mut found);
        let der = property.as_ref().and_then(|p| {
            let pem = std::slice::from_raw_parts(p.value.cast::<u8>(), p.value_length);
            der(pem)
        });
        grpc_auth_context_release(context);
        der
    }
}

/// Returns the DER of one certificate in PEM as the core writes it. The PEM was already parsed; parsing it again here
/// took about 8 % of a handshake.
pub(crate) fn der(pem: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(pem).ok()?.trim();
    let body = text.strip_prefix("-----BEGIN CERTIFICATE-----")?.strip_suffix("-----END CERTIFICATE-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    base64::decode_block(&body).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_certificate_is_taken_out_of_its_text() {
        let text = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        assert_eq!(super::der(text("AQID\nBA==").as_bytes()).unwrap().as_ref(), [1, 2, 3, 4]);
        for bad in [text("A?ID"), text("AQID") + &text("AQID"), "AQID".into(), text("")[..40].into()] {
            assert_eq!(super::der(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn addresses_lose_their_decoration() {
        assert_eq!(super::plain("ipv4:127.0.0.1:7051"), "127.0.0.1:7051");
        assert_eq!(super::plain("ipv6:%5Bfe80::1%25eth0%5D:7051"), "[fe80::1%eth0]:7051");
        assert_eq!(super::plain("dns:///peer0:7051"), "dns:///peer0:7051");
    }
}
