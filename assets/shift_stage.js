// The picture to drag and the map of all its shifts. Where the map reaches, nothing is asked of the server.
// `element`, `props`, `trigger` and `watch` are gradio's; what is received comes from ui/shift/stage.py.
const find = (selector) => element.querySelector(selector);
const picture = find(".moved"), shades = find(".shades"), classes = find(".classes");
const REST_MS = 100, VIEW = 448, MAP = 320, HATCH = 8;
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
let scene = null, map = null, names = {}, answer = null, at = [0, 0], step = 1, isTouched = !!window.convscopeStays, resting = 0;
const image = new Image();

// --- what is known about a shift -------------------------------------------------------------------------------
const isWhole = () => at.every(Number.isInteger);
const cellOf = (dx, dy) => {
    if (!map || !Number.isInteger(dx) || !Number.isInteger(dy)) return -1;
    const side = 2 * map.reach + 1, column = dx + map.reach, row = dy + map.reach;
    return column < 0 || row < 0 || column >= side || row >= side ? -1 : row * side + column;
};
const readCell = (cell) => {
    const k = map.best.length / map.top1.length;
    return {
        top1: map.top1[cell], probability: map.probability[cell], margin: map.margin[cell], tie: !!map.tie[cell],
        best: Array.from({length: k}, (_, i) => [map.best[cell * k + i], map.shares[cell * k + i]]),
    };
};
const lookUp = (dx, dy) => {
    const cell = cellOf(dx, dy);
    if (cell >= 0 && map.computed[cell]) return readCell(cell);
    return answer && answer.dx === dx && answer.dy === dy ? answer : null;
};
const target = () => map?.target ?? answer?.target;
const name = (index) => names[index]?.[0] ?? `class ${index}`;
const color = (index) => names[index]?.[1] ?? "#64748b";

// --- words, as the rest of the page writes them --------------------------------------------------------------
const percent = (share) => {
    const p = 100 * share;
    if (p >= 10) return `${p.toFixed(0)} %`;
    if (p >= 1) return `${p.toFixed(1)} %`;
    return p >= 0.01 ? `${p.toFixed(2)} %` : "<0.01 %";
};
const signed = (value) => (value < 0 ? "-" : "+") + Math.abs(Number(value.toPrecision(2)));
const where = () => {
    const say = (d, low, high) => (d ? `${Math.abs(d)} px ${d < 0 ? low : high}` : "");
    const parts = [say(at[0], "left", "right"), say(at[1], "up", "down")].filter(Boolean);
    return parts.length ? `Shifted ${parts.join(" and ")}` : "Not shifted";
};
const sentence = (found) => {
    if (!found) return [`${where()}: measuring…`, ""];
    const before = lookUp(0, 0) ?? answer?.before, wanted = target();
    const change = before ? `${percent(before.probability)} → ${percent(found.probability)}` : percent(found.probability);
    const margin = before ? `; margin ${signed(before.margin)} → ${signed(found.margin)}.` : ".";
    const isKept = found.top1 === wanted, tie = found.tie ? " A near-tie: rounding alone may swap the two best." : "";
    const best = found.best.find(([index]) => index === found.top1), winner = best ? ` (${percent(best[1])})` : "";
    const text = isKept ? `${where()}: still ${name(wanted)}, ${change}` : `${where()}: ${name(wanted)} (${change}) becomes ${name(found.top1)}${winner}`;
    return [text + margin + tie, isKept ? "good" : "bad"];
};
const describeMap = () => {
    if (!scene) return "";
    if (!map) return scene.most ? "The map of all shifts appears here as it is measured." : "There is no map: on one side of the picture nothing real is left that could move in.";
    const done = map.computed.reduce((sum, one) => sum + one, 0);
    if (!map.done) return `${done} of ${map.computed.length} shifts so far; the colours between them are their neighbours'.`;
    const sure = map.probability[cellOf(0, 0)];
    const doubt = sure < scene.doubt ? ` It is hardly sure of that: ${percent(sure)} without a shift, so what is kept is a guess.` : "";
    const ties = map.tie.reduce((sum, one) => sum + one, 0);
    const tied = ties ? ` Hatched: near-ties (${ties}), which count as no change.` : "";
    const most = map.reach === scene.most ? " (no further with this picture and model)" : "";
    return `Up to ${map.reach} px each way${most} ${scene.model} keeps ${name(map.target)} at ${percent(map.kept)} of the shifts; `
        + `shift consistency ${(100 * map.consistency).toFixed(1)} %: so often two of these shifts, drawn at random, agree on a class.${doubt}${tied}`;
};
// Where the picture is, if the map does not show it, and what to do about that.
const describeOutside = () => {
    const far = Math.ceil(Math.max(...at.map(Math.abs)));
    if (!map || far <= map.reach) return "";
    const more = far > scene.most ? `and no map of this picture and model reaches further than ${scene.most} px` : `set “Map reaches” to ${far} or more to see it there`;
    return `This shift lies beyond the map, which reaches ${map.reach} px each way: ${more}.`;
};

