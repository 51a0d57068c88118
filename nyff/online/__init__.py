"""Learning while a simulation runs."""
