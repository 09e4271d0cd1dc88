"""Tables, words and JSON for commands."""
