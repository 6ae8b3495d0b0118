"""Learn: the parts of a lecture on convolutional networks as benches to work at."""

import gradio as gr

from models.settings import check_choice
from ui.learn.before_cnns import build_before_cnns
from ui.learn.claims import build_claims
from ui.learn.convolution import build_convolution
from ui.learn.history import build_history
from ui.learn.lessons import build_lessons
from ui.learn.losses import build_losses
from ui.learn.pooling import build_pooling
from ui.learn.receptive_field import build_receptive_field
from ui.learn.shapes import build_shapes
from ui.learn.sound import build_sound
from ui.services import Action, Services
from ui.widgets.events import Tab, Values
from ui.widgets.html import empty_html, one_of
from ui.widgets.switch import Switch
from ui.workbench import Workbench

BENCHES = {
    "lessons": ("Lessons", build_lessons),
    "convolution": ("Convolution", build_convolution),
    "pooling": ("Pooling", build_pooling),
    "shapes": ("Shapes", build_shapes),
    "receptive_field": ("Receptive field", build_receptive_field),
    "before_cnns": ("Before CNNs", build_before_cnns),
    "losses": ("Losses", build_losses),
    "sound": ("Sound", build_sound),
    "history": ("Forty years", build_history),
    "claims": ("Check the lecture", build_claims),
}
"""Name in the address -> title, and what lays it out and gives its ``Bench``."""


def build_learn_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the benches, of which the chosen one is shown."""
    names = [(title, name) for name, (title, _) in BENCHES.items()]
    first = next(iter(BENCHES))
    choice = gr.Radio(names, value=first, show_label=False, label="Bench", container=False, elem_id="learn-bench")
    said = gr.HTML("", elem_id="learn-said", padding=False)
    groups, benches = {}, {}
    for name, (_, build) in BENCHES.items():
        with gr.Column(elem_id=f"learn-{name}") as group:
            benches[name] = build(services, bench)
        groups[group] = [name]
    switch = Switch(choice, groups)

    def show(values: Values, action: Action) -> Values:
        """Brings the bench that is on the screen up to date."""
        name = check_choice("bench", values[choice], benches)
        others = (timer for other, each in benches.items() if other != name for timer in each.timers)
        still: Values = {timer: gr.update(active=False) for timer in others}
        return switch.show(name) | {said: ""} | still | benches[name].show(values, action)

    return Tab(
        show,
        inputs=[choice, *(part for each in benches.values() for part in each.inputs)],
        outputs=[*groups, said, *(part for each in benches.values() for part in each.outputs)],
        clear=lambda message: {said: empty_html(message)},
        looks_at=[bench.image, bench.model],
        triggers=[(choice, "input"), *(each for bench in benches.values() for each in bench.triggers)],
        timers=[timer for each in benches.values() for timer in each.timers],
        runs={
            kind: (listed, {choice: name} | others)
            for name, each in benches.items()
            for kind, (listed, others) in each.runs.items()
        },
        linked={"bench": (choice, one_of(benches))}
        | {name: link for each in benches.values() for name, link in each.linked.items()},
    )
