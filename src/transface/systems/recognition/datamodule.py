"""What a recognition step eats: uint8 batches of a data set of identities, in an order that any number of ranks shares and a resume continues."""

import logging
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from torch.utils.data import DataLoader

from transface.data.identities import IdentityPack
from transface.data.samplers import GlobalBatchSampler

log = logging.getLogger(__name__)


class RecognitionData(lightning.LightningDataModule):
    """Batches of faces with their identities.

    Args:
        root: folder of an InsightFace pack.
        total_batch_size: images per optimizer step over all devices and accumulated batches; the recipe's learning rate holds for it.
        batch_size: images per device and batch; None: total_batch_size / (devices x accumulation).
        num_workers: loader processes per device.
        on_bad_record: "raise", or "skip": another record takes its place, and the number is told at the end of the epoch.
        max_bad_share: with "skip": the share of bad records at which training stops.
        seed: of the order of images.
    """
