"""Deals any labelled data set to ranks in an order, keeps the exact position in it, and gives several data sets in one
step.

A system's datamodule opens its data and hands it to `TrainingData`; for several data sets at once, several of these to
`JointTrainingData`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import lightning
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader

from transface.data.batches import EncodedBatch
from transface.data.loaders import make_loader
from transface.data.sampling.order_plans import OrderPlan, shuffled
from transface.data.sampling.orders import EndlessOrder, EpochOrder
from transface.data.sampling.rank_batches import RankBatches
from transface.data.sources.bad_records import ImageDataset, TolerantDataset
from transface.distributed import all_reduce_sum

log = logging.getLogger(__name__)


class BatchDivision(NamedTuple):
    """Over how many devices, and how many accumulated batches of each, an optimizer step's images are divided."""

    devices: int
    accumulation: int


def divided(total_batch_size: int, *, devices: int, accumulation: int) -> int:
    """Return the images per device and batch.

    Raises:
        ValueError: if the total does not divide, naming sizes that do.
    """
    parts = devices * accumulation
    if total_batch_size % parts or total_batch_size < parts:
        near = max(total_batch_size // parts, 1) * parts
        raise ValueError(
            f"data.total_batch_size={total_batch_size} cannot be dealt to {devices} devices x {accumulation}"
            f" accumulated batches: take {near}, or set data.batch_size"
        )
    return total_batch_size // parts


class TrainingData(lightning.LightningDataModule):
    """Batches of one labelled data set.

    Args:
        dataset: read by batches of indices: `__len__`, `__getitems__(indices)` -> a batch such as FaceBatch, collated.
        total_batch_size: images per optimizer step over all devices and accumulated batches; the recipe's learning rate
            holds for it.
        batch_size: images per device and batch; None: total_batch_size / (devices x accumulation).
        order: makes the order of an epoch for this data set (data/sampling/order_plans.py); None shuffles all images.
        weights: one number for each of the sources that the data set is joined of, or None where all count alike.
        num_workers: loader processes per device.
        decode: "workers" decode, or the "device" does (JPEGs on a CUDA device).
        on_bad_record: "raise", or "skip": the next good record takes its place; the number is told at the end of the
            epoch.
        max_bad_share: with "skip": the share of bad records at which training stops.
        facts: what a config or a network takes from the data, e.g. {"num_classes": 7, "label_names": [...]}: plain
            values.
        seed: of the order of images.

    Raises:
        ValueError: as the order says; at the start of training if the batch cannot be dealt.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        total_batch_size: int = 128,
        batch_size: int | None = None,
        order: OrderPlan | None = None,
        weights: Sequence[float] | None = None,
        num_workers: int = 2,
        decode: Literal["workers", "device"] = "workers",
        on_bad_record: Literal["raise", "skip"] = "raise",
        max_bad_share: float = 0.01,
        facts: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dataset = TolerantDataset(dataset, on_bad_record=on_bad_record, max_bad_share=max_bad_share, decode=decode)
        self.order: EpochOrder = (shuffled if order is None else order)(dataset, weights=weights, seed=seed)
        self.total_batch_size = total_batch_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._facts = dict(facts or {})
        self._sampler: RankBatches | None = None
        self._position: dict[str, int] | None = None
        self._started = (-1, 0)  # an epoch, and the batches of it that training has begun since the loader was made

    def facts(self) -> dict[str, Any]:
        """Return what a config or a network takes from the data: plain values."""
        return dict(self._facts)

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self._trainer()
        return self.loader_for(
            trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches, epoch=trainer.current_epoch
        )

    def loader_for(self, rank: int, world_size: int, accumulation: int, *, epoch: int) -> DataLoader[Any]:
        """Return the loader of one rank, at the start of `epoch` or at the position that was loaded."""
        size = self.device_batch_size(devices=world_size, accumulation=accumulation)
        if rank == 0:
            self.log_batch(size, BatchDivision(world_size, accumulation))
        self._sampler = RankBatches(self.order, size, rank=rank, world_size=world_size, accumulation=accumulation)
        if self._position is not None:
            # Not set_epoch: the trainer asks for the loader first when it counts the steps, before it knows the epoch
            # it resumes in.
            self._sampler.load_state_dict(self._position)
        else:
            self._sampler.set_epoch(epoch)
        self._started = (self._sampler.epoch, 0)
        return make_loader(self.dataset, self._sampler, num_workers=self.num_workers)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch on the device, decoded there if it is not yet; a batch of training is counted as begun."""
        self.count_batch()
        if isinstance(batch, EncodedBatch):
            return self.dataset.decoded(batch, device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def count_batch(self) -> None:
        """Note that training has begun one more batch: checkpoints are written between two of them."""
        if self._sampler is not None:
            epoch, count = self._started
            self._started = (self._sampler.epoch, count + 1 if epoch == self._sampler.epoch else 1)

    def device_batch_size(self, *, devices: int, accumulation: int) -> int:
        """Return the images per device and batch.

        Raises:
            ValueError: if total_batch_size does not divide, naming sizes that do.
        """
        if self.batch_size is not None:
            return self.batch_size
        return divided(self.total_batch_size, devices=devices, accumulation=accumulation)

    def log_batch(self, size: int, division: BatchDivision) -> None:
        """Say how the recipe's batch is dealt to several devices, and warn where it is another one."""
        total = size * division.devices * division.accumulation
        if total != self.total_batch_size:
            log.warning(
                "data.batch_size=%d makes a total batch of %d, but the recipe and its learning rate hold for %d",
                size,
                total,
                self.total_batch_size,
            )
        if division.devices * division.accumulation > 1:
            print(
                f"total batch {total} = {division.devices} devices x {division.accumulation} accumulated batches x"
                f" {size} images",
                flush=True,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the data after the batches that training has begun: between two batches, those it has
        finished.
        """
        assert self._sampler is not None
        epoch, started = self._started
        finished = self._sampler.first_batch + (started if epoch == self._sampler.epoch else 0)
        position = self._sampler.state_dict(batches=finished)
        if finished >= len(self._sampler):
            position |= {"epoch": position["epoch"] + 1, "consumed": 0, "batches": 0}
        return position

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict

    def end_epoch(self) -> None:
        """Tell how many records were skipped in this epoch, over all ranks, and stop if they are too many."""
        counts = self.dataset.take_counts()
        bad, read = (
            int(value)
            for value in all_reduce_sum(
                torch.tensor(list(counts), device=self._trainer().strategy.root_device)
            ).tolist()
        )
        if bad:
            log.info(
                "%d of the %d records read in this epoch were bad and skipped; 'transface pack check' lists them",
                bad,
                read,
            )
            if self._trainer().is_global_zero:
                print(
                    f"{bad} of the {read} records read in this epoch were bad and skipped; 'transface pack check' lists"
                    " them",
                    flush=True,
                )
        self.dataset.check_share(type(counts)(bad, read))

    def _trainer(self) -> lightning.Trainer:
        assert self.trainer is not None, "TrainingData is used by a trainer"
        return self.trainer


class JointTrainingData(lightning.LightningDataModule):
    """Batches of several data sets in every step: a mapping from each one's name to its batch.

    An epoch has `steps_per_epoch` optimizer steps, each with a batch of every data set; a set that ends earlier begins
    anew in another order, one that is larger continues where the previous epoch ended. The position in each is exact on
    resume.

    Args:
        datasets: by name.
        steps_per_epoch: optimizer steps of an epoch, whatever number of batches each accumulates; None: as many as walk
            the largest data set once, counted in its own batches.

    Raises:
        ValueError: for no data set, or fewer than one step.
    """

    def __init__(self, datasets: Mapping[str, TrainingData], *, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        if not datasets:
            raise ValueError("joint training needs at least one data set")
        if steps_per_epoch is not None and steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be at least 1 or null, got {steps_per_epoch}")
        self.datasets = dict(datasets)
        self.steps_per_epoch = steps_per_epoch
        self._own_orders = {name: data.order for name, data in self.datasets.items()}

    def facts(self) -> dict[str, Any]:
        """Return the facts of every data set by its name."""
        return {name: data.facts() for name, data in self.datasets.items()}

    def device_batch_size(self, *, devices: int, accumulation: int) -> int:
        """Return the images per device and batch over all data sets.

        Raises:
            ValueError: naming the data set whose batch cannot be dealt.
        """
        total = 0
        for name, data in self.datasets.items():
            try:
                total += data.device_batch_size(devices=devices, accumulation=accumulation)
            except ValueError as error:
                raise ValueError(f"data set {name}: {error}") from None
        return total

    def train_dataloader(self) -> CombinedLoader:
        trainer = self._trainer()
        devices, accumulation = trainer.world_size, trainer.accumulate_grad_batches
        sizes = {
            name: data.device_batch_size(devices=devices, accumulation=accumulation) * devices * accumulation
            for name, data in self.datasets.items()
        }
        steps = self.steps_per_epoch or max(self._own_orders[name].num_samples // size for name, size in sizes.items())
        steps = max(steps, 1)
        loaders = {}
        for name, data in self.datasets.items():
            data.order = EndlessOrder(self._own_orders[name], steps * sizes[name])
            loaders[name] = data.loader_for(trainer.global_rank, devices, accumulation, epoch=trainer.current_epoch)
        return CombinedLoader(loaders, "min_size")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batches of all data sets on the device, decoded there if they are not yet."""
        if isinstance(batch, Mapping):
            return {
                name: self.datasets[name].transfer_batch_to_device(part, device, dataloader_idx)
                for name, part in batch.items()
            }
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in every data set."""
        return {name: data.state_dict() for name, data in self.datasets.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if set(state_dict) != set(self.datasets):
            raise ValueError(
                f"the checkpoint holds positions in {sorted(state_dict)}, and the data sets are"
                f" {sorted(self.datasets)}: resume with the same"
            )
        for name, data in self.datasets.items():
            data.load_state_dict(state_dict[name])

    def end_epoch(self) -> None:
        """Tell the skipped records of every data set."""
        for data in self.datasets.values():
            data.trainer = self._trainer()
            data.end_epoch()

    def _trainer(self) -> lightning.Trainer:
        assert self.trainer is not None, "JointTrainingData is used by a trainer"
        return self.trainer
