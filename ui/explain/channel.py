"""What a channel looks for: a drawer of the Explain tab about one channel of the layer that is shown."""

from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from analysis.errors import UserError
from analysis.figures.channels import draw_kernels, draw_patch
from analysis.figures.overlay import render_overlay
from lab.channels.page import ChannelPage, describe_channel
from lab.channels.patches import ChannelPatches, Patch, cut_patches, estimate_seconds, find_patches
from lab.channels.pictures import count_pictures, list_data
from ui.services import Action, Services
from ui.widgets.events import Block, Values
from ui.widgets.html import (
    bars_html,
    empty_html,
    format_percent,
    join_html,
    note_html,
    png_uri,
    scale_html,
    sentence_html,
)
from ui.widgets.job_view import describe_time
from ui.workbench import Workbench

LIMITS = (100, 300, 1000, 3000)
AT_ONCE, AT_ONCE_SECONDS = 16, 3.0
"""So many pictures, or what takes no longer, do not wait for a click."""
MAP_SIDE, PATCH_SIDE = 160, 128
MAX_KERNELS = 12


class Channel:
    """The drawer.

    Attributes:
        inputs: Of :meth:`show`, beside those of the workbench.
        outputs: Of :meth:`show`.
    """

    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        with gr.Accordion("What a channel looks for", open=False, elem_id="channel-drawer") as self.drawer:
            with gr.Row(elem_classes="controls"):
                self.channel = gr.Number(
                    None, precision=0, minimum=0, label="Channel", elem_id="channel-number", min_width=150
                )
                self.data = gr.Dropdown([], label="Patches out of", elem_id="channel-data", min_width=220)
                self.limit = gr.Dropdown(
                    [(f"{limit:,}", limit) for limit in LIMITS],
                    value=LIMITS[1],
                    label="At most so many pictures",
                    elem_id="channel-limit",
                    min_width=150,
                )
            self.view = gr.HTML(elem_id="channel-view")
            self.patches = gr.HTML(elem_id="channel-patches")
            self.find = gr.Button(
                "Find its patches", size="sm", scale=0, min_width=150, elem_id="channel-find", visible=False
            )
        self.is_seen = gr.Textbox("", visible="hidden")
        self.inputs: list[Block] = [self.channel, self.data, self.limit, self.is_seen]
        self.outputs: list[Block] = [self.channel, self.data, self.find, self.view, self.patches]

    def clear(self, message: str) -> Values:
        """Shows a message alone."""
        return {self.view: empty_html(message), self.patches: "", self.find: gr.update(visible=False)}

    def show(self, values: Values, action: Action, layer: str, picture: Image.Image, *, now: bool = False) -> Values:
        """The page of a channel of a layer; of the strongest one, where the layer has no such channel.

        Args:
            now: Whether to find its patches, however long it takes.
        """
        model, asked = values[self.bench.model], values[self.channel]
        page = describe_channel(self.lab, picture, model, layer, asked, progress=action.report("Asking the channel"))
        offered, data = list_data(self.lab, model), values[self.data]
        if data not in offered.values():
            data = next(iter(offered.values()), None)
        return {
            self.channel: gr.update(value=page.channel, label=f"Channel, 0 to {page.num_channels - 1}"),
            self.data: gr.update(choices=list(offered.items()), value=data),
            self.view: draw_page(page),
            **self._show_patches(model, page, data, values[self.limit], action, now=now),
        }

    def _show_patches(
        self, model: str, page: ChannelPage, data: str | None, limit: int, action: Action, *, now: bool
    ) -> Values:
        """The channel's patches, where they are known or soon found; else what it takes to find them."""
        if data is None:
            note = note_html("There is no data set on this computer to look for patches in.")
            return {self.patches: note, self.find: gr.update(visible=False)}
        if limit not in LIMITS:
            raise UserError("Choose the number of pictures in the list.")
        found = find_patches(self.lab, model, page.layer, data, limit, only_kept=True)
        if found is None:
            num_pictures = count_pictures(self.lab, model, data, limit)
            seconds = estimate_seconds(self.lab, model, num_pictures) if num_pictures > AT_ONCE else 0.0
            if not now and seconds > AT_ONCE_SECONDS:
                note = note_html(_say_estimate(num_pictures, seconds, page.num_channels))
                return {self.patches: note, self.find: gr.update(visible=True)}
            report = action.report("Looking for patches")
            found = find_patches(self.lab, model, page.layer, data, limit, progress=report)
        assert found is not None
        drawn = draw_patches(found, cut_patches(self.lab, found, page.channel), page.channel)
        return {self.patches: drawn, self.find: gr.update(visible=False)}


