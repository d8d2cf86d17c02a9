"""Checks a tensor's shape against a written one, e.g. "B 3 112 112", and says what is wrong."""

from torch import Tensor


def check_shape(x: Tensor, expected: str, *, name: str = "tensor") -> dict[str, int]:
    """Return the size bound to each letter of `expected`, or raise where `x` differs.

    `expected` has one word per dimension: a number must match; a letter is bound at its first use and must match after
    it.

    Raises:
        ValueError: naming the tensor, the expected and the actual shape.

    Example:
        >>> check_shape(torch.zeros(2, 3, 112, 112), "B 3 H H", name="images")
        {'B': 2, 'H': 112}
    """
    words = expected.split()
    sizes: dict[str, int] = {}
    fits = len(words) == x.ndim
    if fits:
        for word, size in zip(words, x.shape, strict=True):
            wanted = int(word) if word.isdigit() else sizes.setdefault(word, size)
            fits = fits and wanted == size
    if not fits:
        raise ValueError(f"{name} must be ({', '.join(words)}), got {tuple(x.shape)}")
    return sizes
