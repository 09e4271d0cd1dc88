"""The console's screens. Textual reads its terminal settings when it is first imported, so they are set here."""

import os

# A key that comes just after a frame waits for the frame after the next (8 to 17 ms; with 60 it would be twice that);
# without one there are four frames a second, whatever this says. Nothing on an operations screen may slide.
os.environ.setdefault("TEXTUAL_FPS", "120")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
