"""Identities of many shifts at once: phases, the polyphase tree, votes."""

from itertools import permutations

import torch
from torch import Tensor

from analysis.self_check.findings import Finding, NotApplicable, relative_error
from analysis.self_check.subject import FLATTEN, Subject
from analysis.shift.shift_map import to_shift_map

TREE_BUDGET = 1e11
"""Multiplications, about: the all-shifts tree of a larger network would take more than some ten seconds."""
REACH = 4
"""Pixels; the votes that are counted are those of a shift map that goes so far."""


def check_phases(subject: Subject) -> Finding:
    """I17: shifts that differ by multiples of the total stride give the same logits."""
    subject = _for_phases(subject)
    step = subject.survey.stride
    return _compare_phases(subject, (step, step), f"the same plus ({step}, {step})")


def check_different_phases(subject: Subject) -> Finding:
    """I17, its control: other shifts do not."""
    subject = _for_phases(subject)
    if subject.survey.stride == 1:
        raise NotApplicable("No layer has a stride above 1: there is one phase only.")
    if subject.samples_adaptively:
        raise NotApplicable("With adaptive polyphase sampling all shifts agree (see I10).")
    return _compare_phases(subject, (1, 0), "the same plus (1, 0)")


def _for_phases(subject: Subject) -> Subject:
    if subject.survey.head in FLATTEN:
        raise NotApplicable("The classifier reads the positions one by one: every shift has its own logits (see I6).")
    subject.require_response()
    subject.small.require_lattice()
    return subject.small


def _compare_phases(subject: Subject, plus: tuple[int, int], wording: str) -> Finding:
    shifts = _spread_shifts(subject)
    others = [(dx + plus[0], dy + plus[1]) for dx, dy in shifts]
    first, second = subject.run_twin(subject.shifted(shifts + others)).chunk(2)
    height, width = subject.inputs.shape[-2:]
    return Finding(
        relative_error(second, first), f"Logits at {len(shifts)} shifts, and at {wording}; at {height} x {width}."
    )


def _spread_shifts(subject: Subject) -> list[tuple[int, int]]:
    """A few shifts of all kinds: in phase, out of phase one way, both ways."""
    step = subject.survey.stride
    return [(0, 0), (1, 0), (step // 2, 1), (3, step - 1)]


def check_tree(subject: Subject) -> Finding:
    """I18: all shifts at once give the logits of each one alone."""
    return _compare_tree(subject, (0, 0))


def check_wrong_leaf(subject: Subject) -> Finding:
    """I18, its control: the logits of the neighbouring shift are others."""
    if subject.survey.stride == 1 and subject.survey.head not in FLATTEN:
        raise NotApplicable("No layer has a stride above 1: there is one phase only.")
    return _compare_tree(subject, (1, 0))


def _compare_tree(subject: Subject, offset: tuple[int, int]) -> Finding:
    subject.require_response()
    subject = subject.smallest
    height, width = subject.inputs.shape[-2:]
    weights = sum(weight.numel() for weight in subject.module.parameters())
    if weights * height * width > TREE_BUDGET:
        raise NotApplicable(f"All shifts of a picture of {height} x {width} would take this model too long.")
    shifts = _spread_shifts(subject)
    forwards = subject.run_twin(subject.shifted(shifts))
    leaves = torch.stack([subject.tree.logits_at(dx + offset[0], dy + offset[1]) for dx, dy in shifts])
    tree = subject.tree.logits
    return Finding(
        relative_error(leaves.to(forwards), forwards),
        f"Logits at {len(shifts)} of the {len(tree)} x {tree.shape[1]} shifts; at {height} x {width}.",
    )


def check_same_batch(subject: Subject) -> Finding:
    """I20: the unmoved picture gives the same logits again, and consistency is what counting pair by pair gives."""
    observed = subject.fitted.circular.logits
    error = max(relative_error(observed[-1:], observed[:1]), _count_pairs(subject.inputs[0]))
    return Finding(error, f"The picture twice in a batch of {len(observed)}, and the votes of all pairs of a map.")


def _count_pairs(pixels: Tensor) -> float:
    """How far the consistency of a shift map is from the share of ordered pairs that agree, counted one by one.

    The brightest or the darkest channel of a pixel is its vote: unlike those of an untrained model, votes differ.
    """
    side = 2 * REACH + 1
    rows, columns = (torch.linspace(0, size - 1, side).long() for size in pixels.shape[-2:])
    logits = torch.cat([pixels, -pixels])[:, rows][:, :, columns].permute(1, 2, 0).cpu()  # (side, side, 2 C)
    votes = logits.flatten(0, 1).argmax(dim=1).tolist()
    agreeing = [one == other for one, other in permutations(votes, 2)]
    return abs(to_shift_map(logits, REACH).consistency - sum(agreeing) / len(agreeing))
