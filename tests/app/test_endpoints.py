"""Every public endpoint, called as another program would call it."""

import json
import math
import shutil
import threading
import urllib.error
import urllib.request

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from scipy.io import wavfile

from analysis.attribution.methods import METHODS
from analysis.shift.move import BOUNDARIES
from lab.learning.features import measure_features, set_exam
from lab.learning.receptive_field import measure_field
from lab.learning.sound import find_detector, open_recording, scan_recording, scan_word
from lab.session import Lab
from lab.shifts import MAX_SHIFT, map_picture, measure_picture
from models.data.samples import get_sample
from tests.app.test_visitors import ask
from tests.sentences import check_sentence, refused


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(device="cpu", runs_root=tmp_path_factory.mktemp("runs"))


def test_only_the_documented_endpoints_are_public(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = "models classify shift explain layers runs shift_map meter self_check"
    names += " convolve pool stack quiz loss receptive_field features sound lesson claims claim"
    assert set(named) == {f"/{name}" for name in names.split()}


def test_a_shift_map_gives_what_the_lab_gives(client, lab):
    asked = {"image": "sneaker", "model": "fashion_cnn", "max_shift": 3, "boundary": "circular"}
    for twin in (False, True):
        *_, expected = map_picture(lab, lab.open_image("sneaker"), "fashion_cnn", 3, "circular", twin=twin)
        result = client.predict(**asked, twin=twin, api_name="/shift_map")
        assert result["top1"] == expected.map.top1.tolist()
        np.testing.assert_allclose(result["probability"], expected.map.probability.numpy(), atol=1e-5)
        assert result["consistency"] == pytest.approx(expected.map.consistency)
    with refused(f"1 to {MAX_SHIFT}", error=Exception):
        client.predict(**asked | {"max_shift": MAX_SHIFT + 1}, api_name="/shift_map")
    widest = client.predict(**asked | {"max_shift": MAX_SHIFT}, api_name="/shift_map")
    assert widest["shifts"] == list(range(-MAX_SHIFT, MAX_SHIFT + 1))


def test_the_meter_and_the_self_check_give_what_the_lab_gives(client, lab):
    reading = client.predict(image="bag", model="fashion_cnn", dx=2, api_name="/meter")
    expected = measure_picture(lab, lab.open_image("bag"), "fashion_cnn", 2, 0)
    assert [layer["name"] for layer in reading["layers"]] == [layer.name for layer in expected.layers]
    assert reading["layers"][-1]["error"] == pytest.approx(expected.layers[-1].error, abs=1e-4)
    checks = client.predict(image="bag", model="fashion_cnn", api_name="/self_check")
    assert {check["identity"] for check in checks} >= {"I2", "I4", "I18"}
    assert not [check for check in checks if check["passed"] is False]


def test_models_lists_the_bundled_ones_first(client):
    models = client.predict(api_name="/models")
    assert [m["name"] for m in models[:2]] == ["efficientnet_lite0", "fashion_cnn"]
    assert {"name", "source", "num_params", "num_classes", "input_size", "cached"} == set(models[0])


def test_classify_gives_what_the_lab_gives(client, lab):
    path = get_sample("coffee").path
    uploaded = client.predict(image=handle_file(str(path)), top_k=3, api_name="/classify")
    sample = client.predict(image="coffee", top_k=3, api_name="/classify")
    expected = lab.classify(lab.open_image("coffee"), "efficientnet_lite0", 3).predictions
    for result in (uploaded, sample):
        assert [p["category"] for p in result["predictions"]] == [p.category for p in expected]
        assert result["predictions"][0]["probability"] == pytest.approx(expected[0].probability, abs=1e-5)


@pytest.mark.parametrize("endpoint", ["classify", "shift", "explain", "shift_map", "meter"])
def test_what_was_done_to_a_picture_is_said_with_its_result(client, tmp_path, endpoint):
    Image.fromarray(np.linspace(0, 255, 784, dtype=np.float32).reshape(28, 28)).save(tmp_path / "deep.tif")
    asked = {"model": "fashion_cnn", "api_name": f"/{endpoint}"}
    (note,) = client.predict(image=handle_file(str(tmp_path / "deep.tif")), **asked)["notes"]
    check_sentence(note, "0 to 255")
    assert client.predict(image="bag", **asked)["notes"] == []


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_shift_gives_what_the_lab_gives(client, lab, boundary):
    result = client.predict(image="chelsea", dx=3, dy=-2, boundary=boundary, api_name="/shift")
    expected = lab.shift(lab.open_image("chelsea"), "efficientnet_lite0", 3, -2, boundary)
    assert result["same_top1"] == expected.same_top1
    assert result["probability_change"] == pytest.approx(expected.probability_change, abs=1e-5)
    assert [layer["name"] for layer in result["layers"]] == [layer.name for layer in expected.layers]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "attention_rollout"])
