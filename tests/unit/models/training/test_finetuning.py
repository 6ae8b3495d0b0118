"""Training a head on a bundled backbone: what is frozen stays as it is, and the shortcut changes nothing."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from models.checkpoints import load_run_model
from models.data.dataset import Split
from models.data.preprocessing import Preprocessing
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.networks.table import ARCHITECTURES
from models.networks.transfer import TransferConfig, TransferNet, load_backbone_weights
from models.runs.run import read_run, request_stop
from models.runs.writer import RunWriter
from models.training import acceleration, finetuning, loop, recorder
from models.training.config import TrainingConfig
from models.training.feature_cache import CACHE_FOLDER
from models.training.finetuning import APPROACHES, TransferLearning, WholeNetwork, find_approach
from models.training.resume import RESUME_FILE
from models.training.run import resume, train
from tests.device import DEVICE
from tests.unit.models.training.test_resuming import break_off

COLORS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 210)}
PER_CLASS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 drawn pictures of three classes: a coloured square somewhere on noise."""
    root, generator = tmp_path_factory.mktemp("data") / "pictures", torch.Generator().manual_seed(0)
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            image = torch.randint(0, 120, (64, 64, 3), generator=generator).to(torch.uint8)
            x, y = torch.randint(0, 34, (2,), generator=generator).tolist()
            image[y : y + 30, x : x + 30] = torch.tensor(color, dtype=torch.uint8)
            Image.fromarray(image.numpy()).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def configure(folder):
    """``configure(mode, **options)``: a training of two epochs on these pictures."""

    def build(mode: str, dropout: float = 0.2, **options) -> TrainingConfig:
        model = {"backbone": "efficientnet_lite0", "mode": mode, "dropout": dropout}
        values = {"dataset": str(folder), "architecture": "transfer", "model": model, "image_size": 64}
        values |= {"epochs": 2, "batch_size": 8, "learning_rate": 0.05, "device": DEVICE, "snapshots": False}
        values["precision"] = "float32"
        return TrainingConfig.from_dict(values | options)

    return build


@pytest.fixture(scope="module")
def pretrained():
    net = TransferNet(TransferConfig(num_classes=3, image_size=64))
    load_backbone_weights(net)
    return net.state_dict()


def weights(run_dir) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "weights.safetensors")


def changed(run_dir, pretrained) -> set[str]:
    """Tensors of the backbone that are not those of the published weights."""
    found = weights(run_dir)
    assert found.keys() == pretrained.keys()
    return {name for name in found if name.startswith("backbone.") and not torch.equal(found[name], pretrained[name])}


def through_the_network(monkeypatch) -> None:
    """Frozen training as it would be without the shortcut: every step runs the whole network."""

    class Slow(TransferLearning):
        def __init__(self, module, *, augments):
            super().__init__(module, augments=augments)
            self.takes_features, self.core = False, module

    monkeypatch.setitem(APPROACHES, TransferNet, Slow)


def test_every_architecture_has_an_approach():
    for _, model_class in ARCHITECTURES.values():
        found = find_approach(model_class)
        assert issubclass(found, WholeNetwork)
        assert (found is TransferLearning) == (model_class is TransferNet)


