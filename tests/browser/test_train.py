"""The Train tab: training is a process of its own, which pages come and go around."""

import io
import re
import time
import zipfile

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from models.runs.run import list_runs, read_run
from models.training.config import TrainingConfig
from models.training.run import train as run_training
from tests.browser.test_classify import choose, wait_for_silence
from tests.browser.test_evaluate import stop_job
from tests.browser.test_requests import counted
from tests.server import Server

STATUS = "#train-status"


SMALL = {
    "dataset": "shapes",
    "shapes": {"num_images": 400, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12]},
    "batch_size": 20,
    "device": "cpu",
}


@pytest.fixture
def train(open_train) -> Page:
    """With the settings open."""
    page = open_train()
    open_settings(page)
    return page


def open_settings(page: Page, kind: str = "") -> None:
    if not page.locator("#train-start").is_visible():
        page.locator("#train-new").click()
    expect(page.locator("#train-start")).to_be_visible()
    if kind:
        page.locator("#train-settings").get_by_label(kind, exact=True).check()


def finish_run(server: Server, name: str, **options) -> str:
    """Trains a small network here, in less than a second: a run for the page to look into."""
    run_training(TrainingConfig.from_dict(SMALL | options), server.runs_root / name)
    return name


def make_zip(*paths: str) -> bytes:
    """Two classes of 30 pictures, one broken picture, and files under other paths."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index in range(30):
            for name, colour in (("sun", (250, 200, 30)), ("sea", (20, 80, 220))):
                image = Image.new("RGB", (48, 40), (index * 4, 90, 90))
                ImageDraw.Draw(image).ellipse((8, 4, 30 + index % 9, 34), fill=colour)
                picture = io.BytesIO()
                image.save(picture, format="PNG")
                archive.writestr(f"set/{name}/{index}.png", picture.getvalue())
        archive.writestr("set/sea/broken.png", b"not a picture")
        for path in paths:
            archive.writestr(path, picture.getvalue())
    return file.getvalue()


def set_epochs(page: Page, number: int) -> None:
    open_settings(page, "Training")
    epochs = page.get_by_label("number input for Epochs")
    epochs.fill(str(number))
    epochs.press("Enter")


def open_part(page: Page, title: str) -> None:
    page.locator("#train-results").get_by_label(title, exact=True).check()


def stop(page: Page, is_own: bool = True) -> None:
    page.locator(STATUS).get_by_role("button", name="Stop…").click()
    page.locator("#job-list .actions button:focus").press("Enter")
    if not is_own:
        page.locator("#job-list .question .yes").click()
    page.keyboard.press("Escape")


def show_run(page: Page, name: str) -> None:
    """Chooses a run; its name may be the beginning of another's."""
    page.locator("#train-run input").click()
    page.get_by_role("option", name=name, exact=True).click()


def upload_zip(page: Page, name: str, data: bytes) -> None:
    choose(page, "train-dataset", "Own pictures")
    page.locator("input[type=file][accept='.zip']").set_input_files(
        {"name": name, "mimeType": "application/zip", "buffer": data}
    )
    expect(page.get_by_text(name.removesuffix(".zip"))).to_be_visible()


def choose_little(page: Page) -> None:
    """A thousand drawn shapes and a small network."""
    choose(page, "train-dataset", "Drawn shapes")
    pictures = page.get_by_label("number input for Pictures")
    pictures.fill("1000")
    pictures.press("Enter")
    open_settings(page, "Network")
    write_channels(page, "8, 12")
    expect(page.locator("#network-summary")).not_to_contain_text("47,")


def write_channels(page: Page, text: str) -> None:
    """Key by key: a text that a script puts in place is not heard before the field is left."""
    channels = page.get_by_label("Channels, one number per block").first
    channels.clear()
    channels.press_sequentially(text)


def start_training(page: Page, epochs: int) -> None:
    set_epochs(page, epochs)
    page.locator("#train-start").click()


