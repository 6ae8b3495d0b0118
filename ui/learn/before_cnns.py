"""Before CNNs: features made by hand, of the picture and in one table beside networks that learn theirs."""

from collections.abc import Sequence

import gradio as gr
from markupsafe import Markup

from analysis.features.kinds import KINDS
from analysis.figures.features import draw_words
from lab.documents import read_document, read_rows
from lab.evaluation.outlook import TITLES
from lab.learning.compare_features import NETWORKS, FeaturesConfig, describe, name_row, read_pictures
from lab.learning.feature_outlook import estimate_features
from lab.learning.feature_pictures import SHIFT, Look, look_at
from models.data.datasets import DATASETS
from models.runs.run import Run
from ui.learn.bench import Bench
from ui.services import Action, Services
from ui.widgets.downloads import ResultFiles
from ui.widgets.estimate import tell_start
from ui.widgets.events import HIDDEN, Values
from ui.widgets.html import (
    describe_estimate,
    explain_lack,
    explain_this,
    figure_html,
    join_html,
    open_picture,
    sentence_html,
    table_html,
)
from ui.widgets.job_view import JobView, Result, describe_time
from ui.workbench import Workbench

EMPTY = (
    "No comparison yet. Press “Compare”: each kind of features with each classifier, and three networks, learn from "
    "the same pictures and are tested on the same others, still and moved. Rows appear as they are measured."
)
HEADINGS = ("what decides", "right answers", "same answer after shifts", "time", "numbers for a picture")
TEMPLATES = {
    "words": ("The visual dictionary", "{} words, small patches; the most frequent come first."),
    "linear": ("Linear network", "One template of the whole picture for each of {} classes."),
    "mlp": ("MLP", "A bank of templates of the whole picture: {} of its first layer."),
    "small_cnn": (
        "Small CNN",
        "Local templates: {} kernels of its first layer, edges and colours if it saw enough.",
    ),
}
"""What can be seen of a finished comparison -> its title, and what it is."""
EXPLANATION = """
Before networks learned their features, somebody chose them. A **colour histogram** (히스토그램) counts colours
and forgets where they are. **HOG** (histograms of oriented gradients, Dalal & Triggs 2005) says in each
cell of a grid which way edges run. A **bag of visual words** (시각 단어) has a dictionary (k-means of small
random patches), names the nearest word at every place, and counts. A **linear classifier** (선형 분류기) adds
the numbers up with weights; a **nearest neighbour** (최근접 이웃) answers with the class of the most similar
picture it has seen. *Same answer after shifts*: each of up to 256 test pictures is moved by every whole
shift of up to 3 pixels (borders are stretched); the share of pairs of shifts with the same answer. Brackets
are 95 % intervals from drawing test pictures again and again. Grey in a template is a weight of zero.
"""


def build_before_cnns(services: Services, bench: Workbench) -> Bench:
    """Lays out the bench and wires its comparison."""
    look = gr.HTML(elem_id="features-look")
    with gr.Row(elem_classes="controls for-the-owner"):
        data = gr.Dropdown(
            [(TITLES[name], name) for name in DATASETS],
            value="shapes",
            label="Data",
            elem_id="features-data",
            min_width=180,
        )
        limit = gr.Number(
            2000, precision=0, minimum=2, label="Pictures to learn from", elem_id="features-limit", min_width=150
        )
        networks = gr.Checkbox(True, label="Networks too", elem_id="features-networks", min_width=150)
        start = gr.Button(
            "Compare", variant="primary", elem_id="features-start", interactive=False, min_width=140, scale=0
        )
    said = gr.HTML(elem_id="features-estimate", elem_classes="for-the-owner")
    explain_lack("owner")
    view = JobView(services, "features", EMPTY, lambda: _build_result(services))
    explain_this(EXPLANATION)
    fields = [data, limit, networks]

    def read(values: Values) -> FeaturesConfig:
        """What is to be compared."""
        lab = services.lab
        return FeaturesConfig(
            dataset=values[data],
            limit=values[limit],
            networks=bool(values[networks]),
            device=lab.models.device.type,
            data_root=str(lab.data_root),
        )

    def plan(values: Values) -> Values:
        """Says how long it takes here; or why it cannot start."""
        return tell_start(start, said, lambda: _estimate(read(values)))

    def begin(values: Values) -> str:
        """Starts the comparison in the background."""
        config = read(values)
        return services.jobs.start_program(
            "features", config.to_dict(), f"features-{config.dataset}", seconds=estimate_features(config)
        )

    def show(values: Values, action: Action) -> Values:
        """The features of the picture, and the comparison as it is now."""
        picture = open_picture(services, bench.find_picture(values), action)
        return {look: show_look(look_at(picture))} | view.open(values) | plan(values)

    view.wire_start(start, begin, {*fields})
    gr.on(
        [data.input, limit.input, networks.input],
        plan,
        {*fields},
        [start, said],
        **HIDDEN,
        trigger_mode="always_last",
    )
    return Bench(
        show,
        inputs=[*view.inputs, *fields],
        outputs=[look, start, said, *view.outputs],
        timers=[view.timer],
        runs={"features": (view.run, {})},
    )


