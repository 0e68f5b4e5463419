//! Redis' dump format, as far as FUNCTION DUMP and RESTORE need it: strings behind an opcode, then version and checksum.
//!
//! ```text
//! payload  | entry ... | RDB version 2, little-endian | CRC-64 of all before 8, little-endian |
//! entry    | 245 | string |                          a library's text
//! string   | length | bytes |  or  | 0xC0 | 1 byte |  | 0xC1 | 2 bytes |  | 0xC2 | 4 bytes |   a number in text, little-endian
//!          or  | 0xC3 | compressed length | length | LZF |
//! length   | 00LLLLLL |  | 01LLLLLL L 1 |  | 0x80 | L 4 |  | 0x81 | L 8 |, big-endian
//! ```

use super::lzf;

/// The version Redis 8.2 writes.
const VERSION: u16 = 12;
/// What marks a library.
const FUNCTION_OPCODE: u8 = 245;
/// The same before Redis 7.0 was finished.
const OLD_FUNCTION_OPCODE: u8 = 246;
/// Bytes of version and checksum.
const FOOTER_LEN: usize = 10;
/// Strings of at most so many bytes are never compressed.
const UNCOMPRESSED_LEN_MAX: usize = 20;
/// Longest string that is read.
const STRING_LEN_MAX: u64 = 512 << 20;

static CRC64_TABLE: [u64; 256] = crc64_table();

const fn crc64_table() -> [u64; 256] {
    /// Jones' polynomial, its bits turned round.
    const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The CRC-64 of Redis' dumps.
pub fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, &byte| (crc >> 8) ^ CRC64_TABLE[usize::from(crc as u8 ^ byte)])
}