def test_training_survives_a_reload_and_a_second_browser_which_stops_it_and_goes_on(train, server, browser: Browser):
    status = train.locator(STATUS)
    choose(train, "train-dataset", "Drawn shapes")
    start_training(train, 50)
    expect(status).to_contain_text("pictures a second", timeout=60_000)
    name = train.locator("#train-run input").input_value()
    train.reload()
    expect(status).to_contain_text(f"{name}: running")
    other = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    other.goto(f"{server.url}/?tab=train")
    expect(other.locator(STATUS)).to_contain_text(f"{name}: running")
    stop(other, is_own=False)
    for page in (other, train):
        expect(page.locator(STATUS)).to_contain_text(f"{name}: stopped")
    other.context.close()
    before = read_run(server.runs_root, name)
    assert before.state == "stopped"
    train.locator("#train-resume").click()
    expect(status).to_contain_text(f"{name}: running")
    expect(status).to_contain_text("pictures a second", timeout=60_000)
    expect(status).not_to_have_text(status.inner_text())  # it has made steps
    stop(train)
    expect(status).to_contain_text(f"{name}: stopped")
    run = read_run(server.runs_root, name)
    epochs = [line["epoch"] for line in run.metrics if line["kind"] == "epoch"]
    assert run.status["step"] > before.status["step"] and epochs == list(range(1, len(epochs) + 1))
    # Had it begun anew, losses would be equal too, but not the speeds that were measured.
    first = [line for line in before.metrics if "samples_per_second" in line]
    assert first and [line for line in run.metrics if "samples_per_second" in line][: len(first)] == first


def test_a_finished_model_is_used_in_the_other_tabs(train):
    choose_little(train)
    start_training(train, 2)
    expect(train.locator(STATUS)).to_contain_text("finished after 2 epochs", timeout=120_000)
    name = train.locator("#train-run input").input_value()
    expect(train.locator("#train-status button")).to_have_count(0)  # nothing that could be stopped
    expect(train.locator("#train-resume")).to_be_hidden()
    expect(train.locator("#train-accuracy path.curve >> nth=0")).to_be_visible()
    train.locator("#train-use").click()
    expect(train.locator("#model input")).to_have_value(re.compile(f"^run/{name} "))
    expect(train.locator("#model-card")).not_to_contain_text("ImageNet")
    train.get_by_role("tab", name="Classify", exact=True).click()
    expect(train.locator("#classify-result .finding")).to_contain_text(f"run/{name} sees")
    train.get_by_role("tab", name="Shift", exact=True).click()
    expect(train.locator("#shift-stage .caption").first).to_contain_text("consistency")
    train.get_by_role("tab", name="Explain", exact=True).click()
    expect(train.locator("#explain-view .finding")).to_contain_text("for")


def test_own_pictures_from_a_zip_are_trained_on(train, server):
    upload_zip(train, "skies.zip", make_zip())
    train.locator("#train-start").click()
    expect(train.locator(STATUS)).to_contain_text("skies-1: finished", timeout=120_000)
    expect(train.locator(STATUS)).to_contain_text("1 file was left out")
    name = train.locator("#train-run input").input_value()
    assert any("broken.png" in line for line in read_run(server.runs_root, name).status["skipped"])


def test_a_zip_that_wants_out_of_its_folder_is_refused(train, server):
    upload_zip(train, "evil.zip", make_zip("../../escaped/1.png"))
    train.locator("#train-start").click()
    expect(train.locator(STATUS)).to_contain_text("unsafe name '../../escaped/1.png'", timeout=60_000)
    assert not list(server.runs_root.parent.rglob("escaped"))


def test_a_comparison_is_followed_again_after_a_visit_to_another_tab(train):
    train.get_by_label("Compare arms", exact=True).check()
    choose(train, "arms-preset", "A CNN against an MLP")
    seeds = train.get_by_label("number input for Seeds")
    seeds.fill("1")
    seeds.press("Enter")
    train.locator("#arms-start").click()
    status = train.locator("#arms-status")
    expect(status).to_contain_text(": running", timeout=60_000)
    train.get_by_role("tab", name="Classify", exact=True).click()
    expect(train.locator("#classify-result .finding")).to_be_visible()
    train.get_by_role("tab", name="Train", exact=True).click()
    expect(status).to_be_visible()
    expect(status).not_to_have_text(status.inner_text(), timeout=30_000)
    stop_job(train, "arms")
    expect(status).to_contain_text(": stopped", timeout=60_000)


