"""Commands about models and single pictures: models, layers, classify, explain."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.attribution.methods import METHODS
from models.data.samples import get_sample
from models.registry import Registry, fashion_cnn
from tests.sentences import check_sentence
from tests.unit.commands.fashion import CATEGORIES, FASHION, check_predictions


def test_models_lists_every_model(run_json, make_run, settings):
    make_run(settings / "runs")
    specs = run_json("models")
    assert [spec["name"] for spec in specs] == Registry(settings / "runs").list_names()
    assert "run/tiny" in [spec["name"] for spec in specs]
    types = {"name": str, "source": str, "num_params": int, "num_classes": int, "input_size": int, "cached": bool}
    for spec in specs:
        assert {key: type(value) for key, value in spec.items()} == types
    assert {spec["source"] for spec in specs} == {"bundled", "run", "torchvision"}


@pytest.mark.parametrize("command", ["classify", "shift", "explain", "shift-map", "meter"])
def test_what_was_done_to_a_picture_is_said_with_its_result(run_json, run, tmp_path, command):
    Image.fromarray(np.linspace(0, 255, 784, dtype=np.float32).reshape(28, 28)).save(tmp_path / "deep.tif")
    document = run_json(command, tmp_path / "deep.tif", *FASHION)
    (note,) = document["images"][0]["notes"] if command == "classify" else document["notes"]
    check_sentence(note, "0 to 255")
    assert f"note: {note}" in run(command, tmp_path / "deep.tif", *FASHION)[1]
    clean = run_json(command, "bag", *FASHION)
    assert (clean["images"][0] if command == "classify" else clean)["notes"] == []


def test_a_long_strip_is_classified_by_the_published_recipe(run_json, tmp_path, chelsea):
    from torchvision.transforms import functional as F

    strip = chelsea.convert("L").resize((424, 47))
    strip.save(tmp_path / "strip.png")
    found = run_json("classify", tmp_path / "strip.png", *FASHION, "--top-k", 10)["images"][0]
    spec = fashion_cnn()
    prep = spec.preprocessing
    resized = F.center_crop(F.resize(strip, [prep.resize_size]), [prep.crop_size])
    inputs = F.normalize(F.pil_to_tensor(resized).float() / 255, list(prep.mean), list(prep.std))
    with torch.no_grad():
        expected = spec.build().eval()(inputs[None]).softmax(1)[0]
    for prediction in found["predictions"]:
        assert prediction["probability"] == pytest.approx(float(expected[prediction["index"]]), abs=1e-5)


def test_classify_answers_for_each_picture_in_order(run_json, lab):
    path = get_sample("trouser").path
    document = run_json("classify", "bag", path, "bag", *FASHION, "--top-k", 3)
    assert set(document) == {"model", "images"} and document["model"] == "fashion_cnn"
    assert [image["path"] for image in document["images"]] == ["bag", str(path), "bag"]
    for image, name in zip(document["images"], ("bag", path, "bag"), strict=True):
        assert set(image) == {"path", "predictions", "ms", "notes"} and image["ms"] > 0
        check_predictions(image["predictions"], 3)
        expected = lab.classify(lab.open_image(name), "fashion_cnn", 3).predictions
        assert image["predictions"] == [pytest.approx(vars(prediction)) for prediction in expected]


def test_classify_answers_for_the_others_where_one_is_broken(run, settings):
    data = get_sample("bag").path.read_bytes()
    (settings / "good.png").write_bytes(data)
    (settings / "cut.png").write_bytes(data[:60])
    names = ["good.png", "cut.png", "bag", "none.png"]
    code, out, err = run("classify", *names, *FASHION, "--json")
    images = json.loads(out)["images"]
    assert code == 2 and [image["path"] for image in images] == names
    assert [set(image) for image in images] == [{"path", "predictions", "ms", "notes"}, {"path", "problem"}] * 2
    assert "cut.png is damaged" in images[1]["problem"] and "no file none.png" in images[3]["problem"]
    assert err == "".join(f"error: {images[number]['problem']}\n" for number in (1, 3))
    code, out, err = run("classify", *names, *FASHION)
    assert code == 2 and out.count("ms)") == 2 and err.count("error: ") == 2
    code, out, err = run("classify", "cut.png", "none.png", *FASHION, "--json")
    assert code == 2 and len(json.loads(out)["images"]) == 2 and err.count("\n") == 2


def test_classify_takes_the_pictures_of_a_folder(run, run_json, settings):
    folder = settings / "some"
    (folder / "deeper").mkdir(parents=True)
    data = get_sample("bag").path.read_bytes()
    for name in ("b.png", "a", ".hidden.png", "deeper/c.png"):
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("no picture")
    document = run_json("classify", "some", "bag", *FASHION)
    assert [image["path"] for image in document["images"]] == ["some/a", "some/b.png", "bag"]
    (folder / "c.png").write_text("no picture, but it says so")
    code, out, _ = run("classify", folder, *FASHION, "--json")
    assert code == 2 and ["problem" in image for image in json.loads(out)["images"]] == [False, False, True]
    (folder / "photo").write_bytes(b"\0\0\0\x18ftypheic" + bytes(16))
    code, out, _ = run("classify", folder, *FASHION, "--json")
    assert code == 2 and "HEIC" in json.loads(out)["images"][-1]["problem"]


def test_names_that_are_not_utf_8_are_shown_as_they_can_be_read(run, settings):
    name = os.fsdecode("사진.png".encode("cp949"))
    (settings / name).write_bytes(get_sample("bag").path.read_bytes())
    code, out, _ = run("classify", name, *FASHION, "--json")
    assert code == 0 and json.loads(out)["images"][0]["path"] == "사진.png"
    assert run("classify", "사진.png", *FASHION)[0] == 0  # as it was shown
    code, out, _ = run("classify", name, *FASHION)
    assert code == 0 and out.startswith("사진.png  (")


def test_classify_names_what_it_cannot_read_in_a_folder(run, settings):
    (settings / "bag.png").write_bytes(get_sample("bag").path.read_bytes())
    (settings / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (settings / "cut").write_bytes(get_sample("bag").path.read_bytes()[:60])
    code, out, err = run("classify", settings, *FASHION, "--json")
    problems = {Path(image["path"]).name: image.get("problem", "") for image in json.loads(out)["images"]}
    assert code == 2 and err.count("error: ") == 2 and set(problems) == {"bag.png", "cut", "phone.heic"}
    assert not problems["bag.png"] and "cut is damaged" in problems["cut"] and "HEIC" in problems["phone.heic"]


def test_classify_shows_names_that_are_not_utf8_as_text(run, settings):
    folder = settings / os.fsdecode("사진".encode("cp949"))
    folder.mkdir()
    data = get_sample("bag").path.read_bytes()
    for name, content in (("강아지.png", data), ("고양이.png", data[:60])):
        (folder / os.fsdecode(name.encode("cp949"))).write_bytes(content)
    _, out, _ = run("classify", folder, *FASHION, "--json")
    paths = sorted(image["path"] for image in json.loads(out)["images"])
    assert paths == [str(settings / "사진" / name) for name in ("강아지.png", "고양이.png")]
    _, out, _ = run("classify", folder, *FASHION)
    assert str(settings / "사진" / "강아지.png") in out


def test_a_file_goes_before_a_sample_of_its_name_and_a_folder_does_not(run_json, settings):
    (settings / "bag").mkdir()
    assert run_json("shift", "bag", *FASHION)["before"][0]["category"] == "bag"
    (settings / "bag").rmdir()
    (settings / "bag").write_bytes(get_sample("trouser").path.read_bytes())
    assert run_json("shift", "bag", *FASHION)["before"][0]["category"] == "trouser"
    assert run_json("classify", "bag", *FASHION)["images"][0]["predictions"][0]["category"] == "trouser"


@pytest.mark.parametrize(("top_k", "num"), [(1, 1), (10, 10), (1000, 10)])
def test_classify_shows_as_many_classes_as_there_are(run_json, top_k, num):
    predictions = run_json("classify", "bag", *FASHION, "--top-k", top_k)["images"][0]["predictions"]
    check_predictions(predictions, num)
    assert num < 10 or sum(p["probability"] for p in predictions) == pytest.approx(1, abs=1e-5)


def test_classify_takes_a_trained_run(run_json, make_run, settings):
    make_run(settings / "runs")
    document = run_json("classify", "bag", "-m", "run/tiny")
    assert {p["category"] for p in document["images"][0]["predictions"]} == {"ant", "bee", "cat"}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "attention_rollout"])
def test_explain_writes_the_overlay_and_the_signed_map(run_json, lab, settings, method):
    out, raw = settings / "overlay.png", settings / "map.npy"
    document = run_json("explain", "bag", *FASHION, "--method", method, "--out", out, "--raw", raw)
    keys = {"method", "target", "category", "probability", "seconds", "notes", "completeness_gap", "placement"}
    assert set(document) == keys | {"out"}
    assert document["placement"] == ("centres" if METHODS[method].needs_layer else None)
    gap = document["completeness_gap"]
    assert (gap is not None) == (METHODS[method].completeness is not None)
    expected = lab.explain(lab.open_image("bag"), "fashion_cnn", method)
    assert document["method"] == method and document["out"] == str(out) and document["seconds"] >= 0
    assert document["target"] == expected.target.index
    assert document["category"] == CATEGORIES[document["target"]]
    assert document["probability"] == pytest.approx(expected.target.probability, abs=1e-6)
    values = np.load(raw, allow_pickle=False)
    assert values.shape == (1, 28, 28) and values.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(values), expected.attribution.values, rtol=1e-3, atol=1e-4)
    with Image.open(out) as image:
        assert image.format == "PNG" and image.mode == "RGB" and min(image.size) >= 28


def test_explain_of_colour_pictures_is_signed_for_each_channel(run_json, settings):
    document = run_json("explain", "chelsea", "--raw", settings / "map.npy")
    values = np.load(settings / "map.npy")
    assert values.shape == (3, 224, 224) and values.min() < 0 < values.max()
    assert document["out"] is None


def test_integrated_gradients_add_up_to_the_difference_of_the_scores(run_json, lab, settings):
    arguments = ["explain", "bag", *FASHION, "--method", "integrated_gradients", "--target", "8"]
    document = run_json(*arguments, "--raw", settings / "map.npy")
    total = float(np.load(settings / "map.npy").astype(np.float64).sum())
    with lab.use("fashion_cnn") as (loaded, _), torch.inference_mode():
        inputs = loaded.prepare(lab.open_image("bag"))
        difference = float((loaded.module(inputs) - loaded.module(torch.zeros_like(inputs)))[0, 8])
    assert abs(total - difference) < 0.02 * difference
    assert document["completeness_gap"] == pytest.approx(abs(total / difference - 1), abs=1e-4)


def test_the_gap_stands_beside_the_map(run):
    code, out, _ = run("explain", "bag", *FASHION, "--method", "integrated_gradients")
    assert code == 0
    gap = float(out.split("completeness_gap ")[1].split()[0])
    assert f"adds up to the difference in score but for {100 * gap:.1f} %" in out


def test_explain_takes_a_target_and_a_layer(run_json):
    target = len(CATEGORIES) - 1
    layer = next(row["name"] for row in run_json("layers", *FASHION) if row["type"] == "Conv2d")
    document = run_json("explain", "bag", *FASHION, "--target", target, "--method", "grad_cam", "--layer", layer)
    assert document["target"] == target and document["category"] == CATEGORIES[-1]


def test_explain_takes_the_name_of_a_class_and_classify_shows_its_number(run, run_json):
    by_name, by_number = (run_json("explain", "chelsea", "--target", text) for text in ("Tiger-CAT", "282"))
    assert by_name["target"] == by_number["target"] == 282 and by_name["category"] == "tiger cat"
    _, out, _ = run("classify", "chelsea")
    assert any(line.split()[1:] == ["282", "tiger", "cat"] for line in out.splitlines())


def test_explain_asks_which_of_two_classes_of_a_name_is_meant(run, run_json, make_run, settings):
    make_run(settings / "runs")
    card = settings / "runs" / "tiny" / "model.json"
    card.write_text(card.read_text().replace('"cat"', '"ant"'))
    code, out, err = run("explain", "bag", "-m", "run/tiny", "--target", "ant")
    assert (code, out) == (2, "") and "ant is the name of the classes 0, 2" in err
    assert run_json("explain", "bag", "-m", "run/tiny", "--target", "2")["target"] == 2


def test_layers_describe_the_network(run_json):
    rows = run_json("layers", *FASHION)
    keys = {"name", "type", "output_shape", "num_params", "stride", "receptive_field"}
    assert all(set(row) == keys for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)
    assert rows[-1]["output_shape"] in ([len(CATEGORIES)], [1, len(CATEGORIES)])
    parts = fashion_cnn().build().named_modules()
    leaves = {name: type(module).__name__ for name, module in parts if not [*module.children()]}
    found = {row["name"]: row["type"] for row in rows}
    assert found.items() >= leaves.items()
    assert sum(row["num_params"] for row in rows if row["name"] in leaves) == fashion_cnn().num_params


def test_explain_takes_a_contrast_a_baseline_and_parameters(run_json, run, lab):
    arguments = ["explain", "bag", *FASHION, "--method", "shapley_sampling", "--contrast", "bag,0"]
    arguments += ["--baseline", "blur"]
    document = run_json(*arguments, "--param", "n_segments=6", "--param", "n_samples=2")
    assert document["contrast"] == [CATEGORIES[8], CATEGORIES[0]] and document["target"] == 8
    assert document["baseline"] == "blur" and document["completeness_gap"] < 1e-3
    own = run_json("explain", "bag", *FASHION, "--method", "occlusion", "--baseline", "trouser")
    assert own["baseline"] == "own picture"
    for wrong in (["--param", "n_segments"], ["--param", "squares=3"], ["--param", "n_samples=0"], ["--target", "1"]):
        code, _, err = run(*arguments, *wrong)
        assert code == 2 and err.startswith("error: ")


def test_methods_say_which_work_and_what_they_cost(run_json, run):
    rows = run_json("methods", *FASHION)
    assert [row["method"] for row in rows] == list(METHODS)
    assert all(set(row) == {"method", "works", "reason", "forwards", "backwards"} for row in rows)
    assert all(row["works"] == (row["reason"] is None) for row in rows)
    assert {row["method"]: row["forwards"] for row in rows}["rise"] == 512
    code, out, _ = run("methods", *FASHION)
    assert code == 0 and out.count("\n") == len(METHODS)
