"""All about a channel."""

import torch

from analysis.network.layers import extract_features
from lab.channels.page import NUM_SAMPLES, describe_channel
from lab.session import Lab
from models.data.samples import get_sample
from tests.device import DEVICE


def test_a_page_has_the_channels_maps_kernels_and_the_answer_without_it(tmp_path):
    lab = Lab(DEVICE, data_root=tmp_path, runs_root=tmp_path)
    image = lab.open_image(get_sample("sneaker").path)
    layer = next(each.name for each in lab.layers("fashion_cnn") if each.is_feature_map)
    page = describe_channel(lab, image, "fashion_cnn", layer, 3)
    assert page.channel == 3 and len(page.names) == 1 + NUM_SAMPLES and "Sneaker" not in page.names
    with lab.use("fashion_cnn") as (loaded, _):
        maps = extract_features(loaded.module, loaded.to_inputs(page.pixels), layer)
    torch.testing.assert_close(torch.tensor(page.means), maps[:, 3].mean((1, 2)), atol=1e-4, rtol=1e-4)
    assert page.maps.shape == (1 + NUM_SAMPLES, *page.pixels.shape[2:])
    assert page.ablation.channels == (3,) and page.kernels[1].shape[0] == 1 and page.word
    strongest = int(maps[0].abs().mean((1, 2)).argmax())
    for asked in (None, -1, 10**6):
        assert describe_channel(lab, image, "fashion_cnn", layer, asked).channel == strongest
