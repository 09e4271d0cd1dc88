"""The wire contract between console and agent, and the values that both sides share."""
