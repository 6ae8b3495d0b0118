"""Shift maps, layer meters and self-checks of the lab, against single shifts and plain forwards."""

import copy
import itertools
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from analysis.errors import Cancelled, UserError
from analysis.network.layers import outline
from analysis.shift import shift_map
from analysis.shift.circular import CircularPadding
from analysis.shift.move import BOUNDARIES, shift_pixels
from lab.results import PictureMap
from lab.session import Lab
from lab.shifts import (
    MAX_SHIFT,
    as_circular_twin,
    build_scene,
    check_model,
    find_total_stride,
    map_all_circular_shifts,
    map_picture,
    measure_picture,
)
from models.data.preprocessing import Preprocessing
from models.registry import BUNDLED, fashion_cnn
from models.zoo.spec import ModelSpec
from tests.device import DEVICE

MODEL = "fashion_cnn"
PATIENCE = 30
versions = itertools.count(1)
"""Models of the same name under another version are loaded anew."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    """With the bundled models, and one of them that looks at the middle of a larger picture."""
    prep = replace(fashion_cnn().preprocessing, resize_size=34)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUNDLED, "roomy", lambda: replace(fashion_cnn(), name="roomy", preprocessing=prep))
        yield Lab(device=DEVICE, runs_root=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def boot(lab) -> Image.Image:
    """The sample whose class depends most on where it is."""
    return lab.open_image("ankle_boot")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(shift_map, "CHUNK_PIXELS", {DEVICE: 4 * 28 * 28})


def last(maps) -> PictureMap:
    *_, final = maps
    return final


def elsewhere(call, *args):
    """What a call answers in a thread of its own, which must not have to wait for this one."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call(*args)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert answers, "it fails, or waits for a model that nobody gives back"
    return answers[0]


def equals_single_shifts(lab: Lab, image: Image.Image, model: str, found: PictureMap) -> None:
    """Every cell of a map against ``lab.shift``."""
    shown = found.map
    assert shown.is_complete
    for (i, dy), (j, dx) in itertools.product(enumerate(shown.distances), repeat=2):
        alone = lab.shift(image, model, dx, dy, found.boundary, twin=found.is_twin)
        assert shown.target == alone.before[0].index
        assert found.category == alone.before[0].category
        assert int(shown.top1[i, j]) == alone.after[0].index
        expected = alone.before[0].probability + alone.probability_change
        assert float(shown.probability[i, j]) == pytest.approx(expected, abs=1e-5)
        assert float(shown.margin[i, j]) == pytest.approx(alone.margin_after, abs=1e-4)
        assert bool(shown.is_tie[i, j]) == alone.near_tie


# Maps of a picture.


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_a_map_equals_single_shifts(lab, boot, boundary, twin):
    model = "roomy" if boundary == "crop" else MODEL
    found = last(map_picture(lab, boot, model, 2, boundary, twin=twin))
    assert (found.model.name, found.boundary, found.is_twin, found.stride) == (model, boundary, twin, 4)
    assert found.map.distances == (-2, -1, 0, 1, 2)
    assert found.map.margin.std() > 0.01
    assert found.all_shifts is None
    equals_single_shifts(lab, boot, model, found)


def test_maps_differ_by_boundary_and_by_twin(lab, boot):
    margins = [
        last(map_picture(lab, boot, MODEL, 2, boundary, twin=twin)).map.margin
        for boundary in BOUNDARIES
        if boundary != "crop"
        for twin in (False, True)
    ]
    for first, second in itertools.combinations(margins, 2):
        assert (first - second).abs().max() > 1e-3


def test_maps_grow_from_the_unshifted_picture(lab, boot, small_chunks):
    maps = [found.map for found in map_picture(lab, boot, MODEL, 3)]
    computed = [int(m.is_computed.sum()) for m in maps]
    assert computed == sorted(set(computed))
    assert (computed[0], computed[-1]) == (4, 49)
    assert bool(maps[0].is_computed[3, 3])
    for early in maps:
        assert torch.equal(early.margin[early.is_computed], maps[-1].margin[early.is_computed])


