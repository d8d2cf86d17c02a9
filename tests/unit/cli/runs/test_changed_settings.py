"""What changed since a checkpoint is told, once, and nothing else."""

from transface.cli.runs.changed_settings import changed_settings, told


def config(margin: float = 0.35, **more: object) -> dict:
    own = {"_target_": "CosFace", "margin": margin}
    return {
        "name": "demo",
        "margin": own,
        "classifier": {"_target_": "FullSoftmax", "margin": dict(own)},
        "system": {"margin": dict(own), "seed": 0},
        "data": {"_target_": "Data", "root": "a", "num_workers": 1},
        "paths": {"run": "runs/demo"},
        "optimizer": {"lr": 0.1},
        "trainer": {"max_epochs": 5, "precision": None},
    } | more


def test_equal_configs_have_no_changes() -> None:
    assert changed_settings(config(), config()) == []


def test_a_changed_setting_is_told_once_by_its_shortest_name() -> None:
    assert changed_settings(config(0.35), config(0.5)) == ["margin.margin 0.35 -> 0.5"]


def test_every_kind_of_setting_is_told() -> None:
    now = config(
        data={"_target_": "Data", "root": ["b", "c"], "num_workers": 1}, trainer={"max_epochs": 5, "precision": "bf16"}
    )
    assert changed_settings(config(), now) == ["data.root a -> ['b', 'c']", "trainer.precision null -> bf16"]


def test_where_a_run_lies_and_how_fast_its_data_come_is_not_told() -> None:
    now = config(name="other", paths={"run": "x"}, data={"_target_": "Data", "root": "a", "num_workers": 9})
    assert changed_settings(config(), now | {"optimizer": {"lr": 0.2}}) == []


def test_a_part_of_another_kind_is_told_and_a_setting_that_came_later_is_not() -> None:
    now = config()
    now["margin"] = {"_target_": "ArcFace", "margin": 0.35}
    assert changed_settings(config(), now) == ["margin._target_ CosFace -> ArcFace"]
    later = config()
    later["margin"] = later["margin"] | {"easy": False}
    assert changed_settings(config(), later) == []
    assert changed_settings(config(), config(perturbation={"_target_": "DPAP", "alpha": 1.0})) == [
        "perturbation._target_ null -> DPAP",
        "perturbation.alpha null -> 1.0",
    ]


def test_a_long_list_is_cut_and_counted() -> None:
    assert told([f"a{n} 1 -> 2" for n in range(25)]).endswith("a19 1 -> 2 and 5 more")


def test_an_average_that_comes_or_goes_is_told_and_other_callbacks_are_not() -> None:
    with_average = config(callbacks={"average": {"decay": 0.9}, "progress": {"monitor": "x"}})
    assert changed_settings(with_average, config(callbacks={"progress": {"monitor": "y"}})) == [
        "callbacks.average.decay 0.9 -> null"
    ]
