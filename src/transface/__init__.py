"""Train and benchmark face models."""

__version__ = "0.1.0"
