"""Maps over all shifts of a grid, against a plain loop over single shifts."""

import itertools
import math

import pytest
import torch
from torch import nn

from analysis.errors import Cancelled, UserError
from analysis.shift import shift_map
from analysis.shift.move import extend, extend_crop, shift_crop, shift_pixels
from analysis.shift.shift_map import map_shifts, to_shift_map
from tests.sentences import refused


def network(seed: int = 0, classes: int = 5) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
        )
        return nn.Sequential(*features, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, classes)).eval()


@pytest.fixture
def canvas() -> torch.Tensor:
    return torch.rand(3, 24, 26, generator=torch.Generator().manual_seed(1))


def last(maps):
    *_, final = maps
    return final


@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "circular", "crop"])
@pytest.mark.parametrize("max_shift", [1, 3, 5])
def test_a_map_equals_a_loop_over_single_shifts(canvas, boundary, max_shift):
    module, pixels = network(), canvas[:, 6:18, 7:19]
    scene = extend_crop(canvas, 12) if boundary == "crop" else extend(pixels, max_shift, boundary)
    result = last(map_shifts(module, scene, max_shift))
    assert result.is_complete
    assert result.distances == tuple(range(-max_shift, max_shift + 1))
    with torch.inference_mode():
        target = int(module(pixels[None]).argmax())
        assert result.target == target
        for (i, dy), (j, dx) in itertools.product(enumerate(result.distances), repeat=2):
            if boundary == "crop":
                moved = shift_crop(canvas, 12, dx, dy).pixels
            else:
                moved = shift_pixels(pixels, dx, dy, boundary).pixels
            logits = module(moved[None])[0]
            assert float(result.probability[i, j]) == pytest.approx(float(logits.softmax(0)[target]), abs=1e-6)
            others = torch.cat([logits[:target], logits[target + 1 :]])
            assert float(result.margin[i, j]) == pytest.approx(float(logits[target] - others.max()), abs=1e-5)
            assert int(result.top1[i, j]) == int(logits.argmax()) or bool(result.is_tie[i, j])


def test_maps_come_coarse_to_fine_and_gaps_show_the_nearest_coarser_cell(canvas, monkeypatch):
    monkeypatch.setattr(shift_map, "CHUNK_PIXELS", {"cpu": 12 * 12 * 4})
    maps = list(map_shifts(network(), extend(canvas[:, :12, :12], 5, "zero"), 5))
    counts = [int(m.is_computed.sum()) for m in maps]
    assert counts == sorted(set(counts))
    assert counts[0] == 4
    assert counts[-1] == 121
    assert bool(maps[0].is_computed[5, 5])
    final = maps[-1]
    for partial in maps:
        assert torch.equal(partial.probability[partial.is_computed], final.probability[partial.is_computed])
    coarse = maps[1]  # 8 of the 9 cells of spacing 4: -4, 0, 4, without the last
    assert set(coarse.probability.unique().tolist()) <= set(final.probability[1::4, 1::4].unique().tolist())
    assert float(coarse.probability[2, 8]) == float(final.probability[1, 9])
    assert not coarse.is_complete


def test_consistency_is_the_share_of_agreeing_pairs():
    labels = [[0, 0, 1], [2, 0, 0], [1, 1, 0]]
    logits = torch.zeros(3, 3, 3)
    for i, j in itertools.product(range(3), repeat=2):
        logits[i, j, labels[i][j]] = 5.0
    logits = logits.roll((-1, -1), (0, 1))  # element [dy mod 3, dx mod 3]
    result = to_shift_map(logits, 1)
    assert result.top1.tolist() == labels
    flat = list(itertools.chain(*labels))
    pairs = list(itertools.combinations(flat, 2))
    assert result.consistency == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert result.share_kept == pytest.approx(5 / 9)
    assert result.flipped.tolist() == [[label != 0 for label in row] for row in labels]
    assert float(result.margin[0, 2]) == -5
    document = result.to_json()
    assert document["shifts"] == [-1, 0, 1]
    assert document["consistency"] == result.consistency


def test_logits_of_all_shifts_repeat_with_their_period(canvas):
    logits = torch.rand(2, 2, 4, generator=torch.Generator().manual_seed(0))
    result = to_shift_map(logits, 3)
    probabilities = logits.softmax(-1)[..., result.target]
    for (i, dy), (j, dx) in itertools.product(enumerate(result.distances), repeat=2):
        assert float(result.probability[i, j]) == pytest.approx(float(probabilities[dy % 2, dx % 2]))


def test_a_near_tie_is_no_flip_in_any_figure():
    logits = torch.tensor([[[1.0, 0.0], [1.0, 1.0 + 1e-6]], [[0.0, 1.0], [1.0, 0.0]]])
    result = to_shift_map(logits, 1)
    assert result.target == 0
    assert result.is_tie.tolist() == [[False] * 3, [True, False, True], [False] * 3]
    assert result.flipped.tolist() == [[False, True, False], [False] * 3, [False, True, False]]
    assert result.share_kept == pytest.approx(7 / 9)
    assert result.consistency == pytest.approx((7 * 6 + 2 * 1) / (9 * 8))


def test_progress_counts_cells_and_can_cancel(canvas, monkeypatch):
    monkeypatch.setattr(shift_map, "CHUNK_PIXELS", {"cpu": 12 * 12 * 4})
    seen = []

    def stop_after_two(done, total):
        seen.append((done, total))
        if len(seen) == 3:
            raise Cancelled

    scene = extend(canvas[:, :12, :12], 5, "zero")
    with pytest.raises(Cancelled):
        list(map_shifts(network(), scene, 5, progress=stop_after_two))
    assert seen == [(0, 121), (4, 121), (8, 121)]


def test_too_little_memory_halves_the_chunk(canvas):
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.sizes = network(), []

        def forward(self, x):
            self.sizes.append(len(x))
            if len(x) > 3:
                raise torch.OutOfMemoryError
            return self.inner(x)

    scene = extend(canvas[:, :12, :12], 3, "zero")
    picky = Picky()
    result = last(map_shifts(picky, scene, 3))
    assert torch.equal(result.top1, last(map_shifts(network(), scene, 3)).top1)
    assert max(picky.sizes) > 3
    picky.inner.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with refused():
        list(map_shifts(picky, scene, 3))


def test_impossible_maps_are_refused(canvas):
    scene = extend(canvas[:, :12, :12], 3, "zero")
    with refused("1"):
        list(map_shifts(network(), scene, 0))
    with refused("-3 to 3"):
        list(map_shifts(network(), scene, 4))
    broken = nn.Sequential(network(), nn.Threshold(math.inf, math.nan))
    with pytest.raises(UserError, match="broken"):
        list(map_shifts(broken, scene, 2))


def test_a_fast_preview_says_so_and_is_close(canvas):
    scene = extend(canvas[:, :12, :12], 2, "zero")
    exact, fast = (last(map_shifts(network(), scene, 2, fast_preview=fast)) for fast in (False, True))
    assert (exact.is_preview, fast.is_preview) == (False, True)
    assert not torch.equal(exact.probability, fast.probability)
    assert torch.allclose(exact.probability, fast.probability, atol=0.05)