@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_a_map_may_go_on_in_another_thread_and_lends_the_model_in_between(tmp_path, boot, small_chunks, twin):
    lab = Lab(device=DEVICE, runs_root=tmp_path)
    expected = last(map_picture(lab, boot, MODEL, 2, "circular", twin=twin)).to_json()
    alone = lab.shift(boot, MODEL, 1, 0).to_json()
    maps = map_picture(lab, boot, MODEL, 2, "circular", twin=twin)
    found = []
    while (current := elsewhere(next, maps, None)) is not None:
        found.append(current)
        # Somebody else has the model meanwhile, and it is the one as trained.
        assert elsewhere(lab.shift, boot, MODEL, 1, 0).to_json() == alone
    assert len(found) > 4
    document = found[-1].to_json()
    assert document["top1"] == expected["top1"]
    np.testing.assert_allclose(document["margin"], expected["margin"], atol=1e-4)


def test_a_map_that_is_given_up_leaves_the_model_free(lab, boot, small_chunks):
    maps = map_picture(lab, boot, MODEL, 2, twin=True)
    next(maps)
    maps.close()
    assert elsewhere(lab.classify, boot, MODEL).predictions


def test_progress_counts_cells_and_may_cancel(lab, boot, small_chunks):
    heard = []

    def cancel(done, total):
        heard.append((done, total))
        if done >= 12:
            raise Cancelled

    found = []
    maps = map_picture(lab, boot, MODEL, 2, progress=cancel)
    with pytest.raises(Cancelled):
        found.extend(int(current.map.is_computed.sum()) for current in maps)
    # The grids have 1, 9 and 25 cells and are divided into chunks of 4.
    assert {total for _, total in heard} == {25}
    assert [done for done, _ in heard] == [0, *found]
    after = elsewhere(lambda: last(map_picture(lab, boot, MODEL, 2)))
    assert after.map.is_complete


def test_a_preview_is_labelled_and_near(lab, boot):
    exact = last(map_picture(lab, boot, MODEL, 2)).map
    preview = last(map_picture(lab, boot, MODEL, 2, fast_preview=True)).map
    assert (preview.is_preview, exact.is_preview) == (True, False)
    assert preview.margin.dtype == torch.float32
    assert 0 < (preview.margin - exact.margin).abs().max() < 0.1 * exact.margin.abs().max()


