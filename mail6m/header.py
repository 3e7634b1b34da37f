"""What a person knows a message by, out of the awkward bytes of its header.

Nothing here raises on any bytes, and everything is linear in them: headers are written by
strangers, and the archive takes whatever it is given. The readings are for people to find a
message by; the message itself is kept and relayed untouched.

RFC 5322 (fields and folding), RFC 2047 with the language suffix of RFC 2231 section 5 (encoded
words), RFC 6532 (UTF-8 in headers).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from encodings.aliases import aliases
from itertools import groupby
from operator import itemgetter

from mail6m.model import Summary

# The most characters that a summary keeps of each.
SUBJECT_LIMIT = 1_000
ADDRESSES_LIMIT = 4_000
MESSAGE_ID_LIMIT = 998

_RAW_PER_CHARACTER = 16
"""Bytes worth reading for a character: one of CJK in Q encoding takes 11, folding included."""

_REPEATS = 100
"""Fields of one name worth keeping, To and Cc to be joined; RFC 5322, 3.6, allows one of each."""

_WANTED = (b"from", b"to", b"cc", b"subject", b"message-id")

# No group is repeated in what reads whole headers. A greedy one leaves a trail of a million places
# to go back to in a header of a million lines, and a possessive one forgets to go back in Python
# before 3.11.5, Debian 12's among them (github.com/python/cpython, issues 100061 and 106052).
# Encoded words do repeat a greedy one: in values that have been cut to a bounded length.
_NAME = rb"[!-9;-~]++[ \t]*+:"

_FIELD = re.compile(rb"^" + _NAME, re.MULTILINE)
# These begin with a literal newline rather than ^: the search then leaps from line to line.
_LAST = re.compile(rb"\n(?![ \t])")
_STRANGER = re.compile(rb"\n(?![ \t]|" + _NAME + rb")")
_KNOWN = re.compile(rb"\n(received|" + rb"|".join(_WANTED) + rb")[ \t]*+:", re.IGNORECASE)
_HOP = re.compile(rb"\nreceived[ \t]*+:", re.IGNORECASE)

# An encoded word: charset, language, encoding, text. More than RFC 2047 allows, as senders do:
# spaces and folds within the text, bare question marks, a last word that was cut off. The text
# stops short of anything like another word, so that of a flood of beginnings none reads far.
_WORD = re.compile(
    rb"=\?([^?*\s]*+)(?:\*[^?\s]*+)?\?([BbQq])\?([^?]*+(?:(?<!=)\?(?!=)[^?]*+)*)(?:\?=|\Z)"
)

# A charset that senders name, and the wider one that they mean by it (as the WHATWG Encoding
# Standard has it). Plain ASCII that is not goes the way of an unnamed charset.
_MEANT = {
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
}
# Only these reach bytes.decode. Python would look any other name up on disk and remember it for
# ever, and some of its codecs are not charsets (zlib) or take quadratic time (punycode, idna).
_NOT_CHARSETS = {
    *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec"),
    *("zlib_codec", "mbcs", "oem"),
}
_WITHOUT_ALIAS = ("cp737", "cp856", "cp874", "cp875", "koi8_t", "koi8_u", "utf_8_sig")
_CODECS = {
    name: _MEANT.get(codec, codec)
    for name, codec in [
        *aliases.items(),
        *((codec, codec) for codec in (*aliases.values(), *_WITHOUT_ALIAS)),
        ("iso_8859_8_i", "iso8859_8"),
        ("windows_874", "cp874"),
        ("sjis", "shift_jis"),
    ]
    if codec not in _NOT_CHARSETS
}

# Base64 with its URL-safe variant read as the same, and everything else thrown away.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
_NOT_BASE64 = bytes(byte for byte in range(256) if byte not in _BASE64)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")

# PostgreSQL's text takes neither NUL nor surrogates; the other controls break lines and terminals.
# Overrides, embeddings and isolates (Unicode UAX 9, 2.1 to 2.5) would turn the page around them.
_UNSAFE: dict[int, str | None] = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " "),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], None),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}


def header_end(content: bytes) -> int:
    """The offset just past the header of *content*, blank line included; lines end in CRLF.

    Without a blank line the header is all of the content, or ends in front of the first line
    that is neither a field nor the continuation of one (RFC 5322, 2.2): a message may have no
    header at all.
    """
    if _FIELD.match(content) is None:
        end = 0
    else:
        stranger = _STRANGER.search(content)
        end = stranger.end() if stranger else len(content)
    return end + 2 if content.startswith(b"\r\n", end) else end


def fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each field's name in lower case, and its value as it stands.

    The value is everything between the colon and the field's last CRLF, with leading space and
    folds. Lines that are not part of a field are passed over.
    """
    for field in _FIELD.finditer(header):
        name = field[0][:-1].rstrip(b" \t").lower()
        yield name, _value(header, field.end()).removesuffix(b"\r")


def _value(header: bytes, start: int) -> bytes:
    """What stands from there to the end of the field, folds included."""
    last = _LAST.search(header, start)
    return header[start : last.start()] if last else header[start:]


