"""AdamW and SGD for everything trained here: torch's own, which also step the sampled rows of partial_fc's centres and no others."""

import torch

from transface.training.sampled_rows import SampledRows


class AdamW(SampledRows, torch.optim.AdamW):
    """torch.optim.AdamW with rows of a sparse gradient stepped apart; each row has its own count for the bias correction."""


class SGD(SampledRows, torch.optim.SGD):
    """torch.optim.SGD with rows of a sparse gradient stepped apart, momentum and decay included."""
