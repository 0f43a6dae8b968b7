"""Proofs over whole histories and days."""
