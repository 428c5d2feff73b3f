//! Decodes bytes to text: byte order marks, UTF-16, line ends and the characters that YAML forbids.

use super::{error, MAX_SIZE};
use crate::error::Result;

/// Decodes a file and converts its line ends to those of YAML 1.2.
///
/// A byte order mark decides the encoding and is removed; without one the file is UTF-8.
pub(super) fn decode(bytes: &[u8]) -> Result<String> {
    if bytes.len() > MAX_SIZE {
        return Err(error(format!("the file has {} bytes; at most {MAX_SIZE} are read", bytes.len())));
    }
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest)?,
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ => utf8(bytes)?,
    };
    let mut line = 1;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // The additional line ends of YAML 1.1, which YAML 1.2 treats as text.
            '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\t' | '\n' | '\r' => out.push(c),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => {
                return Err(error(format!("line {line}: the control character {c:?} is not allowed in YAML")));
            }
            _ => out.push(c),
        }
        line += usize::from(c == '\n');
    }
    Ok(out)
}

fn utf8(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|e| error(format!("the file is not UTF-8: {e}")))?;
    Ok(text.to_owned())
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    if bytes.len() % 2 != 0 {
        return Err(error("the file is not UTF-16: half a character at its end"));
    }
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).collect::<Result<_, _>>().map_err(|e| error(format!("the file is not UTF-16: {e}")))
}
