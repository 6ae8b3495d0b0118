"""The sidebar: one picture and one model, which every tab looks at."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import PIL.Image
from markupsafe import Markup

from models.data.samples import list_samples
from models.registry import DEFAULT_MODEL
from models.zoo.spec import ModelSpec
from ui.entry import read_position
from ui.services import Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, QUICK, Update
from ui.widgets.html import format_count, join_html, note_html
from ui.widgets.picture import Picture, make_preview

DEFAULT_SAMPLE = "chelsea"
MAX_COMPARED = 4
THUMBNAIL_SIDE = 72


@dataclass(frozen=True)
class Workbench:
    """The components that tabs read. ``tab`` holds the id of the open tab, ``sample`` the sample shown."""

    image: Picture
    model: gr.Dropdown
    compare: gr.Dropdown
    card: gr.HTML
    sample: gr.State
    tab: gr.State


def build_workbench(services: Services) -> Workbench:
    """Lays out the sidebar and wires what happens inside it."""
    with gr.Sidebar(width=340, elem_id="workbench"):
        image = Picture(
            value=str(list_samples()[DEFAULT_SAMPLE].path),
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload", "webcam", "clipboard"],
            label="Picture",
            height=240,
            buttons=["fullscreen"],
            elem_id="image",
            alt_text="The picture that all tabs look at",
        )
        gr.HTML(note_html("Or click a sample:"))
        gallery = gr.Gallery(
            value=[(_make_thumbnail(s.path), s.title) for s in list_samples().values()],
            label="Samples",
            show_label=False,
            columns=6,
            height="auto",
            allow_preview=False,
            object_fit="cover",
            format="png",
            buttons=[],
            elem_id="samples",
        )
        # The page fills in all models when it is opened; listing them here would delay the start.
        model = gr.Dropdown([DEFAULT_MODEL], value=DEFAULT_MODEL, label="Model", elem_id="model")
        card = gr.HTML(elem_id="model-card")
        compare = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            max_choices=MAX_COMPARED,
            label="Compare with",
            info="Shown beside the model when classifying and in maps of shifts.",
            elem_id="compare",
        )
    bench = Workbench(image, model, compare, card, gr.State(DEFAULT_SAMPLE), gr.State("classify"))

    def choose_sample(event: gr.EventData) -> tuple[str, str]:
        """Puts the sample that was clicked into the picture."""
        samples = list(list_samples().values())
        sample = samples[read_position(event, samples)]
        return str(sample.path), sample.name

    @shows_errors
    def show_card(name: str) -> Markup:
        """Describes the chosen model."""
        return describe_model(services.lab.registry.get(name))

    @shows_errors
    def show_preview(path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str | Update:
        """Shows a TIFF, which no browser can."""
        with services.watch(request, progress, "Opening the picture") as report:
            return make_preview(services.lab, path, report) or gr.skip()

    gallery.select(choose_sample, None, [image, bench.sample], **HIDDEN)
    image.upload(show_preview, image, image, **HIDDEN)
    image.input(lambda: "", None, bench.sample, **QUICK)
    model.change(show_card, model, card, **HIDDEN)
    return bench


def list_model_choices(services: Services) -> list[tuple[str, str]]:
    """Labels and names for a dropdown: what is at hand first, then what would have to be downloaded."""
    specs = sorted(services.lab.registry.list_specs(), key=lambda spec: not spec.is_cached)
    return [(_label(spec), spec.name) for spec in specs]


def describe_model(spec: ModelSpec) -> Markup:
    """The facts about a model as a small HTML table."""
    size = f"{describe_download(spec)} to download at first use" if describe_download(spec) else "on this computer"
    accuracy = "not stated" if spec.accuracy is None else f"{spec.accuracy:.1%} on {spec.measured_on}"
    facts = {
        "Trained on": f"{spec.trained_on}, {len(spec.categories)} classes",
        "Parameters": format_count(spec.num_params),
        "Input": f"{spec.preprocessing.crop_size} x {spec.preprocessing.crop_size} px",
        "Right first guess": accuracy,
        "Weights": size,
    }
    rows = join_html(Markup("<dt>{}</dt><dd>{}</dd>").format(key, value) for key, value in facts.items())
    return Markup('<dl class="facts">{}</dl>').format(rows)


def describe_download(spec: ModelSpec) -> str:
    """How much has to be downloaded, such as 98 MB; nothing where the weights are here."""
    return "" if spec.is_cached or spec.weights is None else f"{spec.weights.num_bytes / 2**20:.0f} MB"


def _label(spec: ModelSpec) -> str:
    size = describe_download(spec)
    return f"{spec.name} ({size} download)" if size else spec.name


def _make_thumbnail(path: Path) -> PIL.Image.Image:
    with PIL.Image.open(path) as image:
        image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        thumbnail = image.convert("RGB")
    thumbnail.thumbnail((2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
    return thumbnail
