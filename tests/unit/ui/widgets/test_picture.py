"""Which files a visitor may name."""

import gradio as gr
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from analysis.errors import Cancelled, UserError
from lab.session import Lab
from models.data.decoding import budget
from models.data.samples import get_sample
from tests.sentences import refused
from ui.widgets.picture import Picture, check_picture_path, make_preview


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def lab(tmp_path):
    return Lab(device="cpu", data_root=tmp_path / "data", runs_root=tmp_path / "runs")


def test_uploads_and_samples_are_allowed(uploads):
    upload = uploads / "cat.png"
    upload.write_bytes(b"x")
    assert check_picture_path(str(upload)) == upload.resolve()
    assert check_picture_path(str(get_sample("coffee").path)) == get_sample("coffee").path.resolve()


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.png", "", "a\0b", "{uploads}/../secret.png", None])
def test_every_other_path_is_refused(uploads, path):
    (uploads.parent / "secret.png").write_bytes(b"x")
    path = path and path.format(uploads=uploads)
    with refused():
        check_picture_path(path)
    if path is not None:
        with refused(error=gr.Error):
            Picture(render=False).preprocess(ImageData(path=path))


def test_a_link_out_of_the_uploads_is_refused(uploads):
    (uploads.parent / "secret.png").write_bytes(b"x")
    (uploads / "link.png").symlink_to(uploads.parent / "secret.png")
    with pytest.raises(UserError):
        check_picture_path(str(uploads / "link.png"))


def test_what_browsers_cannot_show_gets_a_small_png_that_stands_for_it(uploads, lab):
    tiff, png = uploads / "cell.tif", uploads / "cell.png"
    Image.linear_gradient("L").resize((2048, 512)).save(tiff)
    Image.new("RGB", (3000, 10)).save(png)
    preview = make_preview(lab, str(tiff))
    with Image.open(preview) as shown:
        assert shown.format == "PNG" and shown.size == (1024, 256)
    assert Picture(render=False).preprocess(ImageData(path=preview)) == str(tiff)
    assert [path.name for path in sorted(uploads.iterdir())] == ["cell.png", "cell.tif", "cell.tif.preview.png"]
    assert make_preview(lab, str(png)) is None and make_preview(lab, None) is None


def test_a_broken_picture_gets_no_preview(uploads, lab):
    (uploads / "x.tif").write_bytes(b"II*\0 and so on")
    assert make_preview(lab, str(uploads / "x.tif")) is None
    assert make_preview(lab, str(uploads / "gone.tif")) is None


def test_a_preview_can_be_cancelled(uploads, lab, monkeypatch):
    def end(done, total):
        raise Cancelled

    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", -1)
    Image.linear_gradient("L").save(uploads / "cell.tif")
    with pytest.raises(Cancelled):
        make_preview(lab, str(uploads / "cell.tif"), end)
    assert [path.name for path in uploads.iterdir()] == ["cell.tif"]


def test_a_preview_stands_for_nothing_outside_the_uploads(uploads):
    (uploads.parent / "secret.png").write_bytes(b"x")
    with refused(error=gr.Error):
        Picture(render=False).preprocess(ImageData(path=str(uploads.parent / "secret.png.preview.png")))
    own = uploads / "my.preview.png"
    own.write_bytes(b"x")
    assert Picture(render=False).preprocess(ImageData(path=str(own))) == str(own.resolve())