def test_explain_returns_the_signed_map(client, method):
    result = client.predict(image="ankle_boot", model="fashion_cnn", method=method, api_name="/explain")
    values = np.array(result["values"])
    assert result["category"] == "ankle boot"
    assert values.shape == (1, 28, 28)
    assert np.isfinite(values).all()
    assert values.min() < values.max()
    assert result["placement"] == ("centres" if METHODS[method].needs_layer else None)
    gap = result["completeness_gap"]
    assert (gap is not None) == (METHODS[method].completeness is not None)


def test_a_large_map_is_a_file_of_whoever_asked_for_it(client, lab, server):
    result = client.predict(image="chelsea", method="input_x_gradient", api_name="/explain")
    expected = lab.explain(lab.open_image("chelsea"), "efficientnet_lite0", "input_x_gradient").attribution.values
    np.testing.assert_allclose(np.load(result["values"]), expected.numpy(), rtol=1e-4, atol=1e-6)
    call = "/gradio_api/call/explain"
    asked = ["chelsea", "efficientnet_lite0", "saliency", -1, "", "", "", {}]
    event = httpx.post(server.url + call, json={"data": asked}).json()["event_id"]
    answer = httpx.get(f"{server.url}{call}/{event}", timeout=60).text
    (found,) = json.loads(answer.rpartition("data: ")[2])
    assert len(answer) < 2000 and httpx.get(found["values"]["url"]).content[:6] == b"\x93NUMPY"


def test_explain_takes_a_class_by_its_name_or_index(client):
    by_name, by_index = (
        client.predict(image="ankle_boot", model="fashion_cnn", target=target, api_name="/explain")
        for target in ("Sandal", 5)
    )
    assert by_name["category"] == by_index["category"] == "sandal" and by_name["values"] == by_index["values"]


def test_layers_and_runs(client):
    layers = client.predict(model="fashion_cnn", api_name="/layers")
    assert layers[-1]["output_shape"] == [10]
    assert client.predict(api_name="/runs") == []


def test_claims_of_the_lecture_are_listed_and_checked(client):
    listed = client.predict(api_name="/claims")
    assert {"associative", "gap_translation"} <= {each["name"] for each in listed}
    found = client.predict(name="associative", api_name="/claim")
    assert (found["verdict"], found["control"]["verdict"]) == ("holds", "fails")
    assert client.predict(name="gap_translation", api_name="/claim")["verdict"] == "open"
    with refused("associative", error=Exception):
        client.predict(name="asociative", api_name="/claim")


