"""The Classify tab and the workbench, as a visitor uses them."""

import io
import mimetypes
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect

from models.data.samples import get_sample, list_samples


def choose(page: Page, field: str, text: str) -> None:
    """Types into a dropdown and takes the first match."""
    box = page.locator(f"#{field} input")
    box.click()
    box.clear()
    box.press_sequentially(text)
    page.get_by_test_id("dropdown-option").filter(has_text=text).first.click()


def upload(page: Page, name: str, data: bytes) -> None:
    """Replaces the picture by a file."""
    page.get_by_test_id("Choose a picture…-upload-button").set_input_files(
        {"name": name, "mimeType": mimetypes.guess_type(name)[0], "buffer": data}
    )


def wait_for_silence(page: Page) -> None:
    """Waits until what is under way has ended; fails where the page goes on asking at least every 2.5 seconds."""
    requests: list[str] = []

    def note(request: Request) -> None:
        if "queue/join" in request.url:
            requests.append(request.url)

    page.on("request", note)
    for _ in range(10):
        requests.clear()
        page.wait_for_timeout(2500)
        if not requests:
            break
    page.remove_listener("request", note)
    assert not requests


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def test_the_first_screen_shows_a_classified_sample_with_its_bars(first_page):
    bars = first_page.locator("#classify-result .bars li")
    expect(bars).to_have_count(5)
    expect(first_page.locator("#classify-result .card")).to_contain_text("4.7 million parameters")


def test_a_sample_is_classified_on_click(used_page):
    index = list(list_samples()).index("coffee")
    used_page.locator("#samples button").nth(index).click()
    expect(used_page.locator("#classify-result .finding")).to_contain_text("espresso, 95 %")


def test_an_upload_is_classified(used_page):
    upload(used_page, "cup.png", get_sample("coffee").path.read_bytes())
    expect(used_page.locator("#classify-result .finding")).to_contain_text("espresso")


def test_a_tiff_is_classified_and_shown(used_page):
    """No browser shows a TIFF: a small PNG stands for it, while the model sees the file's own pixels."""
    file = io.BytesIO()
    Image.open(get_sample("coffee").path).resize((1800, 1200)).save(file, "TIFF")
    upload(used_page, "cup.tif", file.getvalue())
    expect(used_page.locator("#classify-result .finding")).to_contain_text("espresso")
    shown = used_page.locator("#image img")
    expect(shown).to_have_attribute("src", re.compile(r"cup\.tif\.preview\.png$"))
    expect(shown).to_have_js_property("naturalWidth", 1024)
    used_page.get_by_role("tab", name="Shift", exact=True).click()  # it finds the picture behind the preview
    expect(used_page.locator("#shift-stage .finding")).to_contain_text("espresso")
    used_page.get_by_role("tab", name="Classify", exact=True).click()


@pytest.mark.parametrize("name", ["고양이 #1.png", "cup.tif"])
def test_a_picture_of_ones_own_outlives_a_reload_until_a_sample_is_chosen(visit, name):
    finding, asked = "#classify-result .finding", []
    page = visit()
    expect(page.locator(finding)).to_contain_text("tiger cat")
    file = io.BytesIO()
    Image.open(get_sample("coffee").path).save(file, "TIFF" if name.endswith("tif") else "PNG")
    upload(page, name, file.getvalue())
    expect(page.locator(finding)).to_contain_text("espresso")
    page.on("request", lambda request: asked.append(request.url) if "queue/join" in request.url else None)
    page.reload()
    expect(page.locator(finding)).to_contain_text("espresso")
    expect(page.locator("#samples [aria-pressed=true]")).to_have_count(0)
    expect(page.locator("#image img")).to_have_js_property("complete", True)
    wait_for_silence(page)
    assert len(asked) <= 2
    page.locator("#samples [data-name=chelsea]").click()
    expect(page.locator(finding)).to_contain_text("tiger cat")
    page.goto(page.url.partition("?")[0])
    expect(page.locator(finding)).to_contain_text("tiger cat")