// --- drawing ---------------------------------------------------------------------------------------------------
const thick = () => Math.max(1, Math.round(devicePixelRatio));
const hatching = (() => {
    const tile = document.createElement("canvas");
    tile.width = tile.height = HATCH;
    const ink = tile.getContext("2d");
    for (const [shift, shade] of [[0, "rgba(255,255,255,.65)"], [1.5, "rgba(0,0,0,.55)"]]) {
        ink.strokeStyle = shade;
        ink.beginPath();
        for (const k of [-HATCH, 0, HATCH]) { ink.moveTo(k + shift, HATCH); ink.lineTo(k + HATCH + shift, 0); }
        ink.stroke();
    }
    return (ink) => {
        const lines = ink.createPattern(tile, "repeat");
        lines.setTransform(new DOMMatrix().scaleSelf(thick()));
        return lines;
    };
})();
// Whether some shift moves in pixels that are not of the picture.
const isInventing = () => {
    const [x0, y0, x1, y1] = scene.real, [low, high, up, down] = scene.limits;
    return scene.left - high < x0 || scene.left - low + scene.size > x1 || scene.top - down < y0 || scene.top - up + scene.size > y1;
};
// As many pixels as the screen has for it: drawn smaller or larger, the lines of the hatching would become a checkerboard.
const fit = (canvas, otherwise) => {
    const side = Math.round(canvas.clientWidth * devicePixelRatio) || otherwise;
    if (canvas.width !== side || canvas.height !== side) canvas.width = canvas.height = side;  // a new one is 300 x 150
    return side;
};
const drawPicture = () => {
    const side = fit(picture, VIEW), factor = side / scene.size;
    const ink = picture.getContext("2d");
    ink.imageSmoothingEnabled = false;
    const isHere = isWhole(), drawn = answer?.dx === at[0] && answer.dy === at[1] ? answer.drawn : null;
    if (!isHere && !drawn) return;  // between pixels the server draws it
    const [left, top] = isHere ? [scene.left - at[0], scene.top - at[1]] : [0, 0];
    ink.drawImage(isHere ? image : drawn, left, top, scene.size, scene.size, 0, 0, side, side);
    const [x0, y0, x1, y1] = (isHere ? scene.real : answer.real).map((value, i) => Math.round((value - (i % 2 ? top : left)) * factor));
    ink.save();
    ink.beginPath();
    ink.rect(0, 0, side, side);
    ink.rect(x0, y0, x1 - x0, y1 - y0);
    ink.clip("evenodd");
    ink.fillStyle = hatching(ink);
    ink.fillRect(0, 0, side, side);
    ink.restore();
};
const mix = (share) => {
    const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(place), VIRIDIS.length - 2);
    const parts = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
    const [a, b] = [parts(VIRIDIS[i]), parts(VIRIDIS[i + 1])];
    return `rgb(${a.map((value, k) => Math.round(value + (place - i) * (b[k] - value))).join(" ")})`;
};
const range = () => {
    if (find(".whole-scale").checked) return [0, 1];
    const low = Math.min(...map.probability), high = Math.max(...map.probability);
    return high - low > 1e-6 ? [low, high] : [Math.max(0, low - 0.005), Math.min(1, high + 0.005)];
};
const drawMap = (canvas, paint) => {
    const side = 2 * map.reach + 1, whole = fit(canvas, MAP), edge = (k) => Math.round((k * whole) / side);
    const ink = canvas.getContext("2d"), lines = hatching(ink);
    ink.clearRect(0, 0, whole, whole);
    for (let k = 0; k < map.top1.length; k += 1) {
        const column = k % side, row = Math.floor(k / side), x = edge(column), y = edge(row);
        for (const fill of map.tie[k] ? [paint(k), lines] : [paint(k)]) {
            ink.fillStyle = fill;
            ink.fillRect(x, y, edge(column + 1) - x, edge(row + 1) - y);
        }
    }
    ink.strokeStyle = "#ef4444";
    ink.lineWidth = 2 * thick();
    ink.beginPath();
    for (let k = 0; k < map.top1.length; k += 1) {  // where the class changes between neighbours
        const column = k % side, row = Math.floor(k / side);
        const [x, right, y, below] = [edge(column), edge(column + 1), edge(row), edge(row + 1)];
        const differs = (other) => (map.top1[k] === map.target) !== (map.top1[other] === map.target);
        if (column + 1 < side && differs(k + 1)) { ink.moveTo(right, y); ink.lineTo(right, below); }
        if (row + 1 < side && differs(k + side)) { ink.moveTo(x, below); ink.lineTo(right, below); }
    }
    ink.stroke();
    for (const [spot, size] of [[[0, 0], 0.16], [at, 0.5]]) {
        const cell = whole / side, half = Math.max(2, size * cell);
        const x = (spot[0] + map.reach + 0.5) * cell, y = (spot[1] + map.reach + 0.5) * cell;
        for (const [width, shade] of [[4, "#fff"], [2, "#000"]]) {
            ink.strokeStyle = shade;
            ink.lineWidth = width * thick();
            ink.strokeRect(x - half, y - half, 2 * half, 2 * half);
        }
    }
};
const drawMaps = () => {
    const outside = describeOutside();
    find(".outside").textContent = outside;
    find(".outside").hidden = !outside;
    find(".map-pair").hidden = !map;
    if (!map) return;
    const [low, high] = range();
    drawMap(shades, (k) => mix((map.probability[k] - low) / (high - low)));
    drawMap(classes, (k) => color(map.top1[k]));
    find(".shades-title").textContent = `Probability of ${name(map.target)}`;
    find(".low").textContent = percent(low);
    find(".high").textContent = percent(high);
};
const writeMap = () => {
    const counts = new Map();
    for (const index of map?.top1 ?? []) counts.set(index, (counts.get(index) ?? 0) + 1);
    const rows = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([index, count]) => {
        const row = document.createElement("li"), mark = document.createElement("span");
        mark.style.background = color(index);
        row.append(mark, `${name(index)}, ${percent(count / map.top1.length)}`);
        return row;
    });
    find(".legend").replaceChildren(...rows);
    find(".caption").textContent = describeMap();
    find("[data-copy]").disabled = !map;
    find("[data-flip]").disabled = !map?.done;  // before, the nearest one may not have been measured yet
    find("[data-flip]").textContent = map?.done || !scene?.most ? "To the nearest change of class" : "To the nearest change: once the map is done";
};
const drawBars = (found) => {
    const rows = (found?.best ?? []).map(([index, share]) => {
        const row = document.createElement("li"), track = document.createElement("span"), fill = document.createElement("span");
        const cells = [name(index), percent(share)].map((text, i) => {
            const span = document.createElement("span");
            span.className = i ? "value" : "name";
            span.textContent = text;
            return span;
        });
        track.className = "track";
        fill.className = "fill";
        fill.style.width = `${100 * share}%`;
        fill.style.background = color(index);
        if (index === target()) row.className = "marked";
        track.append(fill);
        row.append(cells[0], track, cells[1]);
        return row;
    });
    find(".bars").replaceChildren(...rows);
};
let isDrawing = false;
const draw = () => {
    if (isDrawing || !scene) return;
    isDrawing = true;
    requestAnimationFrame(() => {
        isDrawing = false;
        const found = lookUp(...at), [text, tone] = sentence(found);
        drawPicture();
        drawMaps();
        if (found) drawBars(found);
        find(".finding").textContent = text;
        find(".finding").className = `finding ${tone}`;
        element.dataset.at = at.join(",");
        document.dispatchEvent(new CustomEvent("shift-moved", {detail: at}));
    });
};

