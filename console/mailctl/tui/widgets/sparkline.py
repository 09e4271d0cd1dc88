"""Sparklines as text: eight levels of block, one character a value."""

from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[int], width: int, *, peak: int = 0) -> str:
    """The newest `width` of `values`, oldest first, padded at the left; scaled to `peak` or to their own highest.

    A zero is the lowest line, so that an idle row still shows that it is watched; anything above zero stands out
    from it.
    """
    shown = values[-width:] if width > 0 else ()
    top = peak or max(shown, default=0)
    blocks = "".join(_LEVELS[min(7, -(-7 * value // top))] if value > 0 else _LEVELS[0] for value in shown)
    return blocks.rjust(width)
