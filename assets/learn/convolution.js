// The bench of the convolution: an input, a kernel, the output, and the sum behind each of its cells.
// `element`, `props`, `trigger` and `watch` are gradio's; what is received comes from ui/learn/convolution.py.
const find = (selector) => element.querySelector(selector), all = (selector) => [...element.querySelectorAll(selector)];
const field = (name) => find(`[name=${name}]`), whole = (name) => Math.round(Number(field(name).value));
const PANEL = 228, LINE = 620, WIDEST_TABLE = 7, PLAY_MS = 20_000, COLORS = ["red", "green", "blue"], RANKS = {picture: 2, grid: 2, signal: 1, stack: 3};
const HOME = [0, 11, 7];  // in a picture no corner
const AXES = {1: ["length"], 2: ["height", "width"], 3: ["depth", "height", "width"]};
let given = {}, texts = {}, input = null, output = null, rules = {}, filters = [], oblong = null;
let at = [0, 0, 0], hovered = null, shown = {filter: 0, channel: 0, slice: 0}, reached = Infinity, timer = 0, example = "", home = [0, 0, 0];
const isPicture = () => field("source").value === "picture";
const axesOf = (rank) => [0, 1, 2].slice(3 - rank);
const bySides = (size, rank = rules.rank) => axesOf(rank).map((axis) => size[axis]).join(" x ");

