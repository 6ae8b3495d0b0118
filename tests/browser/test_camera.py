"""Class boxes are filled from a camera and from files, and the network that learns from them answers live."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserType, Locator, Page, expect

from tests.browser.chromium import ARGUMENTS
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.test_classify import choose
from tests.browser.test_requests import counted
from tests.browser.test_train import open_settings, set_epochs

RED, BLUE = (220, 40, 30), (30, 60, 220)
FRAMES = 20
NOTES = ".boxes-say"


def draw(color: tuple[int, int, int], seed: int) -> Image.Image:
    """A disc of the colour somewhere before grey."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:120, :160]
    pixels = np.full((120, 160, 3), 200, np.uint8)
    pixels[(x - 80 - rng.integers(-15, 15)) ** 2 + (y - 60 - rng.integers(-10, 10)) ** 2 < 40**2] = color
    return Image.fromarray(pixels)


def write_film(path: Path) -> Path:
    """What the camera sees: a red disc, a little elsewhere in each frame."""
    with path.open("wb") as film:
        film.write(b"YUV4MPEG2 W160 H120 F10:1 Ip A1:1 C420jpeg\n")
        for seed in range(FRAMES):
            luma, *chroma = np.asarray(draw(RED, seed).convert("YCbCr")).transpose(2, 0, 1)
            film.write(b"FRAME\n" + luma.tobytes() + b"".join(each[::2, ::2].tobytes() for each in chroma))
    return path


def make_file(color: tuple[int, int, int], seed: int) -> dict:
    file = io.BytesIO()
    draw(color, seed).save(file, "PNG")
    return {"name": f"{seed}.png", "mimeType": "image/png", "buffer": file.getvalue()}


@pytest.fixture(scope="module")
def page(
    browser_type: BrowserType, browser_type_launch_args, browser_context_args, tmp_path_factory
) -> Iterator[Page]:
    """In a browser whose camera shows a film, without a question."""
    film = write_film(tmp_path_factory.mktemp("camera") / "film.y4m")
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments = [*ARGUMENTS, *fake, f"--use-file-for-fake-video-capture={film}"]
    browser = browser_type.launch(**browser_type_launch_args | {"args": arguments})
    context = browser.new_context(**browser_context_args)
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    browser.close()


@pytest.fixture
def boxes(open_train) -> Locator:
    """Two empty boxes."""
    page = open_train()
    open_settings(page)
    choose(page, "train-dataset", "Own pictures")
    page.get_by_label("Class boxes").check()
    found = page.locator(".class-box")
    expect(found).to_have_count(2)
    found.first.scroll_into_view_if_needed()
    return found


def count(box: Locator) -> int:
    return box.locator(".thumbs li").count()


def wait_for_pictures(box: Locator, number: int) -> None:
    expect(box.locator(".thumbs li").nth(number - 1)).to_be_attached()


def open_camera(box: Locator) -> Locator:
    box.get_by_role("button", name="Camera", exact=True).click()
    record = box.locator(".record")
    expect(record).to_be_visible()
    return record


