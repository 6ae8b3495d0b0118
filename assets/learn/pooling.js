// The bench of pooling: what each way makes of the picture, of the picture moved, and of a sum of two pictures.
// What is true is analysis/convolution/pooling.py. A map is {rows, columns, data}.
const find = (selector) => element.querySelector(selector), all = (selector) => [...element.querySelectorAll(selector)];
const field = (name) => find(`[name=${name}]`), whole = (name) => Math.round(Number(field(name).value));
const PANEL = 152, SMALL = 24;
let given = {}, pictures = {}, at = null, maps = null;

// --- arithmetic --------------------------------------------------------------------------------------------------
const mapOf = (rows, columns, read) => ({rows, columns, data: Float64Array.from({length: rows * columns}, (_, k) => read(Math.floor(k / columns), k % columns))});
const read = ({rows, columns, data}, row, column) => data[(((row % rows) + rows) % rows) * columns + (((column % columns) + columns) % columns)];  // around the edge
const places = (length, window, stride) => Math.floor((length - window) / stride) + 1;
// The cells that each cell of the output is made of: [row, column] in the input.
const block = (top, bottom, left, right) => Array.from({length: (bottom - top) * (right - left)}, (_, k) => [top + Math.floor(k / (right - left)), left + (k % (right - left))]);
const windowAt = (row, column, window, stride) => block(row * stride, row * stride + window, column * stride, column * stride + window);
const BLUR = [[1, 2, 1], [2, 4, 2], [1, 2, 1]];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const blurAt = (map, row, column) => BLUR.flatMap((line, y) => line.map((weight, x) => weight * read(map, row + y - 1, column + x - 1))).reduce((sum, value) => sum + value, 0) / 16;
const overWindow = (rule) => ({
    cells: windowAt,
    apply: (map, window, stride, size) => mapOf(...size, (row, column) => rule(windowAt(row, column, window, stride).map((cell) => read(map, ...cell)))),
});
const overBins = {
    cells: (row, column, window, stride, map, size) => block(...[[row, map.rows, size[0]], [column, map.columns, size[1]]].flatMap(([i, length, parts]) => [Math.floor((i * length) / parts), Math.ceil(((i + 1) * length) / parts)])),
    apply: (map, window, stride, size) => mapOf(...size, (row, column) => mean(overBins.cells(row, column, window, stride, map, size).map((cell) => read(map, ...cell)))),
};
const POOLINGS = {
    max: overWindow((values) => Math.max(...values)),
    average: overWindow(mean),
    l2: overWindow((values) => Math.hypot(...values)),
    adaptive: overBins,
    strided: {cells: (row, column, window, stride) => [[row * stride, column * stride]], apply: (map, window, stride, size) => mapOf(...size, (row, column) => read(map, row * stride, column * stride))},
    blur: {
        cells: (row, column, window, stride) => block(row * stride - 1, row * stride + 2, column * stride - 1, column * stride + 2),
        apply: (map, window, stride, size) => mapOf(...size, (row, column) => blurAt(map, row * stride, column * stride)),
    },
    max_blur: {
        cells: (row, column, window, stride) => block(row * stride - 1, row * stride + window + 1, column * stride - 1, column * stride + window + 1),
        apply: (map, window, stride, size) => {
            const largest = mapOf(map.rows, map.columns, (row, column) => Math.max(...windowAt(row, column, window, 1).map((cell) => read(map, ...cell))));
            return POOLINGS.blur.apply(largest, window, stride, size);
        },
    },
};
const roll = (map, dx) => mapOf(map.rows, map.columns, (row, column) => read(map, row, column - dx));
const add = (a, b, sign = 1) => ({...a, data: a.data.map((value, k) => value + sign * b.data[k])});
const norm = ({data}) => Math.hypot(...data);
const relate = (difference, reference) => (norm(reference) ? norm(difference) / norm(reference) : 0);
const readInput = () => {
    if (field("source").value === "picture") {
        const side = whole("side"), bytes = pictures[side];
        if (!bytes) throw new Error("Choose a picture on the left, or a grid of numbers as the input.");
        return mapOf(side, side, (row, column) => greyOf(...bytes.subarray(3 * (row * side + column), 3 * (row * side + column) + 3)));
    }
    const lines = field("numbers").value.trim().split("\n").map((line) => line.trim().split(/[\s,;]+/).map(Number));
    if (lines.some((line) => line.length !== lines[0].length || !line.every(Number.isFinite))) throw new Error("Every row of the input needs as many numbers as the first one.");
    return mapOf(lines.length, lines[0].length, (row, column) => lines[row][column]);
};
const measureAll = (input, window, stride, dx) => {
    const size = [input.rows, input.columns].map((length) => places(length, window, stride));
    if (!(window >= 1 && stride >= 1)) throw new Error("Window and stride must be whole numbers of 1 or more.");
    if (Math.min(...size) < 1) throw new Error(`A window of ${window} x ${window} does not fit into ${input.rows} x ${input.columns}; use a smaller one.`);
    const moved = roll(input, dx), mirrored = mapOf(input.rows, input.columns, (row, column) => read(input, row, input.columns - 1 - column));
    const both = add(input, mirrored), found = {};
    for (const {name} of given.poolings) {
        const pool = (map) => POOLINGS[name].apply(map, window, stride, size), before = pool(input), after = pool(moved), other = pool(mirrored), pooledSum = pool(both), sumOfPooled = add(before, other);
        const along = dx % stride === 0 ? relate(add(after, roll(before, dx / stride), -1), before) : null;
        const gap = Math.max(...add(pooledSum, sumOfPooled, -1).data.map(Math.abs));
        found[name] = {before, after, difference: add(after, before, -1), change: relate(add(after, before, -1), before), meanChange: Math.abs(mean(after.data) - mean(before.data)) / (mean(before.data.map(Math.abs)) || 1), along, pooledSum, sumOfPooled, gap};
    }
    return {input, moved, size, found, window, stride, dx};
};

