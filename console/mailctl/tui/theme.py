"""Colours: five themes, and the tones that all screens paint with.

A tone says what a word means (good, warn, bad …), never how it looks; each theme gives it a colour with a contrast of
at least 4.5 to 1 on its background, so that quiet text stays readable.
"""

from enum import StrEnum
from pathlib import Path

from textual.theme import Theme

from mailagent.config.errors import ConfigError, Problem
from mailagent.config.nodes import Scalar
from mailctl.ops.own import THEME, entries, read_own


class Tone(StrEnum):
    """What a piece of text means."""

    TEXT = "text"
    STRONG = "strong"  # names and totals
    QUIET = "quiet"  # labels, zeroes, old numbers
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    ACCENT = "accent"  # keys, links, what the eye should find
    FLOW = "flow"  # sparklines

    @property
    def style(self) -> str:
        """For Textual's Content: a style with the theme's variable."""
        return _STYLES[self]


_STYLES = {
    Tone.TEXT: "$tone-text",
    Tone.STRONG: "bold $tone-strong",
    Tone.QUIET: "$tone-quiet",
    Tone.GOOD: "$tone-good",
    Tone.WARN: "$tone-warn",
    Tone.BAD: "bold $tone-bad",
    Tone.ACCENT: "$tone-accent",
    Tone.FLOW: "$tone-flow",
}


def _theme(name: str, *, dark: bool, ansi: bool = False, **colours: str) -> Theme:
    tones = {f"tone-{tone}": colours[tone] for tone in Tone}
    return Theme(
        name=name,
        dark=dark,
        ansi=ansi,
        primary=colours["accent"],
        secondary=colours["flow"],
        accent=colours["accent"],
        success=colours["good"],
        warning=colours["warn"],
        error=colours["bad"],
        foreground=colours["text"],
        background=colours["ground"],
        surface=colours["ground"],
        panel=colours["band"],
        variables={
            **tones,
            "band": colours["band"],
            "cursor-band": colours["cursor"],
            "mark-band": colours["mark"],
            "rule": colours["rule"],
            "block-cursor-background": colours["cursor"],
            "block-cursor-foreground": colours["strong"],
            "block-cursor-text-style": "bold",
            "input-cursor-background": colours["accent"],
            "input-selection-background": colours["mark"],
            # Textual's own styles ask for these in ANSI themes.
            **({"ansi-background": "ansi_black", "ansi-foreground": "ansi_white"} if ansi else {}),
            "border": colours["rule"],
            "scrollbar": colours["rule"],
            "scrollbar-hover": colours["quiet"],
            "scrollbar-active": colours["accent"],
            "scrollbar-background": colours["ground"],
            "scrollbar-background-hover": colours["ground"],
            "scrollbar-background-active": colours["ground"],
            "scrollbar-corner-color": colours["ground"],
        },
    )


DARK = _theme(
    "harbour",
    dark=True,
    ground="#10141a",
    band="#171d26",
    cursor="#23344a",
    mark="#2c2f47",
    rule="#2a3442",
    text="#c5cedb",
    strong="#eef2f7",
    quiet="#8491a3",
    good="#7fc8a0",
    warn="#e8b866",
    bad="#f0838b",
    accent="#7cb7f0",
    flow="#5fa8a8",
)
LIGHT = _theme(
    "daylight",
    dark=False,
    ground="#fbfbf9",
    band="#f0f1ee",
    cursor="#d5e4f5",
    mark="#e6e2f4",
    rule="#cfd4d8",
    text="#2c3640",
    strong="#0e151c",
    quiet="#66717d",
    good="#1d7a4b",
    warn="#8f5b00",
    bad="#b3263a",
    accent="#1f63b0",
    flow="#1c7c80",
)
ANSI = _theme(
    "sixteen",
    dark=True,
    ansi=True,
    ground="ansi_default",
    band="ansi_default",
    cursor="ansi_blue",
    mark="ansi_magenta",
    rule="ansi_bright_black",
    text="ansi_default",
    strong="ansi_bright_white",
    quiet="ansi_white",
    good="ansi_green",
    warn="ansi_yellow",
    bad="ansi_bright_red",
    accent="ansi_bright_blue",
    flow="ansi_cyan",
)
CONTRAST = _theme(
    "beacon",
    dark=True,
    ground="#000000",
    band="#101010",
    cursor="#003a70",
    mark="#402060",
    rule="#8a8a8a",
    text="#ffffff",
    strong="#ffffff",
    quiet="#cfcfcf",
    good="#7dff9a",
    warn="#ffd75f",
    bad="#ffa0a0",
    accent="#8fd0ff",
    flow="#7fe8e8",
)
"""High contrast: 7 to 1 and more, also on the cursor's band."""
MONO = _theme(
    "slate",
    dark=True,
    ground="#000000",
    band="#181818",
    cursor="#4a4a4a",
    mark="#303030",
    rule="#707070",
    text="#d8d8d8",
    strong="#ffffff",
    quiet="#b4b4b4",
    good="#d8d8d8",
    warn="#ffffff",
    bad="#ffffff",
    accent="#ffffff",
    flow="#d8d8d8",
)
"""Greys only. What a colour would say is in the glyph and the word beside it."""
THEMES = (DARK, LIGHT, CONTRAST, MONO, ANSI)


def load_theme(path: Path) -> str:
    """Name of the theme in a file of one's own; the dark one unless it says another.

    Raises:
        ConfigError: there is no theme of that name.
    """
    names = [theme.name for theme in THEMES]
    problems: list[Problem] = []
    value = dict(entries(read_own(path, problems), "", lambda *_: None)).get(THEME)
    if value is None:
        return DARK.name
    name = value.text.strip() if isinstance(value, Scalar) else ""
    if name not in names:
        raise ConfigError(
            [Problem(str(path), value.line, THEME, f"there is no such theme; there are {', '.join(names)}")]
        )
    return name


RGB = tuple[int, int, int]


def chart_colours(theme: Theme) -> dict[Tone, RGB | None]:
    """Each tone as red, green and blue for plots; None where the terminal's own colours rule."""
    colours: dict[Tone, RGB | None] = {}
    for tone in Tone:
        value = theme.variables[f"tone-{tone}"]
        rgb = (int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)) if value.startswith("#") else None
        colours[tone] = rgb
    return colours
