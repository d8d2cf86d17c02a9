"""Names that tests of sweeps without training share."""

from collections.abc import Callable

Sweep = Callable[..., list[str]]


class Stopped(BaseException):
    """What a kill is to a sweep: nothing after it runs."""
