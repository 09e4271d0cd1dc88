"""The loopback fleet: simulated providers, DNS, traffic and incidents around real agents, all on this machine."""
