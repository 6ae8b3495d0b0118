"""The sidebar: one picture and one model, which every tab looks at."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup
from PIL import Image, ImageOps

from analysis.grammar import count
from models.access import LACKS, viewer
from models.data.samples import get_sample, list_samples
from models.registry import DEFAULT_MODEL, RUN_PREFIX
from models.zoo.spec import ModelSpec
from ui.services import Action, Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import QUICK, Block, Update, Values
from ui.widgets.html import explain_lack, format_count, join_html, note_html
from ui.widgets.picture import Picture, make_preview

DEFAULT_SAMPLE = "chelsea"
MAX_COMPARED = 4
THUMBNAIL_SIDE = 72


@dataclass(frozen=True)
class Workbench:
    """The components that tabs read.

    ``sample`` holds the name of the sample shown, or nothing. ``stack`` holds a network that was put together in
    Learn, as ``{input, layers}`` in JSON, and raises ``submit`` when it is to be trained.
    """

    image: Picture
    sample: gr.HTML
    model: gr.Dropdown
    compare: gr.Dropdown
    card: gr.HTML
    stack: gr.HTML

    @property
    def picture(self) -> tuple[gr.HTML, Picture]:
        """What decides which picture is looked at: the browser sends a sample's name at once, its file later."""
        return self.sample, self.image

    @property
    def inputs(self) -> tuple[Block, ...]:
        """All that can be chosen here."""
        return *self.picture, self.model, self.compare

    def find_picture(self, values: Values) -> str | None:
        """The path of the picture that is looked at, if there is one.

        Raises:
            UserError: No such sample.
        """
        name = values[self.sample]
        return str(get_sample(name).path) if name else values[self.image]

    def name_picture(self, values: Values) -> str:
        """What the picture is called: by its sample, or by its file."""
        return values[self.sample] or Path(values[self.image] or "picture").stem

    def list_models(self, values: Values) -> list[str]:
        """The model and those that it is compared with."""
        return list(dict.fromkeys([values[self.model], *(values[self.compare] or [])]))

    def list_missing(self, services: Services, values: Values) -> list[ModelSpec]:
        """Those of the chosen models that have to be downloaded."""
        specs = map(services.lab.registry.get, self.list_models(values))
        return [spec for spec in specs if spec.to_download]

    def describe(self, services: Services, values: Values) -> Values:
        """The card: facts about the model, and the question whether to download what is missing."""
        facts = describe_model(services.lab.registry.get(values[self.model]))
        return {self.card: facts + _ask(self.list_missing(services, values))}

    def offer_others(self, services: Services, values: Values) -> Update:
        """What the model can be compared with, which it is not itself."""
        model, others = values[self.model], self.list_models(values)[1:]
        choices = [each for each in list_model_choices(services) if each[1] != model]
        return gr.update(choices=choices, value=others)

    def download(self, services: Services, values: Values, action: Action) -> Values:
        """Downloads what is missing, and says so in the lists and in the card."""
        for spec in self.list_missing(services, values):
            services.lab.models.fetch(spec.name, action.report(f"Downloading {spec.name}"))
        models = gr.update(choices=list_model_choices(services), value=values[self.model])
        return {self.model: models, self.compare: self.offer_others(services, values)} | self.describe(
            services, values
        )

    def show_sample(self, values: Values) -> Values:
        """The sample that was clicked in the place of the picture."""
        return {self.image: self.find_picture(values)}

    def preview(self, services: Services, values: Values, action: Action) -> Values:
        """What is shown of a picture of one's own that browsers do not show."""
        shown = make_preview(services.lab, values[self.image], action.report("Opening the picture"))
        return {self.image: shown} if shown else {}