@pytest.mark.parametrize("max_shift", [-3, 0, MAX_SHIFT + 1, 10**9])
def test_the_size_of_a_map_is_limited(lab, boot, max_shift):
    for call in (
        lambda: next(map_picture(lab, boot, MODEL, max_shift)),
        lambda: map_all_circular_shifts(lab, boot, MODEL, max_shift),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert str(caught.value) == f"The largest shift of a map is between 1 and 64 pixels, not {max_shift}."


def test_what_cannot_be_mapped_is_refused_in_words(lab, boot):
    assert last(map_picture(lab, boot, "roomy", 3, "crop")).map.is_complete
    for arguments, words in (
        (("roomy", 4, "crop"), "dx can go from -3 to 3 and dy from -3 to 3"),
        ((MODEL, 1, "crop"), "dx can go from 0 to 0 and dy from 0 to 0"),
        ((MODEL, 1, "wrap"), "no boundary rule called wrap; there are zero, mean"),
    ):
        with pytest.raises(UserError, match=words):
            next(map_picture(lab, boot, *arguments))
    for call in (map_picture, map_all_circular_shifts):
        with pytest.raises(UserError, match="Did you mean fashion_cnn"):
            list(call(lab, boot, "fashion_cn", 1))


def test_a_map_is_json(lab, boot):
    document = json.loads(
        json.dumps(last(map_picture(lab, boot, MODEL, 1, "reflect", twin=True)).to_json(), allow_nan=False)
    )
    category = lab.shift(boot, MODEL, 0, 0, twin=True).before[0].category
    rules = {"model": MODEL, "boundary": "reflect", "twin": True, "stride": 4, "category": category}
    assert document | rules == document
    assert document["shifts"] == [-1, 0, 1]
    assert np.shape(document["top1"]) == np.shape(document["probability"]) == np.shape(document["margin"]) == (3, 3)
    assert document["all_shifts_consistency"] is None


# All circular shifts at once.


def enumerate_all(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Logits ``(H, W, K)`` of every circular shift, from plain forwards of a copy that wraps around."""
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.padding_mode = "circular"
    side = inputs.shape[-1]
    with torch.inference_mode():
        rows = [torch.cat([inputs.roll((dy, dx), (2, 3)) for dx in range(side)]) for dy in range(side)]
        return torch.stack([module(row) for row in rows])


def count_agreeing_pairs(classes: torch.Tensor) -> float:
    """The share of ordered pairs of different shifts with the same class, by looking at every pair."""
    classes = classes.flatten()
    same = (classes[:, None] == classes).double()
    return float((same.sum() - len(classes)) / (len(classes) * (len(classes) - 1)))


@pytest.mark.parametrize("sample", ["ankle_boot", "shirt"])
def test_all_circular_shifts_equal_single_shifts_and_full_enumeration(lab, sample):
    image = lab.open_image(sample)
    found = map_all_circular_shifts(lab, image, MODEL, 2)
    assert (found.boundary, found.is_twin, found.stride) == ("circular", True, 4)
    equals_single_shifts(lab, image, MODEL, found)
    with lab.models.use(MODEL) as loaded:
        logits = enumerate_all(loaded.module, loaded.prepare(image))
    expected = count_agreeing_pairs(logits.argmax(-1))
    assert found.all_shifts == pytest.approx(expected, abs=1e-12)
    assert expected < 1
    assert found.to_json()["all_shifts_consistency"] == found.all_shifts


def test_all_circular_shifts_are_the_map_of_the_twin(lab, boot):
    slow = last(map_picture(lab, boot, MODEL, 5, "circular", twin=True))
    fast = map_all_circular_shifts(lab, boot, MODEL, 5)
    assert torch.equal(slow.map.top1, fast.map.top1)
    torch.testing.assert_close(slow.map.margin, fast.map.margin, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slow.map.probability, fast.map.probability, rtol=1e-4, atol=1e-5)
    as_trained = last(map_picture(lab, boot, MODEL, 5, "circular"))
    assert not torch.allclose(as_trained.map.margin, fast.map.margin, atol=1e-2)


def register_own(monkeypatch, *layers: nn.Module, side: int = 12) -> str:
    """A model of these layers with random weights, for grey pictures of 12 pixels a side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.ReLU(), *layers).eval()
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                nn.init.normal_(part.weight)
    prep = Preprocessing(crop_size=side, resize_size=side)
    spec = ModelSpec("own", "test", 1, tuple("abcde"), prep, lambda: module, "nothing", version=next(versions))
    monkeypatch.setitem(BUNDLED, "own", lambda: spec)
    return "own"


def test_all_shifts_of_a_network_that_knows_positions(lab, monkeypatch):
    """It flattens its maps: only the whole picture is a period."""
    model = register_own(monkeypatch, nn.Flatten(), nn.Linear(216, 5))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12), np.uint8))
    found = map_all_circular_shifts(lab, picture, model, 3)
    equals_single_shifts(lab, picture, model, found)
    with lab.models.use(model) as loaded:
        classes = enumerate_all(loaded.module, loaded.prepare(picture)).argmax(-1)
    assert len(classes.unique()) > 1
    assert found.all_shifts == pytest.approx(count_agreeing_pairs(classes), abs=1e-12)


