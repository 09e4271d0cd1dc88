"""The files that describe a fleet and a host, as values."""

from mailagent.config.errors import ConfigError, Problem
from mailagent.config.lint import lint_agent, lint_fleet
from mailagent.config.loader import Origins, load_agent, load_agent_with_origins, load_fleet
from mailagent.config.parts import config_hash, dump_agent, host_part
from mailagent.config.structs import AgentConfig, FleetConfig

__all__ = [
    "AgentConfig",
    "ConfigError",
    "FleetConfig",
    "Origins",
    "Problem",
    "config_hash",
    "dump_agent",
    "host_part",
    "lint_agent",
    "lint_fleet",
    "load_agent",
    "load_agent_with_origins",
    "load_fleet",
]
