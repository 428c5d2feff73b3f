//! Parsing and formatting of durations, endpoints and binary values on the command line.

use crate::go_values;
use crate::output::is_unsafe;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

/// `host:port`, IPv6 addresses in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{why}; expected host:port, such as peer0.org1.example.com:7051"));
        if let Some((scheme, rest)) = text.split_once(":/") {
            let rest = rest.trim_start_matches('/');
            return wrong(&format!("an endpoint has no scheme such as {scheme}: write {rest:?}"));
        }
        if text.contains(['"', '\'']) {
            return wrong("the quotes are part of it: leave them out");
        }
        if text.contains(|c: char| c.is_whitespace() || c == ',' || c == ';') {
            return wrong("this is more than one endpoint, or contains white space");
        }
        let Some((host, port)) = text.rsplit_once(':') else { return wrong("no port") };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let Some(port) = port.parse().ok().filter(|_| digits) else {
            return wrong("the port is not a number from 0 to 65535");
        };
        let host = match host.strip_prefix('[') {
            Some(address) => match address.strip_suffix(']') {
                Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
                _ => return wrong("the text in brackets is not an IPv6 address"),
            },
            None if host.parse::<Ipv6Addr>().is_ok() => {
                return wrong("an IPv6 address needs brackets, as in [::1]:7051");
            }
            None if host.contains(':') => return wrong("it has more than one colon"),
            None if host.is_empty() => return wrong("no host"),
            None if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
                return wrong("the host is neither a name nor an address");
            }
            None => host,
        };
        Ok(Endpoint { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Parses an endpoint to dial.
pub fn target(text: &str) -> Result<Endpoint, String> {
    match text.parse()? {
        Endpoint { port: 0, .. } => Err("port 0 cannot be dialled".into()),
        endpoint => Ok(endpoint),
    }
}

/// Parses an endpoint at which others reach us.
pub fn reachable(text: &str) -> Result<Endpoint, String> {
    let endpoint = target(text)?;
    match endpoint.is_unspecified() {
        true => Err(format!("{} cannot be dialled: name the address of this machine", endpoint.host)),
        false => Ok(endpoint),
    }
}

/// Parses an address to listen on. As in Go, an address without a host means all interfaces.
pub fn listen_address(text: &str) -> Result<Endpoint, String> {
    match text.starts_with(':') {
        true => format!("0.0.0.0{text}").parse(),
        false => text.parse(),
    }
}

/// Parses the address of a page. An address without a host means loopback.
pub fn page_address(text: &str) -> Result<Endpoint, String> {
    match text.starts_with(':') {
        true => format!("127.0.0.1{text}").parse(),
        false => text.parse(),
    }
}

impl Endpoint {
    /// Returns whether the host stands for all interfaces of the machine.
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

/// Parses a duration: `300ms`, `5s`, `1.5s`, `2m`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    go_values::duration(text).map_err(|why| match why.is_empty() {
        true => "expected a duration such as 300ms, 5s or 2m".into(),
        false => why,
    })
}

/// Parses a duration that is not zero.
pub fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be greater than zero".into()),
        timeout => Ok(timeout),
    }
}

/// A binary value, written in hex.
#[derive(Clone, Debug)]
pub struct Hex(pub Vec<u8>);

impl FromStr for Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        match digits {
            Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => {
                Ok(Hex(digits.chunks(2).map(|d| (d[0] << 4 | d[1]) as u8).collect()))
            }
            _ => Err("expected hex digits, two for each byte".into()),
        }
    }
}

/// Parses a PKI-ID, which is a SHA-256 hash.
pub fn pki_id(text: &str) -> Result<Hex, String> {
    match text.parse::<Hex>() {
        Ok(id) if id.0.len() == 32 => Ok(id),
        Ok(id) => Err(format!("a PKI-ID has 64 hex digits, and these are {}", 2 * id.0.len())),
        Err(why) => Err(why),
    }
}

/// Parses an MSP id.
pub fn msp_id(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || is_unsafe(c) || "\"'=/".contains(c);
    match text.chars().find(|c| odd(*c)) {
        None if text.is_empty() => Err("an MSP id is not empty, such as Org1MSP".into()),
        None => Ok(text.to_owned()),
        Some('"' | '\'') => Err("the quotes are part of the MSP id: leave them out".into()),
        Some(_) => Err("expected an MSP id without white space, control characters, = and /, such as Org1MSP".into()),
    }
}