def test_networks_that_cannot_be_followed_are_refused_in_words(lab, monkeypatch):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12), np.uint8))
    layers = (nn.Conv2d(6, 5, 3, stride=4, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = register_own(monkeypatch, *layers)  # 6 cells do not divide into steps of 4
    with pytest.raises(UserError) as caught:
        map_all_circular_shifts(lab, picture, model, 1)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_the_pass_over_all_shifts_can_be_cancelled(lab, boot):
    heard = []

    def cancel(done, total):
        heard.append((done, total))
        if len(heard) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        map_all_circular_shifts(lab, boot, MODEL, 2, progress=cancel)
    assert [done for done, _ in heard] == [1, 2]
    found = elsewhere(map_all_circular_shifts, lab, boot, MODEL, 2)
    assert found.map.is_complete


# The layer meter.

TOO_WIDE = {"roomy": {f"features.2.{part}" for part in ("conv", "norm", "relu")}}
TOO_WIDE[MODEL] = {"features.1.pool", *TOO_WIDE["roomy"]}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_a_meter_reading_is_json_whatever_the_rules(lab, boot, boundary, twin):
    model = "roomy" if boundary == "crop" else MODEL
    reading = measure_picture(lab, boot, model, 1, -2, boundary, twin=twin)
    document = json.loads(json.dumps(reading.to_json(), allow_nan=False))
    rules = {"model": model, "dx": 1, "dy": -2, "boundary": boundary, "twin": twin}
    assert document | rules == document
    names = [layer.name for layer in lab.layers(model) if layer.is_feature_map and not layer.repeats]
    assert [layer["name"] for layer in document["layers"]] == [phase["name"] for phase in document["phases"]] == names
    for layer in document["layers"]:
        # Part of a cell mixes six of seven a side, whose windows together are wider than the picture.
        is_unknown = boundary != "circular" and layer["name"] in TOO_WIDE[model]
        assert (layer["cause"] is None) == is_unknown
        assert layer["cause"] in (None, "stride", "padding", "new content", "none")
    assert [phase["stride"] for phase in document["phases"]] == [1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4]


def test_the_meter_separates_stride_from_padding(lab, boot):
    """By whole cells, wrapping around, the twin is exact; the network as trained is not."""
    twin = measure_picture(lab, boot, MODEL, 4, -8, "circular", twin=True)
    trained = measure_picture(lab, boot, MODEL, 4, -8, "circular")
    assert max(layer.error for layer in twin.layers) < 1e-5
    assert {layer.cause for layer in twin.layers} == {"none"}
    assert max(phase.in_phase for phase in twin.phases) < 1e-5
    assert min(phase.out_of_phase for phase in twin.phases if phase.stride > 1) > 0.01
    assert min(layer.error for layer in trained.layers) > 0.01
    assert {layer.cause for layer in trained.layers} == {"padding"}
    assert (trained.is_twin, twin.is_twin) == (False, True)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (4, -4)])
@pytest.mark.parametrize("boundary", [boundary for boundary in BOUNDARIES if boundary != "crop"])
@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_a_layer_has_one_error_wherever_it_is_shown(lab, boot, boundary, twin, dx, dy):
    """Under the maps, in the chart of every layer, and in the meter, with its curves in and out of phase."""
    reading = measure_picture(lab, boot, MODEL, dx, dy, boundary, twin=twin)
    errors = {layer.name: layer.error for layer in reading.layers}
    # A block hands on the map of its last part, under which the meter lists it.
    names = {"features.0": "features.0.pool", "features.1": "features.1.pool", "features.2": "features.2.relu"}
    for block, name in names.items():
        result = lab.shift(boot, MODEL, dx, dy, boundary, twin=twin, layer=name)
        shown = {layer.name: layer.relative_error for layer in result.layers}
        assert shown[block] == result.comparison.relative_error == pytest.approx(errors[name], rel=1e-5, abs=1e-9)
    curves = {phase.name: phase for phase in reading.phases}
    for name in names.values():
        if (dx, dy) == (1, 0):
            assert curves[name].out_of_phase == pytest.approx(errors[name], rel=1e-5, abs=1e-9)


