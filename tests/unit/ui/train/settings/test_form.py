"""The settings of the Train tab stand for a configuration, and every one of them counts."""

from dataclasses import fields
from types import SimpleNamespace

import gradio as gr
import pytest

from analysis.errors import UserError
from lab.jobs import JobManager
from lab.session import Lab
from models.runs.submit import PLACES
from models.training.config import TrainingConfig
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.trackers import TRACKERS
from tests.device import DEVICE
from ui.services import Services
from ui.train.settings.form import (
    LEARNING_RATES,
    OFF_AT_ZERO,
    OPTIMIZER_TITLES,
    PLAIN,
    SCHEDULE_TITLES,
    build_train_form,
)

NOT_ON_THE_PAGE = {
    "corrections",  # from the error view
    "data_root",  # from the launch options
    "start_from",
    "max_steps",
    "shift_augment",
    "split_seed",  # of repairs and arms
    "snapshots",
    "validate_often",  # of arms
}
OTHER_VALUES = {
    "epochs": 7,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "weight_decay": 0.1,
    "l1": 0.001,
    "loss": "svm",
    "label_smoothing": 0.1,
    "accumulate": 4,
    "precision": "bfloat16",
    "compile": True,
    "seed": 5,
    "device": "auto",
    "trackers": ["tensorboard"],
    "clip_norm": 1.5,
    "patience": 3,
    "snapshot_every": 50,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    services = Services(Lab(DEVICE, root / "data", root / "runs"), JobManager(root / "runs"))
    with gr.Blocks() as blocks:
        form = build_train_form(services)
    return form, blocks, services


@pytest.fixture
def form(page):
    return page[0]


@pytest.fixture
def values(form):
    return {key: component.value for key, component in form.fields.items()}


def find_handler(page, name: str, kind: str):
    """What runs when a component of the form gets ``kind``."""
    form, blocks, _ = page
    component = form.fields[name]
    return [fn for fn in blocks.fns.values() if (component._id, kind) in fn.targets]


def test_an_untouched_form_is_the_default_training(page, form, values):
    config, name = form.read(values)
    assert name is None
    default, found = TrainingConfig().to_dict(), config.to_dict()
    for key in default.keys() - {"data_root", "device", "model", "shapes"}:
        assert found[key] == default[key], key
    assert found["data_root"] == str(page[2].lab.data_root) and found["device"] == DEVICE
    options = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    assert config.architecture_config(**options) == TrainingConfig().architecture_config(**options)


def test_every_setting_of_a_training_is_on_the_page_or_left_out_on_purpose(form):
    on_page = {*PLAIN, *OFF_AT_ZERO}
    from_panels = {
        "dataset",
        "shapes",
        "image_size",
        "train_limit",
        "label_noise",
        "augment",
        "architecture",
        "model",
    }
    assert on_page | from_panels | NOT_ON_THE_PAGE == {field.name for field in fields(TrainingConfig)}
    assert on_page == set(OTHER_VALUES) and on_page <= set(form.fields)


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_every_setting_counts(form, values, key):
    changed = values | {key: OTHER_VALUES[key]}
    found, before = form.read(changed)[0].to_dict(), form.read(values)[0].to_dict()
    assert found[key] == OTHER_VALUES[key] != before[key]
    assert {name for name in found if found[name] != before[name]} == {key}


@pytest.mark.parametrize("key", OFF_AT_ZERO)
def test_zero_means_never(form, values, key):
    for nothing in (0, 0.0, None):
        assert getattr(form.read(values | {key: nothing})[0], key) is None


def test_the_other_panels_count(form, values):
    changed = {"dataset": "shapes", "label_noise": 0.25, "train_limit": 50, "image_size": 48, "num_images": 300}
    config, _ = form.read(values | changed | {"architecture": "mlp", "augment": "suited"})
    assert (config.dataset, config.label_noise, config.train_limit) == ("shapes", 0.25, 50)
    assert (config.picture_size, config.shapes.num_images, config.architecture) == (48, 300, "mlp")
    assert config.augment is True


@pytest.mark.parametrize(("typed", "name"), [("", None), ("  ", None), (" my-run ", "my-run")])
def test_the_name_of_the_run(form, values, typed, name):
    assert form.read(values | {"name": typed})[1] == name


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"learning_rate": None}, "learning_rate must be a number"),
        ({"learning_rate": -1}, "learning_rate must be a number"),
        ({"batch_size": None}, "batch_size must be a whole number"),
        ({"batch_size": 1}, "batch_size must be a whole number from 2"),
        ({"clip_norm": -2.0}, "clip_norm must be a number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"weight_decay": None}, "weight_decay must be a number"),
        ({"loss": "svm", "label_smoothing": 0.1}, "label_smoothing needs probabilities"),
        ({"small_cnn.channels": "4, 4, 4, 4, 4, 4, 4, 4"}, "blocks halve"),
        ({"dataset": "own"}, ""),
    ],
)
def test_what_cannot_be_is_said_in_words(form, values, changed, words):
    with pytest.raises(UserError) as error:
        form.read(values | changed)
    assert words in str(error.value) and str(error.value).endswith(".")


