"""Decides which tick runs when, on Redis' clock, and pushes it."""
