"""Numbers in sentences."""


def many(number: int, noun: str) -> str:
    """`1 connection`, `1,204 connections`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
