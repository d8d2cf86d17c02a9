"""Sub-centres of a class and what they tell of noisy labels: which one is dominant, and which images are far from it.

Sub-centre ArcFace (ECCV 2020). After training with K sub-centres, images far from the dominant one of their class are
likely mislabelled; they are left out and a model with K = 1 is trained on the rest.
Shapes: n images, C classes, K sub-centres each, E embedding size.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Dominance(NamedTuple):
    """The sub-centre of each class that most of its images are nearest to.

    Attributes:
        votes: (C, K) images of the class nearest to each sub-centre.
        dominant: (C,) the sub-centre with most votes, the first of equal ones.
        angles: (n,) in radians, of each image to the dominant sub-centre of its class.
    """

    votes: Tensor
    dominant: Tensor
    angles: Tensor


def dominant_subcenters(embeddings: Tensor, labels: Tensor, centers: Tensor, *, num_subcenters: int) -> Dominance:
    """Return the dominance among sub-centres (C K, E), by images (n, E) with labels (n,)."""
    directions = F.normalize(centers, dim=1).unflatten(0, (-1, num_subcenters))
    cosines = torch.linalg.vecdot(F.normalize(embeddings, dim=1)[:, None], directions[labels])
    votes = torch.zeros(len(directions), num_subcenters, dtype=torch.int64, device=centers.device)
    ones = torch.ones_like(labels)
    votes.index_put_((labels, cosines.argmax(1)), ones, accumulate=True)
    dominant = votes.argmax(1)
    own = cosines.gather(1, dominant[labels, None])[:, 0]
    return Dominance(votes, dominant, torch.acos(own.clamp(-1, 1)))


def near_dominant(dominance: Dominance, *, most_degrees: float = 75.0) -> Tensor:
    """Return which images (n,) lie within an angle of the dominant sub-centre of their class: those to keep."""
    return dominance.angles < math.radians(most_degrees)
