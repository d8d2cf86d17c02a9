"""What the page answers: two photographs compared, one predicted, a folder searched; plain functions of pictures.

Shapes: H x W pixels of a face, N = rows x columns patches.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from transface.backbones.parts.evaluating import evaluating
from transface.images.detection import Detector
from transface.images.faces import find_faces
from transface.images.fit import Fit, fit_image
from transface.images.pixels import normalise
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import NamedEmbeddings, require_models_equal
from transface.inference.predict import predict_pictures
from transface.inference.predictions_file import as_json
from transface.inference.search.face_index import FaceIndex
from transface.inference.similarity import similarity

Picture = NDArray[np.uint8]
NUM_HITS = 8
SHOWN_LARGER = 2  # a face of 112 pixels is small on a page


class Compared(NamedTuple):
    """What comparing two photographs gave: a sentence, and both faces, twice as large, with the patches that matter
    bright.
    """

    said: str
    first: Picture | None
    second: Picture | None


class Handlers:
    """The functions behind the page; each answers a mistake with a sentence, and raises nothing.

    Args:
        model: answers.
        detector: finds faces in photographs; None: pictures are taken as faces.
        threshold: the cosine from which two faces count as one person, or None: no verdict.
        gallery: embedded faces to search in, or None.
        pictures: where the pictures of the gallery lie.
        flip: of compared faces, "none" or "sum": what the threshold was measured with.
        fit: how pictures without a detector become faces, as `fit_image` takes it.

    Raises:
        ValueError: if the gallery is of another model.
    """

    def __init__(
        self,
        model: FaceModel,
        *,
        detector: Detector | None = None,
        threshold: float | None = None,
        gallery: NamedEmbeddings | None = None,
        pictures: Path | None = None,
        flip: Literal["none", "sum"] = "sum",
        fit: Fit = "letterbox",
    ) -> None:
        self.model, self.detector, self.threshold = model, detector, threshold
        self.flip, self.fit = flip, fit
        self.gallery, self.pictures = gallery, pictures
        self.index: FaceIndex | None = None
        if gallery is not None:
            require_models_equal(gallery.about, "the gallery", model.about(), "the model")
            self.index = FaceIndex(gallery.vectors, engine="exact")

    def face(self, picture: Picture | None) -> torch.Tensor:
        """Return the face (3, H, W) of a photograph, uint8.

        Raises:
            ValueError: without a picture, or a face in it.
        """
        if picture is None:
            raise ValueError("choose a photograph first")
        pixels = torch.from_numpy(np.ascontiguousarray(picture[..., :3])).permute(2, 0, 1)
        if self.detector is None:
            return fit_image(pixels, self.model.image_size, fit=self.fit, name="the photograph")
        (found,) = find_faces(self.detector, [pixels], size=self.model.image_size)
        if not found.faces:
            raise ValueError(str(found.reason))
        return found.faces[0].image

    def compare(self, first: Picture | None, second: Picture | None) -> Compared:
        """Compare the faces of two photographs."""
        try:
            faces = torch.stack([self.face(first), self.face(second)])
            vectors = self.model.embed(faces, flip=self.flip)
        except ValueError as error:
            return Compared(str(error), None, None)
        cosine = float(similarity(vectors[0], vectors[1]))
        said = f"similarity {cosine:.4f}"
        if self.threshold is not None:
            verdict = "same person" if cosine >= self.threshold else "different people"
            said += f": {verdict} (the threshold is {self.threshold:.4f})"
        shown = self.with_patches(faces)
        return Compared(said, shown[0], shown[1])

    def with_patches(self, faces: torch.Tensor) -> list[Picture]:
        """Return faces (B, 3, H, W) as pictures of twice their size, patches faded where they matter little; as they
        are where it ranks none.
        """
        ranked = getattr(self.model.backbone, "patch_importance", None)
        with torch.inference_mode(), evaluating(self.model):
            importance = None if ranked is None else ranked(normalise(faces.to(self.model.device)))
        pixels = faces.float()
        if importance is not None:
            rows, columns = self.model.backbone.grid_size
            scores = importance.float().cpu()
            low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
            weight = 0.25 + 0.75 * (scores - low) / (high - low).clamp(min=1e-12)
            grid = weight.reshape(len(faces), 1, rows, columns)
            pixels = 255 - (255 - pixels) * F.interpolate(grid, size=faces.shape[-2:], mode="nearest")
        pixels = F.interpolate(pixels, scale_factor=SHOWN_LARGER, mode="nearest")
        shown: list[Picture] = [image.permute(1, 2, 0).round().to(torch.uint8).numpy() for image in pixels]
        return shown

    def predict(self, picture: Picture | None) -> dict[str, Any]:
        """Return the answers to every face of a photograph, as the command line writes them."""
        if picture is None:
            return {"failed": "choose a photograph first"}
        pixels = torch.from_numpy(np.ascontiguousarray(picture[..., :3])).permute(2, 0, 1)
        try:
            found = predict_pictures(self.model, [("photograph", pixels)], detector=self.detector, fit=self.fit)
        except ValueError as error:
            return {"failed": str(error)}
        (answer,) = as_json(found)
        for one in answer["faces"]:
            if one["outputs"].pop("embedding", None) is not None and not one["outputs"]:
                one["outputs"]["embedding"] = "the one answer of this model: compare or search with it"
        return dict(answer)

    def search(self, picture: Picture | None) -> tuple[str, list[tuple[Path, str]]]:
        """Return a sentence, and the most similar pictures of the gallery with their names and cosines."""
        if self.index is None or self.gallery is None:
            return "no gallery: start the page with gallery=FOLDER", []
        try:
            vector = self.model.embed(self.face(picture)[None], flip=self.gallery.about.get("flip") or "none")
        except ValueError as error:
            return str(error), []
        hits = self.index.search(vector, NUM_HITS)
        found = []
        for score, place in zip(hits.scores[0], hits.positions[0], strict=True):
            name = str(self.gallery.names[place])
            same = self.threshold is not None and float(score) >= self.threshold
            found.append(((self.pictures or Path()) / name, f"{float(score):.4f} {name}{', same' if same else ''}"))
        return f"the {len(found)} most similar of {len(self.gallery.names)} faces", found
