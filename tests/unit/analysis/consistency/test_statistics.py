"""Statistics against loops, oracles and what is known of random votes."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.consistency.design import Settings
from analysis.consistency.protocols import PROTOCOLS
from analysis.consistency.statistics import compare, estimate, mcnemar
from analysis.consistency.tabulate import NAMES, tabulate
from analysis.consistency.votes import Votes
from analysis.network.predict import find_ties, measure_margins
from tests.sentences import refused

SETTINGS = Settings(window=28, resize=32, boundary="circular", max_shift=2, num_shifts=6)


def design_of(num: int, name: str = "exact", **options):
    return PROTOCOLS[name].design([str(i) for i in range(num)], replace(SETTINGS, **options))


def random_votes(design, num_classes: int = 3, seed: int = 0, labelled: bool = True) -> Votes:
    """Votes that follow from the shift, as a network's do: equal shifts have equal votes."""
    rng = np.random.default_rng(seed)
    num, size = design.shifts.shape[:2]
    votes = Votes.empty(num, size)
    labels = rng.integers(num_classes, size=num)
    votes.labels[:] = labels if labelled else -1
    logits = rng.normal(size=(num, 129, 129, num_classes))
    logits[np.arange(num), :, :, labels] += 1
    for row in range(num):
        dx, dy = design.shifts[row].T
        own = logits[row, dx + 64, dy + 64]
        votes.count(row, np.arange(size), own)
        votes.count_change(row, own, design.pairs, both_ways=design.all_pairs)
    return votes


def agreement(votes: np.ndarray) -> np.ndarray:
    """The U-statistic of each row, by counting votes: sum n_c (n_c - 1) / (K (K - 1))."""
    size = votes.shape[1]
    counts = [Counter(row).values() for row in votes.tolist()]
    return np.array([sum(n * (n - 1) for n in own) / (size * (size - 1)) for own in counts])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_consistency_is_the_u_statistic_of_the_votes(row):
    design = design_of(2)
    votes = random_votes(design)
    votes.top1[:, design.sample] = row
    values = estimate(tabulate(votes, design), 0, replicates=2).values
    assert values["consistency"] == pytest.approx(agreement(np.array([row]))[0])
    ordered = np.mean([a == b for a in row for b in row])
    assert values["consistency_with_replacement"] == pytest.approx(ordered)
    assert ordered == pytest.approx(sum((n / 6) ** 2 for n in Counter(row).values()))


def test_every_statistic_against_plain_loops():
    design = design_of(7, num_shifts=5)
    votes = random_votes(design)
    values = estimate(tabulate(votes, design, stride=2), 0).values
    agreed, given, correct, joint, worst, means, margins = [], [], [], [], [], [], []
    for row in range(7):
        sample = votes.top1[row, 1:6]
        right = sample == votes.labels[row]
        pairs = list(itertools.combinations(range(5), 2))
        agreed.append(np.mean([sample[a] == sample[b] for a, b in pairs]))
        correct.append(votes.top1[row, 0] == votes.labels[row])
        if correct[-1]:
            given.append(agreed[-1])
        joint.append(np.mean([right[a] and right[b] for a, b in pairs]))
        worst.append(correct[-1] and right.all())
        means.append(right.mean())
        own = votes.margin[row, 1:6].astype(float)
        margins.append(np.mean([abs(own[a] - own[b]) for a, b in pairs]))
    expected = {
        "accuracy": correct,
        "mean_accuracy": means,
        "worst_case_accuracy": worst,
        "consistency": agreed,
        "consistency_with_replacement": [(4 * share + 1) / 5 for share in agreed],
        "consistency_given_correct": given,
        "joint_correct": joint,
        "all_agree": [len(set(votes.top1[row, 1:6])) == 1 for row in range(7)],
        "one_pixel_change_axis": votes.top1[:, 0] != votes.top1[:, 6],
        "one_pixel_change_diagonal": votes.top1[:, 0] != votes.top1[:, 7],
        "mac": votes.change,
        "margin_change": margins,
        "near_ties": votes.tie[:, 1:6].mean(1),
    }
    for name, per_image in expected.items():
        assert values[name] == pytest.approx(np.mean(per_image), abs=1e-8), name
    assert agreement(votes.top1[:, 1:6]) == pytest.approx(agreed)
    assert values["total_variation"] is None and values["amplitude"] is None


