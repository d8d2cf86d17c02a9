"""What a recognition step eats: uint8 batches of people's faces, in an order that any number of ranks shares and a resume goes on with."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from torch.utils.data import DataLoader

from transface.data.batches import EncodedBatch
from transface.data.loaders import make_loader
from transface.data.sampling.order_plans import OrderPlan, shuffled
from transface.data.sampling.orders import EpochOrder
from transface.data.sampling.rank_batches import RankBatches
from transface.data.sources.bad_records import FaceDataset, TolerantFaces
from transface.data.sources.source import open_source, open_sources
from transface.distributed import all_reduce_sum

log = logging.getLogger(__name__)


class RecognitionData(lightning.LightningDataModule):
    """Batches of faces with their identities, from one of `root`, `sources`, `source`.

    Args:
        root: an InsightFace pack, a .rec with its .lst, a folder with one folder a person, a .csv or .parquet list.
        sources: several of these joined, each a path or a mapping of path, weight, label_offset; see data/sources/source.py.
        source: a data set read by batches of indices.
        total_batch_size: images per optimizer step over all devices and accumulated batches; the recipe's learning rate holds for it.
        batch_size: images per device and batch; None: total_batch_size / (devices x accumulation).
        order: the order of an epoch, or what makes it for these faces (data/sampling/order_plans.py); None shuffles all images.
        num_workers: loader processes per device.
        decode: "workers" decode, or the "device" does (JPEGs on a CUDA device).
        on_bad_record: "raise", or "skip": the next good record takes its place; the number is told at the end of the epoch.
        max_bad_share: with "skip": the share of bad records at which training stops.
        seed: of the order of images.

    Raises:
        FileNotFoundError, ValueError: as the sources and orders say; at the start of training if the batch cannot be dealt.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        sources: Sequence[str | Path | Mapping[str, Any]] = (),
        source: FaceDataset | None = None,
        total_batch_size: int = 128,
        batch_size: int | None = None,
        order: EpochOrder | OrderPlan | None = None,
        num_workers: int = 2,
        decode: Literal["workers", "device"] = "workers",
        on_bad_record: Literal["raise", "skip"] = "raise",
        max_bad_share: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (root is not None) + bool(sources) + (source is not None) != 1:
            raise ValueError("give one of data.root (a folder with train.rec, or other data), data.sources=[...], or a source")
        weights = None
        if source is not None:
            faces: FaceDataset = source
        elif root is not None:
            faces = open_source(root, on_bad_record=on_bad_record)
        else:
            faces, weights = open_sources(sources, on_bad_record=on_bad_record)
        self.faces = TolerantFaces(faces, on_bad_record=on_bad_record, max_bad_share=max_bad_share, decode=decode)
        self.num_identities = faces.num_identities
        self.total_batch_size, self.batch_size = total_batch_size, batch_size
        plan = shuffled if order is None else order
        self.order: EpochOrder = plan if hasattr(plan, "num_samples") else plan(faces, weights=weights, seed=seed)  # type: ignore[assignment, call-arg, arg-type]
        self.num_workers = num_workers
        self._sampler: RankBatches | None = None
        self._position: dict[str, int] | None = None

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self._trainer()
        size = self.device_batch_size(devices=trainer.world_size, accumulation=trainer.accumulate_grad_batches)
        if trainer.is_global_zero:
            self.say_batch(size, devices=trainer.world_size, accumulation=trainer.accumulate_grad_batches)
        self._sampler = RankBatches(self.order, size, rank=trainer.global_rank, world_size=trainer.world_size)
        if self._position is not None:
            # Not set_epoch: the trainer asks for the loader first when it counts the steps, before it knows the epoch it resumes in.
            self._sampler.load_state_dict(self._position)
        else:
            self._sampler.set_epoch(trainer.current_epoch)
        return make_loader(self.faces, self._sampler, num_workers=self.num_workers)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch on the device, decoded there if it is not yet."""
        if isinstance(batch, EncodedBatch):
            return self.faces.decoded(batch, device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def device_batch_size(self, *, devices: int, accumulation: int) -> int:
        """Return the images per device and batch.

        Raises:
            ValueError: if total_batch_size does not divide, naming sizes that do.
        """
        parts = devices * accumulation
        if self.batch_size is not None:
            return self.batch_size
        if self.total_batch_size % parts or self.total_batch_size < parts:
            near = max(self.total_batch_size // parts, 1) * parts
            raise ValueError(
                f"data.total_batch_size={self.total_batch_size} cannot be dealt to {devices} devices x {accumulation} accumulated batches: take {near}, "
                "or set data.batch_size"
            )
        return self.total_batch_size // parts

    def say_batch(self, size: int, *, devices: int, accumulation: int) -> None:
        """Tell how the recipe's batch is dealt to several devices, and where it is another one."""
        total = size * devices * accumulation
        if total != self.total_batch_size:
            log.warning(
                "data.batch_size=%d makes a total batch of %d, but the recipe and its learning rate hold for %d", size, total, self.total_batch_size
            )
        if devices * accumulation > 1:
            print(f"total batch {total} = {devices} devices x {accumulation} accumulated batches x {size} images", flush=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the data after the batches that training has finished."""
        assert self._sampler is not None
        finished = self._trainer().fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        position = self._sampler.state_dict(batches=finished)
        if finished >= len(self._sampler):
            position |= {"epoch": position["epoch"] + 1, "consumed": 0, "batches": 0}
        return position

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict

    def end_epoch(self) -> None:
        """Tell how many records were skipped in this epoch, over all ranks, and stop if they are too many."""
        counts = self.faces.take_counts()
        bad, read = (int(value) for value in all_reduce_sum(torch.tensor(list(counts), device=self._trainer().strategy.root_device)).tolist())
        if bad:
            log.info("%d of the %d records read in this epoch were bad and skipped; 'transface pack check' lists them", bad, read)
            if self._trainer().is_global_zero:
                print(f"{bad} of the {read} records read in this epoch were bad and skipped; 'transface pack check' lists them", flush=True)
        self.faces.check_share(type(counts)(bad, read))

    def _trainer(self) -> lightning.Trainer:
        assert self.trainer is not None, "RecognitionData is used by a trainer"
        return self.trainer

