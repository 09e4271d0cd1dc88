"""How the console scales: simulated hosts behind real SSH, the console itself in a terminal of its own."""
