// Stacking layers, and reading what becomes of the shape; two comparisons. The quiz is in quiz.js.
const find = (selector) => element.querySelector(selector);
const {presets} = told();
const number = (value) => Math.round(value).toLocaleString("en");
const few = (value) => (value >= 1e9 ? `${show(value / 1e9, 3)} billion` : value >= 1e6 ? `${show(value / 1e6, 3)} million` : number(value));
const square = (side) => `${side} × ${side}`;
const MOST = 1024, ADDED = ["conv", "pool", "avgpool", "norm", "relu", "flatten", "gap", "linear"];
const FIRST = {filters: 16, kernel: 3, units: 10}, BODY = "conv(16,3,1,1) norm relu conv(16,3,1,1) norm";
let input = [3, 32, 32], layers = [], chosen = 0;

const tabulate = (table, caption, heads, rows, foot) => table.replaceChildren(
    make("caption", {}, caption), make("thead", {}, make("tr", {}, heads.map((head) => make("th", {scope: "col"}, head)))),
    make("tbody", {}, rows), make("tfoot", {}, foot ?? ""));
const line = (name, values, properties = {}) => make("tr", properties, make("th", {scope: "row"}, name), values.map((value) => make("td", {}, value)));
const press = (title, onclick, more = {}) => make("button", {type: "button", onclick, ...more}, title);

// --- the picture: a box for every new shape, as high as its map; on the first one, what a cell of the chosen layer sees
const drawBoxes = (rows) => {
    const shapes = [{shape: input, of: [-1]}], svg = find(".boxes-row");
    for (const {shape, of} of rows) if (sides(shape) === sides(shapes.at(-1).shape)) shapes.at(-1).of.push(of); else shapes.push({shape, of: [of]});
    const side = Math.max(...input.slice(1)), width = Math.max(600, 66 * shapes.length), at = findChosen(rows), field = at ? Math.min(seen(at), side) : 0;
    svg.setAttribute("viewBox", `0 0 ${width} 124`);
    svg.style.minWidth = `${width}px`;
    svg.replaceChildren(...shapes.flatMap(({shape, of}, k) => {
        const x = 48 + ((width - 96) * k) / Math.max(shapes.length - 1, 1), isMap = shape.length === 3;
        const high = isMap ? 6 + 80 * Math.sqrt(shape[1] / side) : 12 + 5 * Math.log2(shape[0]), wide = k === 0 ? 86 : isMap ? 5 + 4 * Math.log2(shape[0]) : 7;
        const rect = (w, h, name) => draw("rect", {x: x - w / 2, y: 48 - h / 2, width: w, height: h, class: name});
        return [
            rect(wide, Math.min(high, 92), of.includes(chosen) ? "box here" : "box"), k || !at ? null : rect((86 * field) / side, (86 * field) / side, "field"),
            draw("text", {x, y: 106}, sides(isMap ? shape.slice(1) : shape)), draw("text", {x, y: 120}, isMap ? `${shape[0]} ch.` : ""),
        ].filter(Boolean);
    }));
    const says = at ? ` The square on the input is what one number of ${at.text} sees: ${describeField(at)}.` : "";
    svg.setAttribute("aria-label", `From input to output: ${shapes.map(({shape}) => sides(shape)).join(", then ")}.${says}`);
};