def test_two_classes_are_recorded_and_dropped_trained_on_and_told_apart_live(boxes, page):
    first, second = boxes.first, boxes.nth(1)
    record = open_camera(first)
    with counted(page) as calls:
        record.hover()
        page.mouse.down()  # held
        wait_for_pictures(first, 8)
        page.mouse.up()
        expect(record).to_have_attribute("aria-pressed", "false")
        expect(first.locator(".count")).to_have_text(f"{count(first)} pictures")
    assert len(calls) == 1  # all of them, once recording pauses
    before = count(first)
    record.press("Enter")  # pressed, and pressed again
    expect(record).to_have_attribute("aria-pressed", "true")
    wait_for_pictures(first, before + 4)
    record.press("Space")
    expect(record).to_have_attribute("aria-pressed", "false")
    recorded = count(first)
    first.get_by_role("button", name="Delete picture 1 of").click()
    expect(first.locator(".count")).to_have_text(f"{recorded - 1} pictures")
    transfer = page.evaluate_handle("() => new DataTransfer()")
    for seed in range(12):
        transfer.evaluate(
            "(held, {name, data}) => held.items.add(new File([new Uint8Array(data)], name, {type: 'image/png'}))",
            {"name": f"{seed}.png", "data": list(make_file(BLUE, seed)["buffer"])},
        )
    second.dispatch_event("drop", {"dataTransfer": transfer})
    expect(second.locator(".count")).to_have_text("12 pictures")
    for box, name in ((first, "빨강"), (second, "blue")):
        box.get_by_label("Name of the class").fill(name)
    set_epochs(page, 30)  # the boxes are not on the screen now
    page.locator("#train-start").click()
    expect(page.locator("#train-status")).to_contain_text("finished after 30 epochs", timeout=120_000)
    expect(page.locator("#train-run input")).to_have_value("빨강-blue-1")
    page.locator("#train-use").click()
    expect(page.locator("#model input")).to_have_value(re.compile("^run/빨강-blue-1 "))
    expect(page.locator("#model-card")).to_contain_text(re.compile(r"% of \d+ test pictures"))
    page.locator("#train-results").get_by_label("Try it live", exact=True).check()
    live = page.locator("#train-live")
    expect(live.locator(".live-say")).to_contain_text("tells apart: blue, 빨강")
    live.get_by_role("button", name="Start the camera").click()
    expect(live.locator(".live-say")).to_have_text(re.compile(r"It sees: 빨강, \d+ %\."))
    expect(live.locator(".live-rate")).to_contain_text("answers a second")
    live.locator("input[type=file]").set_input_files(make_file(BLUE, 100))
    expect(live.locator(".live-say")).to_contain_text("It sees: blue")
    expect(live.get_by_role("button", name="Start the camera")).to_be_visible()  # the file has taken its place
    live.get_by_role("button", name="Start the camera").click()
    expect(live.locator(".live-say")).to_contain_text("It sees: 빨강")
    page.evaluate("window.seen = document.querySelector('#train-live video').srcObject.getTracks()[0]")
    page.get_by_role("tab", name="Classify", exact=True).click()
    page.wait_for_function("window.seen.readyState === 'ended'")  # whoever leaves is no longer filmed


def test_a_card_opens_the_boxes_and_says_how_long_each_training_takes_here(open_train):
    page = open_train()
    open_settings(page)
    times = page.locator(".example .time")
    expect(times).to_have_count(4)
    for place in range(4):
        expect(times.nth(place)).to_contain_text(re.compile(r"About [\d.]+ (s|min) here"))
    open_settings(page, "Network")
    expect(page.locator("#network-summary")).to_contain_text("parameters")
    with counted(page) as calls:
        page.locator("#train-example-own").click()
        expect(page.locator(".class-box")).to_have_count(2)
    assert len(calls) == 1
    expect(page.locator(".class-box button").first).to_be_focused()
    expect(page.locator(".class-box").first).to_be_in_viewport(ratio=1)
    expect(page.locator("#train-start")).to_be_visible()  # nothing has been started
    open_settings(page, "Network")
    expect(page.locator("#train-architecture input")).to_have_value("Transfer learning")


def test_what_boxes_cannot_take_is_said_in_a_sentence_and_loses_nothing(boxes, page):
    page.evaluate(
        """() => {
            const refuse = () => Promise.reject(new DOMException("", "NotAllowedError"));
            navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    first = boxes.first
    first.get_by_role("button", name="Camera", exact=True).click()
    expect(page.locator(NOTES)).to_contain_text("The camera was refused")
    broken = {"name": "note.png", "mimeType": "image/png", "buffer": b"no picture"}
    first.locator("input[type=file]").set_input_files([make_file(RED, 0), broken, make_file(RED, 1)])
    expect(page.locator(NOTES)).to_contain_text("cannot open note.png")
    expect(first.locator(".count")).to_have_text("2 pictures; at least 5 are needed")
    page.locator("#train-start").click()
    expect(page.get_by_test_id("toast-body").first).to_contain_text("There are pictures in 1 class;")
    page.get_by_role("button", name="Add a class").click()
    expect(boxes).to_have_count(3)
    remove = first.get_by_role("button", name="Remove", exact=True)
    remove.click()
    first.get_by_role("button", name="Lose 2 pictures? Press again").click()
    expect(boxes).to_have_count(2)
    expect(boxes.first.get_by_label("Name of the class")).to_have_value("Class 2")
