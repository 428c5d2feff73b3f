//! gRPC's rules over HTTP/2: request and response headers, timeouts, statuses. Pure functions.

use crate::transport::{code, Status};
use std::time::Duration;

/// A header field.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// The content type of requests and responses.
pub(super) const CONTENT_TYPE: &str = "application/grpc";

/// Maximum length in bytes of a status text after percent-encoding. Peers limit a header list to 8 KiB or more.
const MAX_STATUS_TEXT: usize = 4096;

/// Codes of RST_STREAM and GOAWAY frames (RFC 9113, section 7).
pub(super) mod reset {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
    pub const INADEQUATE_SECURITY: u32 = 12;
}

/// Returns the header fields of a request.
pub(super) fn request(secure: bool, authority: &str, path: &str, timeout: Option<Duration>) -> Vec<Field> {
    let scheme = if secure { "https" } else { "http" };
    let mut fields = vec![
        field(":method", "POST"),
        field(":scheme", scheme),
        field(":path", path),
        field(":authority", authority),
        field("content-type", CONTENT_TYPE),
        field("te", "trailers"),
    ];
    fields.extend(timeout.map(|timeout| field("grpc-timeout", &encode_timeout(timeout))));
    fields
}

/// Returns the header fields of a response that messages follow.
pub(super) fn response() -> Vec<Field> {
    vec![field(":status", "200"), field("content-type", CONTENT_TYPE)]
}

/// Returns the trailers that end a response.
pub(super) fn trailers(status: &Status) -> Vec<Field> {
    let mut fields = vec![field("grpc-status", &status.code.to_string())];
    if !status.message.is_empty() {
        fields.push(field("grpc-message", &encode_text(&status.message)));
    }
    fields
}

/// Returns the only header fields of a response without messages.
pub(super) fn trailers_only(status: &Status) -> Vec<Field> {
    let mut fields = response();
    fields.extend(trailers(status));
    fields
}

fn field(name: &str, value: &str) -> Field {
    (name.into(), value.into())
}

/// A request of a client, as far as its headers describe it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub path: String,
    pub timeout: Option<Duration>,
}

/// Reads the headers of a request.
///
/// # Errors
/// The header fields of the response that refuses a request which is not gRPC.
pub(super) fn read_request(fields: &[Field]) -> Result<Request, Vec<Field>> {
    let value = |name: &str| fields.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, v)| v.as_slice());
    if value(":method") != Some(b"POST") {
        return Err(vec![field(":status", "405"), field("allow", "POST")]);
    }
    if !value("content-type").is_some_and(is_grpc) {
        return Err(vec![field(":status", "415")]);
    }
    let timeout = match value("grpc-timeout").map(decode_timeout) {
        None => None,
        Some(Some(timeout)) => Some(timeout),
        Some(None) => return Err(trailers_only(&Status::new(code::INTERNAL, "malformed grpc-timeout"))),
    };
    let path = String::from_utf8_lossy(value(":path").unwrap_or_default()).into_owned();
    Ok(Request { path, timeout })
}

fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(CONTENT_TYPE.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
}

/// Returns the status in the last header fields of a response: the trailers, or the only headers. `head` are the first
/// header fields of a response with trailers.
pub(super) fn read_status(head: Option<&[Field]>, last: &[Field]) -> Status {
    if let Some(code) = find(last, "grpc-status") {
        let code = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok());
        let text = find(last, "grpc-message").map(decode_text).unwrap_or_default();
        return match code {
            Some(code) if code >= 0 => Status::new(code, text),
            _ => Status::new(code::UNKNOWN, format!("malformed grpc-status; {text}")),
        };
    }
    match status_of_head(head.unwrap_or(last)) {
        Some(status) => status,
        None => Status::unknown("the response ended without a grpc-status"),
    }
}

/// Returns the status of a response that is not gRPC; `None` if it is.
pub(super) fn status_of_head(head: &[Field]) -> Option<Status> {
    let http = find(head, ":status").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()).unwrap_or(0);
    if http != 200 {
        return Some(Status::new(code_of_http(http), format!("the server answered with HTTP status {http}")));
    }
    let content_type = find(head, "content-type").unwrap_or_default();
    match is_grpc(content_type) || find(head, "grpc-status").is_some() {
        true => None,
        false => {
            let shown = String::from_utf8_lossy(&content_type[..content_type.len().min(100)]).into_owned();
            Some(Status::unknown(format!("the server's answer is not gRPC: its content-type is {shown:?}")))
        }
    }
}

fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| value.as_slice())
}

/// Maps an HTTP status to a status code, as gRPC's specification does.
fn code_of_http(status: u16) -> i32 {
    match status {
        400 => code::INTERNAL,
        401 => 16,
        403 => 7,
        404 => code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

/// Maps the code of a RST_STREAM frame to a status code, as gRPC's specification does.
pub(super) fn code_of_reset(reset: u32) -> i32 {
    match reset {
        reset::REFUSED_STREAM => code::UNAVAILABLE,
        reset::CANCEL => code::CANCELLED,
        reset::ENHANCE_YOUR_CALM => code::RESOURCE_EXHAUSTED,
        reset::INADEQUATE_SECURITY => 7,
        _ => code::INTERNAL,
    }
}

/// Percent-encodes a status text, shortened to [`MAX_STATUS_TEXT`] bytes.
fn encode_text(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len().min(MAX_STATUS_TEXT));
    for character in text.chars() {
        let before = encoded.len();
        let mut utf8 = [0; 4];
        for byte in character.encode_utf8(&mut utf8).bytes() {
            match byte {
                b'%' | 0..=0x1f | 0x7f.. => encoded += &format!("%{byte:02X}"),
                _ => encoded.push(byte.into()),
            }
        }
        if encoded.len() > MAX_STATUS_TEXT {
            encoded.truncate(before);
            break;
        }
    }
    encoded
}

/// Decodes a percent-encoded status text. Malformed sequences stay as they are.
fn decode_text(encoded: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, behind)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        let decoded = match behind {
            [high, low, ..] if first == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low) as u8),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Maximum number of a timeout in its unit: eight digits.