def test_every_choice_of_the_tables_has_a_title(form):
    assert set(OPTIMIZER_TITLES) == set(OPTIMIZERS) == set(LEARNING_RATES) and set(SCHEDULE_TITLES) == set(SCHEDULES)
    for key, table in (
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("loss", LOSSES),
        ("precision", PRECISIONS),
    ):
        assert {value for _, value in form.fields[key].choices} == set(table)
    assert {value for _, value in form.fields["trackers"].choices} == set(TRACKERS)


def test_only_devices_that_are_here_are_offered(form):
    offered = {value for _, value in form.fields["device"].choices}
    assert {"auto", "cpu"} <= offered <= {"auto", "cpu", "cuda", "mps"}
    assert form.fields["device"].value in offered


def test_another_optimiser_brings_a_rate_of_its_scale(page):
    (handler,) = [fn for fn in find_handler(page, "optimizer", "input") if len(fn.outputs) == 1]
    assert handler.outputs == [page[0].fields["learning_rate"]]
    assert {name: handler.fn(name) for name in OPTIMIZERS} == LEARNING_RATES
    for name in OPTIMIZERS:
        TrainingConfig(optimizer=name, learning_rate=handler.fn(name))


def test_a_loss_without_probabilities_takes_no_smoothing(page, values):
    handlers = find_handler(page, "loss", "input")
    (handler,) = [fn for fn in handlers if fn.outputs == [page[0].fields["label_smoothing"]]]
    for name, loss in LOSSES.items():
        update = handler.fn(name)
        assert update["interactive"] is loss.allows_smoothing
        page[0].read(values | {"loss": name, "label_smoothing": update.get("value", 0.1)})


def test_a_form_is_filled_with_all_that_depends_on_it(page):
    form, _, services = page
    settings = {"dataset": "own", "own_source": "boxes", "loss": "svm", "architecture": "mlp"}
    values = {part: getattr(part, "value", None) for part in form.inputs}
    with services.act(SimpleNamespace(session_hash="ann"), lambda *_, **__: None) as action:
        updates = form.fill(settings, values, action)
    assert updates.keys() <= set(form.outputs)
    assert {key: updates[form.fields[key]]["value"] for key in settings} == settings
    assert updates[form.fields["label_smoothing"]] == gr.update(interactive=False, value=0.0)
    for switch in form.switches:
        for group, shown_with in switch.groups.items():
            if switch.control in [form.fields[key] for key in settings]:
                chosen = updates[switch.control]["value"]
                assert updates[group]["visible"] is (chosen in shown_with)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {key: value for key, value in OTHER_VALUES.items() if key != "label_smoothing"},
        {"dataset": "shapes", "position": "left", "num_images": 3000, "image_size": 48, "train_limit": 70},
        {"architecture": "vgg", "image_size": 32, "augment": "suited", "label_noise": 0.25},
        {"small_cnn.channels": "8, 16", "small_cnn.dropout": 0.5, "augment": "own", "augment.noise": 0.5},
    ],
)
def test_the_settings_of_a_run_come_back_into_the_form(form, values, changed):
    config, _ = form.read(values | changed)
    written = form.write(config, [])
    assert written.keys() <= set(form.fields)
    again, _ = form.read(values | written | {key: changed[key] for key in PLACES if key in changed})
    assert again == config


def test_a_folder_of_own_pictures_is_found_again(form, values):
    config = TrainingConfig(dataset="/data/skies")
    assert form.write(config, ["skies"])["folder"] == "skies"
    assert "folder" not in form.write(config, [])


def test_shapes_are_no_upload(form, values):
    assert not form.is_upload(values | {"dataset": "shapes"})
