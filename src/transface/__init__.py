"""Train and benchmark face models. `load`, `faces`, `similarity` and `threshold` arrive on first use, so that importing
this stays quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transface.images.faces import faces
    from transface.inference.opening import load
    from transface.inference.similarity import similarity
    from transface.inference.thresholds import threshold

__version__ = "0.1.0"
__all__ = ["__version__", "faces", "load", "similarity", "threshold"]


def __getattr__(name: str) -> Any:
    if name == "faces":
        from transface.images.faces import faces

        return faces
    if name == "load":
        from transface.inference.opening import load

        return load
    if name == "similarity":
        from transface.inference.similarity import similarity

        return similarity
    if name == "threshold":
        from transface.inference.thresholds import threshold

        return threshold
    raise AttributeError(f"module 'transface' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
