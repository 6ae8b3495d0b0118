// Batch normalisation of a batch that is typed, or taken from a layer; forwards and backwards.
const find = (selector) => element.querySelector(selector);
const TYPED = {names: ["x₁", "x₂", "x₃"], batch: [[1, 50, 0.2], [2, 60, 0.1], [3, 40, 0.4], [6, 90, 0.1]]};
const EPSILONS = [1e-5, 1e-3, 0.1, 0], [FEWEST, MOST] = [2, 8];
let names, batch, upstream, gamma, beta, epsilon = EPSILONS[0], checked = null;

// --- arithmetic: as analysis/losses ------------------------------------------------------------------------------
const mean = (values) => values.reduce((total, value) => total + value, 0) / values.length;
const measure = (d) => {
    const x = batch.map((row) => row[d]), g = upstream.map((row) => row[d]), mu = mean(x);
    const variance = mean(x.map((value) => (value - mu) ** 2)), root = Math.sqrt(variance + epsilon);
    const normalised = x.map((value) => (root ? (value - mu) / root : 0)), along = mean(g.map((value, n) => value * normalised[n]));
    return {
        mean: mu, variance, normalised, scaled: normalised.map((value) => gamma[d] * value + beta[d]),
        dBeta: mean(g) * g.length, dGamma: along * g.length,
        dx: g.map((value, n) => (root ? (gamma[d] / root) * (value - mean(g) - normalised[n] * along) : 0)),
    };
};

// --- the table, whose numbers are typed into -----------------------------------------------------------------------
const fix = (value) => make("data", {value}, show(Math.abs(value) < 1e-12 ? 0 : value, 3));
const field = (label, value, take) => make("input", {type: "number", step: "any", value: Number(value.toPrecision(3)), "aria-label": label, oninput: (event) => {
    if (!Number.isFinite(event.target.valueAsNumber)) return;
    take(event.target.valueAsNumber);
    checked = null;
    renew();
}});
const BLOCKS = [
    ["x, the batch", (n, d) => field(`picture ${n + 1}, ${names[d]}`, batch[n][d], (value) => { batch[n][d] = value; })],
    ["x̂, normalised", (n, d, of) => of.normalised[n]],
    ["y = γx̂ + β", (n, d, of) => of.scaled[n]],
    ["g = ∂L/∂y, as you like", (n, d) => field(`gradient of picture ${n + 1}, ${names[d]}`, upstream[n][d], (value) => { upstream[n][d] = value; })],
    ["∂L/∂x", (n, d, of) => of.dx[n]],
];
const FEET = [
    ["mean", {0: (d, of) => of.mean, 1: (d, of) => mean(of.normalised), 2: (d, of) => mean(of.scaled), 3: (d) => mean(upstream.map((row) => row[d])), 4: (d, of) => mean(of.dx)}],
    ["variance σ²", {0: (d, of) => of.variance, 1: (d, of) => mean(of.normalised.map((value) => value ** 2)), 2: (d, of) => mean(of.scaled.map((value) => (value - mean(of.scaled)) ** 2))}],
    ["γ, scale", {2: (d) => field(`scale of ${names[d]}`, gamma[d], (value) => { gamma[d] = value; }), 4: (d, of) => make("span", {}, "∂L/∂γ ", fix(of.dGamma))}],
    ["β, shift", {2: (d) => field(`shift of ${names[d]}`, beta[d], (value) => { beta[d] = value; }), 4: (d, of) => make("span", {}, "∂L/∂β ", fix(of.dBeta))}],
];
// What is typed in stays: only cells without a field are written anew.
const cells = [];
const cell = (value) => {
    const node = make("td"), write = (found) => {
        if (node.querySelector("input")) return;
        const now = value(found);
        node.replaceChildren(typeof now === "number" ? fix(now) : now ?? "");
    };
    cells.push(write);
    return node;
};
const layOut = () => {
    cells.length = 0;
    const columns = names.map((_, d) => d), first = (d) => (d === 0 ? "first" : null);
    const body = batch.map((_, n) => make("tr", {}, make("th", {scope: "row"}, `picture ${n + 1}`), BLOCKS.flatMap(([, at]) => columns.map((d) =>
        Object.assign(cell((found) => at(n, d, found[d])), {className: first(d) ?? ""})))));
    const feet = FEET.map(([title, parts]) => make("tr", {}, make("th", {scope: "row"}, title), BLOCKS.flatMap((_, k) => columns.map((d) =>
        Object.assign(cell((found) => parts[k]?.(d, found[d])), {className: first(d) ?? ""})))));
    find("table").replaceChildren(
        make("caption", {}, "ε ", make("select", {"aria-label": "epsilon", onchange: (event) => { epsilon = Number(event.target.value); checked = null; renew(); }},
            EPSILONS.map((each) => make("option", {value: each, selected: each === epsilon}, String(each))))),
        make("thead", {}, make("tr", {}, make("td"), BLOCKS.map(([title]) => make("th", {scope: "colgroup", colspan: names.length, class: "first"}, title))),
            make("tr", {}, make("td"), BLOCKS.flatMap(() => names.map((name, d) => make("th", {scope: "col", class: first(d)}, name))))),
        make("tbody", {}, body), make("tfoot", {}, feet));
    renew();
};