def build_workbench(services: Services) -> Workbench:
    """Lays out the sidebar and wires what happens inside it."""
    with gr.Sidebar(width=340, elem_id="workbench"):
        # At the top, so that its long list opens downwards. The page fills in all models when it is opened; listing
        # them here would delay the start.
        model = gr.Dropdown([DEFAULT_MODEL], value=DEFAULT_MODEL, label="Model", elem_id="model")
        card = gr.HTML(elem_id="model-card", js_on_load=_DOWNLOAD)
        image = Picture(
            value=str(list_samples()[DEFAULT_SAMPLE].path),
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload", "webcam", "clipboard"],
            show_label=False,
            height=240,
            buttons=["fullscreen"],
            elem_id="image",
            alt_text="The picture that all tabs look at",
        )
        # Gradio's own button for this takes the picture away before another one is chosen.
        upload = gr.UploadButton("Choose a picture…", file_types=["image"], size="sm", elem_id="upload")
        explain_lack("try")
        gr.HTML(note_html("Or drop one on it, or click a sample:"), padding=False, elem_id="or-sample")
        sample = gr.HTML(
            DEFAULT_SAMPLE, html_template=_list_samples(), js_on_load=_CHOOSE, elem_id="samples", padding=False
        )
        compare = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            max_choices=MAX_COMPARED,
            label="Compare with",
            info="Shown beside the model when classifying, explaining and in maps of shifts.",
            elem_id="compare",
        )
    stack = gr.HTML("", html_template="", js_on_load=_HAND_OVER, elem_id="stack-to-train", padding=False)
    bench = Workbench(image, sample, model, compare, card, stack)

    @shows_errors
    def show_model(values: Values) -> Values:
        """Describes the chosen model, and takes it out of those that it can be compared with."""
        return bench.describe(services, values) | {compare: bench.offer_others(services, values)}

    @shows_errors
    def show_compared(values: Values) -> Values:
        """Asks for what has to be downloaded."""
        return bench.describe(services, values)

    # At once: what the open tab makes of the choice may take longer.
    chosen: set[Any] = {model, compare}
    upload.upload(None, upload, image, js="(file) => file")
    image.change(None, image, None, js="(picture) => { window.convscopeOwnPicture?.(picture); }")
    model.select(show_model, chosen, [card, compare], **QUICK, trigger_mode="multiple")
    compare.input(show_compared, chosen, [card], **QUICK, trigger_mode="multiple")
    return bench


def list_model_choices(services: Services) -> list[tuple[str, str]]:
    """Labels and names for a dropdown: what is at hand, then what can be downloaded, by family and size.

    Networks that a comparison, a repair or an experiment has trained for itself come last.
    """
    jobs = [f"{RUN_PREFIX}{run.name}-" for run in services.jobs.list("arms", "repair", "experiment", "features")]
    groups: dict[bool | None, list[ModelSpec]] = {True: [], False: [], None: []}
    for spec in services.lab.registry.list_specs():
        groups[None if spec.name.startswith(tuple(jobs)) else not spec.to_download].append(spec)
    groups[False].sort(key=lambda spec: (spec.family, spec.num_params))
    return [
        (_label(spec, "part of a comparison" if group is None else spec.to_download or "here"), spec.name)
        for group, specs in groups.items()
        for spec in specs
    ]


def describe_model(spec: ModelSpec) -> Markup:
    """The facts about a model as a small HTML table."""
    accuracy = "not measured; Evaluate does that"
    if spec.accuracy is not None:
        accuracy = f"{100 * spec.accuracy:.1f} % of {spec.measured_on} right"
    side = spec.preprocessing.crop_size
    facts = {
        "Name": spec.name,
        "Trained on": f"{spec.trained_on}, {count(len(spec.categories), 'class')}",
        "Accuracy": accuracy,
        "Size": f"{format_count(spec.num_params)} parameters",
        "Sees": f"{side} x {side} px",
    }
    rows = join_html(Markup("<dt>{}</dt><dd>{}</dd>").format(key, value) for key, value in facts.items())
    return Markup('<dl class="facts">{}</dl>').format(rows)


def _label(spec: ModelSpec, place: str) -> str:
    accuracy = "" if spec.accuracy is None else f" · {100 * spec.accuracy:.1f} %"
    return f"{spec.name}{accuracy} · {place}"