def test_opening_the_tab_or_a_part_of_it_is_one_request_and_then_it_is_silent(first_page, server):
    finish_run(server, "silent", epochs=2)
    wait_for_silence(first_page)
    with counted(first_page) as calls:
        first_page.get_by_role("tab", name="Train", exact=True).click()
        expect(first_page.locator("#train-status")).to_contain_text("silent: finished")
        wait_for_silence(first_page)
    assert len([call for call in calls if "queue" in call]) == 1  # a server's first visitor has its speed measured
    for title, shown, number in (
        ("Mistakes", "#errors-gallery img >> nth=0", 1),
        ("Through training", "#time-measures [data-moment]", 2),  # what takes longer is asked for after that
        ("Runs", "#runs-table table", 1),
        ("Curves", "#train-loss svg", 1),
    ):
        with counted(first_page) as calls:
            open_part(first_page, title)
            expect(first_page.locator(shown)).to_be_visible(timeout=60_000)
        assert len(calls) == number, title


def test_a_running_training_sends_little_and_its_curves_grow(train, server):
    choose(train, "train-dataset", "Drawn shapes")
    start_training(train, 100)
    status, line = train.locator(STATUS), train.locator("#train-loss path.curve >> nth=0")
    expect(status).to_contain_text("pictures a second", timeout=60_000)
    expect(line).to_be_visible()
    watched = train.context.new_cdp_session(train)
    watched.send("Network.enable")
    received: list[int] = []
    watched.on("Network.dataReceived", lambda event: received.append(event["dataLength"]))
    before, since = line.get_attribute("d"), time.monotonic()
    train.wait_for_function(f"performance.now() > {train.evaluate('performance.now()')} + 5000")
    seconds, number = time.monotonic() - since, sum(received)
    watched.detach()
    stop(train)
    expect(status).to_contain_text(": stopped")
    assert line.get_attribute("d") != before
    assert 0 < number / seconds < 3000


def test_the_settings_of_a_run_can_be_taken_up(open_train, server):
    finish_run(server, "taken-up", epochs=3, learning_rate=0.05)
    train = open_train()
    expect(train.locator("#train-about")).to_contain_text("Drawn shapes, Small CNN, 3 epochs")
    expect(train.locator("#train-start")).to_be_hidden()
    train.locator("#train-change").click()
    expect(train.locator("#train-start")).to_be_visible()
    open_settings(train, "Training")
    expect(train.get_by_label("number input for Epochs")).to_have_value("3")
    expect(train.locator("#train-rate input")).to_have_value("0.05")
    open_settings(train, "Network")
    expect(train.get_by_label("Channels, one number per block").first).to_have_value("8, 12")


def test_leaving_the_tab_ends_the_polling(train):
    train.get_by_role("tab", name="Classify", exact=True).click()
    expect(train.locator("#classify-result .finding")).to_be_visible()
    wait_for_silence(train)


def test_settings_that_cannot_work_are_refused_in_one_sentence(train):
    open_settings(train, "Network")
    expect(train.locator("#network-summary")).to_contain_text("47,162 parameters")
    write_channels(train, "16, many")
    expect(train.locator("#network-summary")).to_contain_text("whole numbers, such as 16, 64, 64")
    train.locator("#train-start").click()
    expect(train.get_by_test_id("toast-body").first).to_contain_text("whole numbers, such as 16, 64, 64")


def test_the_summary_follows_the_network_and_refuses_with_numbers(train):
    open_settings(train, "Network")
    choose(train, "train-architecture", "VGG")
    expect(train.locator("#network-summary")).to_contain_text("28")  # five halvings of 28 pixels leave nothing
    choose(train, "train-architecture", "Linear")
    expect(train.locator("#network-summary")).to_contain_text("7,850 parameters")  # 10 * (28 * 28 + 1)


