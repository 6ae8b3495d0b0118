"""The Train tab: training is a process of its own, which pages come and go around."""

import io
import zipfile

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from models.runs import read_run
from tests.browser.test_classify import choose

STATUS = "#train-status"


@pytest.fixture
def train(open_tab) -> Page:
    page = open_tab("Train")
    expect(page.locator("#train-start")).to_be_visible()
    return page


def make_zip() -> bytes:
    """Two classes of 30 pictures, one broken picture, and a path that wants out."""
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
    return file.getvalue()


def start_long_training(page: Page) -> str:
    """Starts many epochs on drawn shapes; returns the run's name once steps are being made."""
    choose(page, "train-dataset", "Drawn shapes")
    epochs = page.get_by_label("number input for Epochs")
    epochs.fill("50")
    epochs.press("Enter")
    page.locator("#train-start").click()
    expect(page.locator(STATUS)).to_contain_text("pictures a second", timeout=60_000)
    return page.locator("#train-run input").input_value()


def test_training_survives_a_reload_and_a_second_browser_and_stop_stops_it(train, server, browser: Browser):
    name = start_long_training(train)
    train.reload()
    train.get_by_role("tab", name="Train", exact=True).click()
    expect(train.locator(STATUS)).to_contain_text(f"{name}: running")
    other = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    other.goto(server.url)
    other.get_by_role("tab", name="Train", exact=True).click()
    expect(other.locator(STATUS)).to_contain_text(f"{name}: running", timeout=30_000)
    other.locator("#train-stop").click()
    for page in (other, train):
        expect(page.locator(STATUS)).to_contain_text(f"{name}: stopped", timeout=30_000)
    assert read_run(server.runs_root, name).state == "stopped"
    other.context.close()


def test_a_finished_model_is_used_in_the_other_tabs(train):
    choose(train, "train-dataset", "Drawn shapes")
    epochs = train.get_by_label("number input for Epochs")
    epochs.fill("3")
    epochs.press("Enter")
    train.locator("#train-start").click()
    expect(train.locator(STATUS)).to_contain_text("finished after 3 epochs", timeout=120_000)
    expect(train.locator("#train-accuracy .js-plotly-plot")).to_be_visible()
    name = train.locator("#train-run input").input_value()
    train.locator("#train-use").click()
    expect(train.locator("#model input")).to_have_value(f"run/{name}")
    train.get_by_role("tab", name="Classify", exact=True).click()
    expect(train.locator("#classify-result .finding")).to_contain_text(f"run/{name} sees")
    train.get_by_role("tab", name="Shift", exact=True).click()
    expect(train.locator("#shift-maps .finding")).to_contain_text("relative error")
    train.get_by_role("tab", name="Explain", exact=True).click()
    expect(train.locator("#explain-view .finding")).to_contain_text("for")


def test_own_pictures_from_a_zip_are_trained_on(train, server):
    choose(train, "train-dataset", "Own pictures")
    train.locator("input[type=file][accept='.zip']").set_input_files(
        {"name": "skies.zip", "mimeType": "application/zip", "buffer": make_zip()}
    )
    expect(train.get_by_text("skies")).to_be_visible()
    train.locator("#train-start").click()
    expect(train.locator(STATUS)).to_contain_text("skies-1: finished", timeout=120_000)
    expect(train.locator(STATUS)).to_contain_text("1 files were left out")
    name = train.locator("#train-run input").input_value()
    assert any("broken.png" in line for line in read_run(server.runs_root, name).status["skipped"])


def test_leaving_the_tab_ends_the_polling(train):
    train.get_by_role("tab", name="Classify", exact=True).click()
    expect(train.locator("#classify-result .finding")).to_be_visible()
    train.wait_for_timeout(1500)  # what was under way
    requests = []
    train.on("request", lambda request: requests.append(request.url))
    train.wait_for_timeout(2500)
    assert not [url for url in requests if "heartbeat" not in url]


def test_settings_that_cannot_work_are_refused_in_one_sentence(train):
    train.get_by_text("Architecture", exact=True).click()
    train.get_by_label("Channels, one number per block").fill("16, many")
    train.locator("#train-start").click()
    expect(train.get_by_test_id("toast-body").first).to_contain_text("whole numbers with commas between them")
