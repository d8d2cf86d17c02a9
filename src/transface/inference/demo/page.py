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
                    first = gradio.Image(label="first photograph", type="numpy", elem_id="first")
                    second = gradio.Image(label="second photograph", type="numpy", elem_id="second")
                said = gradio.Textbox(label="verdict", elem_id="verdict")
                with gradio.Row():
                    seen = [gradio.Image(label=f"{name} face, patches that matter") for name in ("first", "second")]
                gradio.Button("Compare", elem_id="compare").click(
                    handlers.compare, [first, second], [said, *seen], api_name="compare"
                )
        with gradio.Tab("Predict"):
            photograph = gradio.Image(label="photograph", type="numpy")
            answers = gradio.JSON(label="answers", elem_id="answers")
            gradio.Button("Predict").click(handlers.predict, [photograph], [answers], api_name="predict")
        if handlers.index is not None:
            with gradio.Tab("Search"):
                asked = gradio.Image(label="photograph", type="numpy")
                line = gradio.Textbox(label="found")
                hits = gradio.Gallery(label="the likest", columns=4)
                gradio.Button("Search").click(handlers.search, [asked], [line, hits], api_name="search")
    return page
