"""A step of the generalist: its losses, what learns, what is refused."""

import pytest
import torch
from tests.unit.systems.generalist.small import TASKS, batches, module, network

from transface.systems.generalist.loss_balance import UncertaintyWeights
from transface.systems.generalist.task_losses import TASK_LOSSES, age_loss
from transface.systems.generalist.tasks import Task


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_step_gives_a_loss_of_every_task_and_a_gradient_to_all_that_is_trained() -> None:
    own = module().train()
    losses = own.losses(batches(), generator())
    assert list(losses.terms) == [task.name for task in TASKS]
    assert losses.num_samples == 16
    losses.total().backward()
    missing = [name for name, value in own.named_parameters() if value.requires_grad and value.grad is None]
    assert missing == []
    frozen = {name for name, value in own.network.named_parameters() if not value.requires_grad}
    assert frozen == {"encoder.ln_post.weight", "encoder.ln_post.bias", "encoder.proj"}


def test_images_of_one_size_pass_the_encoder_once() -> None:
    own = module()
    calls = []
    own.network.encoder.register_forward_pre_hook(lambda _, inputs: calls.append(tuple(inputs[0].shape)))
    own.losses(batches(), generator())
    assert calls == [(16, 3, 16, 16)]


def test_merged_batches_give_the_losses_of_one_batch_at_a_time() -> None:
    own = module(flip_probability=0.0).double().eval()
    together = own.losses(batches(), generator()).terms
    images = batches()["age"].images.double() / 127.5 - 1
    alone = age_loss(own.network.task_logits(own.network.encode(images), ["age"])["age"], batches()["age"].labels)
    assert float(together["age"].detach()) == pytest.approx(float(alone.detach()), rel=1e-9)


def test_an_unknown_attribute_changes_no_loss() -> None:
    own = module(flip_probability=0.0).eval()
    first = own.losses(batches(), generator()).terms["smile"]
    changed = batches()
    changed["smile"].labels.values[1, 1] = 1  # not known
    assert torch.equal(own.losses(changed, generator()).terms["smile"], first)


def test_the_encoder_learns_at_its_own_rate_and_learned_weights_do_not_decay() -> None:
    own = module(encoder_lr_factor=0.25, balance=UncertaintyWeights)
    groups = own.parameter_groups()
    encoder = {id(value) for value in own.network.encoder.parameters()}
    for group in groups:
        inside = {id(value) in encoder for value in group["params"]}
        assert inside == {group.get("lr_factor", 1.0) == 0.25}
    learned = next(group for group in groups if group["params"][0] is own.balance.log_variances)
    assert learned["weight_decay"] == 0.0


def test_a_batch_that_lacks_a_task_is_refused() -> None:
    some = batches()
    some.pop("age")
    with pytest.raises(ValueError, match="a step needs a batch of every task"):
        module().losses(some, generator())


def test_a_classifier_without_identity_and_identity_without_one_are_refused() -> None:
    with pytest.raises(ValueError, match="identity tasks need a classifier"):
        module(classifier=None)
    with pytest.raises(ValueError, match="identity tasks need a classifier"):
        module(network(TASKS[1:]), classifier=torch.nn.Linear(8, 5))


def test_a_word_of_trained_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter's name holds 'query_embed'"):
        module(trained=["query_embed"])


def test_what_is_not_named_in_trained_is_frozen_and_stays_in_eval_mode() -> None:
    own = module(trained=["queries.", "value."]).train()
    named = {name for name, value in own.network.named_parameters() if value.requires_grad}
    assert named
    assert all(name.startswith(("queries.", "value.")) for name in named)
    assert not own.network.encoder.training
    assert own.network.value.training


def test_a_teacher_of_identity_adds_a_term_and_is_no_part_of_the_module() -> None:
    teacher = network((TASKS[0],))
    own = module(identity_teacher=teacher, identity_teacher_weight=2.0)
    losses = own.losses(batches(), generator())
    assert losses.weights["identity_teacher"] == 2.0
    assert 0 < float(losses.terms["identity_teacher"]) < 2
    assert not any("teacher" in name for name in own.state_dict())


def test_a_teacher_is_opened_by_its_path_before_training() -> None:
    teacher, opened = network((TASKS[0],)), []
    own = module(identity_teacher="runs/teacher", identity_teacher_loss="margin")
    own.open_models(lambda path: opened.append(path) or teacher)
    own.open_models(lambda path: opened.append(path) or teacher)
    assert opened == ["runs/teacher"]
    batch = batches()
    both = [batch, batch | {"identity": batch["identity"]._replace(labels=torch.zeros(4, dtype=torch.int64))}]
    terms = [float(own.losses(one, generator()).terms["identity_teacher"]) for one in both]
    assert terms[1] < terms[0]  # faces of one person are not told apart
    assert not any("teacher" in name for name in own.state_dict())


@pytest.mark.parametrize(
    ("size", "loss", "line"),
    [
        (16, "mse", r"teacher runs/teacher has an embedding of 4, identity of 8: give embedding_size=4"),
        (16, "relational", None),
        (32, "cosine", r"has an embedding of 4"),
        (
            32,
            "relational",
            r"teacher runs/teacher takes images of \(32, 32\) pixels, identity is trained at \[\(16, 16\)\]",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_told_at_the_start(size: int, loss: str, line: str | None) -> None:
    teacher = network((Task("who", "identity", 4, 4, image_size=size),), image_size=size)
    own = module(identity_teacher="runs/teacher", identity_teacher_loss=loss)
    if line is None:
        own.open_models(lambda _: teacher)
        assert float(own.losses(batches(), generator()).terms["identity_teacher"]) >= 0
    else:
        with pytest.raises(ValueError, match=line):
            own.open_models(lambda _: teacher)


def test_a_layer_the_encoder_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layers \[7\] are read but the encoder gives \[0, 1\]"):
        network(layers=(7,))


def test_a_mirrored_face_has_the_labels_of_the_other_side() -> None:
    tasks = (
        Task("eyes", "attributes", 2, 4, ("left_eye_shut", "right_eye_shut"), image_size=16),
        Task("gaze", "expression", 3, 4, ("left", "ahead", "right"), image_size=16),
        Task("age", "age", 101, 4, image_size=16),
    )
    own = module(network(tasks), flip_probability=1.0).double().eval()
    given = batches()
    given = {"eyes": given["smile"], "gaze": given["mood"], "age": given["age"]}
    found = own.losses(given, generator()).terms
    turned = {name: batch.images.flip(-1).double() / 127.5 - 1 for name, batch in given.items()}
    logits = own.network.forward_batches(turned)
    values, known = given["eyes"].labels.values.flip(-1), given["eyes"].labels.known.flip(-1)
    wanted = {
        "eyes": TASK_LOSSES["attributes"](logits["eyes"], torch.where(known, values.double(), -1)),
        "gaze": TASK_LOSSES["expression"](logits["gaze"], 2 - given["gaze"].labels),
        "age": TASK_LOSSES["age"](logits["age"], given["age"].labels),
    }
    for name, value in wanted.items():
        assert float(found[name].detach()) == pytest.approx(float(value.detach()), rel=1e-9), name


def test_a_class_of_a_side_without_its_opposite_is_refused_at_the_start() -> None:
    tasks = (Task("gaze", "expression", 2, 4, ("ahead", "left"), image_size=16),)
    with pytest.raises(ValueError, match=r"class 'left' names a side .*flip_probability=0"):
        module(network(tasks))
    module(network(tasks), flip_probability=0.0)
