"""Validation within the epochs of a training: at which steps, and on which pictures, so that it costs little."""

from torch import Tensor

from models.data.dataset import Split, pick_evenly

SAMPLE = 1000
"""Validation pictures that are looked at, at most; the same at every step, so that steps can be compared."""
SHARE = 0.2
"""Of the work of a training with the validations of its epochs: at most so much more."""
PASSES = 3
"""What training on a picture takes, as often as answering it does: about one pass forward and two back."""
MAX_TIMES = 40
SPAN = 200
"""How often the first such step after none goes into the training."""


def pick_sample(split: Split) -> Tensor:
    """Indices of the pictures to look at, evenly spread where they are not all."""
    return pick_evenly(len(split), SAMPLE)


def plan_validations(total_steps: int, steps_per_epoch: int, batch_size: int, num_validation: int) -> frozenset[int]:
    """The steps before which the network is validated: none, and then at equal ratios, so often as it may.

    What takes few steps is found as exactly as what takes many, each in proportion. The ends of epochs are not among
    them: everything is validated there.

    Args:
        steps_per_epoch: Of each epoch but perhaps the last.
        batch_size: Pictures of a step.
        num_validation: Pictures that the end of each epoch validates on.
    """
    epochs = -(-total_steps // steps_per_epoch)
    work = PASSES * total_steps * batch_size + epochs * num_validation
    times = min(MAX_TIMES, int(SHARE * work) // min(num_validation, SAMPLE))
    span = min(SPAN, total_steps)
    steps = {0, *(round(total_steps * span ** (number / times - 1)) for number in range(1, times))}
    return frozenset(step for step in steps if step == 0 or step % steps_per_epoch) - {total_steps}


def share_right(logits: Tensor, labels: Tensor, index: Tensor) -> float:
    """The accuracy on some of the pictures, from the logits ``(N, K)`` and labels ``(N,)`` of all."""
    right = logits[index].argmax(1) == labels.to(logits.device)[index]
    return int(right.sum()) / len(index)
