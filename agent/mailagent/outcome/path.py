"""The way of one attempt, for its accounting line."""

import msgspec

from mailagent.api.ids import ProviderName, VmtaName


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt went, as far as it came."""

    vmta: VmtaName
    site: str
    provider: ProviderName
    source: str = ""
    mx: str = ""
    remote: str = ""
    tls: str = ""
    session_id: str = ""
    extensions: str = ""
