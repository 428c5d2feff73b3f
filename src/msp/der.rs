//! A minimal, strict DER reader: only the one encoding that DER allows is accepted. Reading never copies and never
//! panics.

/// The ASN.1 tags used in certificates.
pub(super) mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const NUMERIC_STRING: u8 = 0x12;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const T61_STRING: u8 = 0x14;
    pub const IA5_STRING: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const BMP_STRING: u8 = 0x1e;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;

    /// The tag `[n]`, primitive.
    pub const fn context(n: u8) -> u8 {
        0x80 | n
    }

    /// The tag `[n]`, constructed.
    pub const fn explicit(n: u8) -> u8 {
        0xa0 | n
    }
}

/// The remaining input. Every method reads an element from the front, or reads nothing and returns `None`.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One element: its tag, its content, and its whole encoding.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    pub whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    pub fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        // Tags above 30 take more bytes; none is used here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (len, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let digits = rest.get(..count)?;
                let len = digits.iter().fold(0usize, |len, d| len << 8 | usize::from(*d));
                if digits[0] == 0 || len < 0x80 {
                    return None;
                }
                (len, 2 + count)
            }
            _ => return None,
        };
        let end = header.checked_add(len)?;
        let whole = self.0.get(..end)?;
        self.0 = &self.0[end..];
        Some(Element { tag, content: &whole[header..], whole })
    }

    pub fn element(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.any().filter(|e| e.tag == tag)?;
        *self = ahead;
        Some(element)
    }

    pub fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|e| e.content)
    }

    pub fn sequence(&mut self) -> Option<Reader<'a>> {
        self.content(tag::SEQUENCE).map(Reader)
    }

    /// Reads the content of an optional element; `None` only if it is present and malformed.
    pub fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        match self.next_is(tag) {
            true => self.content(tag).map(Some),
            false => Some(None),
        }
    }

    /// Reads the minimal two's complement bytes of an INTEGER.
    pub fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.content(tag::INTEGER)?;
        match bytes {
            [] => None,
            [0x00, second, ..] if second & 0x80 == 0 => None,
            [0xff, second, ..] if second & 0x80 != 0 => None,
            _ => Some(bytes),
        }
    }

    /// Reads a non-negative integer that fits into 64 bits.
    pub fn small_integer(&mut self) -> Option<u64> {
        let bytes = self.integer()?;
        if bytes[0] & 0x80 != 0 || bytes.len() > 8 {
            return None;
        }
        Some(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    pub fn boolean(&mut self) -> Option<bool> {
        match self.content(tag::BOOLEAN)? {
            [0x00] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// Returns the bytes and the number of unused bits at the end of the last one, which are zero.
    pub fn bit_string(&mut self) -> Option<(&'a [u8], u8)> {
        let (&unused, bytes) = self.content(tag::BIT_STRING)?.split_first()?;
        let last = bytes.last().copied();
        match (unused, last) {
            (0, _) => Some((bytes, 0)),
            (1..=7, Some(last)) if last & ((1 << unused) - 1) == 0 => Some((bytes, unused)),
            _ => None,
        }
    }

    /// Returns the bits as a big-endian number, as signatures and keys are read: shifted right by the unused bits.
    pub fn bit_string_bytes(&mut self) -> Option<Vec<u8>> {
        let (bytes, unused) = self.bit_string()?;
        let carried = std::iter::once(0).chain(bytes.iter().copied());
        let aligned = |(before, byte): (u8, &u8)| ((u16::from(before) << 8 | u16::from(*byte)) >> unused) as u8;
        Some(carried.zip(bytes).map(aligned).collect())
    }

    /// Returns the encoded arcs, for comparison. As in Go, an arc has at most 31 bits.
    pub fn oid(&mut self) -> Option<&'a [u8]> {
        const MAX_ARC: u64 = (1 << 31) - 1;
        let bytes = self.long_oid()?;
        let mut arcs = bytes.split_inclusive(|b| b & 0x80 == 0);
        let fits = |arc: &[u8]| arc.len() <= 5 && arc.iter().fold(0, |n, b| n << 7 | u64::from(b & 0x7f)) <= MAX_ARC;
        arcs.all(fits).then_some(bytes)
    }

    /// Returns the encoded arcs, of any length.
    pub fn long_oid(&mut self) -> Option<&'a [u8]> {
        let bytes = self.content(tag::OID)?;
        let starts = std::iter::once(&0).chain(bytes).map(|b| b & 0x80 == 0);
        // An arc must not begin with a zero digit, and the last one must be complete.
        let minimal = starts.zip(bytes).all(|(start, b)| !(start && *b == 0x80));
        (bytes.last()? & 0x80 == 0 && minimal).then_some(bytes)
    }

    /// Reads a UTCTime or GeneralizedTime, in seconds since 1970. As in Go, two forms that certificates should not have
    /// are accepted too: a time zone other than UTC, and a UTCTime without seconds.
    pub fn time(&mut self) -> Option<i64> {
        let element = self.any()?;
        let (digits, east) = zone(element.content)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (year, rest) = match (element.tag, digits.len()) {
            // Two digits mean the years 1950 to 2049.
            (tag::UTC_TIME, 10 | 12) => {
                let year = number(&digits[..2]);
                (year + if year < 50 { 2000 } else { 1900 }, &digits[2..])
            }
            (tag::GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
            _ => return None,
        };
        let part = |i: usize| rest.get(2 * i..2 * i + 2).map_or(0, number);
        let (month, day, hour, minute, second) = (part(0), part(1), part(2), part(3), part(4));
        let valid = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        valid.then(|| days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - east)
    }
}

/// Returns the part before the time zone, and the zone's offset east of UTC in seconds. Zero is written `Z`.
fn zone(time: &[u8]) -> Option<(&[u8], i64)> {
    if let Some(digits) = time.strip_suffix(b"Z") {
        return Some((digits, 0));
    }
    let (digits, offset) = time.split_at_checked(time.len().checked_sub(5)?)?;
    let (sign, offset) = offset.split_first()?;
    if !offset.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (hours, minutes) = (number(&offset[..2]), number(&offset[2..]));
    let seconds = match (sign, hours, minutes) {
        (_, 0, 0) | (_, 25.., _) | (_, _, 60..) => return None,
        (b'+', ..) => hours * 3600 + minutes * 60,
        (b'-', ..) => -(hours * 3600 + minutes * 60),
        _ => return None,
    };
    Some((digits, seconds))
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0'))
}

/// Encodes an element with this tag and content.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        len @ 0..=0x7f => out.push(len as u8),
        len => {
            let digits = len.to_be_bytes();
            let digits = &digits[digits.iter().take_while(|d| **d == 0).count()..];
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Encodes an INTEGER from the big-endian bytes of a non-negative number.
pub(super) fn encode_unsigned(bytes: &[u8]) -> Vec<u8> {
    let digits = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
    let mut content = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|b| b & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(digits);
    encode(tag::INTEGER, &content)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Number of leap days before this year, counted from the year 0.
    let leaps = |year: i64| (year + 3).div_euclid(4) - (year + 99).div_euclid(100) + (year + 399).div_euclid(400);
    let before_year = (year - 1970) * 365 + leaps(year) - leaps(1970);
    let before_month: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    before_year + before_month + day - 1
}

/// Formats a time as RFC 3339 in UTC, for messages.
pub(super) fn display_time(seconds: i64) -> String {
    let (mut days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970 + days.div_euclid(366);
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    days -= days_since_1970(year, 1, 1);
    let mut month = 1;
    while days >= days_in_month(year, month) {
        days -= days_in_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_der() {
        for bad in ["30", "3081", "308001", "30800000", "3102", "1f0100", "3082007f", "0282000100"] {
            let bytes: Vec<u8> =
                (0..bad.len() / 2).map(|i| u8::from_str_radix(&bad[2 * i..2 * i + 2], 16).unwrap()).collect();
            assert!(Reader::new(&bytes).any().is_none(), "{bad}");
        }
        assert!(Reader::new(&[2, 0]).integer().is_none());
        assert!(Reader::new(&[2, 2, 0, 1]).integer().is_none());
        assert!(Reader::new(&[6, 2, 0x55, 0x80]).oid().is_none());
        assert!(Reader::new(&[6, 3, 0x55, 0x80, 1]).oid().is_none());
        assert!(Reader::new(&[6, 3, 0x55, 0x81, 1]).oid().is_some());
        // 2^31 - 1, and one more, which Go accepts only in a policy.
        assert!(Reader::new(&[6, 6, 0x55, 0x87, 0xff, 0xff, 0xff, 0x7f]).oid().is_some());
        assert!(Reader::new(&[6, 6, 0x55, 0x88, 0x80, 0x80, 0x80, 0x00]).oid().is_none());
        assert!(Reader::new(&[6, 6, 0x55, 0x88, 0x80, 0x80, 0x80, 0x00]).long_oid().is_some());
    }

    #[test]
    fn bits_that_are_unused_at_the_end_are_made_up_for_at_the_beginning() {
        let bytes = |content: &[u8]| Reader::new(&encode(tag::BIT_STRING, content)).bit_string_bytes();
        assert_eq!(bytes(&[0, 0x30, 0x45]), Some(vec![0x30, 0x45]));
        assert_eq!(bytes(&[1, 0x60, 0x8a]), Some(vec![0x30, 0x45]));
        assert_eq!(bytes(&[7, 0x80]), Some(vec![0x01]));
        assert_eq!(bytes(&[0]), Some(vec![]));
        for bad in [&[][..], &[1], &[8, 0], &[1, 0x01]] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reads_times() {
        let time = |tag: u8, text: &str| Reader::new(&encode(tag, text.as_bytes())).time();
        for (tag, text, shown) in [
            (tag::UTC_TIME, "700101000000Z", "1970-01-01T00:00:00Z"),
            (tag::UTC_TIME, "491231235959Z", "2049-12-31T23:59:59Z"),
            (tag::UTC_TIME, "500301120000Z", "1950-03-01T12:00:00Z"),
            (tag::GENERALIZED_TIME, "20000229010203Z", "2000-02-29T01:02:03Z"),
            (tag::GENERALIZED_TIME, "99991231235959Z", "9999-12-31T23:59:59Z"),
            (tag::GENERALIZED_TIME, "16000101000000Z", "1600-01-01T00:00:00Z"),
        ] {
            assert_eq!(display_time(time(tag, text).expect(text)), shown);
        }
        assert_eq!(time(tag::GENERALIZED_TIME, "20600101000000Z"), Some(2_840_140_800));
        for (tag, text, shown) in [
            (tag::UTC_TIME, "7001010000Z", "1970-01-01T00:00:00Z"),
            (tag::UTC_TIME, "700101000000+0130", "1969-12-31T22:30:00Z"),
            (tag::GENERALIZED_TIME, "20000229010203-2459", "2000-03-01T02:01:03Z"),
        ] {
            assert_eq!(display_time(time(tag, text).expect(text)), shown);
        }
        for bad in ["700101000000+0000", "700101000000-2500", "700101000000+0060", "700101000000*0100", "+0100", "Z"] {
            assert!(time(tag::UTC_TIME, bad).is_none(), "{bad}");
        }
        for bad in ["20210229000000Z", "20211301000000Z", "20210101240000Z", "20210101000000", "2021010100000Z"] {
            assert!(time(tag::GENERALIZED_TIME, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for len in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = encode(tag::OCTET_STRING, &vec![7; len]);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.content(tag::OCTET_STRING).unwrap().len(), len);
            assert!(reader.is_empty());
        }
        assert_eq!(encode_unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(encode_unsigned(&[0, 0x80]), [2, 2, 0, 0x80]);
    }
}
