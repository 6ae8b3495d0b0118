"""Shift maps of the lab, against single shifts and plain forwards."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from analysis.errors import Cancelled
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
    find_total_stride,
    map_all_circular_shifts,
    map_picture,
)
from models.data.preprocessing import Preprocessing
from models.registry import BUNDLED
from models.zoo.spec import ModelSpec
from tests.device import DEVICE
from tests.sentences import refused
from tests.unit.lab.shifts.own_models import MODEL, elsewhere

versions = itertools.count(1)
"""Models of the same name under another version are loaded anew."""


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(shift_map, "CHUNK_PIXELS", {DEVICE: 4 * 28 * 28})


def last(maps) -> PictureMap:
    *_, final = maps
    return final


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
        with refused(1, 64, max_shift):
            call()


def test_what_cannot_be_mapped_is_refused_in_words(lab, boot):
    assert last(map_picture(lab, boot, "roomy", 3, "crop")).map.is_complete
    for arguments in (("roomy", 4, "crop"), (MODEL, 1, "crop"), (MODEL, 1, "wrap")):
        with refused():
            next(map_picture(lab, boot, *arguments))
    for call in (map_picture, map_all_circular_shifts):
        with refused("fashion_cnn"):
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
    with refused():
        map_all_circular_shifts(lab, picture, model, 1)


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
