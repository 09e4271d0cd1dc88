"""The console's screens. Textual reads its terminal settings when it is first imported, so they are set here."""

import os

# A key is painted within a sixtieth of a second; without one there are four frames a second, whatever this says.
# Nothing on an operations screen may slide.
os.environ.setdefault("TEXTUAL_FPS", "60")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
