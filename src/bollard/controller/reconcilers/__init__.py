"""Timers that only issue commands."""
