// The curves of a training. The value is JSON: a whole run, {run, charts: {name: chart}}, or what is new of the one
// that is shown, {run, more: {name: chart}}. A chart is {x, y, percent, log, zero, series}, and a series
// {name, color, dash, fill, x: [numbers], y: [numbers]}; of what is known already, only what is new.
const MAIN = ["loss", "accuracy"];
const HEIGHT = 250, LEFT = 54, RIGHT = 12, TOP = 8, BOTTOM = 40;
const [main, more] = element.querySelectorAll(".curves");
let run = null, charts = {}, pointed = {};

const node = (name, attributes = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
};
const say = (chart, value) => {
    if (value === undefined) return "–";
    return chart.percent ? `${+(100 * value).toFixed(1)} %` : String(+value.toPrecision(3));
};
// Round numbers between two, about `count` of them.
const divide = (low, high, count) => {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.7);
    const ticks = [];
    for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick += 1) {
        ticks.push(+(tick * step).toPrecision(12));
    }
    return ticks;
};
const nearest = (series, x) => {
    let low = 0, high = series.x.length - 1;
    while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (series.x[middle] < x) low = middle; else high = middle;
    }
    return x - series.x[low] < series.x[high] - x ? low : high;
};
const measure = (chart) => {
    const up = chart.log ? Math.log10 : (value) => value;
    const xs = chart.series.flatMap((series) => series.x), ys = chart.series.flatMap((series) => series.y).map(up);
    const bound = (values, pick) => values.reduce((best, value) => pick(best, value), values[0]);
    let low = bound(ys, Math.min), high = bound(ys, Math.max);
    if (chart.zero) low = Math.min(low, 0);
    if (high - low < 1e-9) { low -= chart.zero ? 0 : 0.5 * Math.abs(low || 1); high += 0.5 * Math.abs(high || 1); }
    return {right: bound(xs, Math.max) || 1, low, high, up};
};
const legend = (chart, at) => chart.series.map((series) => {
    const entry = document.createElement("li"), mark = document.createElement("span");
    mark.style.background = series.color;
    entry.append(mark, `${series.name} ${say(chart, series.y[at === undefined ? series.x.length - 1 : nearest(series, at)])}`);
    return entry;
});
const draw = (name) => {
    const chart = charts[name], figure = element.querySelector(`#train-${name}`);
    if (!figure || !figure.clientWidth || !chart.series.length) return;
    const width = figure.clientWidth, {right, low, high, up} = measure(chart);
    const across = (x) => LEFT + (width - LEFT - RIGHT) * x / right;
    const down = (y) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (up(y) - low) / (high - low));
    const svg = node("svg", {viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img"});
    const bottom = HEIGHT - BOTTOM, ticks = divide(low, high, 4);
    for (const tick of ticks) {
        const value = chart.log ? 10 ** tick : tick, y = down(value);
        svg.append(node("path", {class: "line", d: `M${LEFT} ${y}H${width - RIGHT}`}));
        svg.append(node("text", {x: LEFT - 6, y: y + 4, "text-anchor": "end"}, say(chart, value)));
    }
    for (const tick of divide(0, right, Math.max(2, Math.min(8, Math.floor(width / 70))))) {
        svg.append(node("text", {x: across(tick), y: bottom + 16, "text-anchor": "middle"}, tick.toLocaleString("en")));
    }
    svg.append(node("text", {x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle"}, chart.x));
    for (const series of chart.series) {
        const points = series.x.map((x, index) => `${across(x).toFixed(1)} ${down(series.y[index]).toFixed(1)}`);
        const style = {class: "curve", stroke: series.color};
        if (series.dash) style["stroke-dasharray"] = "3 4";
        if (series.fill) {
            const zero = Math.min(Math.max(down(0), TOP), bottom);
            const area = `M${across(series.x[0])} ${zero}L${points.join("L")}V${zero}Z`;
            svg.append(node("path", {d: area, fill: series.color, opacity: 0.12}));
        }
        svg.append(node("path", {...style, d: `M${points.join("L")}`}));
        if (points.length > 60) continue;
        for (const point of points) {
            const [cx, cy] = point.split(" ");
            svg.append(node("circle", {cx, cy, r: 2.5, fill: series.color}));
        }
    }
    const at = pointed[name];
    if (at !== undefined) svg.append(node("path", {class: "line at", d: `M${across(at)} ${TOP}V${bottom}`}));
    const entries = legend(chart, at);
    const words = entries.map((entry) => entry.textContent).join(", ");
    svg.setAttribute("aria-label", `${chart.y} by ${chart.x}; ${at === undefined ? "now" : "there"}: ${words}`);
    svg.addEventListener("pointermove", (event) => {
        const x = (event.clientX - svg.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT) * right;
        const known = chart.series[0], found = known.x[nearest(known, Math.min(Math.max(x, 0), right))];
        if (pointed[name] !== found) { pointed[name] = found; draw(name); }
    });
    svg.addEventListener("pointerleave", () => { delete pointed[name]; draw(name); });
    const when = at === undefined ? "" : `, ${chart.x} ${+at.toFixed(2)}`;
    figure.querySelector("strong").textContent = chart.y + when;
    figure.querySelector("ul").replaceChildren(...entries);
    figure.querySelector(".plot").replaceChildren(svg);
};
const lay = () => {
    for (const box of [main, more]) box.replaceChildren();
    for (const [name, chart] of Object.entries(charts)) {
        if (!chart.series.length) continue;
        const figure = document.createElement("figure");
        figure.id = `train-${name}`;
        figure.innerHTML = '<figcaption><strong></strong><ul class="legend"></ul></figcaption><div class="plot"></div>';
        (MAIN.includes(name) ? main : more).append(figure);
    }
    more.parentElement.hidden = !more.children.length;
};
const drawAll = () => { for (const name of Object.keys(charts)) draw(name); };
const extend = (name, added) => {
    const chart = charts[name];
    if (!chart.series.length) { charts[name] = added; return true; }
    for (const series of added.series) {
        const known = chart.series.find((each) => each.name === series.name);
        if (known) { known.x.push(...series.x); known.y.push(...series.y); }
        else chart.series.push(series);
    }
    return false;
};
const take = () => {
    const said = JSON.parse(props.value || "{}");
    if (said.charts || !said.run) {
        run = said.run ?? null;
        charts = said.charts ?? {};
        pointed = {};
        lay();
    } else if (said.run === run) {
        const isNew = Object.entries(said.more).map(([name, added]) => extend(name, added));
        if (isNew.some(Boolean)) lay();
    }
    drawAll();
};
new ResizeObserver(drawAll).observe(element);
more.parentElement.addEventListener("toggle", drawAll);
watch("value", take);
take();
