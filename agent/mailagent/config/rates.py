"""Rates: so many per period, messages, connections or bytes."""

import msgspec


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many per period; in the file `100/s`, `300/h`, `5000/d`. Even spacing: an hour's worth never bursts."""

    count: int
    period_s: int

    def __str__(self) -> str:
        unit = {1: "s", 60: "m", 3600: "h", 86400: "d"}.get(self.period_s, f"{self.period_s}s")
        return f"{self.count}/{unit}"

    @property
    def interval_s(self) -> float:
        """Seconds between two."""
        return self.period_s / self.count


class ByteRate(Rate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many bytes per period; in the file `10M/s`, `2G/h`."""

    def __str__(self) -> str:
        count, unit = self.count, ""
        for unit_of, size in (("G", 1024**3), ("M", 1024**2), ("K", 1024)):
            if count % size == 0:
                count, unit = count // size, unit_of
                break
        period = super().__str__().partition("/")[2]
        return f"{count}{unit}/{period}"
