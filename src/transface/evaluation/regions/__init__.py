"""Protocols of regions: how well pixels are told apart."""