const MAX_TIMEOUT: u128 = 99_999_999;

/// Writes a timeout in the smallest unit in which it has at most eight digits, rounded up.
fn encode_timeout(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    let units = [("n", 1), ("u", 1_000), ("m", 1_000_000), ("S", 1_000_000_000), ("M", 60_000_000_000)];
    for (unit, size) in units {
        let value = nanos.div_ceil(size);
        if value <= MAX_TIMEOUT {
            return format!("{value}{unit}");
        }
    }
    format!("{}H", nanos.div_ceil(3_600_000_000_000).min(MAX_TIMEOUT))
}

fn decode_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'n' => Duration::from_nanos(value),
        b'u' => Duration::from_micros(value),
        b'm' => Duration::from_millis(value),
        b'S' => Duration::from_secs(value),
        b'M' => Duration::from_secs(value * 60),
        b'H' => Duration::from_secs(value * 3600),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Vec<Field> {
        list.iter().map(|(name, value)| field(name, value)).collect()
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let written = request(true, "peer0:7051", "/gossip.Gossip/Ping", Some(Duration::from_secs(3)));
        let read = read_request(&written).unwrap();
        assert_eq!(read, Request { path: "/gossip.Gossip/Ping".into(), timeout: Some(Duration::from_secs(3)) });
        assert_eq!(read_request(&request(false, "h", "/a/b", None)).unwrap().timeout, None);
    }

    #[test]
    fn requests_that_are_not_grpc_are_refused_in_http() {
        let get = fields(&[(":method", "GET"), ("content-type", "application/grpc")]);
        assert_eq!(read_request(&get).unwrap_err()[0], field(":status", "405"));
        for other in ["", "text/html", "application/grpcx", "application/json"] {
            let post = fields(&[(":method", "POST"), ("content-type", other)]);
            assert_eq!(read_request(&post).unwrap_err()[0], field(":status", "415"), "{other}");
        }
        for grpc in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            read_request(&fields(&[(":method", "POST"), ("content-type", grpc)])).unwrap();
        }
        let malformed = [(":method", "POST"), ("content-type", "application/grpc"), ("grpc-timeout", "1x")];
        assert_eq!(read_status(None, &read_request(&fields(&malformed)).unwrap_err()).code, code::INTERNAL);
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        for text in ["", "no TLS certificate: \u{fc}, 100 %", "line\nbreak\t", "\u{1F600}", " outer spaces "] {
            let status = Status::new(code::RESOURCE_EXHAUSTED, text);
            assert_eq!(read_status(Some(&response()), &trailers(&status)), status);
            assert_eq!(read_status(None, &trailers_only(&status)), status);
        }
        let encoded = encode_text("a%\u{fc}\u{7f}~");
        assert_eq!(encoded, "a%25%C3%BC%7F~");
        assert_eq!(decode_text(b"%c3%bc%2"), "\u{fc}%2");
        assert_eq!(decode_text(b"%zz%"), "%zz%");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let encoded = encode_text(&"\u{fc}".repeat(20_000));
        assert!(encoded.len() <= MAX_STATUS_TEXT && encoded.len() > MAX_STATUS_TEXT - 12);
        assert!(decode_text(encoded.as_bytes()).chars().all(|c| c == '\u{fc}'));
    }

    #[test]
    fn answers_without_a_status_are_mapped() {
        for (http, expected) in [("400", 13), ("401", 16), ("403", 7), ("404", 12), ("503", 14), ("500", 2)] {
            assert_eq!(read_status(None, &fields(&[(":status", http)])).code, expected, "{http}");
        }
        let html = fields(&[(":status", "200"), ("content-type", "text/html")]);
        assert!(read_status(None, &html).message.contains("text/html"));
        assert_eq!(read_status(Some(&response()), &[]).code, code::UNKNOWN);
        let odd = fields(&[("grpc-status", "many")]);
        assert_eq!(read_status(Some(&response()), &odd).code, code::UNKNOWN);
        for (reset, expected) in [(0, 13), (1, 13), (7, 14), (8, 1), (11, 8), (12, 7), (99, 13)] {
            assert_eq!(code_of_reset(reset), expected, "{reset}");
        }
    }

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        for (timeout, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (Duration::from_secs(5), "5000000u"),
            (Duration::from_secs(200), "200000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::from_secs(200_000_000), "3333334M"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(encode_timeout(timeout), text);
            assert!(decode_timeout(text.as_bytes()).is_some_and(|read| read >= timeout || timeout == Duration::MAX));
        }
        for bad in ["", "S", "123456789n", "1", "-1S", "1 S", "+1S"] {
            assert_eq!(decode_timeout(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
