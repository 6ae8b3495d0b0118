"""The budget of gradio's files."""

import os
import time

import gradio as gr
from gradio.route_utils import FileUploadProgress

from models.access import Viewer
from models.quotas import Quota, Quotas
from ui.doors.cache import MAX_UPLOADS, _list_paths, forget_uploads, sweep, sweep_page
from ui.entry import Page
from ui.visitors import Visitors


def write(folder, name: str, age: float, size: int = 100) -> str:
    path = folder / name / "file"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return str(path)


def test_the_oldest_go_until_the_rest_is_within_the_budget(tmp_path):
    paths = [write(tmp_path, str(age), age) for age in (900, 800, 700, 600, 500, 1)]
    assert sweep(_list_paths(tmp_path), max_bytes=600, max_files=6) == []
    assert sweep(_list_paths(tmp_path), kept=paths[:1], last=paths[1:2], max_bytes=450) == paths[2:4]
    assert sweep(_list_paths(tmp_path), kept=paths[:1], max_files=2) == [paths[1], paths[4]]
    assert sweep(_list_paths(tmp_path), max_bytes=0) == paths[:1]  # what has just been written stays
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_of_a_page_what_it_began_with_stays_uploads_go_last_and_gradio_forgets_the_names(tmp_path, monkeypatch):
    with gr.Blocks() as page:
        image = gr.Image()
    ages = {"a": 900, "b": 800, "c": 700, "d": 600}
    shown, upload, old, new = (write(tmp_path, name, age) for name, age in ages.items())
    image.keep_in_cache.add(shown)
    page.upload_file_set.add(upload)
    image.temp_files |= {old, new}
    monkeypatch.setattr(sweep, "__defaults__", ((), (), 250, 9, bool))
    assert sweep_page(page, tmp_path) == 2
    assert (
        {path.name for path in tmp_path.iterdir()} == {"a", "b"}
        and not image.temp_files
        and page.upload_file_set == {upload}
    )


def test_of_each_visitor_the_oldest_go_but_not_what_others_have_or_what_is_elsewhere(tmp_path):
    files, visitors = tmp_path / "files", Visitors(b"k" * 32, "try", quotas=Quotas({"try": Quota(files_mb=250e-6)}))
    both, old, new, just, bobs = (write(files, str(age), age) for age in (900, 800, 700, 1, 600))
    sample = write(tmp_path, "sample", 999, 10**6)
    ada, bob = Viewer("ada", "try"), Viewer("bob", "try")
    visitors.give_files(ada, [{"path": path} for path in (sample, both, old, new, just)])
    visitors.give_files(bob, [{"path": path} for path in (both, bobs)])
    with Page() as page:
        page.visitors = visitors
    assert sweep_page(page, files) == 1  # 100 bytes each, and one that only Bob has still
    assert [visitors.may_read(ada, path) for path in (both, old, new, just)] == [False, False, True, True]
    assert visitors.may_read(bob, both) and {path.name for path in files.iterdir()} == {"900", "700", "1", "600"}
    assert sweep_page(page, files) == 0


def test_of_uploads_that_nobody_asks_about_the_newest_are_remembered():
    progress = FileUploadProgress()
    for number in range(MAX_UPLOADS + 10):
        progress.track(f"upload-{number}")
    forget_uploads(progress)
    for known in (progress._statuses, progress._signals):
        assert len(known) == MAX_UPLOADS and "upload-9" not in known and f"upload-{MAX_UPLOADS + 9}" in known