// --- drawing -----------------------------------------------------------------------------------------------------
const isPicture = () => field("source").value === "picture";
const percent = (share) => (share < 1e-9 ? "0 %" : `${writeNumber(100 * share, 2)} %`);
const drawMap = (map, scale, width, label) => {
    const canvas = make("canvas", {role: "img", "aria-label": label});
    return [canvas, drawCells(canvas, {rows: map.rows, columns: map.columns, width, scale, value: (row, column) => map.data[row * map.columns + column]})];
};
const drawPanels = (kind) => {
    const {input, moved, found, window, stride, size, dx} = maps, {before, after, difference} = found[kind], cells = POOLINGS[kind].cells(...at, window, stride, input, size);
    const tone = isPicture() ? [0, 255] : findScale(input.data), pooled = isPicture() && kind !== "l2" ? [0, 255] : findScale(before.data), [top, left] = [0, 1].map((axis) => Math.min(...cells.map((cell) => cell[axis])));
    const [rows, columns] = [0, 1].map((axis) => Math.max(...cells.map((cell) => cell[axis])) + 1 - [top, left][axis]);
    const figures = [
        [`Input ${input.rows} x ${input.columns}`, input, tone, (drawn) => outline(drawn, top, left, rows, columns)],
        [`Pooled ${size.join(" x ")}`, before, pooled, (drawn) => outline(drawn, ...at)],
        [`Pooled after ${dx} px`, after, pooled, (drawn) => outline(drawn, ...at)],
        ["What changed", difference, findScale([...difference.data, -1e-9]), () => {}],
    ].map(([title, map, scale, mark], k) => {
        const [canvas, drawn] = drawMap(map, scale, Math.min(PANEL, find(".panels").clientWidth || PANEL), title);
        mark(drawn);
        if (k === 1) Object.entries({class: "output", tabindex: 0, role: "group", "aria-roledescription": "cells of the output", "aria-label": "Pooled: click a cell, or go through the cells with the arrow keys"}).forEach(([name, value]) => canvas.setAttribute(name, value));
        return make("figure", {}, make("figcaption", {}, title), canvas);
    });
    const isFocused = document.activeElement === find("canvas.output");
    find(".panels").replaceChildren(...figures);
    if (isFocused) find("canvas.output").focus({preventScroll: true});
    const values = cells.map((cell) => writeNumber(read(input, ...cell))).slice(0, 16);
    find(".cell-sum").textContent = `Row ${at[0] + 1}, column ${at[1] + 1}: ${given.poolings.find(({name}) => name === kind).title} of ${values.join(", ")}${cells.length > 16 ? " …" : ""} is ${writeNumber(read(before, ...at), 6)}; after the shift ${writeNumber(read(after, ...at), 6)}.`;
};
const drawTable = (kind) => {
    const {found, dx} = maps, place = at[0] * maps.size[1] + at[1];
    const heads = ["Way to pool", `Changed by ${dx} px`, "where", "Its mean", "Pooled a + b", "Pooled a + pooled b", "Linear?"];
    const rows = given.poolings.map(({name, title}) => {
        const {difference, change, meanChange, pooledSum, sumOfPooled, gap} = found[name], [picture] = drawMap(difference, findScale([...difference.data, -1e-9]), SMALL, `${title}: what changed`);
        const isLinear = gap < 1e-6, chosen = make("button", {type: "button", "data-kind": name, "aria-pressed": String(name === kind)}, title);
        return make("tr", {"data-name": name, class: name === kind ? "chosen" : null}, make("th", {scope: "row"}, chosen), make("td", {"data-change": change}, percent(change)), make("td", {}, picture),
            make("td", {}, percent(meanChange)), make("td", {}, writeNumber(pooledSum.data[place])), make("td", {}, writeNumber(sumOfPooled.data[place])),
            make("td", {}, isLinear ? "yes" : `no, up to ${writeNumber(gap, 3)}`));
    });
    const caption = make("caption", {}, `a is the input, b the same mirrored; the numbers are those of row ${at[0] + 1}, column ${at[1] + 1}.`);
    find("table").replaceChildren(caption, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", {scope: "col"}, head)))), make("tbody", {}, ...rows));
};
const writeFinding = (kind) => {
    const {found, dx, stride} = maps, {title, is_linear: isLinear} = given.poolings.find(({name}) => name === kind), {change, along} = found[kind], least = given.poolings.toSorted((a, b) => found[a.name].change - found[b.name].change)[0];
    if (!dx) return `${title}: move the input, and see what becomes of the pooled map.`;
    if (along !== null) return `${title}: ${dx} px are ${dx / stride} whole cell${dx === stride ? "" : "s"} of the map, which moves along ${along < 1e-9 ? "exactly" : `up to ${percent(along)}`}.`;
    return `${title}: ${dx} px to the right change${dx === 1 ? "s" : ""} the pooled map by ${percent(change)}; least is changed by ${least.title}: ${percent(found[least.name].change)}. It is ${isLinear ? "" : "not "}linear.`;
};
const renewCell = () => {
    const kind = field("kind").value;
    drawPanels(kind);
    drawTable(kind);
    link.follow();
    find(".finding").textContent = writeFinding(kind);
    const {code} = given.poolings.find(({name}) => name === kind);
    find("pre").textContent = code.replaceAll("{window}", maps.window).replaceAll("{stride}", maps.stride).replaceAll("{size}", `(${maps.size.join(", ")})`);
};
const findLeastLinear = () => {  // where max pooling shows most of all that it is not
    const {pooledSum, sumOfPooled} = maps.found.max, gaps = add(pooledSum, sumOfPooled, -1).data.map(Math.abs), place = gaps.indexOf(Math.max(...gaps));
    return [Math.floor(place / maps.size[1]), place % maps.size[1]];
};
const renew = () => {
    for (const part of all(".of-picture")) part.hidden = !isPicture();
    for (const part of all(".of-numbers")) part.hidden = isPicture();
    field("moved").value = field("dx").value;
    let problem = "";
    try { maps = measureAll(readInput(), whole("window"), whole("stride"), whole("dx")); } catch (error) { problem = error.message; }
    find(".refusal").textContent = problem;
    find(".refusal").hidden = !problem;
    for (const part of all(".panels, .cell-sum, .scrolled, .code")) part.hidden = !!problem;
    find(".finding").textContent = "";
    if (problem) return;
    at = (at ?? findLeastLinear()).map((i, axis) => Math.min(i, maps.size[axis] - 1));
    renewCell();
};

const link = linkControls("pool", ["source", "side", "kind", "window", "stride", "dx"]);
// --- what a student does -------------------------------------------------------------------------------------------
const goTo = (cell) => { at = cell.map((i, axis) => Math.min(Math.max(i, 0), maps.size[axis] - 1)); renewCell(); };
element.addEventListener("input", renew);
element.addEventListener("submit", (event) => event.preventDefault());
element.addEventListener("click", (event) => {
    const data = event.target.closest("button")?.dataset;
    if (data?.kind) { field("kind").value = data.kind; renewCell(); find(`[data-kind=${data.kind}]`).focus({preventScroll: true}); }
    if (data?.do === "copy") copyText(find("pre"));
    if (event.target.matches("canvas.output")) goTo(cellUnder(event.target, event));
});
const MOVES = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
element.addEventListener("keydown", (event) => {
    if (!event.target.matches("canvas.output") || !MOVES[event.key]) return;
    event.preventDefault();
    goTo(at.map((i, axis) => i + MOVES[event.key][axis]));
});

// --- what comes from the server --------------------------------------------------------------------------------------
const receive = () => {
    const value = told(), isFirst = !given.poolings;
    if (!value.poolings) return;
    given = value;
    pictures = unpackPictures(value.pictures);
    fillSides(field("side"), pictures);
    if (isFirst) {
        field("kind").replaceChildren(...given.poolings.map(({name, title}) => new Option(title, name)));
        field("numbers").value = given.grid.map((row) => row.join(" ")).join("\n");
        link.begin();
    }
    for (const [name, value] of Object.entries(link.take(given.link) ?? {})) if (field(name)) setControl(field(name), value);
    renew();
};
watch("value", receive);
receive();
