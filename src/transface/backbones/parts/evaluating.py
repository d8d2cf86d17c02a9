"""Puts a module into eval mode for a while, and gives each of its parts its own mode back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a module into eval mode and leave each of its parts in the mode it was in; frozen parts stay in eval mode,
    what is no module is left alone.
    """
    training = [part for part in module.modules() if part.training] if isinstance(module, nn.Module) else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
