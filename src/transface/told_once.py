"""Warnings that are given once: what a process opens for training it opens again for each protocol."""

import logging
import os
from pathlib import Path

_told: set[tuple[str, str]] = set()


def warn_once(logger: logging.Logger, message: str, *args: object) -> None:
    """Log a warning, unless this process has logged the same sentence before: another count is another sentence."""
    if logger.isEnabledFor(logging.WARNING) and _is_first("", message % args):
        logger.warning(message, *args, stacklevel=2)


def is_first_search(topic: str, path: str | Path) -> bool:
    """Return whether this process asks for the first time about a topic at a path, however the path is written: for
    what takes long to look for, and is told once.
    """
    return _is_first(topic, os.path.abspath(path))


def _is_first(topic: str, key: str) -> bool:
    if (topic, key) in _told:
        return False
    _told.add((topic, key))
    return True