def test_a_smooth_photograph_is_not_said_to_have_an_edge(lab):
    """Brighter on the right: a seam in a picture that wrapped around made strides look eighteen times as bad."""
    y, x = np.mgrid[:300, :400]
    ramp = np.stack([40 + 170 * x / 400, 60 + 150 * x / 400, 90 + 130 * x / 400], -1)
    ramp += 6 * np.sin(2 * np.pi * (x / 61 + y / 83))[..., None]
    reading = measure_picture(lab, Image.fromarray(ramp.astype(np.uint8)), "efficientnet_lite0", 1, 0, "crop")
    stem, *_ = reading.layers
    assert (stem.name, stem.cause) == ("conv_stem", "stride")
    assert stem.error == pytest.approx(0.0059, abs=1e-4)
    assert stem.stride_error == pytest.approx(stem.error, rel=0.03)
    assert 1e-4 < stem.padding_error < 0.3 * stem.error
    measured = [layer for layer in reading.layers if layer.cause is not None]
    assert len(measured) > 50
    for layer in measured:
        assert layer.new_content_error == 0 < 1e-4 < layer.padding_error
        assert layer.stride_error < 1.15 * layer.error
        largest = max(layer.stride_error, layer.padding_error)
        is_explained = "one alone does more" in layer.note or "more error than the others" in layer.note
        assert largest <= 1.001 * layer.error or is_explained
    for layer in reading.layers:
        if layer not in measured:
            assert (layer.stride_error, layer.padding_error) == (None, None)
            assert "what strides and padding do is not measured" in layer.note
            assert layer.receptive_field > 256


def test_a_reading_at_fractions_and_without_a_shift(lab, boot):
    for dx, dy in ((0.5, -0.25), (0, 0)):
        reading = measure_picture(lab, boot, MODEL, dx, dy, "circular")
        json.dumps(reading.to_json(), allow_nan=False)
        errors = [layer.error for layer in reading.layers]
        assert max(errors) < 1e-6 if (dx, dy) == (0, 0) else min(errors) > 1e-3


def test_a_flat_picture_still_gives_a_reading(lab):
    json.dumps(measure_picture(lab, Image.new("L", (28, 28), 9), MODEL, 1, 0).to_json(), allow_nan=False)


def test_a_reading_reports_and_can_be_cancelled(lab, boot):
    heard = []
    measure_picture(lab, boot, MODEL, 1, 0, progress=lambda *step: heard.append(step))
    assert heard == sorted(set(heard))
    assert heard[-1][0] == heard[-1][1]

    def cancel(done, total):
        raise Cancelled

    with lab.models.use(MODEL) as loaded:
        hooks = [len(part._forward_hooks) for part in loaded.module.modules()]
    with pytest.raises(Cancelled):
        measure_picture(lab, boot, MODEL, 1, 0, twin=True, progress=cancel)
    assert elsewhere(lab.classify, boot, MODEL).predictions
    with lab.models.use(MODEL) as loaded:
        assert [len(part._forward_hooks) for part in loaded.module.modules()] == hooks


def test_a_reading_that_the_boundary_cannot_give_is_refused(lab, boot):
    with pytest.raises(UserError, match="dx can go from 0 to 0"):
        measure_picture(lab, boot, MODEL, 1, 0, "crop")
    with pytest.raises(UserError, match="no boundary rule called wrap"):
        measure_picture(lab, boot, MODEL, 1, 0, "wrap")


# The self-check.


@pytest.mark.parametrize("sample", ["sneaker", "ankle_boot"])
def test_the_bundled_model_passes_its_self_check(lab, sample):
    results = check_model(lab, MODEL, lab.open_image(sample))
    assert [r for r in results if r.passed is False] == []
    passed = {r.identity for r in results if r.passed and not r.is_negative_control}
    assert passed >= {"I1", "I2", "I4", "I13", "I14", "I15", "I16", "I17", "I18", "I20"}
    assert {r.identity for r in results if r.passed and r.is_negative_control} >= {
        "I3",
        "I7",
        "I9",
        "I13",
        "I14",
        "I17",
    }
    for result in results:
        if result.passed and not result.is_negative_control:
            assert result.error <= result.tolerance
        if result.passed is None:
            assert result.note