def test_what_was_done_to_a_picture_is_said_beside_its_result(used_page):
    file, values = io.BytesIO(), np.asarray(Image.open(get_sample("coffee").path).convert("L"), np.float32)
    Image.fromarray(values).save(file, "TIFF")
    upload(used_page, "deep.tif", file.getvalue())
    expect(used_page.locator("#classify-result .note").first).to_contain_text("scaled by their own range")


def test_two_models_are_compared(first_page):
    index = list(list_samples()).index("ankle_boot")
    first_page.locator("#samples button").nth(index).click()
    choose(first_page, "compare", "fashion_cnn")
    first_page.keyboard.press("Escape")
    expect(first_page.locator("#classify-result .card")).to_have_count(2)
    expect(first_page.locator("#classify-result .card").nth(1)).to_contain_text("ankle boot")
    expect(first_page.locator("#classify-result .finding")).to_contain_text("The others: fashion_cnn: ankle boot")


def test_many_files_give_a_table_and_a_csv(first_page):
    first_page.get_by_text("Many pictures at once").click()
    files = [
        {"name": "cup.png", "mimeType": "image/png", "buffer": get_sample("coffee").path.read_bytes()},
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nno more"},
        {"name": "cat.png", "mimeType": "image/png", "buffer": get_sample("chelsea").path.read_bytes()},
    ]
    first_page.locator("#batch-files input[type=file]").set_input_files(files)
    expect(first_page.locator("#batch-files")).to_contain_text("cat")
    first_page.locator("#batch-run").click()
    rows = first_page.locator("#batch-table tbody tr")
    expect(rows.first).to_contain_text("broken.png is damaged or cut short")  # and whole: no column is out of sight
    problem, table = rows.first.bounding_box(), first_page.locator("#batch-table").bounding_box()
    assert problem["x"] + problem["width"] <= table["x"] + table["width"]
    expect(rows.nth(1).locator("td").nth(1)).to_have_text("espresso, 95 %")
    expect(first_page.locator("#batch-table .finding")).to_contain_text("2 pictures classified, 1 file not.")
    with first_page.expect_download() as download:
        first_page.locator("#batch-csv").click()
    assert download.value.suggested_filename == "classes-efficientnet_lite0.csv"
    lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == "file,model,class,probability,second,third,ms,problem"
    assert lines[1].startswith("cup.png,efficientnet_lite0,espresso,0.95")
    assert "broken.png" in lines[2]
    assert len(lines) == 4


NOT_PICTURES = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"I am no picture", "is not a picture this program can read"),
    "noise.jpg": (bytes(range(256)) * 8, "is not a picture this program can read"),
    "cut.png": (png(Image.effect_noise((300, 300), 90))[:5000], "damaged or cut short"),
    "huge.png": (png(Image.new("1", (9_000, 9_000))), "save it smaller"),
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_a_bad_file_gives_one_sentence_and_the_next_picture_works(used_page, server, name):
    data, message = NOT_PICTURES[name]
    upload(used_page, name, data)
    expect(used_page.get_by_test_id("toast-body").first).to_contain_text(message)
    used_page.locator("#cancel").click(trial=True, timeout=5000)  # no message lies over it
    used_page.locator("#samples button").nth(list(list_samples()).index("coffee")).click()
    expect(used_page.locator("#classify-result .finding")).to_contain_text("espresso")
    assert server.is_alive


def test_a_turned_photograph_is_seen_upright(used_page):
    exif = Image.Exif()
    exif[274] = 6  # the camera was held sideways
    file = io.BytesIO()
    Image.open(get_sample("coffee").path).rotate(90, expand=True).save(file, format="JPEG", quality=95, exif=exif)
    upload(used_page, "turned.jpg", file.getvalue())
    expect(used_page.locator("#classify-result .finding")).to_contain_text("espresso")


