"""Accuracies and losses against scikit-learn and a float64 loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, recall_score
from torch import nn

from models.data.dataset import Split
from models.training.optimization import LOSSES
from models.training.validate import assess

CLASSES = 5


def loss_of(name: str = "cross_entropy"):
    return lambda logits, labels: LOSSES[name].per_picture(logits, labels, 0.0)


def scale(images):
    return images.float() / 255


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, CLASSES)
        )


def pictures(num: int, classes=range(CLASSES), seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (num, 3, 2, 2), generator=generator).to(torch.uint8)
    labels = torch.tensor(list(classes))[torch.randint(len(classes), (num,), generator=generator)]
    return Split(images, labels)


@settings(max_examples=40)
@given(num=st.integers(1, 50), batch_size=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_numbers_are_those_of_scikit_learn(num, batch_size, seed):
    module, data = net(), pictures(num, seed=seed)
    found = assess(module, data, scale, loss_of(), batch_size)
    with torch.no_grad():
        logits = module.eval()(scale(data.images))
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-6)
    predicted = logits.argmax(1)
    assert found.accuracy == pytest.approx(accuracy_score(data.labels, predicted))
    present = sorted(set(data.labels.tolist()))
    recall = recall_score(data.labels, predicted, labels=present, average=None, zero_division=0)
    expected = dict(zip(present, recall, strict=True))
    for label in range(CLASSES):
        if label in expected:
            assert found.class_accuracy[label] == pytest.approx(expected[label])
        else:
            assert found.class_accuracy[label] is None
    loss = log_loss(data.labels, logits.double().softmax(1), labels=list(range(CLASSES)))
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_the_loss_is_the_one_that_was_asked_for():
    module, data = net().eval(), pictures(20)
    found = assess(module, data, scale, loss_of("svm"), 7)
    with torch.no_grad():
        rows = module(scale(data.images)).double().tolist()
    margins = [
        sum(max(0.0, s - row[label] + 1) for j, s in enumerate(row) if j != label)
        for row, label in zip(rows, data.labels.tolist(), strict=True)
    ]
    assert found.loss == pytest.approx(sum(margins) / len(margins), rel=1e-5)


def test_the_mean_loss_is_taken_where_there_is_float64():
    """As on Apple's devices, which have none: only what has come to the CPU may be made longer."""

    class OnDevice:
        def __init__(self, values):
            self.values = values

        def double(self):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

        def cpu(self):
            return self.values

    def loss(logits, labels):
        return OnDevice(loss_of()(logits, labels))

    expected = assess(net(), pictures(20), scale, loss_of(), 7).loss
    assert assess(net(), pictures(20), scale, loss, 7).loss == expected


def test_it_can_be_ended_before_every_batch():
    module, calls = net().train(), []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assess(module, pictures(20), scale, loss_of(), 4, check)
    assert len(calls) == 3 and all(part.training for part in module.modules())
    calls.clear()
    assess(module, pictures(7), scale, loss_of(), 4, check)
    assert len(calls) == 2


def test_a_class_without_pictures_has_no_accuracy():
    found = assess(net(), pictures(30, classes=(0, 3)), scale, loss_of(), 8)
    assert [value is None for value in found.class_accuracy] == [False, True, True, False, True]


def test_the_network_is_left_as_it_was():
    module = net().train()
    module[2].eval()  # each part has a mode of its own
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    assess(module, pictures(9), scale, loss_of(), 4)
    assert [part.training for part in module.modules()] == modes and not module[2].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    module(scale(pictures(9).images)).sum().backward()  # nothing of inference mode sticks


def test_the_modes_come_back_after_a_failure():
    module = net().train()

    def fail(images):
        raise RuntimeError("no such picture")

    with pytest.raises(RuntimeError, match="no such picture"):
        assess(module, pictures(4), fail, loss_of(), 2)
    assert all(part.training for part in module.modules())
