"""Commands about channels: patches, embed, maximise."""

from tests.sentences import check_sentence
from tests.unit.commands.fashion import FASHION


def test_patches_lists_every_channel_once(run_json, run):
    options = [*FASHION, "--layer", "features.0", "--data", "samples", "--limit", 4]
    (layer, *_) = [row["name"] for row in run_json("layers", *FASHION) if len(row["output_shape"]) == 3]
    options[options.index("features.0")] = layer
    document = run_json("patches", *options)
    assert set(document) == {"model", "layer", "data", "num_pictures", "unreadable", "placement", "channels"}
    assert document["num_pictures"] == 4 and document["layer"] == layer
    assert [row["channel"] for row in document["channels"]] == list(range(len(document["channels"])))
    for row in document["channels"]:
        values = [patch["value"] for patch in row["patches"]]
        assert values == sorted(values, reverse=True) and len({patch["picture"] for patch in row["patches"]}) == 4
    assert run_json("patches", *options, "--channel", 1)["channels"] == [document["channels"][1]]
    assert "channel 1" in run("patches", *options)[1]
    code, _, problem = run("patches", *options, "--channel", 999)
    assert code == 2
    check_sentence(problem, 999)


def test_embed_places_every_picture(run_json, run, tmp_path):
    options = [*FASHION, "--data", "samples", "--limit", 6]
    document = run_json("embed", *options, "--method", "pca", "--out", tmp_path / "plane.html")
    assert set(document) == {"model", "data", "method", "num_features", "unreadable", "points"}
    assert len(document["points"]) == 6 and "plotly" in (tmp_path / "plane.html").read_text()
    assert run_json("embed", *options, "--method", "tsne")["method"] == "tsne"
    assert "6 pictures" in run("embed", *options)[1]


def test_maximise_writes_a_picture(run_json, run, tmp_path):
    from PIL import Image

    document = run_json("maximise", *FASHION, "--class", "bag", "--steps", 5, "--out", tmp_path / "bag.png")
    assert set(document) == {"model", "target", "before", "after", "steps", "out"} and document["steps"] == 5
    assert Image.open(tmp_path / "bag.png").size == (224, 224)
    code, _, problem = run("maximise", *FASHION, "--out", tmp_path / "none.png")
    assert code == 2
    check_sentence(problem)
