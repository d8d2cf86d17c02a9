"""Writes the page that goes with a published model: what it is, how it was made, what it reaches, what it must not be
used for.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transface.data.labels.attributes import JUDGEMENTS
from transface.evaluation.results import Measure, Result, format_number, unit_word

NOT_STATED = "not stated by the publisher of this model"
SHOWN_MEASURES = 12
USE = """```python
import transface

model = transface.load("{name}")          # this folder; FaceModel.from_pretrained(...) opens one on the Hub
vectors = model.embed(["a.jpg", "b.jpg"])  # aligned {height}x{width} faces -> unit vectors (2, {size})
print(float(transface.similarity(vectors[0], vectors[1])))
```"""
USE_PREDICT = """```python
import transface

model = transface.load("{name}")   # this folder; FaceModel.from_pretrained(...) opens one on the Hub
answers = model.predict("a.jpg")    # {height}x{width} pixels -> {outputs}
print(model.describe())
```"""
LIMITS_PREDICT = """The model guesses from pictures what people were asked to label. It is wrong for some people more
often than for others; measure it on faces like yours. Labels of looks (attractive, chubby) are judgements of those who
labelled, not facts about anybody. In many countries such guesses about people need their consent."""
# What a guess of each output is not, by the output's name.
TASK_LIMITS = {
    "expression": (
        "An expression is what a face looks like in one picture, as people labelled it; not what the person feels."
    ),
    "age": (
        "An age is what a face looks like, with the interval the model gives; it proves nobody's age and is least sure"
        " for the youngest and the oldest."
    ),
    "gender": "A gender is a guess from looks in the two words of the training labels; it says nothing about identity.",
}
JUDGED = "These labels are judgements of the people who labelled, not facts of a picture: {names}."
LIMITS = """The model says how alike two face pictures are. It is no proof of identity: at any threshold some pairs of
different people pass, more often among groups its training data holds few of. Measure it on faces like yours and
choose the threshold there (`transface.threshold`). Face templates are personal data; in many countries their use needs
the person's consent."""