def hops(header: bytes) -> int:
    """How many hosts the message has passed: its Received fields (RFC 5321, 6.3)."""
    return sum(1 for _ in _HOP.finditer(b"\n" + header))


def summarise(header: bytes) -> Summary:
    """What a person knows the message by; see `read`."""
    return read(header)[0]


def read(header: bytes) -> tuple[Summary, int]:
    """What a person knows the message by, and its `hops`, in one pass.

    Of a field that occurs several times the first counts, but all of To and then all of Cc make
    up the recipients. The limits above are in characters.
    """
    header = b"\n" + header
    values: dict[bytes, list[bytes]] = {}
    received = 0
    # Not findall: its list of a flood of tiny fields would weigh thirty times their bytes.
    for field in _KNOWN.finditer(header):
        name = field[1].lower()
        if name == b"received":
            received += 1
        elif name not in values:
            values[name] = [_value(header, field.end())]
        elif len(values[name]) < _REPEATS:
            values[name].append(_value(header, field.end()))
    summary = Summary(
        _first(values, b"from", ADDRESSES_LIMIT),
        _joined(values.get(b"to", []) + values.get(b"cc", [])),
        _first(values, b"subject", SUBJECT_LIMIT),
        _first(values, b"message-id", MESSAGE_ID_LIMIT),
    )
    return summary, received


def _first(values: dict[bytes, list[bytes]], name: bytes, limit: int) -> str:
    return _bounded(values[name][0], limit) if name in values else ""


def decode(value: bytes) -> str:
    """The value of a field as a person reads it, on one line.

    Encoded words are decoded wherever they stand, and raw 8-bit text is UTF-8 or else
    windows-1252. White space is collapsed and trimmed. The result can be stored in PostgreSQL
    and shown on a page: controls become spaces, directional overrides go, and what cannot be
    read is U+FFFD.
    """
    text = _unencoded(value.strip()) if b"=?" in value else _text(value)
    line = " ".join(text.split())
    return line if line.isprintable() else " ".join(line.translate(_UNSAFE).split())


def _joined(values: list[bytes]) -> str:
    """Several address lists as one, no further than is kept of it."""
    texts: list[str] = []
    room = ADDRESSES_LIMIT
    for value in values:
        if room > 0 and (text := _bounded(value, room)):
            texts.append(text)
            room -= len(text) + len(", ")
    return ", ".join(texts)


def _bounded(value: bytes, limit: int) -> str:
    """The first *limit* characters of a value, without reading much more of it than that."""
    text = decode(value[: limit * _RAW_PER_CHARACTER])
    return text if len(text) <= limit else text[:limit].rstrip()


def _unencoded(value: bytes) -> str:
    """A value with its encoded words decoded.

    Adjacent words of one charset are put together as bytes first: senders split characters
    between them, which RFC 2047, section 5, forbids.
    """
    return "".join(
        _text(b"".join(map(itemgetter(1), run)), codec or "utf_8")
        for codec, run in groupby(_pieces(value), itemgetter(0))
    )


def _pieces(value: bytes) -> Iterator[tuple[str, bytes]]:
    """The encoded words of a value as codec and bytes, and the text between them as codec ``""``.

    White space alone between two words is not text (RFC 2047, 6.2).
    """
    end = 0
    for word in _WORD.finditer(value):
        if (between := value[end : word.start()]).strip():
            yield "", between
        yield _codec(word[1]), (_base64 if word[2] in b"Bb" else _quoted)(word[3])
        end = word.end()
    yield "", value[end:]


def _codec(charset: bytes) -> str:
    """Python's codec for a charset as senders write it; that of UTF-8 when it is not known."""
    name = charset.decode("latin-1").lower().replace("-", "_")
    return _CODECS.get(name) or _CODECS.get(name.removeprefix("x_"), "utf_8")


def _quoted(text: bytes) -> bytes:
    """The bytes of a Q encoded text (RFC 2047, 4.2); a wrong escape stands for itself."""
    return binascii.a2b_qp(text, header=True)


def _base64(text: bytes) -> bytes:
    """The bytes of a B encoded text (RFC 2047, 4.1), whatever is wrong with its padding."""
    runs = text.translate(_URL_SAFE, _NOT_BASE64).split(b"=")
    return b"".join(map(_unpadded, runs))


def _unpadded(run: bytes) -> bytes:
    """The bytes of base64 without padding; a lone last digit is less than a byte, and dropped."""
    whole = run[:-1] if len(run) % 4 == 1 else run
    return binascii.a2b_base64(whole + b"==="[: -len(whole) % 4])


def _text(raw: bytes, codec: str = "utf_8") -> str:
    """Bytes as text: in the codec, or else in UTF-8, or else in windows-1252.

    Text that is in its codec up to a point (something other than ASCII came out) is damaged
    there and not in another charset: then only the damage is replaced.
    """
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        sound = raw[: error.start].decode(codec, "replace")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252" if sound.isascii() else codec, "replace")


def address_in(mailbox: str) -> str:
    """The address out of a mailbox such as ``Anne <anne@example.org>``; if there is none, all."""
    named = _ADDRESS.search(mailbox)
    return named[1] if named else mailbox


_ADDRESS = re.compile(r"<([^<>]+)>\s*$")
