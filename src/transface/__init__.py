"""Train and benchmark face models. `load`, `faces`, `similarity` and `threshold` arrive on first use, so that importing
this stays quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transface.images.faces import faces
    from transface.inference.opening import load
    from transface.inference.similarity import similarity, threshold

__version__ = "0.1.0"
__all__ = ["__version__", "faces", "load", "similarity", "threshold"]


def __getattr__(name: str) -> Any:
    if name == "faces":
        from transface.images.faces import faces

        return faces
    if name == "load":
        from transface.inference.opening import load

        return load
    if name in ("similarity", "threshold"):
        from transface.inference import similarity as home

        return getattr(home, name)
    raise AttributeError(f"module 'transface' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
