"""Noise schedules: the log signal-to-noise ratio as a function of time."""
