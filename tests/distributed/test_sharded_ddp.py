"""Lightning's DDP with sharded centres: two ranks fit as one process does, and DDP's hands stay off the centres."""

import os
import socket
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from torch import Tensor, nn

from transface.classifiers.center_shards import ShardRange, first_centers
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.distributed import global_mean, world_size
from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.training.optimization.optimizers import AdamW
from transface.training.parallel.sharded_ddp import ShardedDDPStrategy, sharded_parameter_names

CLASSES, SIZE, STEPS, FACES = 23, 4, 4, 6


class Module(lightning.LightningModule):
    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(3, SIZE)
        self.classifier = classifier

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        self.ignored = set(getattr(self.trainer.strategy.model, "parameters_to_ignore", ()))
        return global_mean(self.classifier(self.backbone(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return AdamW(self.parameters(), lr=0.05, weight_decay=0.1)


def fit(rank: int, folder: Path, port: int, classifier: nn.Module) -> dict[str, Any]:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world_size()),
        "RANK": str(rank),
    }
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world_size()),
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": "0",
    }
    generator = torch.Generator().manual_seed(1)
    faces, labels = (
        torch.randn(STEPS * FACES, 3, generator=generator),
        torch.randint(CLASSES, (STEPS * FACES,), generator=generator),
    )
    batches = [
        [part.split(FACES)[step].tensor_split(world_size())[rank] for part in (faces, labels)] for step in range(STEPS)
    ]
    module = Module(classifier)
    settings: dict[str, Any] = {"strategy": "auto"}
    if world_size() > 1 and isinstance(classifier, PartialFC):
        # As a launcher without a process group at construction has it: all centres, placed later.
        classifier.centers, classifier.classes = nn.Parameter(whole_centers()), ShardRange(0, CLASSES)
    if world_size() > 1:
        settings = {"strategy": ShardedDDPStrategy(), "plugins": [TorchElasticEnvironment()], "devices": world_size()}
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **settings,
    )
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return {
        "weight": module.backbone.weight.detach(),
        "centers": module.classifier.centers.detach(),
        "ignored": module.ignored,
    }


def whole_centers() -> Tensor:
    return first_centers(0, CLASSES, embedding_size=SIZE, seed=0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_ranks_fit_partial_fc_as_one_process(run_ranks: Any, tmp_path: Path) -> None:
    port = free_port()

    def work(rank: int) -> dict[str, Any]:
        return fit(rank, tmp_path, port, PartialFC(CLASSES, SIZE, ArcFace(16.0, 0.2), sample_rate=0.5))

    (one,), two = run_ranks(1, work), run_ranks(2, work)
    for part in two:
        torch.testing.assert_close(part["weight"], one["weight"], rtol=1e-5, atol=1e-6)
        assert part["ignored"] == {"classifier.centers"}
    assert [len(part["centers"]) for part in two] == [12, 11]
    torch.testing.assert_close(torch.cat([part["centers"] for part in two]), one["centers"], rtol=1e-5, atol=1e-6)
    assert (one["centers"] - whole_centers()).abs().max() > 0.01


def test_two_ranks_fit_full_softmax_as_one_process_with_the_margin_s_statistics(run_ranks: Any, tmp_path: Path) -> None:
    port = free_port()

    def work(rank: int) -> dict[str, Any]:
        margin = AdaFace(16.0, momentum=0.3)
        return fit(rank, tmp_path, port, FullSoftmax(CLASSES, SIZE, margin)) | {"mean": margin.norm_mean}

    (one,), two = run_ranks(1, work), run_ranks(2, work)
    for part in two:
        for name in ("weight", "centers", "mean"):
            torch.testing.assert_close(part[name], one[name], rtol=1e-5, atol=1e-6)
        assert part["ignored"] == set()


def test_sharded_parameters_are_found_by_name_wherever_they_are() -> None:
    classifier = PartialFC(5, 2, ArcFace())
    assert sharded_parameter_names(classifier) == ["centers"]
    assert sharded_parameter_names(nn.ModuleDict({"a": nn.ModuleDict({"b": classifier}), "c": nn.Linear(1, 1)})) == [
        "a.b.centers"
    ]
