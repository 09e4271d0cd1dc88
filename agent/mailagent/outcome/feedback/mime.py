"""MIME as far as reports need it (RFC 2045, 2046), for input that nobody vouches for.

Time and memory are linear in the input, whatever it holds: parts, depth, fields and line lengths are bounded, and no
pattern backtracks. Nothing raises: what cannot be read is read as text.
"""

import binascii
import re
from collections.abc import Iterator
from itertools import chain

import msgspec

MAX_DEPTH = 8
MAX_PARTS = 64
MAX_HEADER_BYTES = 131_072
MAX_FIELDS = 500
MAX_VALUE = 16_384  # characters of one field
MAX_PADDING = 200  # behind the delimiter, up to the line end
MAX_NOTICE = 65_536  # characters of text that are looked at

_END_OF_HEADER = re.compile(rb"\r?\n\r?\n|\r\r")
_FIELD = re.compile(r"([!-9;-~]{1,200})[ \t]*:(.*)", re.DOTALL)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9_*-]{1,60})\s*=\s*(?:"((?:[^"\\]|\\.){0,300})"|([^\s;"]{1,300}))')
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,15})(?:[\s/][^<>]{0,2000})?>")
_BREAKS = frozenset({"br", "p", "div", "tr", "li", "h1", "h2", "h3", "pre", "table"})
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
# Codecs whose time is linear; others (punycode, utf-7, the bytes-to-bytes ones) are for nobody to ask for.
_CHARSETS = {"us-ascii": "ascii", "ansi_x3.110-1983": "latin-1", "cp1252": "cp1252"} | {
    name: name
    for name in (
        *("utf-8", "ascii", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr", "shift_jis", "iso-2022-jp"),
        *("koi8-r", "koi8-u"),
        *(f"iso-8859-{n}" for n in (*range(1, 12), *range(13, 17))),
        *(f"windows-125{n}" for n in range(9)),
    )
}


class Fields(msgspec.Struct, frozen=True):
    """Header fields in their order: (lower-case name, unfolded value)."""

    items: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The first value of `name` (lower case), empty when there is none."""
        return next((value for key, value in self.items if key == name), "")

    def all(self, name: str) -> tuple[str, ...]:
        """All values of `name`."""
        return tuple(value for key, value in self.items if key == name)

    def __bool__(self) -> bool:
        return bool(self.items)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of a message, or a message in it."""

    fields: Fields
    kind: str  # `text/plain`, lower case
    parameters: dict[str, str]
    raw: bytes  # as it came, without its header
    root: bool = False  # the message itself

    @property
    def content(self) -> bytes:
        """The body without its transfer encoding; what does not decode stays."""
        encoding = self.fields.get("content-transfer-encoding").strip().lower()
        try:
            if encoding == "quoted-printable":
                return binascii.a2b_qp(self.raw)
            if encoding == "base64":
                return binascii.a2b_base64(self.raw)
        except (binascii.Error, ValueError):
            pass
        return self.raw

    @property
    def text(self) -> str:
        """The body as text with line ends `\\n`, at most MAX_NOTICE characters; HTML without its tags."""
        data = self.content[: 4 * MAX_NOTICE]
        charset = _CHARSETS.get(self.parameters.get("charset", "utf-8").strip().lower(), "utf-8")
        text = data.decode(charset, "replace").replace("\r\n", "\n").replace("\r", "\n")
        return (_without_tags(text) if self.kind == "text/html" else text)[:MAX_NOTICE]


def read_fields(block: bytes) -> Fields:
    """The fields of a header block or of a report's group; lines that are none are left out."""
    text = block[:MAX_HEADER_BYTES].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    items: list[tuple[str, str]] = []
    lines: list[str] = []  # of the field under way
    for line in (*text.split("\n"), ""):
        if line[:1] in (" ", "\t") and lines:
            lines.append(line)
            continue
        if lines and (match := _FIELD.fullmatch("".join(lines)[:MAX_VALUE])):
            items.append((match[1].lower(), match[2].strip()))
            if len(items) >= MAX_FIELDS:
                break
        lines = [line] if line[:1] not in (" ", "\t", "") else []
    return Fields(tuple(items))


def read_parts(message: bytes) -> list[Part]:
    """The message and its parts in their order, at most MAX_PARTS and MAX_DEPTH deep, containers before their parts."""
    return list(_walk(message, 0, [MAX_PARTS]))


def read_parameters(value: str) -> tuple[str, dict[str, str]]:
    """(lower-case value, parameters) of a field such as Content-Type (RFC 2045 section 5.1)."""
    value = value[:MAX_VALUE]
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else plain)
    return value.partition(";")[0].strip().lower(), parameters


def _walk(data: bytes, depth: int, left: list[int], default: str = "text/plain") -> Iterator[Part]:
    if left[0] <= 0:
        return
    left[0] -= 1
    fields, body = _split(data)
    kind, parameters = read_parameters(fields.get("content-type"))
    sections: Iterator[bytes] = iter(())
    if kind.startswith("multipart/") and depth < MAX_DEPTH:
        sections = _sections(body, parameters.get("boundary", "").encode("utf-8", "replace"))
    first = next(sections, None)
    if first is None and kind.startswith("multipart/") and depth:
        kind = "text/plain"  # without its delimiters
    yield Part(fields=fields, kind=kind or default, parameters=parameters, raw=body, root=depth == 0)
    if first is None:
        return
    inner = "message/rfc822" if kind == "multipart/digest" else "text/plain"
    for section in chain((first,), sections):
        yield from _walk(section, depth + 1, left, inner)


def _split(data: bytes) -> tuple[Fields, bytes]:
    """(header, body); a part that begins with an empty line has no header."""
    if data[:1] == b"\n" or data[:2] == b"\r\n":
        return Fields(), data.lstrip(b"\r\n") if len(data) < 3 else data[2 if data[:2] == b"\r\n" else 1 :]
    match = _END_OF_HEADER.search(data, 0, MAX_HEADER_BYTES)
    if match is None:
        return read_fields(data), b""
    return read_fields(data[: match.start()]), data[match.end() :]


def _sections(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What lies between the delimiter lines (RFC 2046 section 5.1.1); a missing last one ends with the body."""
    if not boundary:
        return
    delimiter = b"--" + boundary
    start = -1  # of the section under way
    position = 0
    while (found := body.find(delimiter, position)) >= 0:
        position = found + len(delimiter)
        if found and body[found - 1 : found] not in (b"\n", b"\r"):
            continue
        most = min(position + MAX_PADDING, len(body))
        end = body.find(b"\n", position, most)
        if end < 0 and most < len(body):
            continue
        tail = body[position : end if end >= 0 else most].strip()
        if tail not in (b"", b"--"):
            continue  # a longer boundary, of a part within
        if start >= 0:
            yield body[start:found].removesuffix(b"\n").removesuffix(b"\r")
        if tail or end < 0:
            return
        start = position = end + 1
    if start >= 0:
        yield body[start:]


def _without_tags(html: str) -> str:
    html = html[: 2 * MAX_NOTICE]
    text = _TAG.sub(lambda match: "\n" if match[2].lower() in _BREAKS else "", html)
    for entity, char in _ENTITIES.items():
        text = text.replace(entity, char)
    return text.replace("\xa0", " ")
