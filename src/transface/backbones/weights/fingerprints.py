"""The fingerprint of a network: equal for equal weights that compute the same, whatever file they came from."""

import hashlib

import torch
from torch import nn


def fingerprint_of(network: nn.Module) -> str:
    """Return the SHA-256 of all weights with their names, and of what shapes the answers without being a weight.

    That is the number of heads of each attention, and the file of a network whose weights torch does not hold (ONNX:
    its `file_hash`).
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for name, part in network.named_modules():
        num_heads, file_hash = getattr(part, "num_heads", None), getattr(part, "file_hash", None)
        if isinstance(num_heads, int):
            digest.update(f"{name} has {num_heads} heads\n".encode())
        if isinstance(file_hash, str):
            digest.update(f"{name} is of {file_hash}\n".encode())
    return digest.hexdigest()