def _ask(missing: Sequence[ModelSpec]) -> Markup:
    """Whether to download these models; nothing where there are none."""
    if not missing:
        return Markup("")
    names = " and ".join(f"{spec.name} ({spec.to_download})" for spec in missing)
    text = f"Not on this computer yet: {names}. Nothing is computed with a model before it is downloaded."
    size = missing[0].to_download if len(missing) == 1 else f"{len(missing)} models"
    button = Markup('<button type="button" data-download>Download {}</button>').format(size)
    if not viewer().is_owner:
        button = Markup("<p>{}</p>").format(LACKS["owner"])
    return Markup('<div class="doubt" role="status"><p>{}</p>{}</div>').format(text, button)


def _list_samples() -> Markup:
    """A button with a thumbnail for each sample."""
    button = Markup('<button type="button" data-name="{}" data-file="{}" title="{}"><img src="{}" alt="{}"></button>')
    buttons = (
        button.format(s.name, s.path.name, s.title, _draw_thumbnail(s.path), s.title) for s in list_samples().values()
    )
    return Markup('<div role="group" aria-label="Samples">{}</div>').format(join_html(buttons))


def _draw_thumbnail(path: Path) -> str:
    with Image.open(path) as image:
        image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        thumbnail = ImageOps.fit(image.convert("RGB"), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = BytesIO()
    thumbnail.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


# The browser itself marks the sample that is shown, and sends its name with whatever is chosen next.
_CHOOSE = """
const mark = () => {
    for (const button of element.querySelectorAll("button"))
        button.setAttribute("aria-pressed", button.dataset.name === props.value);
};
element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    last = null;
    sessionStorage.removeItem("picture");
    props.value = button.dataset.name;
    mark();
    preview(button);
    trigger("select");
});
// The picture comes with what the tab makes of it; where that takes long, its thumbnail stands there until then.
let late = 0;
const preview = (button) => {
    const shown = document.querySelector("#image img");
    clearTimeout(late);
    if (!shown) return;
    const isThere = decodeURI(shown.src).endsWith(`/${button.dataset.file}`);
    const content = isThere ? "" : `url(${button.querySelector("img").src})`;
    late = setTimeout(() => { shown.style.content = content; }, isThere ? 0 : 400);
};
watch("value", mark);
mark();

// A picture of one's own, however it came: gradio says of a camera's picture only that something has changed, and
// says that one was removed while it is still there. What the server itself has put there is no news.
let last = null, leaving = 0;
window.convscopeKnows = (path) => { last = path; };
window.convscopeOwnPicture = (picture) => {
    clearTimeout(late);
    document.querySelector("#image img")?.style.removeProperty("content");
    const isOwn = !picture || /[\\/][0-9a-f]{64}[\\/]/.test(picture.path) && !picture.path.endsWith(".preview.png");
    const path = picture?.path ?? "";
    if (!isOwn || path === last) return;
    last = path;
    if (path) sessionStorage.setItem("picture", JSON.stringify(picture));  // for a reload
    else sessionStorage.removeItem("picture");
    props.value = "";
    mark();
    clearTimeout(leaving);  // one that is dropped on another removes it first
    if (path) trigger("input"); else leaving = setTimeout(() => trigger("input"), 400);
};
"""
# A picture of one's own outlives a reload, as long as the browser's tab is open and the server still has the file.
KEEP_PICTURE = """async (...values) => {
    const kept = JSON.parse(sessionStorage.getItem("picture"));
    if (!kept || new URLSearchParams(location.search).has("sample")) return values;
    const answer = await fetch(kept.url, {method: "HEAD"}).catch(() => null);
    if (!answer?.ok) { sessionStorage.removeItem("picture"); return values; }
    window.convscopeKnows(kept.path);
    values[%d] = kept;
    values[%d] = "";
    return values;
}"""
_HAND_OVER = """
window.convscopeTrain = (stack) => { props.value = JSON.stringify(stack); trigger("submit"); };
"""
_DOWNLOAD = """
element.addEventListener("click", (event) => {
    if (event.target.closest("[data-download]")) trigger("submit");
});
"""