def test_curves_against_plain_loops():
    design = design_of(9)
    votes = random_votes(design)
    values = estimate(tabulate(votes, design, stride=3), 0).values
    by_distance, by_phase = {}, {}
    for row in range(9):
        for a, b in itertools.combinations(range(1, 7), 2):
            steps = [abs(int(d)) for d in design.shifts[row, a] - design.shifts[row, b]]
            same = votes.top1[row, a] == votes.top1[row, b]
            by_distance.setdefault(max(steps), []).append(same)
            by_phase.setdefault(max(min(s % 3, -s % 3) for s in steps), []).append(same)
    found = {name: value for name, value in values.items() if "/" in name}
    expected = {f"distance/{d}": np.mean(same) for d, same in by_distance.items()}
    expected |= {f"phase/{p}": np.mean(same) for p, same in by_phase.items()}
    assert found == pytest.approx(expected)
    assert 0 in by_phase and 1 in by_phase


def test_mean_absolute_change_has_a_direction():
    """Azulay and Weiss follow the class predicted at the first of two windows."""
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]]))
    votes = Votes.empty(1, 2)
    votes.count(0, np.arange(2), logits)
    votes.count_change(0, logits, np.array([[0, 1]]), both_ways=False)
    assert votes.change[0] == pytest.approx(0.4)
    votes.count_change(0, logits, np.array([[0, 1]]), both_ways=True)
    assert votes.change[0] == pytest.approx((0.4 + 0.4) / 2)
    votes.count_change(0, logits, np.array([[1, 0]]), both_ways=False)
    assert votes.change[0] == pytest.approx(abs(0.6 - 0.2))


def test_votes_of_one_image():
    logits = np.array([[2.0, 1.0, 0.0], [1.0, 1.00001, -3.0]])
    votes = Votes.empty(2, 2)
    votes.labels[0] = 2
    for row in (0, 1):
        votes.count(row, np.arange(2), logits)
    assert votes.top1.tolist() == [[0, 1], [0, 1]]
    assert votes.margin.tolist() == [[-2.0, pytest.approx(-4.00001)], [1.0, pytest.approx(-1e-5, rel=1e-3)]]
    assert votes.probability[1, 0] == pytest.approx(np.exp(2) / np.exp([2, 1, 0]).sum())
    assert votes.tie.tolist() == [[False, True]] * 2
    with refused():
        votes.count(0, np.arange(1), np.array([[np.nan, 1.0]]))


def test_votes_agree_with_the_measures_of_single_predictions():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 5)).astype(np.float32)
    logits[:9] = 0.0
    logits[:9, 1] = np.linspace(0, 2e-4, 9)
    votes = Votes.empty(1, 40)
    votes.labels[0] = 3
    votes.count(0, np.arange(40), logits)
    outputs = torch.from_numpy(logits)
    assert votes.tie[0].tolist() == find_ties(outputs).tolist() and votes.tie[0, 0]  # zeros are a tie
    assert votes.margin[0].tolist() == measure_margins(outputs, 3).tolist()
    assert votes.probability[0].tolist() == outputs.softmax(1)[:, 3].tolist()


def test_the_estimate_from_a_few_shifts_is_unbiased():
    full = design_of(12, num_shifts=25)
    table = random_votes(full).top1[:, full.sample]
    exact = agreement(table).mean()
    place = {tuple(shift): column for column, shift in enumerate(full.shifts[0, full.sample].tolist())}
    found = []
    for seed in range(400):
        design = design_of(12, num_shifts=3, seed=seed)
        columns = np.array([[place[tuple(s)] for s in row.tolist()] for row in design.shifts[:, design.sample]])
        found.append(agreement(np.take_along_axis(table, columns, axis=1)).mean())
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - exact) < 4 * error
    # Counting each vote with itself, as drawing with replacement does, would be far off.
    assert (2 * exact + 1) / 3 - exact > 20 * error


def test_kappa_is_zero_for_a_network_that_guesses_like_its_class():
    design = design_of(2000, num_shifts=2)
    rng = np.random.default_rng(0)
    votes = random_votes(design_of(1))
    labels = rng.integers(3, size=2000)
    chances = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.0, 0.4, 0.6]])
    drawn = np.array([rng.choice(3, size=design.shifts.shape[1], p=chances[y]) for y in labels])
    votes = Votes(
        labels, drawn, *np.zeros((2, *drawn.shape), np.float32), np.zeros(drawn.shape, bool), np.zeros(2000)
    )
    estimates = estimate(tabulate(votes, design), 0)
    result = estimates.to_json("kappa")
    assert result["low"] < 0 < result["high"] and abs(result["value"]) < 0.08
    chance = np.mean([(chances[y] ** 2).sum() for y in labels])
    assert estimates.values["consistency"] == pytest.approx(chance, abs=0.05)


