//! PEM as Go's `encoding/pem` reads it. The identities of a network were created and accepted by that implementation,
//! so its definition of a block decides about membership.

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// One block.
pub(super) struct Block<'a> {
    /// The text after BEGIN, such as `CERTIFICATE`.
    pub label: &'a [u8],
    pub bytes: Vec<u8>,
    /// The lines between BEGIN and the data.
    headers: &'a [u8],
    /// The data after the block.
    pub rest: &'a [u8],
}

impl Block<'_> {
    /// Returns whether there are lines between BEGIN and the data.
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Returns whether the data is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.label == b"ENCRYPTED PRIVATE KEY" || self.headers.starts_with(b"DEK-Info") || {
            let name = b"\nDEK-Info";
            self.headers.windows(name.len()).any(|w| w == name)
        }
    }
}

/// Returns the first valid block. Invalid ones before it are skipped.
pub(super) fn decode(data: &[u8]) -> Option<Block<'_>> {
    let mut rest = data;
    // Position of the line feed before the next END, kept so that many BEGINs do not cause as many searches.
    let mut known_end = None;
    loop {
        // BEGIN is recognized only at the start of a line.
        rest = match rest.strip_prefix(BEGIN) {
            Some(after) => after,
            None => &rest[find_line(rest, BEGIN)? + 1 + BEGIN.len()..],
        };
        let (label_line, after) = line(rest);
        rest = after;
        let Some(label) = label_line.strip_suffix(DASHES) else { continue };

        let mut headers = false;
        let begin = data.len() - rest.len();
        loop {
            if rest.is_empty() {
                return None;
            }
            let (header, after) = line(rest);
            if !header.contains(&b':') {
                break;
            }
            headers = true;
            rest = after;
        }

        // Without headers and data, END may follow immediately.
        let here = data.len() - rest.len();
        let earliest = if headers { here } else { here - 1 };
        let end = match known_end {
            Some(at) if at >= earliest => at,
            _ => earliest + find_line(&data[earliest..], END)?,
        };
        known_end = Some(end);

        let closing = data[end + 1 + END.len()..].strip_prefix(label).and_then(|r| r.strip_prefix(DASHES));
        let Some((b"", after)) = closing.map(line) else { continue };
        let Some(bytes) = base64_decode(&data[here..end.max(here)]) else { continue };
        return Some(Block { label, bytes, headers: &data[begin..here], rest: after });
    }
}

/// Returns the valid blocks in order.
pub(super) fn blocks(data: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let block = decode(rest)?;
        rest = block.rest;
        Some(block)
    })
}

/// Encodes a block as Go does, in lines of 64 characters.
pub(super) fn encode(label: &str, bytes: &[u8]) -> String {
    let text = base64_encode(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

pub(super) fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

/// Decodes whole groups with padding. White space is skipped, and unused bits of the last character are ignored.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut characters = text.iter().copied().filter(|c| !matches!(c, b' ' | b'\t' | b'\r' | b'\n'));
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    loop {
        let mut bits = 0u32;
        for i in 0..4 {
            let character = match characters.next() {
                None if i == 0 => return Some(out),
                c => c?,
            };
            if character == b'=' {
                // One `=` completes three characters, two complete two; nothing may follow.
                let complete = i == 3 || (i == 2 && characters.next()? == b'=');
                if !complete || characters.next().is_some() {
                    return None;
                }
                bits <<= 6 * (4 - i);
                out.extend_from_slice(&bits.to_be_bytes()[1..i]);
                return Some(out);
            }
            bits = bits << 6 | base64_value(character)?;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
}

fn base64_value(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Returns the position of a line feed that is followed by this text.
fn find_line(data: &[u8], start: &[u8]) -> Option<usize> {
    (0..data.len()).find(|&i| data[i] == b'\n' && data[i + 1..].starts_with(start))
}

/// Returns the first line without trailing blanks, and the rest.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match data.iter().position(|b| *b == b'\n') {
        Some(end) => (data[..end].strip_suffix(b"\r").unwrap_or(&data[..end]), &data[end + 1..]),
        None => (data, &data[data.len()..]),
    };
    let blank = line.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count();
    (&line[..line.len() - blank], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).collect();
            let text = encode("CERTIFICATE", &bytes);
            let block = decode(text.as_bytes()).unwrap();
            assert_eq!((block.label, &block.bytes, block.rest), (&b"CERTIFICATE"[..], &bytes, &b""[..]));
        }
    }

    #[test]
    fn odd_input_is_refused_or_read_but_never_panics() {
        let good = encode("X", b"some bytes");
        for cut in 0..good.len() {
            let _ = decode(&good.as_bytes()[..cut]);
        }
        for bad in ["QQ", "Q===", "QQ=", "QQ==QQ==", "Q", "QUI=Q", "====", "Q*=="] {
            assert!(base64_decode(bad.as_bytes()).is_none(), "{bad}");
        }
        assert_eq!(base64_decode(b"Q Q\n=\t=\r\n").unwrap(), b"A");
        assert_eq!(base64_decode(b"QUI=").unwrap(), b"AB");
    }
}
