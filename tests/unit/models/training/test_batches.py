"""Which pictures a step sees, and what is done to them, follows from the step alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2.functional import normalize

from models.data.augment.augment import AugmentConfig, augment
from models.data.dataset import Split
from models.data.preprocessing import Preprocessing
from models.training.batches import Feed, Normalize
from models.training.random_streams import Purpose

CPU = torch.device("cpu")


def split(num: int, channels: int = 1, side: int = 4) -> Split:
    """Picture ``i`` has the label ``i``."""
    generator = torch.Generator().manual_seed(num)
    images = torch.randint(256, (num, channels, side, side), generator=generator).to(torch.uint8)
    return Split(images, torch.arange(num))


def feed(num: int, batch_size: int, seed: int = 0, augments=None, **options) -> Feed:
    return Feed(split(num), lambda images: images, seed, augments or {}, batch_size, **options)


sizes = {"num": st.integers(2, 60), "batch_size": st.integers(2, 70), "seed": st.integers(0, 2**32 - 1)}


@settings(max_examples=40)
@given(**sizes)
def test_an_epoch_sees_every_picture_at_most_once_and_leaves_out_less_than_a_batch(num, batch_size, seed):
    found = feed(num, batch_size, seed)
    assert found.steps_per_epoch == num // min(num, batch_size) >= 1
    for epoch in range(2):
        steps = range(epoch * found.steps_per_epoch, (epoch + 1) * found.steps_per_epoch)
        seen = torch.cat([found.index(step) for step in steps]).tolist()
        assert len(seen) == len(set(seen)) == found.steps_per_epoch * found.batch_size
        assert set(seen) <= set(range(num)) and num - len(seen) < found.batch_size


@settings(max_examples=40)
@given(**sizes, processes=st.integers(1, 5), step=st.integers(0, 200))
def test_the_processes_share_a_batch_without_overlap(num, batch_size, seed, processes, step):
    whole = feed(num, batch_size, seed).index(step)
    shares = [
        feed(num, batch_size, seed, rank=rank, num_processes=processes).index(step) for rank in range(processes)
    ]
    assert sorted(torch.cat(shares).tolist()) == sorted(whole.tolist())
    counts = [len(share) for share in shares]
    assert max(counts) - min(counts) <= 1


@settings(max_examples=40)
@given(steps=st.lists(st.integers(0, 40), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_the_order_does_not_depend_on_what_was_asked_before(steps, seed):
    jumping = feed(23, 5, seed)
    for step in steps:
        assert torch.equal(jumping.index(step), feed(23, 5, seed).index(step))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(feed(50, 50, seed).index(epoch).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert all(order != tuple(range(50)) for order in orders)


def test_a_batch_larger_than_the_data_is_all_of_them():
    found = feed(6, 100)
    assert (found.batch_size, found.steps_per_epoch) == (6, 1)


def test_labels_belong_to_their_pictures():
    data = split(30, channels=3)
    found = Feed(data, lambda images: images, 1, {}, 7)
    index = found.index(3)
    images, labels = found.batch(index, 3)
    assert labels.tolist() == index.tolist()
    assert all(torch.equal(image, data.images[label]) for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize_is_that_of_torchvision(channels):
    mean, std = (0.2, 0.5, 0.7)[:channels], (0.1, 0.31, 0.9)[:channels]
    images = split(5, channels, side=6).images
    before = images.clone()
    found = Normalize(Preprocessing(crop_size=6, resize_size=6, mean=mean, std=std), CPU)(images)
    torch.testing.assert_close(found, normalize(images.float() / 255, mean, std), rtol=0, atol=1e-5)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_random_changes_depend_on_seed_step_rank_and_part_alone():
    config = AugmentConfig(noise=1.0, translate=1.0)
    augments = {Purpose.AUGMENT: lambda images, generator: augment(images, config, generator)}
    index = torch.arange(4)

    def draw(seed=0, rank=0, step=3, part=0, before=()):
        found = feed(20, 5, seed, augments, rank=rank, num_processes=2)
        for other in before:
            found.batch(index, other)
        return found.batch(index, step, part)[0]

    torch.manual_seed(1)
    first = draw()
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, draw(before=(0, 1, 7)))
    torch.manual_seed(1)
    draw()
    assert torch.equal(state, torch.random.get_rng_state())
    different = [draw(seed=1), draw(rank=1), draw(step=4), draw(part=1)]
    assert all(not torch.equal(first, other) for other in different)


def test_an_additional_change_leaves_the_draws_of_the_other_as_they_are():
    drawn: dict[Purpose, list[int]] = {Purpose.AUGMENT: [], Purpose.SHIFT: []}

    def listen(purpose):
        def change(images, generator):
            drawn[purpose].append(int(torch.randint(2**31, (), generator=generator)))
            return images

        return change

    feed(20, 5, augments={Purpose.SHIFT: listen(Purpose.SHIFT)}).batch(torch.arange(3), 2)
    both = {purpose: listen(purpose) for purpose in drawn}
    feed(20, 5, augments=both).batch(torch.arange(3), 2)
    assert drawn[Purpose.SHIFT][0] == drawn[Purpose.SHIFT][1] != drawn[Purpose.AUGMENT][0]


@pytest.mark.parametrize(
    ("num", "batch", "processes", "parts", "smallest"),
    [
        (20, 6, 1, 1, 6),
        (20, 6, 1, 2, 3),
        (20, 5, 1, 2, 2),  # 3 and 2
        (20, 7, 1, 3, 1),  # 3, 3 and 1
        (20, 5, 2, 1, 2),  # 3 and 2
        (20, 5, 2, 2, 1),
        (3, 8, 1, 1, 3),  # no more than there are
        (1, 8, 2, 1, 0),
    ],
)
def test_the_smallest_part_of_a_batch(num, batch, processes, parts, smallest):
    feeds = [feed(num, batch, rank=rank, num_processes=processes) for rank in range(processes)]
    sizes = [len(part) for each in feeds for part in each.index(0).chunk(parts)]
    assert {each.smallest_part(parts) for each in feeds} == {min(sizes)} == {smallest}
