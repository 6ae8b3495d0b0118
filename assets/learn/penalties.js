// Two weights, and where L1 and L2 penalties pull them as they grow.
const find = (selector) => element.querySelector(selector);
const MOST = 5, EDGE = 4, WEIGHTS = ["w₁", "w₂"];
let optimum = [3, 1], curvature = [1, 1], strength = 1.2;

// --- arithmetic: as analysis/losses/penalties.py -------------------------------------------------------------------
const PENALTIES = {
    l1: (w, a, by) => Math.sign(w) * Math.max(Math.abs(w) - by / a, 0),
    l2: (w, a, by) => (a * w) / (a + by),
};
const shrink = (kind, by) => optimum.map((w, i) => PENALTIES[kind](w, curvature[i], by));
const STEPS = Array.from({length: 101}, (_, i) => (MOST * i) / 100);

const drawPlane = (now) => {
    const x = (w) => 210 + 48 * w, y = (w) => 150 - 34 * w, point = ([a, b]) => `${x(a).toFixed(1)} ${y(b).toFixed(1)}`;
    const path = (kind) => `M${STEPS.map((by) => point(shrink(kind, by))).join("L")}`, [one, two] = [now.l1, now.l2];
    const sum = Math.abs(one[0]) + Math.abs(one[1]), radius = Math.hypot(...two);
    find(".plane").replaceChildren(
        draw("path", {d: "M10 150H410M210 6V294", class: "axis"}),
        draw("text", {x: 400, y: 144}, "w₁"), draw("text", {x: 216, y: 16}, "w₂"),
        ...[0.6, 1.2, 1.8, 2.4].map((level) => draw("ellipse", {
            cx: x(optimum[0]), cy: y(optimum[1]), rx: (48 * level) / Math.sqrt(curvature[0]), ry: (34 * level) / Math.sqrt(curvature[1]), class: "level",
        })),
        draw("path", {d: `M${point([sum, 0])}L${point([0, sum])}L${point([-sum, 0])}L${point([0, -sum])}Z`, class: "ball one"}),
        draw("ellipse", {cx: 210, cy: 150, rx: 48 * radius, ry: 34 * radius, class: "ball two"}),
        draw("path", {d: path("l2"), class: "line two"}), draw("path", {d: path("l1"), class: "line one"}),
        draw("circle", {cx: x(two[0]), cy: y(two[1]), r: 6, class: "two"}), draw("circle", {cx: x(one[0]), cy: y(one[1]), r: 5, class: "one"}),
        draw("path", {d: `M${x(optimum[0]) - 6} ${y(optimum[1]) - 6}l12 12m0 -12l-12 12`, class: "axis cross"}));
    find(".plane").setAttribute("aria-label", `Optimum ${optimum.join(", ")}; L1 at ${one.map((w) => show(w, 3)).join(", ")}; L2 at ${two.map((w) => show(w, 3)).join(", ")}`);
};
const drawSizes = () => {
    const x = (by) => 40 + (360 * by) / MOST, y = (w) => 150 - 34 * w;
    const line = (kind, i) => draw("path", {
        d: `M${STEPS.map((by) => `${x(by).toFixed(1)} ${y(shrink(kind, by)[i]).toFixed(1)}`).join("L")}`, class: `line ${kind === "l1" ? "one" : "two"}${i ? " dashed" : ""}`,
    });
    find(".sizes").replaceChildren(
        draw("path", {d: `M40 6V294M40 150H400M${x(strength)} 6V294`, class: "axis"}), line("l1", 0), line("l1", 1), line("l2", 0), line("l2", 1),
        ...[-4, -2, 0, 2, 4].map((w) => draw("text", {x: 34, y: y(w) + 4, class: "tick end"}, show(w))),
        ...[1, 2, 3, 4, 5].map((by) => draw("text", {x: x(by), y: 166, class: "tick"}, show(by))), draw("text", {x: 404, y: 146}, "λ"));
    find(".sizes").setAttribute("aria-label", `Weights against the strength of the penalty from 0 to ${MOST}; it is ${strength} now`);
};
const fix = (value) => make("data", {value}, value.toFixed(3).replace("-", "−"));
const renew = () => {
    const now = {l1: shrink("l1", strength), l2: shrink("l2", strength)};
    const gone = WEIGHTS.filter((_, i) => now.l1[i] === 0 && optimum[i] !== 0), list = (values) => WEIGHTS.map((name, i) => `${name} = ${show(values[i], 3)}`).join(", ");
    find(".finding").textContent = `At λ = ${show(strength)} L1 ${gone.length ? `has made ${gone.join(" and ")} exactly 0` : `leaves ${list(now.l1)}`}; `
        + `L2 has both weights still there, ${list(now.l2)}. L1 chooses, L2 shrinks.`;
    drawPlane(now);
    drawSizes();
    const heads = ["weight", "without penalty", "curvature a", "L1", "L2", "L1 reaches 0 at λ ="];
    find("table").replaceChildren(
        make("caption", {}, `Where the weights end at λ = ${show(strength)}`),
        make("thead", {}, make("tr", {}, heads.map((head) => make("th", {scope: "col"}, head)))),
        make("tbody", {}, WEIGHTS.map((name, i) => make("tr", {}, make("th", {scope: "row"}, name),
            [optimum[i], curvature[i], now.l1[i], now.l2[i], Math.abs(optimum[i]) * curvature[i]].map((value) => make("td", {}, fix(value)))))));
};
find(".fields").replaceChildren(
    slider("λ", strength, {min: 0, max: MOST, step: 0.05}, (value) => { strength = value; renew(); }),
    ...WEIGHTS.map((name, i) => slider(`${name}*`, optimum[i], {min: -EDGE, max: EDGE, step: 0.1}, (value) => { optimum[i] = value; renew(); })),
    ...WEIGHTS.map((_, i) => slider(`a${"₁₂"[i]}`, curvature[i], {min: 0.2, max: 4, step: 0.1}, (value) => { curvature[i] = value; renew(); })));
renew();
