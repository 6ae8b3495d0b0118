"""The page about a run: everything it promises, one file, and nothing that a hostile run can do with it."""

import re
from html.parser import HTMLParser

import pytest
import torch
from safetensors.torch import save

from lab.runs.report import MAX_CLASSES, build_run_report
from models.checkpoints import describe_model, pack_weights
from models.data.preprocessing import Preprocessing
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.runs.files import append_line, write_bytes, write_json
from models.runs.run import read_run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import refused

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\ud800"
CONFIG = {"dataset": "insects", "model": {"channels": [4, 6]}}
LABELS = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 0, 2]


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def write_run(tmp_path):
    def write(categories=("ant", "bee", "cat"), labels=LABELS, predicted=PREDICTED, config=CONFIG):
        path = create_run(tmp_path, "tiny", config)
        num_classes = len(categories)
        model = SmallCNN(SmallCNNConfig(num_classes=num_classes, image_size=8, channels=(4, 6)))
        card = describe_model(model, "small_cnn", categories, Preprocessing(crop_size=8, resize_size=8))
        write_json(path / "model.json", card)
        write_bytes(path / "weights.safetensors", pack_weights(model)[0])
        result = {
            "val_accuracy": 0.75,
            "test_accuracy": 0.5,
            "seconds": 12.34,
            "epochs": 2,
            "weights_sha256": "ab" * 32,
        }
        status = read_run(tmp_path, "tiny").status
        write_json(path / "status.json", status | {"state": "finished", "device": DEVICE, "result": result})
        for epoch in (1, 2):
            line = {"train_loss": 1 / epoch, "val_loss": 1.5 / epoch, "train_accuracy": 0.4 * epoch}
            append_line(path / "metrics.jsonl", {"kind": "epoch", "epoch": epoch, "val_accuracy": 0.3 * epoch} | line)
        images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
        examples = {"images": images, "labels": torch.tensor(labels), "ids": torch.arange(len(labels))}
        write_bytes(path / "examples.safetensors", save(examples))
        logits = torch.nn.functional.one_hot(torch.tensor(predicted), num_classes).float()
        write_bytes(path / "predictions.safetensors", save({"logits": logits}))
        return path

    return write


def text_of(html: str) -> str:
    return " ".join(" ".join(Page(html).text).split())


def test_the_page_tells_the_numbers(write_run):
    path = write_run()
    write_json(path / "environment.json", {"torch": "9.8.7"})
    split = {"count": 42}
    write_json(path / "data.json", {"name": "insects", "sha256": "cd" * 32, "splits": {"train": split}})
    write_bytes(path / "notes.txt", "grüße\nzwei".encode())
    text = text_of(build_run_report(path))
    for fact in (
        "Test accuracy 50.00%",
        "Validation accuracy 75.00%",
        "Training accuracy 80.00%",
        "Epochs 2",
        "Seconds 12.3",
        "ab" * 32,
        "model.channels 4, 6",
        "torch 9.8.7",
        "sha256 " + "cd" * 32,
        "train pictures 42",
        "grüße zwei",
        "4 of 6 kept validation pictures are recognised",
        "ant 3 66.67% 20.8% to 93.9% 66.67%",
        "right class \\ predicted ant bee cat ant 2 1 0 bee 1 1 0 cat 0 0 1",
    ):
        assert fact in text
    assert build_run_report(path) == build_run_report(path)


def test_the_page_needs_nothing_else(write_run):
    html = build_run_report(write_run())
    page = Page(html)
    assert page.tags.count("svg") == 2 and page.tags.count("h1") == 1
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    assert "default-src 'none'" in dict(page.attributes)["content"] or "default-src 'none'" in html
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in addresses)
    assert not re.findall(r"url\((?!#)|@import", html)
    assert len(html) < 100_000


def test_hostile_text_is_only_text(write_run):
    path = write_run(categories=(EVIL[:-1], "bee", "$x^{$"), config={"dataset": EVIL, EVIL: {"a": EVIL}})
    write_bytes(path / "notes.txt", EVIL.encode(errors="replace"))
    write_json(path / "environment.json", {EVIL: EVIL})
    write_json(path / "data.json", {"name": EVIL, "categories": [EVIL], "splits": {EVIL: {"count": EVIL}}})
    status = read_run(path.parent, "tiny").status
    write_json(path / "status.json", status | {"device": EVIL, "message": EVIL})
    html = build_run_report(path)
    html.encode()
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in text_of(html) and "$x^{$" in text_of(html)


@pytest.mark.parametrize("line", [{"epoch": "x"}, {"epoch": 1}, {"epoch": 2, "train_loss": "<b>"}, {"epoch": 1e300}])
def test_hostile_metrics_draw_something(write_run, line):
    path = write_run()
    (path / "metrics.jsonl").unlink()
    append_line(path / "metrics.jsonl", {"kind": "epoch", **line})
    assert "<b>" not in build_run_report(path)


def test_missing_parts_are_named(tmp_path):
    path = create_run(tmp_path, "bare", {})
    text = text_of(build_run_report(path))
    assert "State queued" in text and "No epoch was completed." in text and "Not recorded." in text
    assert "The run keeps no validation pictures with predictions." in text


def test_damaged_predictions_are_left_out(write_run):
    path = write_run()
    write_bytes(path / "predictions.safetensors", b"x")
    assert "keeps no validation pictures" in build_run_report(path)


def test_of_many_classes_the_most_confused_are_shown(write_run):
    names = tuple(f"class{index:02d}" for index in range(40))
    predicted = [index if index < 38 else 77 - index for index in range(40)]
    html = build_run_report(write_run(categories=names, labels=list(range(40)), predicted=predicted))
    assert f"the {MAX_CLASSES} classes of 40" in html
    assert len(re.findall(r'<th scope="col">class\d', html)) == MAX_CLASSES
    assert "class38" in html and "class39" in html


def test_long_trainings_give_small_pages(write_run):
    path = write_run()
    for epoch in range(3, 1500):
        append_line(
            path / "metrics.jsonl", {"kind": "epoch", "epoch": epoch, "train_loss": 1 / epoch, "val_loss": 0.1}
        )
    assert len(build_run_report(path)) < 300_000


def test_what_has_no_report(tmp_path):
    create_run(tmp_path, "other", {}, kind="evaluation")
    with refused("other"):
        build_run_report(tmp_path / "other")
    with refused():
        build_run_report(tmp_path / "none")
