"""The Explain tab, as a visitor uses it."""

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from analysis.attribution.methods import METHODS
from tests.browser.test_classify import choose

FINDING = "#explain-view .finding"


@pytest.fixture
def explain(visit) -> Page:
    page = visit("tab=explain")
    expect(page.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    return page


def test_every_method_runs_on_one_click(explain):
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator(FINDING)).not_to_contain_text("tiger cat")
    for name, method in METHODS.items():
        explain.locator(f"#method-{name}").click()
        expect(explain.locator(FINDING)).to_contain_text(f"{method.title} for")
        expect(explain.locator("#explain-view figure img")).to_have_count(3)


def test_another_class_can_be_explained_and_evidence_that_is_not_there_gives_a_message(explain):
    choose(explain, "explain-sign", "Against the class")
    expect(explain.locator(FINDING)).to_contain_text("No pixel speaks against this class")
    choose(explain, "explain-sign", "For the class")
    choose(explain, "explain-target", "Egyptian cat")
    expect(explain.locator(FINDING)).to_contain_text("Grad-CAM for Egyptian cat (36 %, not the predicted class)")


def test_overlay_and_signed_map_can_be_downloaded(explain):
    explain.locator("#method-saliency").click()
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    with explain.expect_download() as picture:
        explain.locator("#explain-png").click()
    assert Image.open(picture.value.path()).size == (448, 448)
    with explain.expect_download() as raw:
        explain.locator("#explain-npy").click()
    values = np.load(raw.value.path(), allow_pickle=False)
    assert values.shape == (3, 224, 224)
    assert values.min() < 0 < values.max()


def test_feature_maps_and_first_filters_are_shown_and_follow_the_model(explain):
    explain.get_by_text("Filters of the first layer").click()
    expect(explain.locator("#filters-view figure")).to_have_count(32)
    explain.get_by_text("Feature maps of a layer").click()
    expect(explain.locator("#features-view figure")).to_have_count(48)
    expect(explain.locator("#features-view .finding")).to_contain_text("bn2: 1280 x 7 x 7")
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator("#features-view .finding")).to_contain_text("128 x 7 x 7")


def test_a_late_result_of_the_old_model_does_not_replace_the_new_one(explain):
    explain.locator("#method-occlusion").click()
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator(FINDING)).to_contain_text("Occlusion for")
    explain.locator("#method-saliency").click()
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    expect(explain.locator("#explain-view figure").first).to_contain_text("What the network sees")
    explain.wait_for_timeout(4000)  # as long as the old explanation would have taken
    expect(explain.locator(FINDING)).to_contain_text("Saliency")


def test_a_long_method_can_be_cancelled(explain):
    explain.locator("#method-occlusion").click()
    # Its own progress, not what is still shown of the method before: only then is there something to cancel.
    expect(explain.locator("#explain-view .progress-level-inner").first).to_contain_text("Occlusion")
    explain.locator("#cancel").click()
    expect(explain.get_by_test_id("toast-body").first).to_contain_text("Cancelled")
    expect(explain.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    explain.locator("#method-saliency").click()
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
