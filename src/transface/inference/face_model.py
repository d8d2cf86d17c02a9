"""A network ready for use: images in, named answers out (unit vectors of an embedding); saved to and opened from a
folder or the Hugging Face Hub.

Shapes: N faces, E embedding size, H x W pixels of a face.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from transface.backbones.features import FACE_OUTPUTS, Output
from transface.backbones.weights.fingerprints import fingerprint_of
from transface.backbones.weights.rebuild import build_backbone, config_of
from transface.backbones.weights.state_dicts import load_strictly
from transface.evaluation.runner import ModelRunner
from transface.file_kinds import described_file
from transface.images.detection import Detector, Policy
from transface.images.detectors.opening import open_detector
from transface.images.faces import detected_batches
from transface.images.fit import Fit
from transface.images.user_images import Colours, batches_of_faces
from transface.images.user_points import aligned_batches
from transface.inference.answers import answer_values, described
from transface.inference.model_card import model_card
from transface.inference.similarity import similarity
from transface.inference.thresholds import Threshold, chosen_flip

FORMAT = "transface.face_model/1"
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
PREPROCESSING = {
    "colours": "RGB",
    "range": "[-1, 1]: x / 127.5 - 1",
    "alignment": "five points onto the 112x112 template of ArcFace",
}
PICTURES = "these pictures"
Item = TypeVar("Item")


class Embeddings(NamedTuple):
    """Unit vectors (N, E), and the norms (N,) the backbone gave them (low where it sees little of a face)."""

    vectors: Tensor
    norms: Tensor


class Comparison(NamedTuple):
    """The cosine of two faces, and whether it reaches the threshold that was given (None without one)."""

    cosine: float
    same: bool | None


class FaceModel(
    nn.Module, PyTorchModelHubMixin, library_name="transface", tags=["face-recognition", "face-verification"]
):
    """A network with the images it takes.

    Attributes:
        outputs: by name, what the network answers.
        embedding_size: of its embedding, or 0 where it answers none.

    Args:
        backbone: the network, or the config of one (see backbones/weights/rebuild.py).
        provenance: plain values that say where it comes from: source, recipe, versions. They go into config.json and
            the model card.
    """

    def __init__(self, backbone: nn.Module | Mapping[str, Any], *, provenance: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        network: Any = backbone if isinstance(backbone, nn.Module) else build_backbone(backbone)
        self.backbone = network
        self.provenance = dict(provenance or {})
        self.outputs: dict[str, Output] = dict(getattr(network, "outputs", FACE_OUTPUTS))
        self.embedding_size = int(network.embedding_size) if "embedding" in self.outputs else 0
        height, width = network.image_size
        self.image_size = (int(height), int(width))
        self.eval()

    def forward(self, images: Tensor) -> Any:
        """Return the network's NamedTuple of answers to images (N, 3, H, W), RGB float in [-1, 1]."""
        return self.backbone(images)

    def __repr__(self) -> str:
        """Return one line: the family, the size of image, what it answers, the number of parameters."""
        count = sum(value.numel() for value in self.parameters())
        height, width = self.image_size
        answers = ", ".join(f"{name} ({output.kind})" for name, output in self.outputs.items())
        return f"FaceModel({type(self.backbone).__name__}, {height}x{width}, {answers}, {count:,} parameters)"

    def describe(self) -> dict[str, Any]:
        """Return what the model answers, as plain values: kind, names in their order, unit, thresholds of every
        output.
        """
        return {name: described(output) for name, output in self.outputs.items()}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((value.device for value in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    def embed(
        self,
        images: Any,
        *,
        points: Any = None,
        detector: str | Detector | None = None,
        faces: Policy = "largest",
        device: str | torch.device | None = None,
        batch_size: int = 64,
        return_norms: bool = False,
        flip: Literal["none", "sum"] | None = None,
        threshold: Threshold | None = None,
        colours: Colours = "rgb",
        fit: Fit = "refuse",
    ) -> Any:
        """Return the embeddings of one or many faces as unit vectors: a tensor (N, E), float32, on the CPU; of one face
        (1, E).

        Args:
            images: one or many of: path, encoded bytes, PIL image, array or tensor (H, W, 3) or (3, H, W); or an array
                of all. uint8 is 0..255, float is [-1, 1]; one channel, or none, is grey. Faces are aligned and of the
                model's size, unless `points` are given.
            points: (5, 2) or (N, 5, 2) pixels x, y of left eye, right eye, nose, left and right mouth corner: each
                picture's face is cut out and aligned by them; with one picture, the N faces in it.
            detector: finds one face in each photograph, which is cut out and aligned: "mtcnn", "yunet:FILE.onnx",
                "scrfd:FILE.onnx", or one that is open.
            faces: which of a photograph's faces is taken: "largest", "central", "score", or "only" (of pictures with
                exactly one).
            device: moves the model there first; by default it runs where it is.
            batch_size: faces in one forward pass.
            return_norms: give Embeddings(vectors, norms) instead of the vectors.
            flip: "sum" adds the embedding of the mirrored face, as the verification protocols do; None: as `threshold`
                was measured, else "none".
            threshold: embed as it was measured, so that it holds for the cosines; one of another model or flip is
                refused.
            colours: "bgr" for arrays as OpenCV reads them; files and PIL images know their own order.
            fit: "resize" brings aligned crops of another size to the model's; "refuse" does not.

        Raises:
            ValueError: for anything that is no face of the right size, a photograph in which the detector finds none,
                or a device or setting that cannot be.
            FileNotFoundError: if a path is not there.
        """
        require_embedding(self)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        preparation = {
            "detector": getattr(detector, "name", detector),
            "fit": fit,
            "points": None if points is None else "given",
        }
        flip = chosen_flip(threshold, flip, model=self, preparation=preparation)
        if device is not None:
            self.to(usable_device(device))
        if detector is not None:
            if points is not None or faces == "all":
                raise ValueError(
                    "detector= finds the points itself, one face a picture: give no points=, and faces= other than all"
                )
            opened = open_detector(detector, device=self.device)
            batches = detected_batches(
                images, opened, self.image_size, batch_size=batch_size, take=faces, colours=colours
            )
        elif points is None:
            batches = batches_of_faces(images, self.image_size, batch_size=batch_size, colours=colours, fit=fit)
        else:
            batches = aligned_batches(images, points, self.image_size, batch_size=batch_size, colours=colours)
        found = self._runner().run_batches(
            batches if isinstance(images, Tensor) else read_ahead(batches),
            ["embedding"],
            add_mirrored=flip == "sum",
            of=PICTURES,
        )
        rows = found.get("embedding", torch.empty(0, self.embedding_size))
        norms = torch.linalg.vector_norm(rows, dim=1)
        vectors = F.normalize(rows)
        return Embeddings(vectors, norms) if return_norms else vectors

    def compare(self, first: Any, second: Any, *, threshold: Threshold | None = None, **settings: Any) -> Comparison:
        """Return the cosine of two pictures' faces and whether they count as one person.

        Args:
            first, second: one picture each, as `embed` takes it.
            threshold: where given, the faces are embedded in the mode it was measured in.
            settings: as `embed` takes them: points (2, 5, 2), detector, fit, colours, flip.

        Raises:
            ValueError, FileNotFoundError: as `embed`.
        """
        vectors = self.embed([first, second], threshold=threshold, **settings)
        cosine = float(similarity(vectors[0], vectors[1]))
        return Comparison(cosine, None if threshold is None else cosine >= threshold.cosine)

    def predict(
        self,
        images: Any,
        *,
        points: Any = None,
        outputs: Sequence[str] | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        colours: Colours = "rgb",
        fit: Fit = "refuse",
    ) -> dict[str, Tensor]:
        """Return the answers to one or many faces by name, each a tensor with first axis N, float32, on the CPU.

        "one_of" and "several_of" are probabilities (N, C), a "number" is in its unit (N,) or (N, 3) with its interval,
        "points" are (N, P, 2) in pixels of the network's image, "regions" are probabilities (N, R, H, W), an
        "embedding" is a unit vector (N, E). `describe()` tells the names.

        Args:
            images, points, device, batch_size, colours, fit: as `embed` takes them.
            outputs: names of the answers wanted; None: all.

        Raises:
            ValueError: as `embed` does, for a name the model does not answer, or an answer that is NaN or infinite.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        wanted = list(self.outputs) if outputs is None else list(outputs)
        unknown = [name for name in wanted if name not in self.outputs]
        if unknown:
            raise ValueError(f"this model answers {', '.join(self.outputs)}, and not {', '.join(unknown)}")
        if device is not None:
            self.to(usable_device(device))
        if points is None:
            batches = batches_of_faces(images, self.image_size, batch_size=batch_size, colours=colours, fit=fit)
        else:
            batches = aligned_batches(images, points, self.image_size, batch_size=batch_size, colours=colours)
        return self._runner().run_batches(
            batches if isinstance(images, Tensor) else read_ahead(batches),
            wanted,
            reduce=lambda name, rows: answer_values(self.outputs[name], rows),
            of=PICTURES,
        )

    def _runner(self) -> ModelRunner:
        """Return what runs the network and checks its answers; in the autocast of the caller, if there is one."""
        return ModelRunner(self.backbone, device=self.device, progress=False, forward_context=nullcontext)

    def fingerprint(self) -> str:
        """Return the SHA-256 of all weights with their names: equal for equal models, whatever file they came from."""
        return fingerprint_of(self.backbone)

    def about(self) -> dict[str, Any]:
        """Return what embeddings of this model say of it: its fingerprint, and where it was opened from."""
        return {"model": self.fingerprint(), "source": self.provenance.get("source")}

    def config(self) -> dict[str, Any]:
        """Return what config.json of a published model holds: enough to build it again.

        Raises:
            ValueError: if the backbone cannot be built from plain values (an ONNX file).
        """
        return {
            "format": FORMAT,
            "backbone": config_of(self.backbone),
            **({"embedding_size": self.embedding_size} if self.embedding_size else {}),
            "outputs": self.describe(),
            "image_size": list(self.image_size),
            "preprocessing": PREPROCESSING,
            "provenance": self.provenance,
        }

    def generate_model_card(self, *args: Any, **words: Any) -> ModelCard:
        """Return the card that save_pretrained and push_to_hub write where there is none."""
        return ModelCard(model_card(self.config(), self.provenance, **words))

    def _save_pretrained(self, save_directory: Path) -> None:
        config = self.config()
        weights = {
            f"backbone.{name}": value.detach().cpu().contiguous() for name, value in self.backbone.state_dict().items()
        }
        save_file(weights, save_directory / WEIGHTS_FILE, metadata={"format": "pt"})
        (save_directory / WEIGHTS_FILE).chmod(0o644)  # a file to pass on; safetensors makes it for its owner alone
        (save_directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **parts: Any,
    ) -> Self:
        if Path(model_id).is_dir():
            file = Path(model_id) / WEIGHTS_FILE
            if not file.is_file():
                raise FileNotFoundError(f"no {WEIGHTS_FILE} in {model_id}")
        else:
            where = {"revision": revision, "cache_dir": cache_dir, "force_download": force_download, "token": token}
            where["local_files_only"] = local_files_only
            file = Path(hf_hub_download(model_id, WEIGHTS_FILE, **where))  # type: ignore[arg-type]
        if "backbone" not in parts:
            raise ValueError(f"{model_id} has no {CONFIG_FILE} of a face model of transface ({FORMAT})")
        model = cls(parts["backbone"], provenance=parts.get("provenance"))
        try:
            stored = load_file(file, device=str(map_location))
        except SafetensorError as error:
            raise ValueError(f"{file} is broken: {described_file(file) or error}") from error
        weights = {name.removeprefix("backbone."): value for name, value in stored.items()}
        if strict:
            load_strictly(model.backbone, weights, origin=f"the weights in {model_id}")
        else:
            model.backbone.load_state_dict(weights, strict=False)
        return model.to(map_location).eval()


def require_embedding(model: FaceModel) -> None:
    """Raise ValueError for a model that answers other things than an embedding."""
    if "embedding" not in model.outputs:
        raise ValueError(f"this model gives no embedding, it answers {', '.join(model.outputs)}: use predict")


def usable_device(device: str | torch.device) -> torch.device:
    """Return the device.

    Raises:
        ValueError: if there is no such device here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return found


def read_ahead(batches: Iterator[Item]) -> Iterator[Item]:
    """Yield the same, the next one being read in a thread while the present one is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="faces") as reader:
        pending = reader.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = reader.submit(next, batches, None)
            yield batch
