"""The list of models and the card: what comes first, what is said of each, and what has to be asked."""

import json

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from models.registry import DEFAULT_MODEL
from models.runs.submit import create_run
from ui.services import Services
from ui.workbench import build_workbench, describe_model, list_model_choices

RESNET = "resnet50-11ad3fa6.pth"


@pytest.fixture
def services(tmp_path, torch_home) -> Services:
    return Services(Lab("cpu", data_root=tmp_path / "data", runs_root=tmp_path), JobManager(tmp_path))


@pytest.fixture
def bench(services):
    with gr.Blocks():
        return build_workbench(services)


def choose(bench, model=DEFAULT_MODEL, compare=()) -> dict:
    return {bench.model: model, bench.compare: list(compare)}


def test_what_is_here_comes_first_then_families_by_size_then_parts_of_comparisons(
    services, tmp_path, make_run, torch_home
):
    make_run(tmp_path, "mine")
    create_run(tmp_path, "claim", {}, "arms")
    make_run(tmp_path, "claim-blur-0")
    torch_home.mkdir(parents=True)
    (torch_home / RESNET).touch()
    labels = {name: label for label, name in list_model_choices(services)}
    names = list(labels)
    assert set(names[:4]) == {DEFAULT_MODEL, "fashion_cnn", "run/mine", "resnet50"}
    assert names[-1] == "run/claim-blur-0" and labels[names[-1]].endswith("part of a comparison")
    assert labels["run/mine"] == "run/mine · 50.0 % · here" and labels["resnet50"] == "resnet50 · 80.9 % · here"
    assert labels["resnet18"] == "resnet18 · 69.8 % · 45 MB" and labels["vit_h_14"] == "vit_h_14 · 88.6 % · 2.4 GB"
    family = [name for name in names[4:-1] if "resne" in name]
    assert family == names[names.index(family[0]) :][: len(family)]
    assert [name for name in family if name.startswith("resnet")] == [
        "resnet18",
        "resnet34",
        "resnet101",
        "resnet152",
    ]


@pytest.mark.parametrize(
    ("model", "stated"), [(DEFAULT_MODEL, "75.1 % of 50,000 validation"), ("run/mine", "50.0 % of test")]
)
def test_the_card_says_how_often_the_first_guess_is_right(services, tmp_path, make_run, model, stated):
    make_run(tmp_path, "mine")
    assert stated in describe_model(services.lab.registry.get(model))


def test_a_model_is_not_compared_with_itself(services, bench):
    offered = bench.offer_others(services, choose(bench, "fashion_cnn", ["fashion_cnn", DEFAULT_MODEL]))
    names = [name for _, name in offered["choices"]]
    assert offered["value"] == [DEFAULT_MODEL] and "fashion_cnn" not in names and DEFAULT_MODEL in names


def test_what_is_missing_is_asked_for_with_its_size(services, bench, torch_home):
    def describe(*models: str) -> str:
        return bench.describe(services, choose(bench, models[0], models[1:]))[bench.card]

    assert "data-download" not in describe(DEFAULT_MODEL, "fashion_cnn")
    assert "resnet50 (98 MB)" in describe("resnet50") and "Download 98 MB<" in describe("resnet50")
    assert "Download 2 models<" in describe(DEFAULT_MODEL, "resnet50", "vgg11")
    torch_home.mkdir(parents=True)
    (torch_home / RESNET).touch()
    assert "data-download" not in describe("resnet50")


def test_the_lists_are_of_a_size_that_can_be_sent_with_every_choice(services):
    assert len(json.dumps(list_model_choices(services))) < 8_000
