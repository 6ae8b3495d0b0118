"""Putting a label right in the error view, from the first training to the change that the second one brings."""

from playwright.sync_api import Page, expect
from safetensors.torch import load_file

from models.data.shapes import SHAPES
from models.runs.run import read_run
from tests.browser.test_classify import choose
from tests.browser.test_train import finish_run, open_part, show_run


def choose_training_pictures(page: Page) -> None:
    page.get_by_label("training, the largest losses", exact=True).check()
    expect(page.locator("#errors-heading")).to_contain_text("The training pictures with the largest losses")


def test_a_relabelled_training_picture_is_trained_with_anew(open_train, server):
    first = finish_run(server, "relabelled", epochs=2)
    page = open_train()
    open_part(page, "Mistakes")
    choose_training_pictures(page)
    page.locator("#errors-gallery .thumbnail-lg").first.click()
    expect(page.locator("#errors-detail")).to_contain_text("training picture")
    hardest = load_file(server.runs_root / first / "hard_examples.safetensors")
    number, label = int(hardest["ids"][0]), int(hardest["labels"][0])
    new = (label + 1) % len(SHAPES)
    choose(page, "errors-label", list(SHAPES)[new])
    page.locator("#errors-relabel").click()
    cells = [str(number), "training", list(SHAPES)[label], list(SHAPES)[new]]
    expect(page.locator("#errors-corrections td")).to_have_text([*cells, "not yet"])
    page.locator("#errors-retrain").click()
    second = f"{first}-corrected-1"
    expect(page.locator("#train-run input")).to_have_value(second)
    change = page.locator("#errors-change")
    expect(change).to_contain_text(f"the pictures in each cell of {second} minus those of {first}", timeout=120_000)
    expect(change).not_to_contain_text("is still training", timeout=120_000)
    expect(page.locator("#errors-difference .js-plotly-plot")).to_be_visible()
    runs = [read_run(server.runs_root, name) for name in (first, second)]
    assert runs[1].config["corrections"] == {str(number): new}
    assert runs[0].result["weights_sha256"] != runs[1].result["weights_sha256"]
    expect(page.locator("#errors-corrections td")).to_have_count(0)  # those of the first run, which was shown before
    show_run(page, first)
    expect(page.locator("#errors-corrections td")).to_have_text([*cells, second])
    expect(page.locator("#errors-corrections")).to_contain_text(f"1 correction to {first}, all trained with.")


def test_corrections_stay_with_their_run_and_survive_a_reload(open_train, server):
    first, second = (finish_run(server, f"corrected-{epochs}", epochs=epochs) for epochs in (2, 3))
    page = open_train()
    open_part(page, "Mistakes")
    listed = page.locator("#errors-corrections")
    finding = page.locator("#errors-finding")
    expect(finding).to_contain_text(f"{second}:")
    page.locator("#errors-gallery .thumbnail-lg").first.click()
    page.locator("#errors-exclude").click()
    expect(listed).to_contain_text(f"1 correction to {second}, not trained with yet.")
    for name, shown in ((first, ""), (second, f"1 correction to {second}")):
        show_run(page, name)
        expect(finding).to_contain_text(f"{name}:")
        expect(listed).to_contain_text(shown)
        expect(listed.locator("td")).to_have_count(5 if shown else 0)
    page.reload()
    open_part(page, "Mistakes")
    expect(finding).to_contain_text(f"{second}:")  # the newest
    expect(listed).to_contain_text(f"1 correction to {second}, not trained with yet.")


def test_a_cell_of_the_matrix_opens_validation_pictures_whichever_are_shown(open_train, server):
    finish_run(server, "matrix", epochs=3)
    page = open_train()
    open_part(page, "Mistakes")
    page.get_by_label("training, the largest losses", exact=True).check()
    expect(page.locator("#errors-heading")).to_contain_text("training pictures")
    cells = page.locator("#errors-confusion .nsewdrag").first
    size = cells.bounding_box()
    cells.click(position={"x": size["width"] / 12, "y": size["height"] / 12})
    expect(page.locator("#errors-heading")).to_contain_text("validation pictures of circle recognised")
    expect(page.get_by_label("validation", exact=True)).to_be_checked()