// --- moving ----------------------------------------------------------------------------------------------------
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const ask = () => trigger("submit", {dx: at[0], dy: at[1]});
const rest = () => {
    clearTimeout(resting);
    resting = setTimeout(() => {
        find("[role=status]").textContent = `${find(".finding").textContent} ${describeOutside()}`;
        const query = new URLSearchParams(location.search);
        ["dx", "dy"].forEach((key, i) => query.set(key, at[i]));
        if (query.get("tab") === "shift") history.replaceState(null, "", `?${query}`);
        trigger("release");
        if (!lookUp(...at) || window.convscopeMapsOpen) ask();
    }, REST_MS);
};
const moveTo = (dx, dy) => {
    if (!scene) return;
    const [left, right, up, down] = scene.limits;
    const next = [clamp(Math.round(dx / step) * step, left, right), clamp(Math.round(dy / step) * step, up, down)];
    if (next[0] === at[0] && next[1] === at[1]) return;
    at = next;
    isTouched = true;
    draw();
    rest();
};
const STEPS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
for (const canvas of [picture, shades]) {
    canvas.addEventListener("keydown", (event) => {
        const move = event.key === "Home" ? [-at[0], -at[1]] : STEPS[event.key]?.map((sign) => sign * step);
        if (!move) return;
        event.preventDefault();
        moveTo(at[0] + move[0], at[1] + move[1]);
    });
}
const drag = (canvas, move) => {
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
        held = {x: event.clientX, y: event.clientY, at: [...at]};
        canvas.setPointerCapture(event.pointerId);
        canvas.focus({preventScroll: true});
        move(event, held);
    });
    canvas.addEventListener("pointermove", (event) => { if (held) move(event, held); });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
};
drag(picture, (event, held) => {
    const scale = scene.size / picture.clientWidth;
    moveTo(held.at[0] + (event.clientX - held.x) * scale, held.at[1] + (event.clientY - held.y) * scale);
});
for (const canvas of [shades, classes]) {
    drag(canvas, (event) => {
        const box = canvas.getBoundingClientRect(), side = 2 * map.reach + 1;
        const place = (value, start, length) => clamp(Math.floor(((value - start) / length) * side), 0, side - 1) - map.reach;
        moveTo(place(event.clientX, box.left, box.width), place(event.clientY, box.top, box.height));
    });
}
const toFlip = () => {
    let nearest = null;
    for (let k = 0; k < map.top1.length; k += 1) {
        if (map.top1[k] === map.target) continue;
        const side = 2 * map.reach + 1, spot = [(k % side) - map.reach, Math.floor(k / side) - map.reach];
        if (!nearest || Math.hypot(...spot) < Math.hypot(...nearest)) nearest = spot;
    }
    return nearest;
};
const goToFlip = () => {
    const spot = toFlip();
    if (!spot) window.convscopeSay("No shift of this map changes the class.");
    else if (spot.every((place, i) => place === at[i])) window.convscopeSay("This is the nearest change already.");
    else moveTo(...spot);
};
const toWeakest = () => {
    const k = map.margin.indexOf(Math.min(...map.margin)), side = 2 * map.reach + 1;
    return [(k % side) - map.reach, Math.floor(k / side) - map.reach];
};
const copy = async () => {
    const sheet = document.createElement("canvas"), ink = sheet.getContext("2d"), pad = 24, lines = [];
    const width = picture.width + shades.width + classes.width + 4 * pad;
    ink.font = "18px sans-serif";
    for (const text of [find(".finding").textContent, find(".caption").textContent, find(".rules").textContent]) {
        let line = "";
        for (const word of text.split(" ")) {
            if (ink.measureText(`${line} ${word}`).width > width - 2 * pad) { lines.push(line); line = word; } else line = `${line} ${word}`.trim();
        }
        lines.push(line);
    }
    sheet.width = width;
    sheet.height = Math.max(picture.height, shades.height) + 2 * pad + 26 * lines.length;
    ink.fillStyle = "#fff";
    ink.fillRect(0, 0, sheet.width, sheet.height);
    let x = pad;
    for (const part of [picture, shades, classes]) { ink.drawImage(part, x, pad); x += part.width + pad; }
    ink.fillStyle = "#111";
    ink.font = "18px sans-serif";
    lines.forEach((line, i) => ink.fillText(line, pad, sheet.height - 26 * (lines.length - i) + 4));
    const blob = await new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
    try {
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        window.convscopeSay("The picture with its caption is in the clipboard.");
    } catch {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = `shift-map-${scene.model}.png`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
};
element.addEventListener("click", (event) => {
    const data = event.target.closest("button")?.dataset;
    if (!data || !scene) return;
    if (data.step) { const [x, y] = data.step.split(",").map(Number); moveTo(at[0] + x * step, at[1] + y * step); }
    if ("home" in data) moveTo(0, 0);
    if ("flip" in data) goToFlip();
    if ("copy" in data) copy();
});
find(".whole-scale").addEventListener("change", draw);
new ResizeObserver(draw).observe(element);

// --- what comes from the server ----------------------------------------------------------------------------------
window.convscopeShift = () => at;
window.convscopeMoveTo = (dx, dy) => moveTo(dx, dy);
window.convscopeStep = (size) => { step = size; return [size]; };
window.convscopeAnswer = (found) => {
    if (!scene || found.about !== scene.about) return;
    answer = found;
    Object.assign(names, found.classes);
    if (found.picture) {
        answer.drawn = new Image();
        answer.drawn.onload = draw;
        answer.drawn.src = found.picture;
    }
    draw();
};
window.convscopeMap = (found) => {
    if (!scene || found.about !== scene.about) return;
    map = found;
    Object.assign(names, map.classes);
    writeMap();
    if (map.done && !isTouched) moveTo(...(toFlip() ?? toWeakest()));
    draw();
    if (map.done && !lookUp(...at)) ask();
};
image.onload = draw;
const receive = () => {
    const value = JSON.parse(props.value || "{}");
    find(".stage-columns").hidden = !value.image;
    map = null;
    if (!value.image) {
        scene = answer = null;
        find(".finding").textContent = value.message ?? "";
        find(".finding").className = "finding";
        for (const name of [".rules", ".margin"]) find(name).textContent = "";
        return;
    }
    names = {};
    at = value.at;
    scene = value;
    image.src = value.image;
    const twin = scene.twin ? "This is the circular twin, another network: the same weights, every padded operation wraps around. " : "";
    find(".rules").textContent = `${twin}${scene.explanation}${isInventing() ? " Hatched pixels are invented." : ""} ${scene.notes.join(" ")}`;
    find(".margin").textContent = "Margin: how far the score of the class without a shift (its logit, before it becomes a probability) is ahead of the best other class; below 0 another class wins.";
    writeMap();
    window.convscopeAnswer({...scene.answer, about: scene.about});
    trigger("select");
};
watch("value", receive);
receive();