def test_kappa_lies_in_its_interval_with_few_images_of_a_class():
    """Two draws of one image agree with each other, but not by chance."""
    design = design_of(600, num_shifts=4)
    rng = np.random.default_rng(1)
    labels = rng.integers(100, size=600)
    shape = design.shifts.shape[:2]
    drawn = np.where(rng.random(shape) < 0.8, labels[:, None], rng.integers(100, size=shape))
    votes = Votes(labels, drawn, *np.zeros((2, *shape), np.float32), np.zeros(shape, bool), np.zeros(600))
    found = estimate(tabulate(votes, design), 0).to_json("kappa")
    assert found["low"] < found["value"] < found["high"] and found["low"] < 0 < found["high"]


def test_kappa_against_its_formula():
    design = design_of(30)
    votes = random_votes(design)
    values = estimate(tabulate(votes, design), 0).values
    expected = 0.0
    for label in range(3):
        rows = np.flatnonzero(votes.labels == label)
        pairs = itertools.permutations(rows, 2)
        sample = votes.top1[:, design.sample]
        expected += len(rows) / 30 * np.mean([(sample[a][:, None] == sample[b]).mean() for a, b in pairs])
    assert values["kappa"] == pytest.approx((values["consistency"] - expected) / (1 - expected))
    perfect = replace(votes, top1=np.repeat(votes.labels[:, None], votes.top1.shape[1], axis=1))
    assert estimate(tabulate(perfect, design), 0).values["kappa"] is None  # nothing is left to chance


def test_without_labels_only_what_needs_none_is_reported():
    design = design_of(10)
    values = estimate(tabulate(random_votes(design, labelled=False), design), 0).values
    missing = {name for name in (*NAMES, "kappa") if values[name] is None}
    labelled = {"accuracy", "mean_accuracy", "worst_case_accuracy", "joint_correct", "consistency_given_correct"}
    assert missing == labelled | {"kappa", "total_variation", "amplitude"}


def test_images_without_a_label_do_not_count_for_accuracy():
    design = design_of(20)
    votes = random_votes(design)
    known = estimate(tabulate(votes.select(np.arange(12)), design.select(np.arange(12))), 0).values
    votes.labels[12:] = -1
    partly = estimate(tabulate(votes, design), 0).values
    for name in ("accuracy", "mean_accuracy", "worst_case_accuracy", "joint_correct", "consistency_given_correct"):
        assert partly[name] == pytest.approx(known[name])
    assert partly["consistency"] != known["consistency"]


def test_a_trace_has_variation_and_amplitude():
    design = design_of(2, "diag33", max_shift=3)
    votes = random_votes(design)
    votes.probability[:] = np.array([[9, 0.1, 0.5, 0.4, 0.9], [9, 0.2, 0.2, 0.2, 0.2]])
    values = estimate(tabulate(votes, design), 0).values
    assert values["total_variation"] == pytest.approx((0.4 + 0.1 + 0.5) / 2)
    assert values["amplitude"] == pytest.approx(0.8 / 2)


@pytest.mark.parametrize(("protocol", "share"), [("aps-cifar", 1 / 2), ("aps-imagenet", 44 / 300)])
def test_a_small_last_batch_counts_as_the_protocol_has_it(protocol, share):
    """256 images and a last batch of 44: as much as the first one, or each image as much as any other."""
    design = design_of(300, protocol)
    votes = Votes.empty(300, 3)
    votes.labels[:] = 1
    votes.top1[:] = np.arange(3)  # wrong unshifted, and no two shifts agree
    votes.top1[256:] = 1
    values = estimate(tabulate(votes, design), 0).values
    for name in ("accuracy", "worst_case_accuracy", "consistency", "all_agree"):
        assert values[name] == pytest.approx(share), name
    assert values["mean_accuracy"] == pytest.approx((1 - share) / 2 + share)


def test_two_votes_suffice_where_the_design_stops_early():
    design = design_of(3, "afc-adv", max_shift=3)
    votes = Votes.empty(3, 2)
    votes.labels[:] = 2
    votes.top1[:] = [[2, 2], [2, 0], [1, -1]]
    values = estimate(tabulate(votes, design), 0).values
    assert (values["accuracy"], values["worst_case_accuracy"]) == pytest.approx((2 / 3, 1 / 3))


