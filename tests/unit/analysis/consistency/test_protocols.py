"""Every protocol against its rule, stated once more without looking at the code."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.consistency.design import Design, Settings
from analysis.consistency.protocols import PROTOCOLS, _draw_different
from analysis.shift.move import BOUNDARIES
from tests.sentences import refused

IDS = [f"image {number}" for number in range(21)]


def make(name: str, window: int = 224, ids=IDS, boundary: str | None = None, **options) -> Design:
    settings = Settings(window, 256, boundary or PROTOCOLS[name].boundaries[0], **options)
    return PROTOCOLS[name].design(ids, settings)


def frame(name: str, window: int = 224, boundary: str | None = None, **options):
    return PROTOCOLS[name].frame(Settings(window, 256, boundary or PROTOCOLS[name].boundaries[0], **options))


def test_every_protocol_states_a_rule_and_uses_known_boundaries():
    for protocol in PROTOCOLS.values():
        assert len(type(protocol).__doc__) > 100 and set(protocol.boundaries) <= set(BOUNDARIES)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("window", [28, 32, 224])
def test_windows_stay_inside_the_source(name, window):
    for boundary in PROTOCOLS[name].boundaries:
        design, framing = make(name, window, boundary=boundary), frame(name, window, boundary)
        assert design.shifts.shape[0] == len(IDS) and not design.shifts[:, 0].any()
        for pairs in (design.pairs, design.axis, design.diagonal):
            assert pairs.size == 0 or (pairs.min() >= 0 and pairs.max() < design.shifts.shape[1])
        if boundary == "crop":
            starts = framing.start - design.shifts
            assert starts.min() >= 0 and starts.max() + window <= framing.source


def test_zhang_draws_as_the_source_does():
    np_state = np.random.get_state()[1].copy()
    design = make("zhang", seed=7)
    assert (np.random.get_state()[1] == np_state).all()
    np.random.seed(7)
    expected = np.zeros((21, 5, 2, 2), int)
    try:
        for epoch in range(5):
            for batch in range(3):
                expected[8 * batch : 8 * batch + 8, epoch, 0] = np.random.randint(32, size=2)
                expected[8 * batch : 8 * batch + 8, epoch, 1] = np.random.randint(32, size=2)
    finally:
        np.random.seed(None)
    columns = 16 - design.shifts[..., 0]
    rows = 16 - design.shifts[..., 1]
    for epoch in range(5):
        for draw in range(2):
            column = design.pairs[epoch, draw]
            assert (rows[:, column] == expected[:, epoch, draw, 0]).all()
            assert (columns[:, column] == expected[:, epoch, draw, 1]).all()
    framing = frame("zhang")
    assert (framing.resize, framing.source, framing.start) == (256, 256, 16)
    assert design.groups.tolist() == [0] * 8 + [1] * 8 + [2] * 5
    assert design.facts["ranges"] == {"offsets": [0, 31]}


def test_zhang_never_uses_the_last_offset_and_may_draw_for_each_image():
    design = make("zhang", ids=[str(number) for number in range(500)], per_image=True)
    offsets = 16 - design.shifts[:, 1:]
    assert (offsets.min(), offsets.max()) == (0, 31)
    assert len(np.unique(design.groups)) == 500
    assert len(np.unique(offsets.reshape(500, -1), axis=0)) == 500
    assert frame("zhang", 28).source == 32 and frame("zhang", 28, max_shift=6).source == 34


def test_diagonal_has_33_windows_that_end_in_the_corners():
    design = make("diag33")
    starts = 16 - design.shifts[0, 1:]
    assert starts.tolist() == [[k, k] for k in range(33)]
    assert frame("diag33").source == 256
    assert design.pairs.tolist() == [[k + 1, k + 2] for k in range(32)] == design.diagonal.tolist()


def test_azulay_and_weiss_compare_eight_windows_with_the_next():
    center = int((234 - 224 - 1) / 2)
    framing, design = frame("aw"), make("aw")
    assert (framing.source, framing.start, framing.area) == (234, center, 1.0)
    starts = center - design.shifts[0]
    expected = [((c, c), (c + 1, c + 1)) for c in range(center - 4, center + 4)]
    assert [tuple(tuple(starts[i].tolist()) for i in pair) for pair in design.pairs] == expected
    assert [tuple(starts[i].tolist()) for i in design.sample] == [first for first, _ in expected]
    assert len(np.unique(design.shifts[0], axis=0)) == 9


@pytest.mark.parametrize(("scale", "side"), [(1.3, 172), (1.6, 140), (1.9, 117)])
def test_azulay_and_weiss_move_a_small_picture_on_a_canvas(scale, side):
    center = int((224 - side - 1) / 2)
    framing, design = frame("aw", boundary="mean", scale=scale), make("aw", boundary="mean", scale=scale)
    assert (framing.source, framing.start) == (side, center)
    places = [(center + design.shifts[0][pair]).tolist() for pair in design.pairs]
    assert places == [[[c, c], [c + 1, c + 1]] for c in range(center - 4, center + 4)]


@pytest.mark.parametrize("window", [224, 32])
@pytest.mark.parametrize(("name", "low", "high"), [("aps-imagenet", -32, 31), ("aps-cifar", -3, 2)])
def test_aps_draws_two_rolls_for_a_batch(name, window, low, high):
    ids = [str(number) for number in range(600)]
    design = make(name, window, ids, seed=3)
    rng = np.random.RandomState(3)
    for batch in range(3):
        for column in (1, 2):
            rows, columns = rng.randint(low, high + 1, 2)
            drawn = design.shifts[256 * batch : 256 * batch + 256, column]
            assert (drawn == [columns, rows]).all()
    mean_of_means = np.mean([np.mean(range(256)), np.mean(range(256, 512)), np.mean(range(512, 600))])
    expected = mean_of_means if name == "aps-cifar" else np.mean(range(600))
    assert np.average(range(600), weights=design.weights) == pytest.approx(expected)
    many = make(name, window, ids, per_image=True)
    assert (many.shifts[:, 1:].min(), many.shifts[:, 1:].max()) == (low, high)
    assert (many.weights == 1).all()


def test_aps_on_padding_crops_at_the_offset():
    """Cropping a padded picture further right moves its content left."""
    rolled, cropped = (make("aps-cifar", 32, boundary=boundary, seed=3).shifts for boundary in ("circular", "mean"))
    assert (cropped == -rolled).all() and rolled.any()


@pytest.mark.parametrize(("window", "chosen"), [(32, "aps-cifar"), (64, "aps-cifar"), (224, "aps-imagenet")])
def test_aps_is_the_one_for_pictures_of_this_size(window, chosen):
    ids = [str(number) for number in range(300)]
    found, expected = (make(name, window, ids, seed=4) for name in ("aps", chosen))
    assert (found.shifts == expected.shifts).all() and (found.weights == expected.weights).all()
    assert found.facts == {"protocol": chosen} | expected.facts


def test_aps_on_small_pictures_gives_one_pair_in_36_for_free():
    design = make("aps-cifar", 32, [str(number) for number in range(20_000)], per_image=True)
    same = (design.shifts[:, 1] == design.shifts[:, 2]).all(1).mean()
    assert same == pytest.approx(1 / 36, abs=4 * np.sqrt(1 / 36 / 20_000))


def test_adversarial_tests_961_rolls_and_no_other():
    design = make("afc-adv")
    assert len(design.sample) == 961 and design.stops_early
    expected = [(y, x) for x, y in itertools.product(range(1, 32), range(1, 32))]
    assert [tuple(shift) for shift in design.shifts[0, 1:].tolist()] == expected
    cropped = make("afc-adv", boundary="crop", max_shift=3)
    assert frame("afc-adv", boundary="crop", max_shift=3).source == 230
    starts = 3 - cropped.shifts[0, 1:]
    assert {tuple(start) for start in starts.tolist()} == set(itertools.product(range(1, 7), repeat=2))


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(2, 90), st.integers(0, 2**32 - 1))
def test_exact_draws_different_shifts_and_all_their_pairs(limit, num, seed):
    design = make("exact", ids=IDS[:3], boundary="crop", max_shift=limit, num_shifts=num, seed=seed)
    size = min(num, (2 * limit + 1) ** 2)
    assert len(design.sample) == size and np.abs(design.shifts).max() <= limit
    for row in design.shifts:
        assert len({tuple(shift) for shift in row[design.sample].tolist()}) == size
    assert {tuple(pair) for pair in design.pairs.tolist()} == set(itertools.combinations(range(1, size + 1), 2))
    assert (np.abs(design.shifts[:, design.axis[:, 1]]).sum(2) == 1).all()
    assert (np.abs(design.shifts[:, design.diagonal[:, 1]]) == 1).all()
    framing = frame("exact", boundary="crop", max_shift=limit)
    assert (framing.source, framing.start) == (224 + 2 * limit, limit)


def test_exact_draws_depend_on_the_seed_and_the_name_alone():
    draws = make("exact", seed=1).shifts
    again = make("exact", seed=1, ids=[IDS[4], "another", IDS[0]]).shifts
    assert (again[0] == draws[4]).all() and (again[2] == draws[0]).all()
    more = make("exact", seed=1, num_shifts=20).shifts
    assert (more[:, 1:9] == draws[:, 1:9]).all()
    assert (make("exact", seed=2).shifts != draws).any()
    assert len(np.unique(draws.reshape(len(IDS), -1), axis=0)) == len(IDS)


def test_exact_draws_few_of_a_million_shifts():
    """Too many to shuffle: the rules are the same."""
    some, more = (make("exact", max_shift=512, num_shifts=num) for num in (6, 60))
    assert (more.shifts[:, 1:7] == some.shifts[:, 1:7]).all()
    drawn = more.shifts[:, more.sample].astype(int)
    assert all(len(np.unique(row, axis=0)) == 60 for row in drawn) and np.abs(drawn).max() <= 512
    assert abs(drawn.mean()) < 4 * 296 / np.sqrt(drawn.size) and drawn.std() == pytest.approx(296, rel=0.05)
    assert len(np.unique(drawn.reshape(len(IDS), -1), axis=0)) == len(IDS)


def test_different_numbers_of_a_stream_begin_alike_and_do_not_repeat():
    few, many = (_draw_different(np.random.default_rng(0), 5000, num) for num in (3, 2048))
    assert len(set(many.tolist())) == 2048 and (many[:3] == few).all()
    chi_squared = ((np.histogram(many, 16, (0, 5000))[0] - 128) ** 2 / 128).sum()
    assert chi_squared < 37.7  # the 99.9 % point for 15 degrees of freedom


@pytest.mark.parametrize(
    ("name", "options"), [("afc-adv", {}), ("diag33", {}), ("aw", {}), ("exact", {"max_shift": 2, "num_shifts": 99})]
)
def test_shifts_that_all_images_have_take_the_memory_of_one(name, options):
    design = make(name, ids=[str(number) for number in range(50_000)], **options)
    rows = np.arange(0, 50_000, 2)
    for shifts, num in ((design.shifts, 50_000), (design.select(rows).shifts, 25_000)):
        assert shifts.shape[0] == num and shifts.dtype == np.int16
        assert np.lib.array_utils.byte_bounds(shifts)[1] - np.lib.array_utils.byte_bounds(shifts)[0] < 2**12
    assert (design.select(rows).shifts[-1] == design.shifts[0]).all()


def test_exact_draws_are_uniform():
    ids = [str(number) for number in range(5000)]
    drawn = make("exact", ids=ids, max_shift=2, num_shifts=5).shifts[:, 1:6].reshape(-1, 2)
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 25
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 51  # the 99.9 % point for 24 degrees of freedom, and drawing without replacement is tighter


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("aw", {"max_shift": 3}),
        ("aw", {"scale": 1.3}),
        ("aw", {"boundary": "mean", "scale": 0.7}),
        ("aw", {"boundary": "mean", "window": 10}),
        ("afc-adv", {"max_shift": 1}),
        ("exact", {"max_shift": 28, "window": 28, "boundary": "zero"}),
        ("zhang", {"max_shift": 56, "window": 28, "boundary": "mean"}),
        ("aps-cifar", {"max_shift": 28, "window": 28, "boundary": "mean"}),
        ("aps", {"max_shift": 28, "window": 28, "boundary": "zero"}),
    ],
    ids=str,
)
def test_settings_that_a_protocol_cannot_use(name, options):
    with refused():
        frame(name, **options)
        make(name, **options)
