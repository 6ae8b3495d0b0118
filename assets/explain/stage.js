// The grid of explanations: maps are drawn, compared, enlarged, copied and saved in the browser alone.
// `element` and `trigger` are gradio's; the grid comes from ui/explain/view.py.
const FONT = 14, GAP = 16, STEP = 1 / 32;
let stage = null;  // maps, pictures and palettes of what is shown

// --- drawing -------------------------------------------------------------------------------------------------------
const readPicture = async (uri, {width, height}) => {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const sheet = new OffscreenCanvas(width, height), ink = sheet.getContext("2d");
    ink.drawImage(image, 0, 0, width, height);
    return ink.getImageData(0, 0, width, height).data;
};
const findScale = (map, {sign, clip, scale}) =>
    Math.max(...(scale === "own" ? [map] : stage.maps.filter(({method}) => method === map.method)).map((each) => findStrongest(each, sign, clip)));
const findOutline = (map, {sign, share}) => (isFlat(map, sign) ? null : findMask(map, sign, share));
const paint = (canvas, map, looks) => {
    const ink = canvas.getContext("2d"), factor = canvas.width / map.width, sheet = new OffscreenCanvas(map.width, map.height);
    sheet.getContext("2d").putImageData(colourMap(map, stage.pictures[map.model], stage.palettes[looks.colors], looks, findScale(map, looks)), 0, 0);
    ink.imageSmoothingEnabled = false;
    ink.drawImage(sheet, 0, 0, canvas.width, canvas.height);
    const mask = canvas.dataset.view ? null : findOutline(map, looks);
    if (!mask || looks.view === "strongest") return;
    const line = new Path2D(), scaled = new DOMMatrix([factor, 0, 0, factor, 0, 0]);
    line.addPath(new Path2D(once(map, `path ${looks.sign} ${looks.share}`, () => traceMask(map, mask))), scaled);
    if (looks.box) { const frame = new Path2D(); frame.rect(...findBox(map, mask)); line.addPath(frame, scaled); }
    ink.lineCap = "square";
    for (const [style, width] of [["#000", 3], ["#fff", 1]]) Object.assign(ink, {strokeStyle: style, lineWidth: (width * canvas.width) / 300}), ink.stroke(line);
};
const tellScales = (looks) => {
    for (const scale of element.querySelectorAll("[data-scale]")) {
        const map = stage.maps.find(({method}) => method === scale.dataset.scale), limit = map && findScale(map, looks), isSigned = looks.sign === "signed";
        scale.hidden = !limit || looks.scale === "own" && stage.maps.length > 1;
        const [bar, ends] = scale.children;
        bar.className = `bar ${isSigned ? "diverging" : looks.colors}`;
        ends.replaceChildren(...(isSigned ? [-limit, 0, limit] : [0, limit]).map((end) => {
            const label = document.createElement("span");
            label.textContent = String(Number(end.toPrecision(3))).replace("-", "−");
            return label;
        }));
    }
};
const redraw = () => {
    const looks = window.convscopeLooks;
    if (!stage || !looks) return;
    for (const canvas of element.querySelectorAll("canvas[data-map]")) {
        const map = stage.maps[canvas.dataset.map];
        paint(canvas, map, {...looks, ...(canvas.dataset.view && {view: canvas.dataset.view})});
    }
    for (const place of element.querySelectorAll("[data-says]")) {
        const {says, fits} = stage.maps[place.dataset.says];
        place.textContent = says[looks.sign];
        place.closest(".finding")?.classList.toggle("bad", !fits[looks.sign]);
    }
    tellScales(looks);
    probe();
};
const show = async () => {
    const text = element.querySelector(".packed")?.dataset.packed;
    if (!text || text === stage?.text) return;
    const told = JSON.parse(text), maps = told.maps.map(unpackMap);
    const palettes = Object.fromEntries(Object.entries(told.palettes).map(([name, colours]) => [name, unpackBytes(colours)]));
    const size = (model) => maps.find((map) => map.model === model);
    const pictures = await Promise.all(Object.entries(told.pictures).map(async ([model, uri]) => [model, await readPicture(uri, size(model))]));
    const before = stage?.sign;
    stage = {text, maps, palettes, sign: told.sign, pictures: Object.fromEntries(pictures)};
    at = null;
    if (told.sign !== before) window.convscopeSign?.(told.sign);  // a link or an example has set it
    redraw();
    element.querySelector(".explained")?.setAttribute("data-drawn", "");
};