def test_convolutions_and_stacks_are_numbers(client):
    edges = {"kernel": [[1, 0, -1]] * 3, "grid": [[10, 10, 10, 0, 0, 0]] * 6}
    result = client.predict(**edges, api_name="/convolve")
    assert result["output"] == [[0, 30, 30, 0]] * 4 and result["code"] == "nn.Conv2d(1, 1, kernel_size=3, bias=False)"
    for picture in ("bag", handle_file(str(get_sample("bag").path))):
        result = client.predict(kernel="sobel_x", picture=picture, padding=1, api_name="/convolve")
        assert result["shape"] == [28, 28]
    (row,) = client.predict(input="3,32,32", layers="conv(10,5,1,2)", api_name="/stack")
    assert (row["shape"], row["parameters"]) == ([10, 32, 32], 760)
    result = client.predict(grid=[[1, 2, 3, 4], [5, 6, 7, 8]], kind="average", api_name="/pool")
    assert result["output"] == [[3.5, 5.5]] and result["nonlinearity"] == result["mean_change"] == 0
    assert [each["kind"] for each in client.predict(seed=1, api_name="/quiz")] == [
        "size",
        "parameters",
        "receptive_field",
    ]
    result = client.predict(scores=[[3.2, 5.1, -1.7]], labels=[0], kind="svm", api_name="/loss")
    assert result["losses"] == pytest.approx([2.9]) and result["gradient"] == [[-1, 1, 0]]
    result = client.predict(scores=[[0.5] * 5000], labels=[0], kind="softmax", api_name="/loss")
    assert result["losses"] == pytest.approx([math.log(5000)])
    assert np.load(result["gradient"]).shape == (1, 5000)  # long ones are files
    result = client.predict(picture="coffee", kernel="mean", side=100, api_name="/convolve")
    assert list(np.load(result["output"]).shape) == result["shape"] and result["dropped"] == []