def test_data_and_augmentation_are_seen_before_training(train):
    choose(train, "train-dataset", "Drawn shapes")
    train.locator("#data-look").click()
    expect(train.locator("#data-finding")).to_contain_text("6 classes", timeout=30_000)
    expect(train.locator("#data-classes img").first).to_be_visible()
    open_settings(train, "Augmentation")
    expect(train.locator("#augment-preview img").first).to_be_visible(timeout=30_000)


def test_a_learning_rate_is_found(train):
    choose_little(train)
    open_settings(train, "Training")
    train.locator("#train-find-rate").click()
    expect(train.locator("#train-rate-finding")).to_contain_text("Suggested peak", timeout=120_000)
    found = float(train.locator("#train-rate input").input_value())
    assert 1e-4 < found < 10


def test_a_confusion_cell_opens_its_pictures_and_time_can_be_scrubbed(open_train, server):
    finish_run(server, "scrubbed", epochs=3)
    train = open_train()
    open_part(train, "Mistakes")
    expect(train.locator("#errors-finding")).to_contain_text("validation pictures")
    expect(train.locator("#errors-confusion .js-plotly-plot")).to_be_visible()
    cells = train.locator("#errors-confusion .nsewdrag").first
    size = cells.bounding_box()
    cells.click(position={"x": size["width"] / 12, "y": size["height"] / 12})  # circles taken for circles, of 6 x 6
    expect(train.locator("#errors-heading")).to_contain_text("circle")
    open_part(train, "Through training")
    slider = train.get_by_label("range slider for Moment of the training")
    expect(train.locator("#time-measures")).to_contain_text("accuracy")  # of the end, where it opens
    slider.focus()
    slider.press("Home")
    expect(train.locator("#time-measures")).to_contain_text("After step 0: accuracy")


def test_two_runs_are_compared_and_a_capsule_comes_back(open_train, server, tmp_path):
    first, second = (finish_run(server, f"trained-{epochs}", epochs=epochs) for epochs in (2, 3))
    train = open_train()
    open_part(train, "Runs")
    table = train.locator("#runs-table")
    boxes = [f"input[data-run='{name}']" for name in (first, second)]  # the first is not answered before the second
    for box in boxes:
        expect(table.locator(box)).to_be_visible()
    table.evaluate("(table, boxes) => boxes.forEach((box) => table.querySelector(box).click())", boxes)
    expect(train.locator("#runs-results")).to_contain_text("setting that differs")
    expect(train.locator("#runs-results tr", has_text="epochs")).to_have_text(re.compile(r"epochs\s*[23]\s*[23]"))
    with train.expect_download(timeout=60_000) as caught:
        train.get_by_role("button", name="Capsule (zip)", exact=True).click()
    path = tmp_path / "capsule.zip"
    caught.value.save_as(path)
    with zipfile.ZipFile(path) as capsule:
        assert {"config.json", "weights.safetensors", "report.html", "reproduce.py"} <= {
            name.rpartition("/")[2] for name in capsule.namelist()
        }
    before = {run.name for run in list_runs(server.runs_root)}
    with train.expect_file_chooser() as chooser:
        train.get_by_role("button", name="Open a capsule (zip)").click()
    chooser.value.set_files(path)
    expect(train.locator("#train-run input")).not_to_have_value(second, timeout=30_000)
    (added,) = {run.name for run in list_runs(server.runs_root)} - before
    assert (
        read_run(server.runs_root, added).result["weights_sha256"]
        == (read_run(server.runs_root, second).result["weights_sha256"])
    )


def test_the_slider_through_training_measures_the_run_that_is_chosen(open_train, server):
    """Of two runs with equally many moments nothing else changes with the run: neither slider, picture nor layer."""
    first, second = (finish_run(server, f"every-{n}", max_steps=10 * n, snapshot_every=n) for n in (5, 6))
    moments = [len(list((server.runs_root / name / "snapshots").iterdir())) for name in (first, second)]
    assert moments[0] == moments[1] > 1
    train = open_train()
    open_part(train, "Through training")
    measured = train.locator("#time-measures [data-moment]")
    expect(measured).to_have_count(1, timeout=60_000)
    expect(measured).to_contain_text("After step 60:")
    show_run(train, first)
    expect(measured).to_contain_text("After step 50:", timeout=60_000)
