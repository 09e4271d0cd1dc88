"""A screen as a file: the picture as SVG, or what stands on it as text."""

import html
import re
from pathlib import Path

from rich.cells import cell_len

CELL = 12.2
"""Width of a character in a picture."""
FONT = "'DejaVu Sans Mono', Menlo, 'Liberation Mono', Consolas, monospace"
FONT_PX = 20.27
"""DejaVu Sans Mono is 0.602 of its size wide: this fills cells of 12.2."""
_FACE = re.compile(r"@font-face\s*{[^}]*}\s*")
_FAMILY = re.compile(r"(-matrix {\s*)font-family: [^;]+;\s*font-size: 20px;")
_TEXT = re.compile(
    r'<text class="(?P<kind>[^"]*)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="(?P<length>[\d.]+)"'
    r' (?P<clip>clip-path="[^"]*")>(?P<text>[^<]*)</text>'
)
_WORDS = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*|[^\x20-\x7e]")


def self_contained(svg: str) -> str:
    """`svg` without web fonts, and each character outside ASCII in a place of its own.

    Fonts that lack a sign borrow it from another one with another width; standing alone it moves nothing else.
    """
    svg = _FAMILY.sub(rf"\g<1>font-family: {FONT}; font-size: {FONT_PX}px;", _FACE.sub("", svg))
    return _TEXT.sub(_placed, svg)


def _placed(found: re.Match[str]) -> str:
    text = html.unescape(found["text"]).replace("\xa0", " ")
    if not text.strip():
        return ""
    cell = float(found["length"]) / cell_len(text)
    parts = []
    for words in _WORDS.finditer(text):
        x = float(found["x"]) + cell * cell_len(text[: words.start()])
        length = cell * cell_len(words[0])
        parts.append(
            f'<text class="{found["kind"]}" x="{x:.6g}" y="{found["y"]}" textLength="{length:.6g}" {found["clip"]}>'
            f"{html.escape(words[0], quote=False)}</text>"
        )
    return "".join(parts)


def as_text(svg: str) -> str:
    """The lines of a picture as it was drawn, without colours and without blanks at their ends."""
    lines: dict[float, list[str]] = {}
    for found in _TEXT.finditer(svg):
        line = lines.setdefault(float(found["y"]), [])
        text = html.unescape(found["text"]).replace("\xa0", " ")
        before = sum(map(cell_len, line))
        line.append(" " * (round(float(found["x"]) / CELL) - before) + text)
    return "".join(f"{''.join(lines[y]).rstrip()}\n" for y in sorted(lines))


def as_file(svg: str, path: Path) -> str:
    """What belongs into `path`: a picture when its name ends in .svg, else text."""
    return self_contained(svg) if path.suffix.lower() == ".svg" else as_text(svg)


def taken(text: str) -> str:
    """Why no new file of that name can be written; empty when it can."""
    path = Path(text).expanduser()
    if path.exists():
        return f"{text} exists already"
    return "" if path.parent.is_dir() else f"there is no directory {path.parent}"


def write_new(path: Path, text: str) -> None:
    """Write a file that was not there.

    Raises:
        OSError: it is there by now, or cannot be written.
    """
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
