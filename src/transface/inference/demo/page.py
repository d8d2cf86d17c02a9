"""The page of `transface demo`: three tabs of gradio over plain functions."""

from typing import Any

from transface.inference.demo.handlers import Handlers

INSTALL = "'pip install transface[demo]' installs it"
NOTE = "Scores are of this model and this threshold. Labels are the data's words, not truths about a person."


def build_page(handlers: Handlers, *, title: str) -> Any:
    """Return the page, a gradio Blocks.

    Raises:
        ValueError: if gradio is missing.
    """
    try:
        import gradio
    except ImportError as error:
        raise ValueError(f"transface demo needs gradio ({error}): {INSTALL}") from None
    model = handlers.model
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(f"# {title}\n{NOTE}")
        if "embedding" in model.outputs:
            with gradio.Tab("Compare"):
                with gradio.Row():
                    first = picture(gradio, "first photograph", "first")
                    second = picture(gradio, "second photograph", "second")
                button = gradio.Button("Compare", elem_id="compare", variant="primary")
                said = gradio.Textbox(label="verdict", elem_id="verdict")
                with gradio.Row():
                    seen = [
                        gradio.Image(
                            label=f"{name} face, patches that matter",
                            elem_id=f"{name}_face",
                            height=300,
                            buttons=["download", "fullscreen"],
                        )
                        for name in ("first", "second")
                    ]
                button.click(handlers.compare, [first, second], [said, *seen], api_name="compare")
        with gradio.Tab("Predict"):
            photograph = picture(gradio, "photograph", "photograph")
            button = gradio.Button("Predict", elem_id="predict", variant="primary")
            answers = gradio.JSON(label="answers", elem_id="answers")
            button.click(handlers.predict, [photograph], [answers], api_name="predict")
        if handlers.index is not None:
            with gradio.Tab("Search"):
                asked = picture(gradio, "photograph", "asked")
                button = gradio.Button("Search", elem_id="search", variant="primary")
                line = gradio.Textbox(label="found", elem_id="found")
                hits = gradio.Gallery(show_label=False, columns=4, elem_id="hits", buttons=["fullscreen"])
                button.click(handlers.search, [asked], [line, hits], api_name="search")
    return page


def picture(gradio: Any, label: str, name: str) -> Any:
    """Return a place for a photograph, whose buttons send nothing elsewhere."""
    return gradio.Image(label=label, type="numpy", elem_id=name, height=300, buttons=["fullscreen"])