def _say_estimate(num_pictures: int, seconds: float, num_channels: int) -> str:
    return (
        f"Its patches out of {num_pictures:,} pictures are not known yet. Finding them takes about "
        f"{describe_time(max(seconds, 1))} if this machine does nothing else; those of all {num_channels} channels "
        "are found with them, and kept."
    )


def draw_page(page: ChannelPage) -> Markup:
    """Finding, maps on one scale, kernels, and the answer with and without the channel."""
    is_signed = float(page.maps.min()) < 0
    look: dict[str, Any] = {
        "sign": "signed" if is_signed else "positive",
        "scale": float(page.maps.abs().max()) or 1.0,
    }
    look |= {"opacity": 0.6, "colormap": "viridis", "contour_share": 0, "size": MAP_SIDE}
    maps = _figures(
        (render_overlay(pixels, values[None], **look), f"{name}, mean {mean:.3g}")
        for pixels, values, name, mean in zip(page.pixels, page.maps, page.names, page.means, strict=True)
    )
    scale = scale_html(look["scale"], colors="diverging" if is_signed else "viridis")
    before, after = (bars_html(page.ablation.predictions(row), page.ablation.target.index) for row in (0, 1))
    answers = Markup('<div class="channel-answers"><div><p>With it</p>{}</div><div><p>Without it</p>{}</div></div>')
    parts = [
        sentence_html(_say_ablation(page)),
        _section("Its map, all on one colour scale", maps, scale),
        *_show_kernels(page),
        _section("The answer to this picture", answers.format(before, after)),
    ]
    return join_html(parts)


def _say_ablation(page: ChannelPage) -> str:
    found = page.ablation
    before, after = found.target.probability, found.target.probability + float(found.probability_changes[0])
    change, seen = float(found.logit_changes[0]), found.predictions(1, 1)[0]
    new = "" if seen.index == found.target.index else f" The class becomes {seen.category}."
    if abs(change) < 5e-4:
        return f"{page.layer}, channel {page.channel}: set to zero, it changes nothing for {found.target.category}."
    return (
        f"{page.layer}, channel {page.channel}: set to zero, the logit of {found.target.category} changes by "
        f"{change:+.3f}, its probability from {format_percent(before)} to {format_percent(max(after, 0))}.{new}"
    )


def _show_kernels(page: ChannelPage) -> list[Markup]:
    if page.kernels is None:
        return []
    name, kernels = page.kernels
    if page.word:
        title = f"Its filter: {page.word} ({name}, {kernels.shape[1]} x {kernels.shape[2]})"
        return [_section(title, _figures([(draw_kernels(kernels)[0][0], "colours in, grey is zero")]))]
    strongest = draw_kernels(kernels, MAX_KERNELS)
    left = f", the {len(strongest)} strongest of {len(kernels)}" if len(strongest) < len(kernels) else ""
    title = f"Its kernels: {name}, one of {kernels.shape[1]} x {kernels.shape[2]} for each channel it reads{left}"
    weights = (
        {number: f" {float(kernels[number]):+.2g}" for _, number in strongest} if kernels[0].numel() == 1 else {}
    )
    tiles = ((picture, f"of {number}{weights.get(number, '')}") for picture, number in strongest)
    return [_section(title, _figures(tiles, "small"))]


def draw_patches(found: ChannelPatches, patches: Sequence[Patch], channel: int) -> Markup:
    """The patches, strongest first."""
    count = len(found.places) - len(found.unreadable)
    is_wide = any(patch.frame.is_wide for patch in patches)
    tiles = (
        (
            draw_patch(patch.pixels, patch.mark if patch.frame.is_wide else None, PATCH_SIDE),
            f"{patch.value:.3g}, {patch.category or patch.name}",
        )
        for patch in patches
    )
    notes = [f"Each of another picture, out of {count:,}; cut out as far as the strongest cell can see."]
    if is_wide:
        notes = [
            f"Each of another picture, out of {count:,}. The cell can see most of it; the ring is around its middle."
        ]
    if found.unreadable:
        notes.append(f"{len(found.unreadable)} pictures could not be read.")
    title = f"The {len(patches)} patches that channel {channel} answers to most"
    return _section(title, _figures(tiles), *map(note_html, notes))


def _section(title: str, *content: Markup) -> Markup:
    return Markup("<section><h4>{}</h4>{}</section>").format(title, join_html(content))


def _figures(pictures: Iterable[tuple[NDArray[np.uint8], str]], size: str = "") -> Markup:
    figure = Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>')
    tiles = join_html(figure.format(png_uri(picture), text, text) for picture, text in pictures)
    return Markup('<div class="channel-row {}">{}</div>').format(size, tiles)