def _estimate(config: FeaturesConfig) -> str:
    about = describe_time(estimate_features(config))
    return f"About {about} if this machine does nothing else: {config.num_rows} rows."


def show_look(look: Look) -> Markup:
    """The features of a picture as pictures, under the sentence about what a shift does to them."""
    order = sorted(look.changes, key=lambda name: look.changes[name])
    changes = ", ".join(f"{KINDS[name].title} {100 * look.changes[name]:.0f} %" for name in order)
    drawn = (
        (look.picture, "The picture, 64 x 64", "The picture as features are taken of it"),
        (look.drawings["histogram"], "Colour histogram", "How much of the picture has each of 64 colours"),
        (look.drawings["hog"], "HOG: which way edges run", "Lines along the edges in each cell of a grid"),
        (look.drawings["bow"], "Its visual words", "A dictionary of 48 small patches found in this picture"),
        (
            look.drawings["in_words"],
            "Put together from its words",
            "The picture with the nearest word everywhere",
        ),
    )
    figures = join_html(figure_html(*each) for each in drawn)
    sentence = sentence_html(
        f"Moved {SHIFT} pixels to the right, so much of each description of this picture changes: {changes}."
    )
    return sentence + Markup('<div class="feature-look">{}</div>').format(figures)


def _build_result(services: Services) -> Result:
    found = gr.HTML(elem_id="features-found")
    templates = gr.HTML(elem_id="features-templates")
    files = ResultFiles(services, "features", {"json": "Everything (JSON)"})

    def show(run: Run | None) -> tuple:
        rows = read_rows(run) if run else []
        if not run or not rows:
            return "", "", *files.withdraw()
        document = read_document(run)
        offered = files.withdraw() if document is None else files.offer(run.name, json=document)
        return sentence_html(describe(rows)) + tabulate(rows), _show_templates(run), *offered

    return [found, templates, *files.outputs], show


def tabulate(rows: Sequence[dict]) -> Markup:
    """One table of all kinds; what is right most often comes first."""
    order = sorted(rows, key=lambda row: -row["accuracy"]["value"])
    cells = [
        [
            name_row(row) + (" (learned)" if row["kind"] in NETWORKS else ""),
            describe_estimate(row["accuracy"]),
            describe_estimate(row["consistency"]),
            f"{row['seconds']:.1f} s",
            f"{row['num_features']:,}",
        ]
        for row in order
    ]
    first = rows[0]
    label = f"{first['learned']:,} pictures to learn from, {first['tested']:,} tested, {first['moved']:,} moved"
    return table_html(HEADINGS, cells, label)


def _show_templates(run: Run) -> Markup:
    pictures = read_pictures(run)
    figures = [
        figure_html(draw_words(pictures[name], columns=8), f"{title}. {words.format(len(pictures[name]))}", title)
        for name, (title, words) in TEMPLATES.items()
        if name in pictures
    ]
    return Markup('<div class="feature-templates">{}</div>').format(join_html(figures)) if figures else Markup("")