/// Writes the texts of libraries as FUNCTION DUMP does.
pub fn dump_libraries<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        out.push(FUNCTION_OPCODE);
        write_string(&mut out, text);
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Why a dump cannot be read, in Redis' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ERR {0}")]
pub struct BadDump(pub &'static str);

/// The checked entries of a dump: whatever stands before version and checksum.
pub fn check_dump(payload: &[u8]) -> Result<&[u8], BadDump> {
    let bad = BadDump("DUMP payload version or checksum are wrong");
    let (entries, footer) =
        payload.len().checked_sub(FOOTER_LEN).and_then(|at| payload.split_at_checked(at)).ok_or(bad)?;
    let (version, crc) = footer.split_first_chunk::<2>().ok_or(bad)?;
    if u16::from_le_bytes(*version) > VERSION {
        return Err(bad);
    }
    let expected = u64::from_le_bytes(crc.try_into().map_err(|_| bad)?);
    // Redis writes 0 where it computes none.
    let is_right = expected == 0 || crc64(&payload[..payload.len() - 8]) == expected;
    if is_right { Ok(entries) } else { Err(bad) }
}

/// Reads the next library's text of a dump's entries, and what follows it.
pub fn read_library(entries: &[u8]) -> Result<(Vec<u8>, &[u8]), BadDump> {
    let (opcode, rest) = entries.split_first().ok_or(BadDump("can not read data type"))?;
    match *opcode {
        FUNCTION_OPCODE => read_string(rest).ok_or(BadDump("Failed loading library payload")),
        OLD_FUNCTION_OPCODE => Err(BadDump("Pre-GA function format not supported")),
        _ => Err(BadDump("given type is not a function")),
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > UNCOMPRESSED_LEN_MAX
        && let Some(small) = lzf::compress(text, text.len() - 4)
    {
        out.push(0xC3);
        write_len(out, small.len());
        write_len(out, text.len());
        out.extend_from_slice(&small);
        return;
    }
    write_len(out, text.len());
    out.extend_from_slice(text);
}

fn write_len(out: &mut Vec<u8>, len: usize) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xFFFF_FFFF => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

fn read_string(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let number = |number: i64, rest| Some((number.to_string().into_bytes(), rest));
    match bytes {
        [0xC0, a, rest @ ..] => number(i64::from(a.cast_signed()), rest),
        [0xC1, a, b, rest @ ..] => number(i64::from(i16::from_le_bytes([*a, *b])), rest),
        [0xC2, a, b, c, d, rest @ ..] => number(i64::from(i32::from_le_bytes([*a, *b, *c, *d])), rest),
        [0xC3, rest @ ..] => {
            let (small_len, rest) = read_len(rest)?;
            let (len, rest) = read_len(rest)?;
            let (small, rest) = rest.split_at_checked(small_len)?;
            Some((lzf::expand(small, len)?, rest))
        }
        _ => {
            let (len, rest) = read_len(bytes)?;
            let (text, rest) = rest.split_at_checked(len)?;
            Some((text.to_vec(), rest))
        }
    }
}

fn read_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (len, rest) = match bytes {
        [0x80, rest @ ..] => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from(u32::from_be_bytes(*len)), rest)
        }
        [0x81, rest @ ..] => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*len), rest)
        }
        [first @ 0x40..0x80, second, rest @ ..] => (u64::from(first & 0x3F) << 8 | u64::from(*second), rest),
        [first @ 0..0x40, rest @ ..] => (u64::from(*first), rest),
        _ => return None,
    };
    (len <= STRING_LEN_MAX).then_some((len as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 8.2.3 answered to FUNCTION DUMP.
    const RECORDED: &[u8] = b"\xf52#!lua name=l\nredis.register_function(12,redis.log)\
        \xf5;#!LUA name=zz\nredis.register_function('zz1',function() end)\x0c\x00\xee\xc7\x0fi\xd9\\\x8d\x81";
    const TEXTS: [&[u8]; 2] = [
        b"#!lua name=l\nredis.register_function(12,redis.log)",
        b"#!LUA name=zz\nredis.register_function('zz1',function() end)",
    ];

    #[test]
    fn a_dump_is_that_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
        assert_eq!(dump_libraries(TEXTS), RECORDED);
        let entries = check_dump(RECORDED).unwrap();
        let (first, rest) = read_library(entries).unwrap();
        let (second, rest) = read_library(rest).unwrap();
        assert_eq!(([&first[..], &second[..]], rest), (TEXTS, &b""[..]));
    }

    #[test]
    fn lengths_of_every_width_come_back() {
        for len in [0, 1, 20, 21, 63, 64, 16_383, 16_384, 70_000] {
            let mut seed = len as u32;
            let text: Vec<u8> = (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
                    (seed >> 16) as u8
                })
                .collect();
            for text in [text, vec![b'x'; len]] {
                let dump = dump_libraries([&text[..]]);
                let (back, rest) = read_library(check_dump(&dump).unwrap()).unwrap();
                assert_eq!((back, rest), (text, &b""[..]), "{len}");
            }
        }
    }

    #[test]
    fn numbers_are_texts() {
        let read = |bytes| read_string(bytes).map(|(text, _)| String::from_utf8(text).unwrap());
        assert_eq!(read(b"\xc0\xff").as_deref(), Some("-1"));
        assert_eq!(read(b"\xc1\x00\x01").as_deref(), Some("256"));
        assert_eq!(read(b"\xc2\x00\x00\x01\x00").as_deref(), Some("65536"));
        assert_eq!(read(b"\xc4"), None);
    }

    #[test]
    fn a_damaged_dump_is_refused() {
        let bad = Err(BadDump("DUMP payload version or checksum are wrong"));
        assert_eq!(check_dump(b""), bad);
        let mut dump = dump_libraries(TEXTS);
        dump[5] ^= 1;
        assert_eq!(check_dump(&dump), bad);
        let mut newer = RECORDED.to_vec();
        let at = newer.len() - FOOTER_LEN;
        newer[at] = 13;
        assert_eq!(check_dump(&newer), bad);
        assert_eq!(read_library(b"\xf6"), Err(BadDump("Pre-GA function format not supported")));
        assert_eq!(read_library(b"\x00"), Err(BadDump("given type is not a function")));
        assert_eq!(read_library(b"\xf5\x05ab"), Err(BadDump("Failed loading library payload")));
        assert_eq!(
            read_library(b"\xf5\x81\xff\xff\xff\xff\xff\xff\xff\xff"),
            Err(BadDump("Failed loading library payload"))
        );
    }
}