// --- the list, and the layer that is chosen in it ------------------------------------------------------------------------
const findChosen = (rows) => rows.findLast((row) => row.of === chosen);
const describeField = (row) => (isWhole(row) ? `all ${sides(input.slice(1))}` : square(seen(row)));
const describePrevious = (row) => (row.before.length === 3 ? square(row.previous) : row.previous === 1 ? "1" : `all ${number(row.previous)}`);
const listRows = (rows) => {
    const heads = ["layer", "output shape", "parameters", "multiply-adds", "sees before", "sees of the input"];
    tabulate(find(".rows table"), "What one number sees is its receptive field (수용 영역)", heads, rows.map((row) => line(
        press(row.text, null, {"aria-pressed": String(row.of === chosen), "data-row": row.of}),
        [sides(row.shape), number(row.parameters), number(row.macs), describePrevious(row), describeField(row)].map((text) => text.replaceAll(" × ", "×")),
        {class: row.of === chosen ? "chosen" : null, "data-row": row.of},
    )), line("all", [sides(rows.at(-1)?.shape ?? input), number(total(rows, "parameters")), number(total(rows, "macs")), "", ""]));
};
const edit = () => {
    const layer = layers[chosen];
    if (!layer) return find(".editor").replaceChildren("No layer yet: add one.");
    const fields = Object.entries(kinds[layer.kind].numbers).map(([name, usual]) => {
        const [min, max] = limit(name, usual);
        return make("label", {}, `${name} `, make("input", {type: "number", min, max, value: layer.numbers[name], oninput: ({target: {valueAsNumber: value}}) => {
            if (!Number.isInteger(value) || value < min || value > max) return;
            layer.numbers[name] = value;
            renew();
        }}));
    });
    if (layer.inside) fields.push(make("label", {class: "wide"}, "inside ", make("input", {value: layer.inside.map(writeLayer).join(" "), oninput: ({target}) => attempt(() => {
        layer.inside = readLayers(target.value, true);
        renew();
    })})));
    const more = fields.length > LISTED ? [make("details", {}, make("summary", {}, "more"), fields.splice(LISTED))] : [];
    find(".editor").replaceChildren(make("b", {}, `${chosen + 1}. ${kinds[layer.kind].title}`), ...fields, ...more,
        press("↑", () => move(-1), {"aria-label": "Move up"}), press("↓", () => move(1), {"aria-label": "Move down"}), press("Remove", remove));
};
const choose = (index) => {
    chosen = Math.min(Math.max(index, 0), Math.max(layers.length - 1, 0));
    edit();
    renew();
};
const move = (by) => {
    const to = chosen + by;
    if (to < 0 || to >= layers.length) return;
    [layers[chosen], layers[to]] = [layers[to], layers[chosen]];
    choose(to);
};
const remove = () => {
    layers.splice(chosen, 1);
    choose(chosen);
};
const add = (kind) => {
    const numbers = Object.entries(kinds[kind].numbers).map(([name, usual]) => [name, usual ?? (kind.includes("pool") ? 2 : FIRST[name])]);
    const place = layers.length ? chosen + 1 : 0;
    layers.splice(place, 0, {kind, numbers: Object.fromEntries(numbers), ...(kind === "residual" && {inside: readLayers(BODY, true)})});
    choose(place);
};
const attempt = (act) => {
    try { act(); } catch (error) { find(".problem").textContent = error.message; }
};
const renew = (isTyped = false) => {
    const {rows, problem} = outline(input, layers), at = findChosen(rows), parameters = total(rows, "parameters");
    if (!isTyped) find("textarea").value = layers.map(writeLayer).join(" ");
    find(".problem").textContent = problem;
    find(".train").disabled = Boolean(problem) || !layers.length;
    const linear = total(rows.filter((row) => row.layer.kind === "linear"), "parameters"), share = linear && linear < parameters ? ` (${show((100 * linear) / parameters, 3)} % in linear layers)` : "";
    find(".finding").textContent = !rows.length ? problem || "An empty stack: add layers, or begin with a preset."
        : `${sides(input)} becomes ${sides(rows.at(-1).shape)}: ${few(parameters)} parameters${share}, ${few(total(rows, "macs"))} multiply-adds.`
            + (at ? ` A number of ${at.text} sees ${describeField(at)} of the input.` : "");
    const {size, parameters: count, field} = at?.sums ?? {};
    find(".sums").textContent = [size && `Size: ${size}`, count && `parameters: ${count}`, field && `receptive field: ${field}`].filter(Boolean).join("; ")
        || (at?.layer.inside ? "What goes in is added to what comes out of the layers inside." : "Works cell by cell: shape and receptive field stay.");
    drawBoxes(rows);
    listRows(rows);
    link.follow();
};
const open = (preset) => {
    layers = readLayers(preset.layers);
    input = [...preset.shape];
    find(".input").querySelectorAll("input").forEach((field, i) => { field.value = input[i]; });
    find(".about").textContent = preset.about ?? "";
    choose(0);
};
// In the address: the name of a preset, or the shape and the layers, "3,32,32 conv(6,5) relu".
const MOST_LETTERS = 2000, FIRST_PRESET = Object.keys(presets)[0];
const writeStack = (shape, listed) => `${shape.join()} ${listed.map(writeLayer).join(" ")}`;
const link = linkText("stack", () => {
    const text = writeStack(input, layers);
    const preset = Object.keys(presets).find((name) => writeStack(presets[name].shape, readLayers(presets[name].layers)) === text);
    return preset === FIRST_PRESET ? "" : preset ?? (text.length > MOST_LETTERS ? "" : text);
});
const openLink = (text) => attempt(() => {
    const [shape, ...rest] = text.split(" "), preset = presets[text || FIRST_PRESET];
    open(preset ?? {shape: shape.split(",").map(Number), layers: rest.join(" ")});
    find(".presets").value = preset ? text || FIRST_PRESET : "";
});
find(".presets").append(...Object.entries(presets).map(([name, {title}]) => make("option", {value: name}, title)));
find(".presets").addEventListener("change", (event) => open(presets[event.target.value]));
find(".input").addEventListener("input", () => {
    const given = [...find(".input").querySelectorAll("input")].map((field) => field.valueAsNumber);
    if (!given.every((side) => Number.isInteger(side) && side >= 1 && side <= MOST)) return;
    input = given;
    renew();
});
find("textarea").addEventListener("input", (event) => attempt(() => {
    layers = readLayers(event.target.value);
    chosen = Math.min(chosen, Math.max(layers.length - 1, 0));
    edit();
    renew(true);
}));
const others = Object.keys(kinds).filter((kind) => !ADDED.includes(kind));
find(".adder").append("Add: ", ...ADDED.map((kind) => press(kind, () => add(kind), {title: kinds[kind].title})), make("select", {"aria-label": "Add another layer", onchange: ({target}) => {
    if (target.value) add(target.value);
    target.value = "";
}}, make("option", {value: ""}, "another…"), others.map((kind) => make("option", {value: kind}, kind))));
const pick = (index) => {
    choose(index);
    find(`.rows button[data-row="${chosen}"]`)?.focus();
};
find(".rows").addEventListener("click", (event) => {
    const row = event.target.closest("[data-row]");
    if (row) pick(Number(row.dataset.row));
});
find(".rows").addEventListener("keydown", (event) => {
    const by = {ArrowUp: -1, ArrowDown: 1}[event.key];
    if (!by && event.key !== "Delete") return;
    event.preventDefault();
    if (!by) remove();
    else if (event.altKey) move(by);
    pick(by && !event.altKey ? chosen + by : chosen);
});
find(".train").addEventListener("click", () => window.convscopeTrain({input, layers: layers.map(writeLayer).join(" ")}));