def test_a_model_without_its_weights_says_what_to_do_and_the_rest_goes_on(first_page):
    choose(first_page, "model", "squeezenet1_1")
    first_page.get_by_role("button", name="Download 5 MB").click()
    toast = first_page.get_by_test_id("toast-body").first
    expect(toast).to_contain_text("squeezenet1_1-b8a52dc0.pth")
    expect(toast).to_contain_text("hub/checkpoints")
    choose(first_page, "model", "fashion_cnn")
    expect(first_page.locator("#classify-result .finding")).to_contain_text("fashion_cnn sees")


def test_without_a_picture_the_page_says_what_to_do(used_page):
    used_page.locator("#image").get_by_label("Remove Image").click()
    expect(used_page.locator("#classify-result .empty")).to_contain_text("Choose a picture")
    used_page.locator("#samples button").first.click()
    expect(used_page.locator("#classify-result .finding")).to_be_visible()


def test_a_link_restores_sample_model_tab_and_shift(visit, server):
    page = visit("sample=ankle_boot&model=fashion_cnn&tab=shift&dx=-2&dy=1&boundary=circular&x=<script>")
    expect(page.locator("#shift-stage .finding")).to_contain_text("Shifted 2 px left and 1 px down: still ankle boot")
    expect(page).to_have_url(
        f"{server.url}/?tab=shift&sample=ankle_boot&model=fashion_cnn&dx=-2&dy=1&boundary=circular&padding=trained"
    )
    page.locator("#copy-link").click()
    expect(page.locator("#said")).to_contain_text("The link is in the clipboard")
    page.get_by_role("tab", name="Classify", exact=True).click()
    expect(page).to_have_url(f"{server.url}/?tab=classify&sample=ankle_boot&model=fashion_cnn")
    page.go_back()
    expect(page.locator("#shift-stage .finding")).to_contain_text("Shifted 2 px left and 1 px down")


@pytest.mark.parametrize("query", ["model=nothing&tab=nothing&dx=far&sample=../../etc/passwd", "dx=99999"])
def test_a_broken_link_opens_the_page_all_the_same(visit, query):
    page = visit(query)
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")


def test_on_a_phone_nothing_is_wider_than_the_screen(page, visit):
    page.set_viewport_size({"width": 390, "height": 844})
    visit()
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    for title, result in (
        ("Shift", "#shift-stage .bars"),
        ("Explain", "#explain-view .evidence"),
        ("Train", "#train-status"),
    ):
        page.get_by_role("tab", name=title, exact=True).click()
        expect(page.locator(result)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_link_with_picture_and_model_comes_to_rest(visit):
    """Gradio's page can send both changes again and again."""
    page = visit("tab=shift&model=fashion_cnn&sample=sneaker")
    expect(page.locator("#shift-stage .finding")).to_contain_text("sneaker")
    wait_for_silence(page)


def test_a_picture_that_a_model_does_not_know_is_called_so_and_others_are_offered(visit):
    page = visit("model=fashion_cnn&sample=chelsea")
    expect(page.locator("#classify-result .doubt")).to_contain_text("nothing that fashion_cnn knows")
    page.locator("#classify-result [data-show=dress]").click()
    expect(page.locator("#classify-result .finding")).to_contain_text("dress")
    expect(page.locator("#classify-result .doubt")).to_have_count(0)


def test_a_result_leads_to_why_and_always(used_page):
    used_page.locator("#classify-result [data-open=shift]").click()
    expect(used_page.locator("#shift-stage .finding")).to_be_visible()
    used_page.get_by_role("tab", name="Classify", exact=True).click()
    used_page.locator("#classify-result [data-open=explain]").click()
    expect(used_page.locator("#explain-view .finding")).to_be_visible()
    used_page.get_by_role("tab", name="Classify", exact=True).click()
