"""The bytes of the wire: JSON-RPC 2.0, one object per line. Nothing else knows them."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from mailagent.api.errors import BY_CODE, ApiError, InvalidRequest
from mailagent.api.methods import MAX_TEXT_CHARS

_encoder = msgspec.json.Encoder()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call, its parameters still undecoded."""

    method: str
    id: int | str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    jsonrpc: str = "2.0"


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """The error member of a reply."""

    code: int
    message: str


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Anything an agent sends: a reply (with `id`) or a notification (with `method`)."""

    id: int | str | None = None
    method: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    error: WireError | None = None
    params: msgspec.Raw = msgspec.Raw(b"")


_requests = msgspec.json.Decoder(Request)
_frames = msgspec.json.Decoder(Frame)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """`value` as JSON, without a line end."""
    return _encoder.encode(value)


def decode(data: bytes | msgspec.Raw, kind: Any) -> Any:
    """`data` as a value of `kind`.

    Raises:
        InvalidRequest: not JSON, or not of that shape; the message names the member.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(str(exc)) from exc


def call(method: str, params: msgspec.Struct, call_id: int) -> bytes:
    """The line of one call."""
    return b'{"jsonrpc":"2.0","id":%d,"method":%s,"params":%s}\n' % (call_id, encode(method), encode(params))


def parse_call(line: bytes) -> Request:
    """The call in `line`.

    Raises:
        InvalidRequest: the line is no JSON-RPC call.
    """
    try:
        return _requests.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"no JSON-RPC 2.0 call: {exc}") from exc


def reply(call_id: int | str | None, result: object) -> bytes:
    """The line that answers a call."""
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}\n' % (encode(call_id), encode(result))


def failure(call_id: int | str | None, error: ApiError) -> bytes:
    """The line that answers a call with an error."""
    body = encode(WireError(code=error.code, message=error.message))
    return b'{"jsonrpc":"2.0","id":%s,"error":%s}\n' % (encode(call_id), body)


def notification(method: str, params: object) -> bytes:
    """The line of one notification."""
    return b'{"jsonrpc":"2.0","method":%s,"params":%s}\n' % (encode(method), encode(params))


def parse_frame(line: bytes) -> Frame:
    """What an agent sent.

    Raises:
        InvalidRequest: the line is no JSON-RPC frame.
    """
    try:
        return _frames.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"no JSON-RPC 2.0 frame: {exc}") from exc


def to_exception(error: WireError) -> ApiError:
    """The typed error behind the wire's code."""
    return BY_CODE.get(error.code, ApiError)(error.message)


def text(raw: bytes) -> str:
    """Remote bytes for the wire: UTF-8 with backslashreplace, cut at MAX_TEXT_CHARS."""
    return cut(raw.decode("utf-8", "backslashreplace"))


def cut(value: str, limit: int = MAX_TEXT_CHARS) -> str:
    """`value`, or its start with a mark that says it was truncated."""
    return value if len(value) <= limit else value[: limit - 14] + "… [truncated]"


def now() -> datetime:
    """Wall time, aware, in UTC."""
    return datetime.now(UTC)
