"""A place to connect to."""

import msgspec


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Host and port; in the file `127.0.0.1:2525`, `[::1]:2525`, `relay.example.com:25`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
