//! Parses listening addresses.

use crate::error::{Error, ErrorKind, Result};

/// Parses the host and port of a listening address. The core would accept a port like 99999 and bind another.
pub(super) fn parse(listen: &str) -> Result<(String, u16)> {
    let malformed = |why: &str| {
        let text = format!("malformed address {listen:?}: {why}; expected ip:port, such as 0.0.0.0:7051");
        Error::new(ErrorKind::Config, text).with_step("listen")
    };
    let (host, port) = listen.rsplit_once(':').ok_or_else(|| malformed("no port"))?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or_else(|| malformed("the port is not from 0 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match bare {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_err() => {
            Err(malformed("the text in brackets is not an IPv6 address"))
        }
        None if !host.bytes().all(plain) => Err(malformed("the host is not a name or an address")),
        _ if host.is_empty() => Ok(("0.0.0.0".into(), port)),
        _ => Ok((host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn addresses_are_checked() {
        for good in ["127.0.0.1:0", "0.0.0.0:7051", ":7051", "[::]:65535", "localhost:1"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "h", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:+1", "::1:7051", "[x]:1", "unix:/a:1"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