def model_card(
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    name: str = "model",
    training_data: str | None = None,
    data_licence: str | None = None,
    licence: str | None = None,
    results: Sequence[Result] = (),
) -> str:
    """Return the Markdown of a model's card, with the header that the Hugging Face Hub reads.

    Args:
        config: what config.json of the model holds.
        provenance: of the model: recipe, steps, versions.
        training_data: the name of the training set; by default that of the recipe.
        data_licence: under what terms the training set may be used.
        licence: of the weights, as an identifier of the Hub ("apache-2.0"), or "other".
        results: of verification and identification, shown with their intervals.
    """
    recipe = provenance.get("recipe") or {}
    data = training_data or _data_name(recipe) or NOT_STATED
    sections = {
        "Use": _use(config, name),
        "Input and output": _input_and_output(config),
        "Training data": (
            f"{data}.\n\nLicence of the data: {data_licence or NOT_STATED}. Licence of the weights:"
            f" {licence or NOT_STATED}."
        ),
        "Recipe": _recipe(recipe, provenance),
        "Results": _results(results),
        "Limits": LIMITS if "embedding_size" in config else _limits(config),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    summary = f"A face model of transface: {_architecture(config)}, {_answers(config)}."
    return f"{_header(config, licence, results)}\n# {name}\n\n{summary}\n\n{body}\n"


def _limits(config: Mapping[str, Any]) -> str:
    """Return the limits of a model that answers questions: those of all, and those of each of its outputs."""
    found = [LIMITS_PREDICT, *(TASK_LIMITS[name] for name in config["outputs"] if name in TASK_LIMITS)]
    for output in config["outputs"].values():
        judged = [name for name in output.get("names") or () if name in JUDGEMENTS]
        if judged:
            found.append(JUDGED.format(names=", ".join(judged)))
    return "\n\n".join(found)


def _use(config: Mapping[str, Any], name: str) -> str:
    height, width = config["image_size"]
    if "embedding_size" in config:
        return USE.format(name=name, height=height, width=width, size=config["embedding_size"])
    return USE_PREDICT.format(name=name, height=height, width=width, outputs=_answers(config))


def _answers(config: Mapping[str, Any]) -> str:
    """Return what the model answers in a line."""
    if "embedding_size" in config:
        return f"{config['embedding_size']}-dimensional embeddings"
    return ", ".join(f"{name} ({_kind(output)})" for name, output in config["outputs"].items())


def _kind(output: Mapping[str, Any]) -> str:
    """Return in words what an output answers: "one of 7", "any of 40", "years", "68 points"."""
    count = len(output.get("names") or ())
    words = {
        "one_of": f"one of {count}",
        "several_of": f"any of {count}",
        "number": output.get("unit") or "a number",
        "points": f"{count} points" if count else "points",
        "regions": f"a map of {count} regions",
        "embedding": "a vector",
    }
    return words.get(output["kind"], output["kind"].replace("_", " "))


def _header(config: Mapping[str, Any], licence: str | None, results: Sequence[Result]) -> str:
    recognises = "embedding_size" in config
    own = ["face-recognition", "face-verification"] if recognises else [f"face-{name}" for name in config["outputs"]]
    tags = [*own, "transface", "pytorch_model_hub_mixin", "model_hub_mixin"]
    lines = [
        "---",
        "library_name: transface",
        f"pipeline_tag: {'image-feature-extraction' if recognises else 'image-classification'}",
        f"license: {json.dumps(licence or 'other')}",
        "tags:",
    ]
    lines += [f"- {tag}" for tag in tags]
    if results:
        lines += (
            ["metrics:", "- accuracy"]
            if any(m.name == "accuracy" for result in results for m in result.measures)
            else []
        )
    return "\n".join([*lines, "---", ""])


def _architecture(config: Mapping[str, Any]) -> str:
    return str(config["backbone"].get("_target_", "backbone")).rsplit(".", 1)[-1]


def _input_and_output(config: Mapping[str, Any]) -> str:
    height, width = config["image_size"]
    network = f"Network: {_part(config['backbone'])}."
    if "embedding_size" not in config:
        lines = [f"- `{name}`: {_kind(output)}{_entries(output)}" for name, output in config["outputs"].items()]
        return (
            f"Pictures of {height}x{width} pixels, RGB, as x / 127.5 - 1. Out come:\n\n"
            + "\n".join(lines)
            + f"\n\n{network}"
        )
    return (
        f"Faces of {height}x{width} pixels, RGB, aligned by five points to the usual template, as x / 127.5 - 1. "
        f"Out come {config['embedding_size']} numbers a face; compare them by their cosine.\n\n"
        f"{network}"
    )


def _part(settings: Mapping[str, Any]) -> str:
    """Return a network and its settings in words; what an output tells (names, thresholds) is not said twice."""
    name = str(settings.get("_target_", "")).rsplit(".", 1)[-1]
    told = {
        key: value
        for key, value in settings.items()
        if key not in ("_target_", "outputs", "label_names", "thresholds") and value is not None
    }
    words = [
        f"{key} {_part(value) if isinstance(value, Mapping) else json.dumps(value).strip(chr(34))}"
        for key, value in told.items()
    ]
    return (f"{name} ({', '.join(words)})" if words else name) if name else f"{{{', '.join(words)}}}"


def _entries(output: Mapping[str, Any]) -> str:
    names = list(output.get("names") or ())
    if output.get("thresholds"):
        names = [f"{name} ({limit:.3f})" for name, limit in zip(names, output["thresholds"], strict=True)]
        return f", each with the probability from which it is said to be there: {', '.join(names)}"
    return f": {', '.join(names)}" if names else ""


def _data_name(recipe: Mapping[str, Any]) -> str | None:
    data = recipe.get("data")
    if not isinstance(data, Mapping):
        return str(data) if data else None
    for key in ("name", "root", "path", "train"):
        if isinstance(data.get(key), str):
            return str(data[key])
    return None


def _recipe(recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    lines = [f"Trained for {provenance['steps']:,} steps."] if "steps" in provenance else []
    if provenance.get("source"):
        lines.append(f"Made from `{provenance['source']}`.")
    if recipe:
        lines.append(f"```json\n{json.dumps(recipe, indent=1)}\n```")
    elif "steps" not in provenance:
        lines.append("How the weights were trained is not known: they came without a recipe.")
    if provenance.get("versions"):
        lines.append(
            "Versions: " + ", ".join(f"{name} {version}" for name, version in provenance["versions"].items()) + "."
        )
    return "\n\n".join(lines)


def _results(results: Sequence[Result]) -> str:
    if not results:
        return "None were given with this model."
    lines = ["| set | protocol | measure | value | 95 % interval |", "|---|---|---|---|---|"]
    notes = []
    for result in results:
        for measure in result.measures[:SHOWN_MEASURES]:
            lines.append(
                f"| {result.name} | {result.protocol} {result.mode} | {measure.name} | {_value(measure)} |"
                f" {_interval(measure)} |"
            )
            if measure.warning:
                notes.append(f"{result.name}, {measure.name}: {measure.warning}")
        notes += [f"{result.name}: {warning}" for warning in result.warnings]
    return "\n".join(lines) + ("\n\n" + "\n".join(f"- {note}" for note in notes) if notes else "")


def _value(measure: Measure) -> str:
    spread = f" ± {format_number(measure.std, measure.unit)}" if measure.std is not None else ""
    return f"{format_number(measure.value, measure.unit)}{spread} {unit_word(measure.unit)}".strip()


def _interval(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return "–"
    return f"{format_number(measure.low, measure.unit)} to {format_number(measure.high, measure.unit)}"
