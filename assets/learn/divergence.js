// Two distributions over three classes: how far what the network says is from what should be.
const find = (selector) => element.querySelector(selector);
const CLASSES = ["cat", "car", "frog"], SCORES = [3.2, 5.1, -1.7];
const EXAMPLES = {
    "One right answer: cat": [[1, 0, 0], SCORES],
    "Smoothed: 0.9 for the cat": [[0.9, 0.05, 0.05], SCORES],
    "A teacher’s answer": [[0.6, 0.3, 0.1], [1, 1, 0]],
    "Already alike": [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2].map(Math.log)],
};
let shares = [], scores = [];

// --- arithmetic: as analysis/losses ------------------------------------------------------------------------------
const sum = (values) => values.reduce((total, value) => total + value, 0);
const softmax = (values) => {
    const top = Math.max(...values), powers = values.map((value) => Math.exp(value - top)), total = sum(powers);
    return powers.map((power) => power / total);
};
const term = (a, b) => (a === 0 ? 0 : a * Math.log(a / b));
const measure = (p, q) => ({
    forward: p.map((share, j) => term(share, q[j])),
    backward: q.map((share, j) => term(share, p[j])),
    entropy: -sum(p.map((share) => term(share, 1))),
    gradient: q.map((share, j) => share - p[j]),
});

const fix = (value) => make("data", {value}, Number.isFinite(value) ? value.toFixed(3).replace("-0.000", "0.000").replace("-", "−") : "∞");
const drawBars = (p, q) => {
    find(".bars-pair").replaceChildren(draw("path", {d: "M10 165H410", class: "axis"}), ...CLASSES.flatMap((name, j) => {
        const x = 30 + 130 * j, height = (share) => 150 * share, gap = p[j] - q[j], y = 165 - height(q[j]), to = 165 - height(p[j]);
        return [
            draw("rect", {x, y: to, width: 30, height: height(p[j]), class: "one"}),
            draw("rect", {x: x + 34, y, width: 30, height: height(q[j]), class: "two"}),
            Math.abs(gap) < 0.02 ? draw("circle", {cx: x + 78, cy: y, r: 2.5, class: "dot"})
                : draw("path", {d: `M${x + 78} ${y}V${to}m-5 ${6 * Math.sign(gap)}L${x + 78} ${to}l5 ${6 * Math.sign(gap)}`, class: "arrow plain"}),
            draw("text", {x: x + 32, y: 182, class: "tick"}, name),
        ];
    }));
    find(".bars-pair").setAttribute("aria-label", CLASSES.map((name, j) => `${name}: p ${p[j].toFixed(2)}, q ${q[j].toFixed(2)}`).join("; "));
};
const renew = () => {
    const total = sum(shares);
    if (!total) { find(".finding").textContent = "All shares are 0: give one class some."; return; }
    const p = shares.map((share) => share / total), q = softmax(scores), found = measure(p, q);
    const [forward, backward] = [sum(found.forward), sum(found.backward)];
    find(".finding").textContent = `KL(p‖q) = ${forward.toFixed(3)}: cross-entropy ${(found.entropy + forward).toFixed(3)} minus the entropy of p, ${found.entropy.toFixed(3)}. `
        + `The other way round KL(q‖p) = ${Number.isFinite(backward) ? backward.toFixed(3) : "∞, as q gives something where p has nothing"}.`;
    drawBars(p, q);
    const heads = ["class", "p", "score s", "q = softmax(s)", "p ln(p / q)", "q ln(q / p)", "gradient q − p"];
    find("table").replaceChildren(
        make("caption", {}, "What each class adds"),
        make("thead", {}, make("tr", {}, heads.map((head) => make("th", {scope: "col"}, head)))),
        make("tbody", {}, CLASSES.map((name, j) => make("tr", {}, make("th", {scope: "row"}, name),
            [p[j], scores[j], q[j], found.forward[j], found.backward[j], found.gradient[j]].map((value) => make("td", {}, fix(value)))))),
        make("tfoot", {}, make("tr", {}, make("th", {scope: "row"}, "sum"), [sum(p), null, sum(q), forward, backward, null]
            .map((value) => make("td", {}, value === null ? "" : fix(value))))));
};
const layOut = () => {
    const fields = (title, values, ends) => [make("p", {class: "note"}, title), ...CLASSES.map((name, j) =>
        slider(name, values[j], ends, (value) => { values[j] = value; renew(); }))];
    find(".wanted").replaceChildren(...fields("Shares p (brought to a sum of 1)", shares, {min: 0, max: 1, step: 0.05}));
    find(".given").replaceChildren(...fields("Scores of the network", scores, {min: -10, max: 10, step: 0.01}));
    renew();
};
const choose = ([p, s]) => {
    [shares, scores] = [[...p], s.map((score) => Number(score.toFixed(2)))];
    layOut();
};
find(".presets").replaceChildren(...Object.entries(EXAMPLES).map(([title, example]) =>
    make("button", {type: "button", onclick: () => choose(example)}, title)));
choose(Object.values(EXAMPLES)[0]);
