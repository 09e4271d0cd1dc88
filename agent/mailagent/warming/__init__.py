"""Warm-up: how much a new address sends to each provider, from day to day, and what stops it from sending more."""

from mailagent.warming.warming import Warming as Warming