def test_features_sounds_and_lessons_are_those_of_the_lab(client, tmp_path):
    found = client.predict(data="shapes", kind="histogram", limit=60, seed=3, api_name="/features")
    (measured,) = measure_features(set_exam("shapes", "data", 60, 3), "histogram", ["linear"])
    assert found == {**measured.summary(), "seconds": pytest.approx(found["seconds"])}
    detector, accuracy = find_detector(0)
    made = client.predict(seed=5, api_name="/sound")
    scan = scan_word(detector, "word", 5)
    assert made == {**scan.to_json(len(scan.places) // 2), "accuracy": accuracy.to_json()}
    path = tmp_path / "소리.wav"
    wavfile.write(path, 8000, np.random.default_rng(0).normal(0, 4000, 8000).astype(np.int16))
    noise = client.predict(recording=handle_file(str(path)), api_name="/sound")
    expected = scan_recording(detector, open_recording(path)).to_json()
    assert noise["scores"] == pytest.approx(expected["scores"]) and len(noise["scores"]) != len(made["scores"])
    lesson = client.predict(name="when-the-cat-moves", api_name="/lesson")
    assert lesson["steps"][0]["link"].startswith("lesson=when-the-cat-moves&step=1&tab=")
    assert all("answer" not in (step["question"] or {}) for step in lesson["steps"])


def test_a_receptive_field_is_that_of_the_lab(client, lab):
    result = client.predict(image="bag", model="fashion_cnn", pictures=2, api_name="/receptive_field")
    assert result == measure_field(lab, lab.open_image("bag"), "fashion_cnn", num_pictures=2).to_json()


@pytest.mark.parametrize(
    ("endpoint", "arguments"),
    [
        ("/convolve", {}),
        ("/convolve", {"grid": [[1, 2], [3]]}),
        ("/convolve", {"grid": [[1, 2], [3, 4]]}),
        ("/convolve", {"grid": [[1] * 5] * 5, "kernel": {"a": 1}}),
        ("/convolve", {"picture": "/etc/passwd"}),
        ("/stack", {"input": "3,32,32", "layers": "conv(6,50)"}),
        ("/loss", {"scores": [[1, 2]], "labels": [2]}),
        ("/loss", {"scores": [[1, 2]], "labels": [1], "kind": "max"}),
        ("/pool", {"grid": [1, 2, 3]}),
        ("/features", {"data": "/etc"}),
        ("/features", {"data": "shapes", "limit": 10**9}),
        ("/sound", {"recording": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}),
        ("/lesson", {"name": "../secret"}),
        ("/classify", {"image": "no_such_sample"}),
        ("/classify", {"image": "coffee", "model": "resnet81"}),
        ("/classify", {"image": "coffee", "model": "no<b>such"}),
        ("/classify", {"image": "coffee", "model": ["x"]}),
        ("/classify", {"image": 5}),
        ("/classify", {"image": "coffee", "top_k": 0}),
        ("/classify", {"image": "coffee", "top_k": True}),
        ("/shift", {"image": "coffee", "dx": "far"}),
        ("/meter", {"image": "coffee", "twin": "false"}),
        ("/shift", {"image": "coffee", "dx": 500}),
        ("/explain", {"image": "coffee", "target": "tigercat"}),
        ("/shift", {"image": "coffee", "boundary": "sideways"}),
        ("/explain", {"image": "coffee", "method": "guess"}),
        ("/explain", {"image": "coffee", "target": 1000}),
        ("/explain", {"image": "coffee", "method": "grad_cam", "layer": "bn7"}),
        ("/layers", {"model": "run/../../etc"}),
    ],
    ids=str,
)
def test_bad_arguments_give_one_sentence_and_the_next_call_works(client, server, endpoint, arguments):
    with refused(error=Exception):
        client.predict(**arguments, api_name=endpoint)
    assert client.predict(image="coffee", api_name="/classify")["predictions"][0]["category"] == "espresso"
    assert server.is_alive


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_files_that_were_not_uploaded_cannot_be_read(server, tmp_path, meta):
    """Over plain HTTP: gradio_client would upload a file that is named like this."""
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    for path in (
        str(tmp_path / "private.png"),
        "/etc/passwd",
        "../../etc/passwd",
        "",
    ):
        events = call_over_http(server, "classify", [{"path": path, **meta}, "efficientnet_lite0", 5])
        assert "event: error" in events, path
        assert "predictions" not in events


def test_the_pages_own_events_read_no_other_files_either(server, tmp_path):
    """Events of the page take the picture as the browser sends it, with or without gradio's mark."""
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    config = json.loads(urllib.request.urlopen(f"{server.url}/config", timeout=10).read())
    parts = {part["id"]: part["props"] for part in config["components"]}
    (image,) = [number for number, props in parts.items() if props.get("elem_id") == "image"]
    (sample,) = [number for number, props in parts.items() if props.get("elem_id") == "samples"]
    event = next(each for each in config["dependencies"] if [sample, "input"] in each["targets"])
    sent = {image: {"path": str(tmp_path / "private.png")}, sample: ""}
    sent |= {number: "yes" for number, props in parts.items() if props.get("elem_id") == "page-is-ready"}
    data = [sent.get(number, parts.get(number, {}).get("value")) for number in event["inputs"]]
    join = {"fn_index": event["id"], "session_hash": "hostile", "data": data, "trigger_id": sample}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/gradio_api/queue/join", json.dumps(join).encode(), headers)
    urllib.request.urlopen(request, timeout=10)
    stream = urllib.request.urlopen(f"{server.url}/gradio_api/queue/data?session_hash=hostile", timeout=30)
    events = stream.read().decode()
    assert "Upload the picture first" in events
    assert "data:image" not in events


def call_over_http(server, endpoint: str, data: list) -> str:
    """The events that a call of an endpoint gives."""
    url = f"{server.url}/gradio_api/call/{endpoint}"
    request = urllib.request.Request(url, json.dumps({"data": data}).encode(), {"Content-Type": "application/json"})
    event = json.loads(urllib.request.urlopen(request, timeout=10).read())["event_id"]
    return urllib.request.urlopen(f"{url}/{event}", timeout=30).read().decode()


def test_folders_whose_names_are_not_utf8_are_offered_and_break_nothing(server):
    """To the owner when a tab is opened; what is the same for everybody does not tell of them."""
    browser = httpx.Client(base_url=server.url, timeout=60)
    config = browser.get("/config").json()
    assert "사진" not in browser.get("/").text + json.dumps(config, ensure_ascii=False)
    parts = {part["id"]: part["props"] for part in config["components"]}
    (tab,) = (number for number, props in parts.items() if props.get("elem_id") == "tab-train")
    event = next(each for each in config["dependencies"] if [tab, "select"] in each["targets"] and each["backend_fn"])
    opened = {"page-is-ready": "yes", "opened-tab": "train"}
    data = [opened.get(parts[each].get("elem_id"), parts[each].get("value")) for each in event["inputs"]]
    assert "사진" in ask(browser, event["id"], data, "one")


def test_the_servers_files_are_not_served(server):
    for path in ("/etc/passwd", "app.py", "requirements.txt", "assets/fashion_cnn.safetensors"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server.url}/gradio_api/file={path}", timeout=10)


def test_eight_clients_at_once_all_get_the_right_answer(server):
    answers, expected = [None] * 8, {"coffee": "espresso", "chelsea": "tiger cat"}

    def ask(index: int) -> None:
        sample = list(expected)[index % 2]
        result = Client(server.url, verbose=False).predict(image=sample, api_name="/classify")
        answers[index] = (sample, result["predictions"][0]["category"])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(answer and expected[answer[0]] == answer[1] for answer in answers), answers


def test_the_page_asks_nobody_else_for_anything(server):
    """A lecture room without a connection: no font, script or picture may come from another host."""
    page = urllib.request.urlopen(server.url, timeout=10).read().decode()
    config = json.loads(urllib.request.urlopen(f"{server.url}/config", timeout=10).read())
    assert "fonts.googleapis.com" not in json.dumps(config["stylesheets"])
    assert config["analytics_enabled"] is False
    assert "ConvScope" in page


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", '"\\ud800"', "[[]]", "{}", "null"])
def test_what_json_can_hold_and_no_number_is_gets_a_sentence(server, value):
    url = f"{server.url}/gradio_api/call/classify"
    body = f'{{"data": ["coffee", "fashion_cnn", {value}]}}'.encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    event = json.loads(urllib.request.urlopen(request, timeout=10).read())["event_id"]
    events = urllib.request.urlopen(f"{url}/{event}", timeout=30).read().decode()
    assert "event: error" in events and "top_k must be " in events


def test_long_bodies_are_ended_but_for_uploads(server):
    body = b'{"data": ["' + b"x" * 2**20 + b'"]}'
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        sent = iter([body]) if headers else body
        request = urllib.request.Request(f"{server.url}/gradio_api/call/classify", sent, headers)
        request.add_header("Content-Type", "application/json")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 413
        assert "at most 1 MB" in json.loads(refused.value.read())["detail"]
    head = b'--B\r\nContent-Disposition: form-data; name="files"; filename="big.bin"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    upload = urllib.request.Request(f"{server.url}/gradio_api/upload", head + b"x" * 2**21 + b"\r\n--B--\r\n", form)
    assert json.loads(urllib.request.urlopen(upload, timeout=30).read())


def test_refusals_do_not_fill_the_log(server, client):
    """Of events and of requests alike, and nothing that was sent gets there raw."""
    before = len(server.log.read_text())
    for number in range(20):
        with refused(error=Exception, varies=r"none\d+"):
            client.predict(image="coffee", model=f"none{number}\x1b[31m", api_name="/classify")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server.url}/pwa_icon/{number}", timeout=10)
    added = server.log.read_text()[before:]
    assert "Traceback" not in added and "\x1b" not in added and len(added) < 20 * 200


def test_runs_tell_no_paths_of_the_server(server, client, make_run):
    make_run(server.runs_root, "told")
    status = server.runs_root / "told" / "status.json"
    found = json.loads(status.read_text())
    status.write_text(json.dumps(found | {"state": "failed", "message": f"{status} cannot be read."}))
    assert [run["message"] for run in client.predict(api_name="/runs")] == ["status.json cannot be read."]
    shutil.rmtree(server.runs_root / "told")
