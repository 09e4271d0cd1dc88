"""What the sections of a file mean together: a module for each section, and `file`, which asks them all."""
