"""The console's screens. Textual reads its terminal settings when it is first imported, so they are set here."""

import os

# Over SSH twenty frames a second are plenty, and nothing on an operations screen may slide.
os.environ.setdefault("TEXTUAL_FPS", "20")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