def test_early_stopping_leaves_the_two_accuracies():
    design = design_of(5, "afc-adv", max_shift=3)
    votes = random_votes(design)
    votes.top1[3, 2:] = -1
    votes.top1[3, 1] = votes.labels[3] + 1
    table = tabulate(votes, design)
    assert {name for name, ratio in table.ratios.items() if ratio is not None} == {"accuracy", "worst_case_accuracy"}
    right = (votes.top1 == votes.labels[:, None]).all(1)
    assert estimate(table, 0).values["worst_case_accuracy"] == right.mean()


def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say():
    design = design_of(100, num_shifts=2)
    votes, hits = random_votes(design), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = rng.random((100, 1)) < 0.7
        drawn = replace(votes, top1=np.where(right, votes.labels[:, None], 99) + 0 * votes.top1)
        found = estimate(replace(tabulate(drawn, design), votes_by_label=None), seed, 400).to_json("accuracy")
        hits += found["low"] <= 0.7 <= found["high"]
    assert 0.89 * 200 <= hits <= 0.99 * 200


def test_bootstrap_against_the_standard_error():
    design = design_of(400, num_shifts=2)
    votes = random_votes(design)
    found = estimate(tabulate(votes, design), 3)
    share = found.values["accuracy"]
    assert np.std(found.replicates["accuracy"]) == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.1)
    assert estimate(tabulate(votes, design), 3).to_json("kappa") == found.to_json("kappa")
    assert estimate(tabulate(votes, design), 4).to_json("accuracy") != found.to_json("accuracy")


def test_images_that_share_their_shifts_are_drawn_together():
    alone, together = design_of(80, "zhang", per_image=True), design_of(80, "zhang")
    votes = random_votes(together)
    agreed = votes.top1[:, 1] == votes.top1[:, 2]
    votes.top1[:] = np.where(
        np.arange(80)[:, None] // 8 % 2, 0, np.arange(votes.top1.shape[1])
    )  # whole batches agree
    assert agreed.any()
    wide = estimate(tabulate(votes, together), 0).to_json("consistency")
    narrow = estimate(tabulate(votes, alone), 0).to_json("consistency")
    assert wide["value"] == narrow["value"] == 0.5
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])
    spread = [np.std(estimate(tabulate(votes, d), 0).replicates["accuracy"]) for d in (together, alone)]
    assert spread[0] == pytest.approx(spread[1])  # the unshifted pictures do not share anything


def test_one_group_has_no_interval():
    design = design_of(20, "aps")
    found = estimate(tabulate(random_votes(design), design), 0)
    assert found.values["consistency"] is not None and found.to_json("consistency")["low"] is None
    assert found.to_json("accuracy")["low"] is not None


def test_paired_differences_are_much_tighter_than_unpaired():
    design = design_of(300, num_shifts=2)
    votes = random_votes(design)
    better = replace(votes, top1=votes.top1.copy())
    better.top1[:3] = better.labels[:3, None]
    first, second = (estimate(tabulate(v, design), 5) for v in (better, votes))
    difference = compare(first, second, "accuracy")
    assert difference["value"] == pytest.approx(first.values["accuracy"] - second.values["accuracy"])
    assert 0 <= difference["low"] <= difference["value"] <= difference["high"] < 0.03
    alone = first.to_json("accuracy")
    assert alone["high"] - alone["low"] > 0.08
    assert compare(first, first, "consistency") == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert compare(first, second, "amplitude")["value"] is None


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_mcnemar_against_whole_numbers(only_first, only_second, both):
    first = np.array([1] * only_first + [0] * only_second + [1] * both, bool)
    second = np.array([0] * only_first + [1] * only_second + [1] * both, bool)
    num, fewer = only_first + only_second, min(only_first, only_second)
    expected = min(1, 2 * Fraction(sum(math.comb(num, k) for k in range(fewer + 1)), 2**num))
    assert mcnemar(first, second) == pytest.approx(float(expected), rel=1e-12)


def test_mcnemar_of_many_images_does_not_underflow():
    first = np.arange(30_000) < 14_000
    assert 0 < mcnemar(first, ~first) < 1e-20


def test_sums_do_not_depend_on_their_order():
    design = design_of(50)
    votes = random_votes(design)
    order = np.random.default_rng(0).permutation(50)
    straight = estimate(tabulate(votes, design, stride=2), 0)
    shuffled = estimate(tabulate(votes.select(order), design.select(order), stride=2), 0)
    kappa = straight.values.pop("kappa"), shuffled.values.pop("kappa")
    assert straight.values == shuffled.values and kappa[0] == pytest.approx(kappa[1])