// --- the same place in all maps ------------------------------------------------------------------------------------
let at = null;  // column and row as shares
const probe = () => {
    const {sign, ...looks} = window.convscopeLooks;
    for (const button of element.querySelectorAll(".enlarge")) {
        const mark = button.querySelector(".mark"), value = button.querySelector(".value"), map = stage.maps[button.querySelector("canvas")?.dataset.map];
        if (!mark || !map) continue;
        mark.hidden = value.hidden = !at;
        if (!at) continue;
        const [column, row] = [at[0] * map.width, at[1] * map.height].map(Math.floor), found = map.values[row * map.width + column];
        Object.assign(mark.style, {left: `${100 * at[0]}%`, top: `${100 * at[1]}%`});
        const share = Math.round((100 * found) / (findScale(map, {...looks, sign: "absolute"}) || 1));
        value.textContent = `${found > 0 ? "+" : ""}${found.toPrecision(2)} (${share} %)`.replaceAll("-", "−");
    }
};
const inside = (share) => Math.min(Math.max(share, 0), 1 - 1e-6);
element.addEventListener("pointermove", (event) => {
    const canvas = event.target.closest(".enlarge")?.querySelector("canvas[data-map]");
    if (!canvas && !at || !stage) return;
    const box = canvas?.getBoundingClientRect();
    at = box ? [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)] : null;
    probe();
});
element.addEventListener("pointerleave", () => { at = null; if (stage) probe(); });
element.addEventListener("keydown", (event) => {
    const by = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]}[event.key];
    if (!by || !stage || !event.target.closest(".enlarge")) return;
    event.preventDefault();
    at = (at ?? [0.5, 0.5]).map((share, i) => inside(share + by[i]));
    probe();
});

// --- as a file, each map with its caption --------------------------------------------------------------------------
const wrap = (ink, text, width) => {
    const lines = [""];
    for (const word of text.split(" ")) {
        const longer = `${lines.at(-1)} ${word}`.trim();
        if (ink.measureText(longer).width > width && lines.at(-1)) lines.push(word); else lines[lines.length - 1] = longer;
    }
    return lines;
};
const say = (map) => `${map.querySelector("figcaption").dataset.said} ${stage.maps[map.querySelector("canvas").dataset.map].says[window.convscopeLooks.sign]}`;
const layOut = () => {
    const ink = new OffscreenCanvas(1, 1).getContext("2d");
    ink.font = `${FONT}px sans-serif`;
    const maps = [...element.querySelectorAll(".map:has(canvas)")].map((map) => {
        const canvas = map.querySelector("canvas"), [row, column] = (map.style.gridArea || "1 / 1").split("/").map(Number);
        return {canvas, row, column, width: canvas.width, height: canvas.height, lines: wrap(ink, say(map), canvas.width)};
    });
    const most = (key) => Math.max(...maps.map((map) => map[key])), width = most("width") + GAP, top = {}, heights = {};
    for (const map of maps) heights[map.row] = Math.max(heights[map.row] ?? 0, map.height + (map.lines.length + 1) * 1.3 * FONT);
    let bottom = GAP;
    for (const row of Object.keys(heights).sort((a, b) => a - b)) { top[row] = bottom; bottom += heights[row] + GAP; }
    return {maps: maps.map((map) => ({...map, x: GAP + (map.column - 1) * width, y: top[map.row]})), width: GAP + width * most("column"), height: bottom};
};
const drawPicture = () => {
    const {maps, width, height} = layOut(), sheet = document.createElement("canvas"), ink = sheet.getContext("2d");
    Object.assign(sheet, {width, height});
    ink.fillStyle = "#fff";
    ink.fillRect(0, 0, width, height);
    ink.font = `${FONT}px sans-serif`;
    ink.fillStyle = "#111";
    for (const {canvas, x, y, lines, height: high} of maps) {
        ink.drawImage(canvas, x, y);
        lines.forEach((line, i) => ink.fillText(line, x, y + high + (i + 1) * 1.3 * FONT));
    }
    return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
};
const drawVector = () => {
    const {maps, width, height} = layOut(), name = "http://www.w3.org/2000/svg", sheet = document.createElementNS(name, "svg");
    const add = (tag, properties, text = "") => {
        const node = sheet.appendChild(document.createElementNS(name, tag));
        for (const [key, value] of Object.entries(properties)) node.setAttribute(key, value);
        node.textContent = text;
    };
    for (const [key, value] of Object.entries({width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "sans-serif", "font-size": FONT})) sheet.setAttribute(key, value);
    for (const {canvas, x, y, lines, width: wide, height: high} of maps) {
        add("image", {x, y, width: wide, height: high, href: canvas.toDataURL("image/png")});
        lines.forEach((line, i) => add("text", {x, y: y + high + (i + 1) * 1.3 * FONT}, line));
    }
    return new Blob([new XMLSerializer().serializeToString(sheet)], {type: "image/svg+xml"});
};
const save = (blob, ending) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${element.querySelector("[data-file]").dataset.file}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const copy = async (blob) => {
    try {
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        window.convscopeSay("The maps with their captions are in the clipboard.");
    } catch { save(blob, "png"); }
};
const AS_FILE = {copy: async () => copy(await drawPicture()), png: async () => save(await drawPicture(), "png"), svg: () => save(drawVector(), "svg")};

element.addEventListener("click", (event) => {
    const dialog = element.querySelector("dialog"), button = event.target.closest("button");
    if (event.target === dialog) dialog.close();
    if (!button) return;
    if (button.className === "enlarge") {
        const large = dialog.querySelector("canvas"), small = button.querySelector("canvas"), map = stage.maps[small.dataset.map];
        large.height = Math.round((large.width * map.height) / map.width);
        paint(large, map, window.convscopeLooks);
        dialog.querySelector("p").textContent = say(button.parentElement);
        dialog.showModal();
    }
    if ("removed" in button.dataset) { window.convscopeRemoved = button.dataset.removed; trigger("select"); }
    AS_FILE[button.dataset.as]?.();
});
document.addEventListener("explain-looks", redraw);
watch("value", show);
show();
