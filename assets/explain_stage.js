// The grid of explanations: maps are enlarged, copied and saved in the browser alone.
// `element` and `trigger` are gradio's; the grid comes from ui/explain/view.py.
const FONT = 14, GAP = 16;

// --- as a picture, each map with its caption ---------------------------------------------------------------------
const wrap = (ink, text, width) => {
    const lines = [""];
    for (const word of text.split(" ")) {
        const longer = `${lines.at(-1)} ${word}`.trim();
        if (ink.measureText(longer).width > width && lines.at(-1)) lines.push(word); else lines[lines.length - 1] = longer;
    }
    return lines;
};
const draw = () => {
    const sheet = document.createElement("canvas"), ink = sheet.getContext("2d"), font = `${FONT}px sans-serif`;
    ink.font = font;
    const maps = [...element.querySelectorAll(".map")].flatMap((map) => {
        const image = map.querySelector(".enlarge img");
        if (!image) return [];
        const width = Math.max(image.naturalWidth, 224), [row, column] = (map.style.gridArea || "1 / 1").split("/").map(Number);
        const height = width * image.naturalHeight / image.naturalWidth;
        return [{image, row, column, width, height, lines: wrap(ink, map.querySelector("figcaption").dataset.said, width)}];
    });
    const most = (key, of) => Math.max(...of.map((map) => map[key]));
    const width = most("width", maps) + GAP, top = {}, heights = {};
    for (const map of maps) heights[map.row] = Math.max(heights[map.row] ?? 0, map.height + (map.lines.length + 1) * 1.3 * FONT);
    let bottom = GAP;
    for (const row of Object.keys(heights).sort((a, b) => a - b)) { top[row] = bottom; bottom += heights[row] + GAP; }
    sheet.width = GAP + width * most("column", maps);
    sheet.height = bottom;
    ink.fillStyle = "#fff";
    ink.fillRect(0, 0, sheet.width, sheet.height);
    ink.font = font;
    ink.fillStyle = "#111";
    ink.imageSmoothingEnabled = false;
    for (const {image, row, column, width: wide, height, lines} of maps) {
        const x = GAP + (column - 1) * width;
        ink.drawImage(image, x, top[row], wide, height);
        lines.forEach((line, i) => ink.fillText(line, x, top[row] + height + (i + 1) * 1.3 * FONT));
    }
    return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
};
const save = (blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${element.querySelector("[data-file]").dataset.file}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const copy = async (blob) => {
    try {
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        window.convscopeSay("The maps with their captions are in the clipboard.");
    } catch { save(blob); }
};

element.addEventListener("click", async (event) => {
    const dialog = element.querySelector("dialog"), button = event.target.closest("button");
    if (event.target === dialog) dialog.close();
    if (!button) return;
    if (button.className === "enlarge") {
        const large = dialog.querySelector("img");
        large.src = button.querySelector("img").src;
        large.alt = dialog.querySelector("p").textContent = button.parentElement.querySelector("figcaption").dataset.said;
        dialog.showModal();
    }
    if ("removed" in button.dataset) { window.convscopeRemoved = button.dataset.removed; trigger("select"); }
    if ("copy" in button.dataset) copy(await draw());
    if ("save" in button.dataset) save(await draw());
});
