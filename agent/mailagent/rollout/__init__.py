"""Another configuration for this host: what it would change, and the way it comes into the host's file and back."""
