// Four hidden units, all 16 nets that dropout can make of them, and the scaled one.
const find = (selector) => element.querySelector(selector);
const UNITS = 4, LIMIT = 4;
let hidden = [1.5, 0.5, 2, 1], weights = [1, -2, 0.8, 0.6], keep = 0.5, mask = null, drawn = [];

// --- arithmetic: as analysis/losses ------------------------------------------------------------------------------
const sum = (values) => values.reduce((total, value) => total + value, 0);
const sigmoid = (score) => 1 / (1 + Math.exp(-score));
const listNets = () => Array.from({length: 2 ** UNITS}, (_, k) => {
    const kept = Array.from({length: UNITS}, (_, i) => (k >> i) & 1), score = sum(kept.map((is, i) => is * hidden[i] * weights[i]));
    return {kept, score, output: sigmoid(score), probability: keep ** sum(kept) * (1 - keep) ** (UNITS - sum(kept))};
});
const measure = () => {
    const nets = listNets(), mean = (key) => sum(nets.map((net) => net.probability * net[key]));
    const log = (value) => sum(nets.map((net) => (net.probability ? net.probability * Math.log(value(net)) : 0)));
    const [yes, no] = [Math.exp(log((net) => net.output)), Math.exp(log((net) => 1 - net.output))];
    const score = keep * sum(hidden.map((value, i) => value * weights[i]));
    return {nets, meanScore: mean("score"), mean: mean("output"), geometric: yes / (yes + no), score, output: sigmoid(score)};
};

// --- pictures ----------------------------------------------------------------------------------------------------
const drawNet = (found) => {
    const y = (i) => 28 + 50 * i, kept = mask ?? Array(UNITS).fill(keep);
    const output = mask ? sigmoid(sum(mask.map((is, i) => is * hidden[i] * weights[i]))) : found.output;
    find(".net").replaceChildren(...hidden.flatMap((value, i) => [
        draw("path", {d: `M132 ${y(i)}L300 103`, class: `edge ${kept[i] ? "" : "gone"}`, "stroke-width": 1 + 1.2 * Math.abs(weights[i])}),
        draw("circle", {cx: 110, cy: y(i), r: 21, class: `unit ${kept[i] ? "" : "gone"}`}),
        draw("text", {x: 110, y: y(i) + 5, class: "number"}, kept[i] ? show(value * kept[i], 3) : "out"),
        draw("text", {x: 62, y: y(i) + 5, class: "tick"}, `unit ${i + 1}`),
        draw("text", {x: 190, y: y(i) + (103 - y(i)) * 0.36 - 6, class: "tick"}, `× ${show(weights[i], 3)}`),
    ]), draw("circle", {cx: 322, cy: 103, r: 24, class: "unit"}), draw("text", {x: 322, y: 108, class: "number"}, output.toFixed(2)));
    const said = mask ? `A thinned net: ${sum(mask)} of ${UNITS} units are there, it says ${output.toFixed(2)}.` : `The scaled net: every hidden value times p = ${keep}; it says ${output.toFixed(2)}.`;
    find(".net ~ figcaption").textContent = said;
    find(".net").setAttribute("aria-label", said);
};
const drawSpread = (found) => {
    const x = (output) => 20 + 380 * output, most = Math.max(...found.nets.map((net) => net.probability));
    find(".spread").replaceChildren(
        draw("path", {d: "M20 170H400", class: "axis"}),
        ...found.nets.map((net) => draw("path", {d: `M${x(net.output)} 170v${-(120 * net.probability) / most}`, class: "stick"})),
        draw("path", {d: `M${x(found.mean)} 170V14`, class: "line one"}), draw("path", {d: `M${x(found.output)} 170V34`, class: "line two"}),
        ...drawn.slice(-100).map((output, i) => draw("circle", {cx: x(output), cy: 180 + (i % 3) * 4, r: 2, class: "dot"})),
        ...[0, 0.5, 1].map((tick) => draw("text", {x: x(tick), y: 206, class: "tick"}, show(tick))));
    const [low, high] = [Math.min, Math.max].map((end) => end(...found.nets.map((net) => net.output)).toFixed(2));
    find(".spread").setAttribute("aria-label", `Outputs from ${low} to ${high}, mean ${found.mean.toFixed(3)}, scaled net ${found.output.toFixed(3)}`);
};
const fix = (value) => make("data", {value}, value.toFixed(4).replace("-0.0000", "0.0000").replace("-", "−"));
const renew = () => {
    const found = measure(), average = drawn.length ? `; the ${drawn.length} drawn so far: ${(sum(drawn) / drawn.length).toFixed(3)}` : "";
    find(".finding").textContent = `${found.nets.length} thinned nets say ${found.mean.toFixed(3)} on average${average}; the scaled net says ${found.output.toFixed(3)}, `
        + `in one pass instead of ${found.nets.length}. Their mean score is ${show(found.meanScore, 4)}, and so is that of the scaled net.`;
    drawNet(found);
    drawSpread(found);
    const rows = [["all thinned nets, mean", found.meanScore, found.mean], ["all thinned nets, normalised geometric mean", found.score, found.geometric], ["the scaled net", found.score, found.output]];
    find("table").replaceChildren(
        make("caption", {}, "What the nets say together, and what the scaled one says"),
        make("thead", {}, make("tr", {}, ["", "score", "sigmoid of the score"].map((head) => (head ? make("th", {scope: "col"}, head) : make("td"))))),
        make("tbody", {}, rows.map(([name, score, output]) => make("tr", {}, make("th", {scope: "row"}, name), make("td", {}, fix(score)), make("td", {}, fix(output))))));
};
const change = (set) => (value) => { set(value); drawn = []; renew(); };
find(".fields").replaceChildren(
    slider("p", keep, {min: 0.05, max: 1, step: 0.05}, change((value) => { keep = value; })),
    ...hidden.map((start, i) => slider(`h ${i + 1}`, start, {min: 0, max: LIMIT, step: 0.1}, change((value) => { hidden[i] = value; }))),
    ...weights.map((start, i) => slider(`w ${i + 1}`, start, {min: -LIMIT, max: LIMIT, step: 0.1}, change((value) => { weights[i] = value; }))));
element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-draw], [data-whole]");
    if (!button) return;
    for (let k = 0; k < Number(button.dataset.draw ?? 0); k += 1) {
        mask = Array.from({length: UNITS}, () => Number(Math.random() < keep));
        drawn.push(sigmoid(sum(mask.map((is, i) => is * hidden[i] * weights[i]))));
    }
    if ("whole" in button.dataset) mask = null;
    renew();
});
renew();