def test_a_whole_network_is_trained_on_pictures_at_one_rate():
    net = SmallCNN(SmallCNNConfig(num_classes=3))
    approach = WholeNetwork(net, augments=True)
    assert approach.core is approach.module is net and not approach.takes_features
    (group,) = approach.list_groups(0.3)
    assert group["rate_factor"] == 1 and [id(p) for p in group["params"]] == [id(p) for p in net.parameters()]
    own = Preprocessing(crop_size=28, resize_size=28, mean=(0.3,), std=(0.2,))
    assert approach.adapt(own) is own
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    approach.load(lambda done, total: pytest.fail("nothing is downloaded"))
    approach.before_step(0, 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    split = Split(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    assert approach.feed(split, own, None, None, lambda: True) is split


@pytest.mark.parametrize(
    ("mode", "augments", "takes_features"),
    [
        ("frozen", False, True),
        ("frozen", True, False),
        ("unfrozen", False, False),
        ("frozen_then_unfrozen", False, False),
    ],
)
def test_only_a_backbone_that_never_changes_on_pictures_that_never_change_is_left_out(mode, augments, takes_features):
    with torch.device("meta"):
        net = TransferNet(TransferConfig(num_classes=3, image_size=64, mode=mode))
    approach = TransferLearning(net, augments=augments)
    assert approach.takes_features is takes_features
    assert approach.core is (net.head if takes_features else net) and approach.module is net
    factors = [group["rate_factor"] for group in approach.list_groups(0.4)]
    assert factors == pytest.approx([1, 0.1, 0.05, 0.025])
    assert sum(len(group["params"]) for group in approach.list_groups(0.4)) == len(list(net.parameters()))


def test_a_frozen_backbone_does_not_move_and_the_head_learns(tmp_path, configure, pretrained):
    result = train(configure("frozen", epochs=6), tmp_path / "a")
    assert changed(tmp_path / "a", pretrained) == set()
    assert result.state == "finished" and result.test_accuracy > 0.6
    assert list((tmp_path / CACHE_FOLDER).iterdir())
    # The model of the run, the whole network, says what was measured on features.
    model, categories, preprocessing = load_run_model(tmp_path / "a")
    assert categories == tuple(sorted(COLORS))
    examples = load_file(tmp_path / "a" / "examples.safetensors")
    assert examples["images"].dtype == torch.uint8 and examples["images"].shape[1:] == (3, 64, 64)
    with torch.no_grad():
        logits = model(preprocessing.normalize(examples["images"].float() / 255))
    predictions = load_file(tmp_path / "a" / "predictions.safetensors")["logits"]
    torch.testing.assert_close(predictions, logits, rtol=1e-3, atol=1e-3)
    hard = load_file(tmp_path / "a" / "hard_examples.safetensors")  # pictures, not the features that were trained on
    assert hard["images"].dtype == torch.uint8 and hard["images"].shape[1:] == (3, 64, 64)
    with torch.no_grad():
        logits = model(preprocessing.normalize(hard["images"].float() / 255))
    torch.testing.assert_close(hard["logits"], logits, rtol=1e-3, atol=1e-3)
    # A second training finds the features and comes to the same bits.
    assert train(configure("frozen", epochs=6), tmp_path / "b").weights_sha256 == result.weights_sha256


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_features_computed_once_give_what_the_whole_network_gives(
    tmp_path, configure, pretrained, monkeypatch, optimizer
):
    """Dropout included: every step draws the same numbers on both ways."""
    rate = {"sgd": 0.05}.get(optimizer, 0.01)
    config = configure("frozen", optimizer=optimizer, learning_rate=rate)
    quick = train(config, tmp_path / "quick" / "a")
    through_the_network(monkeypatch)
    slow = train(config, tmp_path / "slow" / "a")
    assert not (tmp_path / "slow" / CACHE_FOLDER).exists()
    assert changed(tmp_path / "slow" / "a", pretrained) == set()
    one, other = (weights(tmp_path / name / "a") for name in ("quick", "slow"))
    for name in ("head.classifier.weight", "head.classifier.bias"):
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)
    train(replace(config, learning_rate=1e-8, max_steps=1), tmp_path / "slow" / "start")
    start = weights(tmp_path / "slow" / "start")["head.classifier.weight"]
    assert (one["head.classifier.weight"] - start).abs().max() > 0.01
    assert (quick.val_accuracy, quick.test_accuracy) == (slow.val_accuracy, slow.test_accuracy)


def test_an_unfrozen_backbone_is_trained(tmp_path, configure, pretrained):
    train(configure("unfrozen", max_steps=2), tmp_path / "a")
    found = changed(tmp_path / "a", pretrained)
    trained = {name for name in pretrained if name.startswith("backbone.") and name.endswith(("weight", "bias"))}
    assert len(found & trained) > 0.95 * len(trained)
    assert any(name.endswith("running_mean") for name in found)
    assert not (tmp_path / CACHE_FOLDER).exists()


def test_first_the_head_then_everything(tmp_path, configure, pretrained):
    model = {"backbone": "efficientnet_lite0", "mode": "frozen_then_unfrozen", "frozen_share": 0.5}
    train(configure("unfrozen", model=model, max_steps=4, snapshots=True), tmp_path / "a")
    for step in range(5):
        found = load_file(tmp_path / "a" / "snapshots" / f"{step:07d}.safetensors")
        same = all(torch.equal(found[name], pretrained[name]) for name in found if name.startswith("backbone."))
        assert same == (step <= 2)


def test_frozen_with_augmentation_goes_through_pictures(tmp_path, configure, pretrained, monkeypatch):
    shapes = []
    train_step = loop.train_step

    def listen(prepared, meter, step, rate):
        shapes.append(tuple(prepared.feed.batch(prepared.feed.index(step), step)[0].shape))
        train_step(prepared, meter, step, rate)

    monkeypatch.setattr(loop, "train_step", listen)
    augmented = train(configure("frozen", augment={"flip": 1.0, "noise": 0.5}), tmp_path / "a")
    assert set(shapes) == {(8, 3, 64, 64)}
    assert changed(tmp_path / "a", pretrained) == set()
    assert not (tmp_path / CACHE_FOLDER).exists()
    plain = train(configure("frozen"), tmp_path / "b")
    assert plain.weights_sha256 != augmented.weights_sha256
    assert shapes[-1] == (8, 1280)  # features


@pytest.mark.parametrize("mode", ["frozen", "frozen_then_unfrozen"])
def test_it_goes_on_after_being_killed(tmp_path, configure, monkeypatch, mode):
    config = configure(mode, optimizer="adamw", learning_rate=0.01, max_steps=6)
    expected = train(config, tmp_path / "whole")
    monkeypatch.setattr(recorder, "RESUME_SECONDS", 0.0)
    for at_step in (1, 4) if mode == "frozen" else (4,):
        run_dir = tmp_path / f"killed-{at_step}"
        break_off(monkeypatch, config, run_dir, at_step)
        assert (run_dir / RESUME_FILE).exists()
        found = resume(run_dir)
        assert (found.weights_sha256, found.test_accuracy) == (expected.weights_sha256, expected.test_accuracy)


def test_stop_while_features_are_computed(tmp_path, configure, monkeypatch):
    tell = RunWriter.update

    def tell_and_stop(self, **values):
        tell(self, **values)
        if "features" in str(values.get("message")):
            request_stop(self.run_dir)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "update", tell_and_stop)
        result = train(configure("frozen"), tmp_path / "a")
    assert (result.state, result.weights_sha256, result.epochs) == ("stopped", None, 0)
    run = read_run(tmp_path, "a")
    assert run.state == "stopped" and not run.has_model and run.metrics == []
    assert resume(tmp_path / "a").state == "finished"


def test_half_precision_is_not_chosen_for_backbones(tmp_path, configure, monkeypatch):
    asked = []
    choose = acceleration.choose_precision
    monkeypatch.setattr(
        acceleration, "choose_precision", lambda *a, **options: asked.append(options) or choose(*a, **options)
    )
    train(configure("frozen", max_steps=1), tmp_path / "a")
    assert asked == [{"half_on_cpu": False}]
    assert finetuning.WholeNetwork.half_on_cpu
