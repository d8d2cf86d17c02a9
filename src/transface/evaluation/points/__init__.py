"""Protocols of points: how far landmarks are from the truth."""
