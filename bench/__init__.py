"""Measurements and drawings."""