// --- two comparisons -------------------------------------------------------------------------------------------------
const drawBars = (figure, values, names) => figure.replaceChildren(...values.map((value, k) => {
    const bar = make("span", {class: `bar ${["one", "two"][k]}`, style: `width: ${(100 * value) / Math.max(...values)}%`});
    return make("div", {class: "amount"}, make("span", {}, names[k]), make("span", {class: "track"}, bar), make("b", {}, number(value)));
}));
const compare = (name, caption, heads, rows, names) => {
    tabulate(find(`[data-of=${name}] table`), caption, heads, rows.map(([title, ...values]) => line(title, values)));
    drawBars(find(`[data-of=${name}] figure`), names, rows.map(([title]) => title));
};
const stack = (shape, text) => {
    const {rows, problem} = outline(shape, readLayers(text));
    return {rows, problem, last: rows.at(-1), parameters: total(rows, "parameters"), macs: total(rows, "macs")};
};
const compared = {small: {C: 64, side: 32}, dense: {C: 3, side: 32, filters: 6, kernel: 5}};
const COMPARISONS = {
    small({C, side}) {
        const three = stack([C, side, side], `conv(${C},3,1,1) relu `.repeat(3)), once = stack([C, side, side], `conv(${C},7,1,3) relu`);
        const rows = [["3 × 3, three times", three, 3], ["7 × 7, once", once, 1]];
        const weights = (parameters, count) => `${number(parameters - count * C)} = ${count === 3 ? 27 : 49}·${C}²`;
        const heads = ["layers", "sees of the input", "weights", "parameters with biases", "multiply-adds", "non-linearities"];
        compare("small", `${C} channels of ${square(side)} in and out`, heads, rows.map(([title, {last, parameters, macs}, count]) =>
            [title, square(seen(last)), weights(parameters, count), number(parameters), number(macs), String(count)]), rows.map(([, {parameters}]) => parameters));
        return `Both see 7 × 7 pixels. Three layers of 3 × 3 have ${few(three.parameters)} parameters and three non-linearities; `
            + `one of 7 × 7 has ${few(once.parameters)}, ${show(once.parameters / three.parameters, 3)} times as many, and one.`;
    },
    dense({C, side, filters, kernel}) {
        const conv = stack([C, side, side], `conv(${filters},${kernel})`);
        if (conv.problem) return conv.problem;
        const outputs = product(conv.last.shape), inputs = C * side * side, dense = stack([C, side, side], `flatten linear(${outputs})`);
        const rows = [["convolution", conv, kernel * kernel * C], ["fully connected", dense, inputs]];
        const from = sides([C, side, side]), to = sides(conv.last.shape), heads = ["layer", "weights that one output uses", "parameters with biases", "multiply-adds"];
        compare("dense", `${from} to ${to}, ${number(outputs)} numbers`, heads, rows.map(([title, {parameters, macs}, weights]) =>
            [title, number(weights), number(parameters), number(macs)]), rows.map(([, {parameters}]) => parameters));
        return `From ${from} to ${to}: a convolution has ${few(conv.parameters)} parameters, a fully connected layer ${few(dense.parameters)}: `
            + `${few(dense.parameters / conv.parameters)} times as many.`;
    },
};
const ENDS = {C: ["channels", 1, 512], side: ["side", 7, 224], filters: ["filters", 1, 512], kernel: ["kernel", 1, 15]};
const tell = (name) => { find(".finding").textContent = COMPARISONS[name](compared[name]); };
for (const [name, values] of Object.entries(compared)) find(`[data-of=${name}] .fields`).append(...Object.keys(values).map((key) => {
    const [label, min, max] = ENDS[key];
    return slider(label, values[key], {min, max, step: 1}, (value) => { values[key] = value; tell(name); });
}));

const turn = (mode) => {
    for (const button of element.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    for (const section of element.querySelectorAll("[data-of]")) section.hidden = section.dataset.of !== mode;
    find(".finding").hidden = mode === "quiz";
    if (mode === "quiz") startQuiz();
    else if (mode === "stack") renew();
    else tell(mode);
};
find(".modes").addEventListener("click", (event) => { if (event.target.dataset.mode) turn(event.target.dataset.mode); });
open(presets[FIRST_PRESET]);
turn("stack");
const follow = () => { if (link.take(told().link)) openLink(told().link); };
watch("value", follow);
follow();
