"""Which files a visitor may name."""

import gradio as gr
import pytest
from gradio.data_classes import ImageData

from models.errors import ModelsError
from models.samples import get_sample
from ui.picture import Picture, check_picture_path


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def test_uploads_and_samples_are_allowed(uploads):
    upload = uploads / "cat.png"
    upload.write_bytes(b"x")
    assert check_picture_path(str(upload)) == upload.resolve()
    assert check_picture_path(str(get_sample("coffee").path)) == get_sample("coffee").path.resolve()


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.png", "", "a\0b", "{uploads}/../secret.png", None])
def test_every_other_path_is_refused(uploads, path):
    (uploads.parent / "secret.png").write_bytes(b"x")
    path = path and path.format(uploads=uploads)
    with pytest.raises(ModelsError, match="Upload the picture first"):
        check_picture_path(path)
    if path is not None:
        with pytest.raises(gr.Error, match="Upload the picture first"):
            Picture(render=False).preprocess(ImageData(path=path))


def test_a_link_out_of_the_uploads_is_refused(uploads):
    (uploads.parent / "secret.png").write_bytes(b"x")
    (uploads / "link.png").symlink_to(uploads.parent / "secret.png")
    with pytest.raises(ModelsError):
        check_picture_path(str(uploads / "link.png"))
