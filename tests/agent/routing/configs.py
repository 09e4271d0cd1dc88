"""Configurations for routing tests."""

from typing import Any

from mailagent.api.ids import HostName
from mailagent.config.structs import AgentConfig


def agent(**sections: Any) -> AgentConfig:
    return AgentConfig(host=HostName("mx1"), **sections)