const drawLines = (found) => {
    const width = 800 / names.length;
    find(".lines").replaceChildren(...names.flatMap((name, d) => {
        const x = batch.map((row) => row[d]), low = Math.min(...x, 0), high = Math.max(...x, 0), left = 20 + d * (width + 10), span = width - 40;
        const raw = (value) => left + ((value - low) / (high - low || 1)) * span, unit = (value) => left + ((Math.min(Math.max(value, -3), 3) + 3) / 6) * span;
        const line = (y, place, ticks, title) => [
            draw("path", {d: `M${left} ${y}h${span}`, class: "axis"}), draw("text", {x: left, y: y - 10, class: "tick start"}, title),
            ...ticks.map((tick) => draw("text", {x: place(tick), y: y + 15, class: "tick"}, show(tick, 3))),
        ];
        return [
            ...line(34, raw, [low, high], `${name} as it is`), ...line(86, unit, [-2, 0, 2], `${name} normalised, and scaled`),
            ...x.map((value) => draw("circle", {cx: raw(value), cy: 34, r: 4.5, class: "dot"})),
            ...found[d].normalised.map((value) => draw("circle", {cx: unit(value), cy: 84, r: 4.5, class: "one"})),
            ...found[d].scaled.map((value) => draw("circle", {cx: unit(value), cy: 90, r: 3, class: "two"})),
        ];
    }));
    find(".lines").setAttribute("aria-label", names.map((name, d) => `${name}: mean ${show(found[d].mean, 3)} becomes 0`).join("; "));
};
const renew = () => {
    const found = names.map((_, d) => measure(d)), first = found[0];
    const zero = found.findIndex((of) => of.variance === 0), after = first.variance / (first.variance + epsilon || 1);
    find(".finding").textContent = zero >= 0
        ? `${names[zero]} is the same in all pictures: its variance is 0, so nothing but the shift β is left of it.`
        : `${names[0]}: mean ${show(first.mean, 3)} and variance ${show(first.variance, 3)} become 0 and ${show(after, 3)}, then ${show(beta[0], 3)} and ${show(gamma[0] ** 2 * after, 3)} by β and γ. `
            + "Each column of ∂L/∂x sums to 0, so a bias before it would learn nothing.";
    for (const write of cells) write(found);
    drawLines(found);
    find(".said").textContent = checked ?? "";
};
const take = (given) => {
    names = given.names;
    batch = given.batch.map((row) => [...row]);
    upstream = batch.map((_, n) => names.map((_, d) => Number(n === d % batch.length)));
    [gamma, beta, checked] = [names.map(() => 1), names.map(() => 0), given.said ?? null];
    layOut();
};
const ask = async () => {
    const {dx, dgamma, dbeta, problem} = await server.ask_autograd({batch, upstream, gamma, beta, epsilon});
    const found = names.map((_, d) => measure(d));
    const off = problem ? [] : found.flatMap((of, d) => [...of.dx.map((value, n) => value - dx[n][d]), of.dGamma - dgamma[d], of.dBeta - dbeta[d]]);
    checked = problem ?? `PyTorch's autograd, which knows none of these formulas, gives the same ${off.length} gradients; the largest difference is ${show(Math.max(...off.map(Math.abs)), 2)}.`;
    renew();
};
element.addEventListener("click", (event) => {
    const data = event.target.closest("button")?.dataset;
    if (!data) return;
    if ("typed" in data) take(TYPED);
    if ("take" in data) trigger("submit", {layer: ""});
    if ("check" in data) ask();
    const wanted = batch.length + Number(data.rows ?? 0);
    if (!data.rows || wanted < FEWEST || wanted > MOST) return;
    batch = data.rows > 0 ? [...batch, [...batch.at(-1)]] : batch.slice(0, -1);
    upstream = data.rows > 0 ? [...upstream, names.map(() => 0)] : upstream.slice(0, -1);
    checked = null;
    layOut();
});
find(".layers select").addEventListener("change", (event) => trigger("submit", {layer: event.target.value}));
watch("value", () => {
    const {layers, layer, ...given} = told();
    if (!given.batch) return;
    find(".layers").hidden = false;
    find(".layers select").replaceChildren(...layers.map((name) => make("option", {value: name, selected: name === layer}, name)));
    take(given);
});
take(TYPED);