// --- what is computed ------------------------------------------------------------------------------------------
const readPlanes = (text) => text.trim().split(/\n\s*\n/).map((plane) => plane.trim().split("\n").map((row) => row.trim().split(/[\s,;]+/).map(Number)));
const readPicture = (side, channels) => {
    const bytes = given.pictures?.[side], data = new Float64Array(channels * side * side);
    if (!bytes) throw new Error("Choose a picture on the left, or a grid of numbers as the input.");
    for (let k = 0; k < side * side; k += 1) {
        const [red, green, blue] = bytes.subarray(3 * k, 3 * k + 3);
        const values = channels === 3 ? [red, green, blue] : [greyOf(red, green, blue)];
        values.forEach((value, c) => { data[c * side * side + k] = value; });
    }
    return {channels, size: [1, side, side], data};
};
const readInput = (source) => {
    if (source === "picture") return readPicture(whole("side"), whole("channels"));
    const planes = source === "signal" ? readPlanes(texts.signal).flat().map((row) => [row]) : readPlanes(texts[source]);
    const [rows, columns] = [planes[0].length, planes[0][0].length];
    if (planes.some((plane) => plane.length !== rows || plane.some((row) => row.length !== columns || !row.every(Number.isFinite))))
        throw new Error("Every row of the input needs as many numbers as the first one, and every plane as many rows.");
    const data = Float64Array.from(planes.flat(2));
    return source === "stack" ? {channels: 1, size: [planes.length, rows, columns], data} : {channels: planes.length, size: [1, rows, columns], data};
};
// A kernel in the middle of a larger or smaller one.
const embed = (kernel, from, to) => Float64Array.from({length: volume(to)}, (_, index) => {
    const place = toPlace(to, index).map((i, axis) => i - Math.floor((to[axis] - from[axis]) / 2));
    return place.every((i, axis) => i >= 0 && i < from[axis]) ? kernel[toIndex(from, place)] : 0;
});
const findPreset = (name) => given.kernels.find((each) => each.name === name) ?? given.kernels[0];
// On a signal, what the kernel does to a picture whose every row is that signal; on a stack, to each slice by itself.
const makeFilter = (name, perGroup) => {
    const {cells, divisor} = findPreset(name), line = cells[0].map((_, column) => cells.reduce((sum, row) => sum + row[column], 0));
    const own = rules.rank === 1 ? embed(line, [1, 1, 3], rules.kernel) : embed(cells.flat(), [1, 3, 3], rules.kernel);
    return {name, kernels: Array.from({length: perGroup}, () => own.slice()), divisor, bias: 0};
};
// Filters that are missing become the next ones of the notes; a kernel of another size keeps its middle.
const fitFilters = (number, perGroup, old) => {
    const sums = given.kernels.filter(({rule}) => rule === "sum"), first = sums.findIndex(({name}) => name === (filters[0]?.name ?? field("kernel").value));
    filters = Array.from({length: number}, (_, f) => {
        const filter = filters[f];
        if (rules.rule === "median") return {...makeFilter("median", perGroup), bias: filter?.bias ?? 0};
        if (!filter) return makeFilter(sums[(Math.max(first, 0) + f) % sums.length].name, perGroup);
        if (old.rank !== rules.rank) return {...makeFilter(filter.name, perGroup), bias: filter.bias};
        const kernels = Array.from({length: perGroup}, (_, c) => embed(filter.kernels[c] ?? filter.kernels[0], old.kernel, rules.kernel));
        return {...filter, kernels};
    });
};
const readRules = () => {
    const rank = RANKS[field("source").value], square = [0, 1, 2].map((axis) => (axis < 3 - rank ? 1 : whole("length")));
    return {
        rank, kernel: rank === 2 && oblong ? oblong : square, stride: whole("stride"), padding: whole("padding"), mode: field("mode").value,
        dilation: whole("dilation"), groups: whole("groups"), transposed: field("transposed").checked, flip: field("flip").value !== "",
        rule: findPreset(field("kernel").value).rule,
    };
};
// Why there is no output, in the words of analysis/convolution; nothing where there is one.
const LIMITS = {length: [1, 16], stride: [1, 64], padding: [0, 64], dilation: [1, 64], filters: [1, 16], groups: [1, 64]};
const refuse = (wanted, number, channels, size) => {
    const {rank, groups, padding, mode, transposed, rule} = wanted;
    for (const [name, [low, high]] of Object.entries(LIMITS)) if (!(whole(name) >= low && whole(name) <= high)) return `${name === "length" ? "The size of the kernel" : name} must be a whole number from ${low} to ${high}, not ${field(name).value || "nothing"}.`;
    if (channels % groups) return `${channels} input channels cannot be shared out evenly among ${groups} groups.`;
    if (number % groups) return `${number} filters cannot be shared out evenly among ${groups} groups.`;
    if (transposed && (mode !== "zeros" || rule !== "sum")) return "A transposed convolution can only sum, and be padded with zeros.";
    for (const axis of axesOf(rank)) {
        const most = {reflect: size[axis] - 1, circular: size[axis]}[mode] ?? padding;
        if (padding > most) return `With padding_mode ${mode}, ${size[axis]} cells can be padded by ${most} at most, not by ${padding}; zeros and replicate have no such limit.`;
    }
    const tight = axesOf(rank).find((axis) => outputLength(size[axis], wanted, axis) < 1);
    if (tight === undefined) return "";
    if (transposed) return `${padding} cells of padding take more away than there is: ${writeFormula(size[tight], wanted, tight)} cells; use less padding.`;
    const spans = bySides([0, 1, 2].map((axis) => spanOf(alongAxis(wanted, axis))), rank), spread = wanted.dilation > 1 ? `, which dilation spreads over ${spans},` : "";
    const room = padding ? ` with padding ${padding}, which makes ${bySides(size.map((length) => length + 2 * padding), rank)}` : "";
    const needed = Math.ceil((spanOf(alongAxis(wanted, tight)) - size[tight]) / 2);
    return `A kernel of ${bySides(wanted.kernel, rank)}${spread} does not fit into ${bySides(size, rank)}${room}; use a smaller one, or a padding of ${needed} at least.`;
};
const compute = () => {
    const found = readInput(field("source").value), wanted = readRules(), old = rules;
    if (wanted.rule === "median") {  // it is taken channel by channel
        wanted.groups = found.channels;
        for (const name of ["groups", "filters"]) field(name).value = found.channels;
    }
    const number = whole("filters"), problem = refuse(wanted, number, found.channels, found.size);
    if (problem) throw new Error(problem);
    [input, rules] = [found, wanted];
    fitFilters(number, input.channels / rules.groups, old);
    output = convolve(input, filters, rules);
    const limits = {filter: filters.length, channel: input.channels, slice: input.size[0]};
    for (const name of Object.keys(limits)) shown[name] = Math.min(shown[name], limits[name] - 1);
    at = at.map((i, axis) => Math.min(i, output.size[axis] - 1));
};

