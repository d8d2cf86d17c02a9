"""Embeddings become people; those of two models are refused, and carried over by a map."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from transface.backbones.face_vit import FaceViT
from transface.inference.clusters import cluster_faces, joined_within, suggest_merges
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import NamedEmbeddings, require_one_model
from transface.inference.quality import rate_faces
from transface.inference.translation import carried_over, fit_translation, procrustes, ridge, unit_rows
from transface.metrics.clustering import bcubed_scores
from transface.metrics.token_quality import token_distances, token_quality


def people_vectors(
    num_people: int, each: int, size: int = 32, noise: float = 0.05, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng.normal(size=(num_people, size)))
    people = np.repeat(np.arange(num_people), each)
    return unit_rows(centres[people] + noise * rng.normal(size=(len(people), size))).astype(np.float32), people


def named(vectors: np.ndarray, model: str) -> NamedEmbeddings:
    names = np.array([f"{place}.jpg" for place in range(len(vectors))])
    return NamedEmbeddings(
        names,
        vectors,
        np.ones(len(vectors), np.float32),
        np.array([], dtype=np.str_),
        {"model": model, "source": f"runs/{model}"},
    )


def test_people_are_found_and_strangers_left_out() -> None:
    vectors, people = people_vectors(8, 6)
    strangers = unit_rows(np.random.default_rng(9).normal(size=(5, 32))).astype(np.float32)
    found = cluster_faces(np.concatenate([vectors, strangers]), min_cluster_size=3, same_person=0.6)
    assert bcubed_scores(people, found.labels[:48]).f == pytest.approx(1)
    assert (found.labels[48:] == -1).all()
    assert found.merges == []


@pytest.mark.parametrize("same_person", [-1.0, 0.0, 0.2, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("noise", [0.05, 0.15, 0.3])
def test_no_two_faces_are_split_that_are_near_through_others(same_person: float, noise: float) -> None:
    vectors, _ = people_vectors(12, 6, size=16, noise=noise)
    size = 3
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors, axis=-1)
    core = np.sort(distances, axis=1)[:, size - 1]  # the face itself counts
    near = np.maximum(distances, np.maximum(core[:, None], core)) < np.sqrt(2 - 2 * same_person)
    labels = cluster_faces(vectors, min_cluster_size=size, same_person=same_person).labels
    both = (labels[:, None] >= 0) & (labels >= 0)
    assert (labels[:, None] == labels)[near & both].all()


def test_groups_join_the_clusters_they_touch() -> None:
    labels = np.array([0, 0, 1, 1, 2, -1, -1, -1])
    near = np.array([0, 0, 0, -1, 1, 1, -1, 2])
    assert joined_within(labels, near).tolist() == [0, 0, 0, 0, 1, 1, -1, -1]
    assert joined_within(np.full(3, -1), np.array([0, 0, -1])).tolist() == [-1, -1, -1]


def test_two_faces_of_one_picture_are_two_people() -> None:
    vectors, _ = people_vectors(3, 6)
    pictures = [f"{place}.jpg" for place in range(18)]
    pictures[1] = pictures[0]
    labels = cluster_faces(vectors, pictures=pictures).labels
    assert (labels[[0, 1]] == -1).sum() == 1


def test_halves_of_a_person_are_suggested_but_not_merged() -> None:
    vectors, people = people_vectors(3, 8)
    split = np.where((people == 0) & (np.arange(24) % 2 == 0), 3, people)
    (merge, *rest) = suggest_merges(vectors, split, suggest_from=0.6)
    assert (merge.first, merge.second) == (0, 3)
    assert rest == []
    together = ["group.jpg" if place in (0, 1) else f"{place}.jpg" for place in range(24)]
    assert suggest_merges(vectors, split, pictures=together, suggest_from=0.6) == []


def test_few_faces_and_wrong_settings() -> None:
    vectors, _ = people_vectors(1, 2)
    assert cluster_faces(vectors, min_cluster_size=3).labels.tolist() == [-1, -1]
    for words, message in (
        ({"min_cluster_size": 1}, "2 or more"),
        ({"same_person": 2.0}, "cosine"),
        ({"suggest_from": np.nan}, "cosine"),
    ):
        with pytest.raises(ValueError, match=message):
            cluster_faces(vectors, **words)  # type: ignore[arg-type]


def test_embeddings_of_two_models_are_refused_by_name() -> None:
    vectors, _ = people_vectors(2, 3)
    require_one_model([named(vectors, "a"), named(vectors, "a")], ["x.npz", "y.npz"])
    with pytest.raises(ValueError, match=r"x\.npz and y\.npz hold embeddings of two models \(runs/a, a; runs/b, b\)"):
        require_one_model([named(vectors, "a"), named(vectors, "b")], ["x.npz", "y.npz"])


def test_procrustes_is_scipys_and_finds_a_rotation_again() -> None:
    vectors, _ = people_vectors(40, 3, noise=0.3)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(32, 32)))[0]
    other = vectors.astype(np.float64) @ rotation
    np.testing.assert_allclose(procrustes(vectors.astype(np.float64), other), rotation, atol=1e-6)
    noisy = unit_rows(other + 0.1 * np.random.default_rng(2).normal(size=other.shape))
    np.testing.assert_allclose(
        procrustes(vectors.astype(np.float64), noisy), scipy.linalg.orthogonal_procrustes(vectors, noisy)[0], atol=1e-6
    )
    found = fit_translation(named(vectors, "old"), named(other.astype(np.float32), "new"))
    assert found.kind == "procrustes"
    assert (found.about["old"], found.about["new"]) == ("old", "new")
    np.testing.assert_allclose(found.apply(vectors), other, atol=1e-4)


def test_ridge_is_the_normal_equations_and_takes_other_sizes() -> None:
    from sklearn.linear_model import Ridge

    vectors, people = people_vectors(60, 3, noise=0.2)
    other = unit_rows(vectors.astype(np.float64) @ np.random.default_rng(1).normal(size=(32, 48)))
    own = vectors.astype(np.float64)
    alpha = 0.01 * np.trace(own.T @ own) / 32
    expected = Ridge(alpha=alpha, fit_intercept=False).fit(own, other).coef_.T
    np.testing.assert_allclose(ridge(own, other, 0.01), expected, atol=1e-6)
    found = fit_translation(named(vectors, "old"), named(other.astype(np.float32), "new"), people=people)
    assert found.kind == "ridge"
    assert (found.apply(vectors) * other).sum(1).mean() > 0.98
    with pytest.raises(ValueError, match="one model"):
        fit_translation(named(vectors, "old"), named(vectors, "old"))
    with pytest.raises(ValueError, match="kind='ridge'"):
        fit_translation(named(vectors, "old"), named(other.astype(np.float32), "new"), kind="procrustes")


def test_what_is_carried_over_is_of_the_mode_of_the_new_embeddings() -> None:
    vectors, _ = people_vectors(10, 3)
    old, new = named(vectors, "old"), named(vectors[:, ::-1].copy(), "new")
    old = old._replace(about={**old.about, "flip": "none", "key": "k", "quality": "norm"}, quality=old.norms)
    new = new._replace(about={**new.about, "flip": "sum"})
    found = fit_translation(old, new)
    moved = carried_over(old, found)
    assert (moved.about["model"], moved.about["flip"]) == ("new", "sum")
    assert "key" not in moved.about, "they are not what embedding with the old model gives"
    assert moved.quality is None, "it ranks faces of the old model alone"
    other = old._replace(about={**old.about, "flip": "sum"})
    with pytest.raises(ValueError, match=r"o\.npz was embedded with flip=sum, and m\.npz was fitted on .* flip=none"):
        carried_over(other, found, name="o.npz", map_name="m.npz")
    twice = old._replace(names=np.array(["a"] * len(vectors)))
    with pytest.raises(ValueError, match="the old file has 30 embeddings of a"):
        fit_translation(twice, new)


def test_the_quality_of_a_model_is_that_of_its_blocks_tokens() -> None:
    torch.manual_seed(0)
    blocks = (0, 1, 2)
    network = FaceViT(embed_dim=32, depth=3, num_heads=4, embedding_size=16, layer_token_blocks=blocks).eval()
    model = FaceModel(network)
    faces = torch.rand(5, 3, 112, 112) * 2 - 1
    found = rate_faces(model, faces, batch_size=2)
    with torch.no_grad():
        tokens = network(faces).layer_tokens
    assert tokens is not None
    norm = network.norm
    for count in (2, 3):
        distances = token_distances(torch.stack(tokens[:count], 1), norm.weight, norm.bias, eps=norm.eps)
        torch.testing.assert_close(
            rate_faces(model, faces, num_blocks=count).quality, token_quality(distances).detach(), atol=1e-5, rtol=0
        )
    torch.testing.assert_close(found.vectors, model.embed(faces), atol=1e-6, rtol=0)
    assert ((found.quality > 0) & (found.quality < 1)).all()
    with pytest.raises(ValueError, match="2\\.\\.3"):
        rate_faces(model, faces, num_blocks=4)


def test_a_convolutional_model_gives_no_quality(small_model: FaceModel) -> None:
    class Plain(nn.Module):
        embedding_size, image_size = 4, (112, 112)

    with pytest.raises(ValueError, match="Plain is no vision transformer"):
        rate_faces(FaceModel(Plain()), torch.zeros(1, 3, 112, 112))