/// Parses the name of a channel.
pub fn channel(text: &str) -> Result<String, String> {
    match text.contains(|c: char| c.is_whitespace() || is_unsafe(c)) {
        true => {
            Err("expected the name of a channel without white space and control characters, such as mychannel".into())
        }
        false if text.is_empty() => Err("the name of a channel is not empty, such as mychannel".into()),
        false => Ok(text.to_owned()),
    }
}

/// Parses the name in a server's certificate.
pub fn server_name(text: &str) -> Result<String, String> {
    let name = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    match text.parse::<IpAddr>().is_ok() || !text.is_empty() && text.bytes().all(name) {
        true => Ok(text.to_owned()),
        false => Err("expected a host name or an IP address, without port and brackets".into()),
    }
}

/// Formats bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Returns a duration in microseconds, for JSON.
pub fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

/// Formats a duration for humans, with at most three digits.
pub fn short(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s => format!("{s:.1} s"),
    }
}

/// Formats a long time for humans.
pub fn since(time: Duration) -> String {
    match time.as_secs() {
        s if s < 60 => short(time),
        s if s < 3600 => format!("{} min", s / 60),
        s if s < 2 * 86_400 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

/// Formats a count with its noun: `1 message`, `2,000 messages`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// Formats a count for humans: `100,000`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns the first bytes of a PKI-ID, enough to distinguish peers on a screen.
pub fn brief(pki_id: impl fmt::Display) -> String {
    pki_id.to_string().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for text in ["h:1", "10.0.0.1:65535", "[::1]:0", "peer0.org1.example.com:7051"] {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "h", "h:", ":1", "h:x", "h:65536", "h:+1", "::1:7051", "[::1]", "[x]:1", "a b:1", "http://h:1"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        let told = [
            ("grpcs://h:1", "write \"h:1\""),
            ("dns:///h:1", "write \"h:1\""),
            ("a:1,b:2", "more than one endpoint"),
            ("a:1 b:2", "more than one endpoint"),
            ("\"h:1\"", "quotes"),
            ("::1:7051", "brackets"),
            ("dns:h:1", "more than one colon"),
        ];
        for (text, part) in told {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(part) && (part == "brackets" || !error.contains("IPv6")), "{text}: {error}");
        }
        assert!(reachable("0.0.0.0:1").is_err() && reachable("[::]:1").is_err() && reachable("10.0.0.1:1").is_ok());
        assert_eq!(listen_address(":7051").map(|e| e.to_string()).as_deref(), Ok("0.0.0.0:7051"));
        assert_eq!(page_address(":9443").map(|e| e.to_string()).as_deref(), Ok("127.0.0.1:9443"));
        assert!(target("h:0").is_err());
    }

    #[test]
    fn durations() {
        let ok = [("300ms", 300_000), ("5s", 5_000_000), ("1.5s", 1_500_000), ("2m", 120_000_000), ("10us", 10)];
        for (text, us) in ok {
            assert_eq!(duration(text).map(micros), Ok(us), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1e3s", "99999999999h", "5x"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(timeout("0s").is_err());
    }

    #[test]
    fn msp_ids() {
        assert_eq!(msp_id("Org1-MSP.test"), Ok("Org1-MSP.test".to_owned()));
        for text in ["", " Org1MSP", "Org1MSP\r", "\"Org1MSP\"", "Org1MSP=/msp", "a/b", "Org1\u{202e}PSM", "a\u{9b}"] {
            assert!(msp_id(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_of_channels_and_servers() {
        assert_eq!(channel("my-Channel.1"), Ok("my-Channel.1".to_owned()));
        for text in ["", "my channel", "a\x1b[31m", "a\u{2066}", "a\n"] {
            assert!(channel(text).is_err(), "{text:?}");
        }
        for text in ["peer0.org1.example.com", "10.0.0.1", "::1", "a_b"] {
            assert_eq!(server_name(text).as_deref(), Ok(text));
        }
        for text in ["", "h:7051", "[::1]", "a b", "https://h", "\"h\"", "h\r"] {
            assert!(server_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn figures() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 2000].map(|n| counted(n, "message")), ["0 messages", "1 message", "2,000 messages"]);
        assert_eq!(short(Duration::from_micros(85)), "85 µs");
        assert_eq!("0aFf".parse::<Hex>().map(|h| hex(&h.0)).as_deref(), Ok("0aff"));
        assert!(pki_id(&"0f".repeat(32)).is_ok() && pki_id("00ff").is_err_and(|why| why.contains("64 hex digits")));
        assert!("abc".parse::<Hex>().is_err() && "".parse::<Hex>().is_err() && "é1".parse::<Hex>().is_err());
    }
}