// --- what a student does ---------------------------------------------------------------------------------------
const goTo = (cell, isStepping = false) => {
    at = cell.map((i, axis) => Math.min(Math.max(i, 0), output.size[axis] - 1));
    hovered = null;
    reached = isStepping ? toIndex(output.size, at) : Infinity;
    drawCell();
    link.follow();
};
const step = (by) => {
    const index = toIndex(output.size, at) + by;
    if (index < 0 || index >= volume(output.size)) return false;
    goTo(toPlace(output.size, index), true);
    return true;
};
const play = (isOn) => {
    clearInterval(timer);
    timer = 0;
    find("[data-do=play]").setAttribute("aria-pressed", isOn);
    find("[data-do=play]").textContent = isOn ? "Pause" : "Play";
    find(".finding").setAttribute("aria-live", isOn ? "off" : "polite");  // not every cell is read out
    if (!isOn) return;
    if (toIndex(output.size, at) === volume(output.size) - 1) goTo([0, 0, 0], true);
    timer = setInterval(() => { if (!element.isConnected || !step(1)) play(false); }, Math.min(600, Math.max(30, PLAY_MS / volume(output.size))));
};
const CONTROLS = ["source", "channels", "side", "kernel", "mode", "bias", "flip", "transposed"];
const link = linkControls("conv", [...Object.keys(LIMITS), ...CONTROLS], () => ({...(example && {example}), ...(at.join() !== home.join() && {at: at.join(".")})}), ["typed", "layer"]);
const homeOf = (source) => (source === "picture" ? HOME : [0, 0, 0]);
const applyExample = (name) => {
    example = given.examples[name] ? name : "";
    if (example) apply(given.examples[example]);
    link.setBase(example);
};
const applyLink = ({example: name, at: place, ...controls}, text) => {
    applyExample(name);
    const named = name ? Object.fromEntries(Object.entries(controls).filter(([control]) => text.includes(`${control}:`))) : controls;
    if (!name && !text.includes("kernel:")) named.kernel = given.starts[named.source] ?? named.kernel;
    apply({...named, ...(name && {at: home})}, !name);
    if (place) goTo(place.split(".").map(Number));
};
// Takes over settings by name, as an example, a lesson or a link gives them; what is left out stays as it is.
const numbersText = (value) => {
    if (!Array.isArray(value)) return String(value);
    return value.map(numbersText).join(Array.isArray(value[0]?.[0]) ? "\n\n" : Array.isArray(value[0]) ? "\n" : " ");
};
const apply = ({input: numbers, kernel, at: place, ...others}, isAnew = true) => {
    play(false);
    for (const [name, value] of Object.entries(others)) if (field(name)) setControl(field(name), value);
    if (numbers) texts[field("source").value] = numbersText(numbers);
    field("numbers").value = texts[field("source").value] ?? "";
    shown = {filter: 0, channel: 0, slice: 0};
    oblong = Array.isArray(kernel?.[0]) ? [1, kernel.length, kernel[0].length] : null;
    if (isAnew) filters = [];
    if (kernel) field("kernel").value = Array.isArray(kernel) ? "typed" : kernel;
    renew();
    if (Array.isArray(kernel)) {
        filters[0] = {...filters[0], name: "typed", divisor: 1, kernels: filters[0].kernels.map(() => Float64Array.from(kernel.flat(3)))};
        renew();
    }
    home = place ?? homeOf(field("source").value);
    goTo(home);
};
const forget = () => { example = ""; link.setBase(false); };  // it is no example any more
const takeKernel = ({layer, layers, size: [rows, columns], kernels, filters: number, channels}) => {
    field("layer").replaceChildren(...layers.map(([name, title]) => new Option(title, name)));
    field("layer").value = layer;
    field("taken").max = number - 1;
    field("slice").max = channels - 1;
    field("length").value = Math.max(rows, columns);
    oblong = [1, rows, columns];
    const read = (kernel) => (rules.rank === 1 ? kernel.slice((rows >> 1) * columns, ((rows >> 1) + 1) * columns) : kernel), from = rules.rank === 1 ? [1, 1, columns] : oblong;
    const old = filters[shown.filter];
    rules = readRules();
    filters[shown.filter] = {...old, name: "layer", divisor: 1, kernels: old.kernels.map((_, c) => embed(read(kernels[c] ?? kernels[0]), from, rules.kernel))};
    const isWhole = kernels.length > 1 && kernels.length === old.kernels.length;
    find(".about-layer").textContent = isWhole ? `All ${channels} channels of the filter.` : `Channel ${whole("slice")} of ${channels}${old.kernels.length > 1 ? ", on every channel of the input" : ""}.`;
    renew();
};
const askKernel = (layer) => trigger("submit", {layer, filter: whole("taken") || 0, channel: whole("slice") || 0});
element.addEventListener("input", (event) => {
    const {name, dataset, value} = event.target, filter = filters[shown.filter];
    if (!name && dataset.cell === undefined || ["brush", "layer", "taken", "slice"].includes(name)) return;
    play(false);
    reached = Infinity;
    if (dataset.cell !== undefined) {
        filter.kernels[ownChannel()][Number(dataset.cell)] = Number(value) || 0;
        filter.name = "typed";
    } else if (name === "kernel" && value === "layer") { find(".of-layer").hidden = false; return askKernel(""); }
    else if (name === "kernel") filters = filters.map((each, f) => (f === shown.filter || findPreset(value).rule !== rules.rule ? {...makeFilter(value, each.kernels.length), bias: each.bias} : each));
    else if (name === "bias") filter.bias = Number(value) || 0;
    else if (name === "divisor") filter.divisor = Number(value) || 1;
    else if (name === "length") oblong = null;
    else if (name === "numbers") forget(), texts[field("source").value] = value;
    else if (name === "source") return forget(), apply({filters: 1, groups: 1, length: 3, at: homeOf(value), kernel: given.starts[value] ?? "vertical_edges"});
    renew();
});
element.addEventListener("change", (event) => { if (["layer", "taken", "slice"].includes(event.target.name)) askKernel(field("layer").value); });
element.addEventListener("submit", (event) => event.preventDefault());
element.addEventListener("toggle", (event) => { if (event.target.matches(".both, .typed") && event.target.open && output) { drawBoth(); drawTables(); } }, true);
const DO = {
    play: () => play(!timer),
    first: () => { play(false); goTo([0, 0, 0], true); },
    depthwise: () => { for (const name of ["groups", "filters"]) field(name).value = input.channels; renew(); },
    copy: () => copyText(find(".code pre")),
};
element.addEventListener("click", (event) => {
    const button = event.target.closest("button"), data = button?.dataset;
    if (!data) return;
    if (data.step) { play(false); step(Number(data.step)); }
    if (data.do) DO[data.do]();
    if (data.example) applyExample(data.example);
    if (data.plane && button.closest(".input-planes")) { shown.channel = Math.floor(data.plane / input.size[0]); shown.slice = data.plane % input.size[0]; renew(); }
    if (data.plane && button.closest(".output-planes")) { shown.filter = Math.floor(data.plane / output.size[0]); at[0] = data.plane % output.size[0]; renew(); }
});
const outputCanvas = find("canvas.output"), inputCanvas = find("canvas.input");
const isInside = (cell) => cell.every((i, axis) => i >= 0 && i < output.size[axis]);
const cellOfEvent = (canvas, event) => { const [row, column] = cellUnder(canvas, event); return [at[0], rules.rank === 1 ? 0 : row, column]; };
outputCanvas.addEventListener("pointermove", (event) => {
    const cell = cellOfEvent(outputCanvas, event);
    if (timer || event.pointerType !== "mouse" || !isInside(cell) || hovered?.join() === cell.join()) return;
    hovered = cell;
    drawCell();
});
outputCanvas.addEventListener("pointerleave", () => { if (hovered) { hovered = null; drawCell(); } });
outputCanvas.addEventListener("click", (event) => { if (isInside(cellOfEvent(outputCanvas, event))) { play(false); goTo(cellOfEvent(outputCanvas, event)); } });
const MOVES = {ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], PageUp: [-1, 0, 0], PageDown: [1, 0, 0]};
outputCanvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (move) goTo(at.map((i, axis) => i + move[axis]));
    else if (event.key === "Home") goTo([at[0], 0, 0]);
    else if (event.key === "End") goTo([at[0], output.size[1] - 1, output.size[2] - 1]);
    else return;
    play(false);
    event.preventDefault();
});
// In a grid of numbers the brush paints; in a picture a click looks at the window around that cell.
const paint = (event) => {
    const [rows, columns] = [1, 2].map((axis) => input.size[axis]), pad = [1, 2].map((axis) => (rules.transposed ? 0 : alongAxis(rules, axis).padding));
    const [y, x] = cellUnder(inputCanvas, event), row = (rules.rank === 1 ? 0 : y) - pad[0], column = x - pad[1];
    if (row < 0 || column < 0 || row >= rows || column >= columns) return;
    if (isPicture()) return goTo([at[0], ...[row, column].map((i, k) => Math.round((i + rules.padding - (spanOf(alongAxis(rules, k + 1)) - 1) / 2) / rules.stride))]);
    forget();
    const source = field("source").value, planes = source === "signal" ? [readPlanes(texts.signal).flat()] : readPlanes(texts[source]);
    const plane = source === "stack" ? shown.slice : source === "signal" ? 0 : shown.channel;
    planes[plane][source === "signal" ? shown.channel : row][column] = Number(field("brush").value) || 0;
    texts[source] = field("numbers").value = numbersText(planes);
    renew();
};
let isPainting = false;
inputCanvas.addEventListener("pointerdown", (event) => { isPainting = true; inputCanvas.setPointerCapture(event.pointerId); paint(event); });
inputCanvas.addEventListener("pointermove", (event) => { if (isPainting) paint(event); });
for (const name of ["pointerup", "pointercancel"]) inputCanvas.addEventListener(name, () => { isPainting = false; });

// --- what comes from the server ----------------------------------------------------------------------------------
const receive = () => {
    const value = told(), isFirst = !given.kernels;
    if (!value.kernels) return;
    given = {...value, pictures: unpackPictures(value.pictures)};
    fillSides(field("side"), given.pictures);
    if (isFirst) {
        texts = Object.fromEntries(Object.entries(given.inputs).map(([source, numbers]) => [source, numbersText(numbers)]));
        const names = [...given.kernels.map(({name, title}) => [name, title]), ["typed", "typed"], ["layer", "of a layer of the model…"]];
        field("kernel").replaceChildren(...names.map(([name, title]) => new Option(title, name)));
        find(".examples").append(...Object.entries(given.examples).map(([name, {title}]) => make("button", {type: "button", "data-example": name}, title)));
        field("kernel").value = "vertical_edges";
        link.begin();
        home = at = homeOf(field("source").value);
    }
    find(".model").textContent = given.model;
    const linked = link.take(given.link);
    if (linked) applyLink(linked, given.link); else renew();
};
window.convscopeKernel = takeKernel;
watch("value", receive);
receive();
