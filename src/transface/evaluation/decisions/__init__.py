"""Protocols of what a user decides with a model: by quality, by group of people."""