def test_identities_of_crops_need_surroundings(lab, boot):
    """They do apply where the picture is larger than what the network sees, but not to padded convolutions."""
    reasons = [r.note for r in check_model(lab, MODEL, boot) if r.identity == "I12" and r.passed is None]
    assert reasons == ["The picture has no surroundings to crop from.", "I12 does not apply."]
    with_room = check_model(lab, "roomy", boot)
    assert [r for r in with_room if r.passed is False] == []
    assert all(r.passed for r in with_room if r.identity == "I12")


def test_the_self_check_can_be_cancelled_and_refuses_flat_pictures(lab, boot):
    def cancel(done, total):
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        check_model(lab, MODEL, boot, progress=cancel)
    with pytest.raises(UserError, match="one flat colour"):
        check_model(lab, MODEL, Image.new("L", (28, 28), 90))
    assert elsewhere(lab.classify, boot, MODEL).predictions


# The parts.


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_windows_of_the_scene_are_shifted_pictures_normalised(lab, boot, boundary):
    model = "roomy" if boundary == "crop" else MODEL
    with lab.models.use(model) as loaded:
        scene = build_scene(loaded, boot, boundary, 3)
        prep = loaded.spec.preprocessing
        canvas = prep.to_canvas(boot)
        for dx, dy in ((0, 0), (3, -3), (-2, 1)):
            if boundary == "crop":
                top, left = 3 - dy, 3 - dx
                pixels = canvas[:, top : top + 28, left : left + 28]
            else:
                pixels = shift_pixels(prep.crop(canvas), dx, dy, boundary, prep.mean).pixels
            expected = (pixels - prep.mean[0]) / prep.std[0]
            torch.testing.assert_close(scene.window(dx, dy).cpu(), expected, rtol=0, atol=1e-6)
            invented = scene.window(dx, dy).cpu()[0][~scene.mask(dx, dy)]
            if boundary in ("mean", "zero") and (dx, dy) != (0, 0):
                color = 0 if boundary == "mean" else -prep.mean[0] / prep.std[0]
                torch.testing.assert_close(invented, torch.full_like(invented, color), rtol=0, atol=1e-6)
                assert len(invented) == 28 * 28 - (28 - abs(dx)) * (28 - abs(dy))
            else:
                assert not len(invented) or boundary in ("reflect", "replicate")


def test_the_twin_is_entered_for_each_call_only(lab, boot):
    with lab.models.use(MODEL) as loaded, torch.inference_mode():
        inputs = loaded.prepare(boot)
        before = loaded.module(inputs)
        twin = as_circular_twin(loaded.module)
        with CircularPadding():
            expected = loaded.module(inputs)
        assert torch.equal(twin(inputs), expected)
        assert not torch.equal(expected, before)
        assert torch.equal(loaded.module(inputs), before)
        with pytest.raises(RuntimeError):
            twin(torch.zeros(1, 2, 28, 28))
        assert torch.equal(loaded.module(inputs), before)


def test_the_total_stride_is_that_of_the_deepest_map(lab, monkeypatch):
    assert find_total_stride(lab.layers(MODEL)) == 4
    assert find_total_stride(outline(lab.layers("efficientnet_lite0"))) == 32
    assert find_total_stride(()) is None
    assert find_total_stride(lab.layers(register_own(monkeypatch, nn.Flatten(), nn.Linear(216, 5)))) == 2


@pytest.mark.parametrize(("dx", "dy"), [(29, 0), (0, -1000)])
def test_readings_out_of_sight_are_refused(lab, boot, dx, dy):
    with pytest.raises(UserError, match="out of sight"):
        measure_picture(lab, boot, MODEL, dx, dy)
