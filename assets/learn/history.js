const rows = told(), AXES = {top1: "top-1 error, %", top5: "top-5 error, %", year: "year", parameters: "parameters", multiply_adds: "multiply-adds"};
const UNITS = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
const short = (value) => {
    const [unit, letter] = UNITS.find(([unit]) => value >= unit) ?? [1, ""];
    return show(value / unit, 3) + letter;
};
const axis = (name) => element.querySelector(`[data-axis=${name}]`).value;
const WIDTH = element.clientWidth < 600 ? 380 : 720, HEIGHT = 300, LEFT = 44, RIGHT = 16, TOP = 12, BOTTOM = 40;

/** Where a value stands between two ends, from 0 to 1. */
const place = (name, low, high) => name === "year" || name.startsWith("top")
    ? (value) => (value - low) / (high - low) : (value) => Math.log(value / low) / Math.log(high / low);

/** Where a name is, or a point; and whether two are in each other's way. */
const box = (left, top, width, height) => ({left, top, right: left + width, bottom: top + height});
const meet = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;

const plot = () => {
    const [x, y] = [axis("x"), axis("y")], points = rows.filter((row) => row[x] !== null && row[y] !== null);
    const [left, right] = [Math.min, Math.max].map((end) => end(...points.map((row) => row[x])));
    const highest = 10 * Math.ceil(Math.max(...points.map((row) => row[y])) / 10);
    const across = place(x, left, right), toX = (value) => LEFT + 24 + across(value) * (WIDTH - LEFT - RIGHT - 100);
    const toY = (value) => TOP + (1 - value / highest) * (HEIGHT - TOP - BOTTOM);
    const svg = element.querySelector("svg"), parts = [];
    for (let value = 0; value <= highest; value += highest / 5)
        parts.push(draw("line", {x1: LEFT, x2: WIDTH - RIGHT, y1: toY(value), y2: toY(value), class: "line"}),
            draw("text", {x: LEFT - 6, y: toY(value) + 4, "text-anchor": "end"}, show(value)));
    const ticks = x === "year" ? [2012, 2014, 2016, 2018, 2020, 2022]
        : [1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10, 3e10, 1e11].filter((tick) => tick >= left && tick <= right);
    for (const tick of ticks)
        parts.push(draw("text", {x: toX(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle"}, x === "year" ? String(tick) : short(tick)));
    parts.push(draw("text", {x: LEFT, y: HEIGHT - 4}, AXES[x]));
    const taken = points.map((row) => box(toX(row[x]) - 5, toY(row[y]) - 5, 10, 10));
    for (const row of [...points].sort((one, other) => one[y] - other[y])) {
        const [across, down, wide] = [toX(row[x]), toY(row[y]), 6.3 * row.name.length];
        const places = [[8, -6], [-wide - 8, -6], [-wide / 2, -19], [-wide / 2, 8], [6, -19], [6, 8], [-wide - 6, 8], [-wide - 6, -19]]
            .map(([right, below]) => box(across + right, down + below, wide, 11));
        const free = places.find((one) => !taken.some((other) => meet(one, other))) ?? places[0];
        taken.push(free);
        parts.push(draw("circle", {cx: across, cy: down, r: 4},
            draw("title", {}, `${row.name}: ${show(row[y])} %, ${x === "year" ? row.year : short(row[x])}`)),
            draw("text", {x: free.left, y: free.top + 10}, row.name));
    }
    svg.replaceChildren(...parts);
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("aria-label", `${points.length} networks: ${AXES[y]} against ${AXES[x]}; the table has the numbers`);
    const without = rows.filter((row) => !points.includes(row)).map((row) => row.name);
    element.querySelector("figcaption").textContent = without.length ? `Without a figure for this: ${without.join(", ")}.` : "";
    tell(points, x, y);
};

const tell = (points, x, y) => {
    const sorted = [...points].sort((one, other) => one[y] - other[y]), best = sorted[0], worst = sorted.at(-1);
    const ratio = x === "year" ? null : best[x] / worst[x];
    const cost = ratio === null ? `in ${best.year - worst.year} years` : `with ${ratio >= 1 ? show(ratio, 2) + " times as many" : show(100 * ratio, 2) + " % of the"} ${AXES[x]}`;
    element.querySelector(".finding").textContent =
        `From ${worst.name} to ${best.name} the ${AXES[y].slice(0, 5)} error fell from ${show(worst[y])} to ${show(best[y])} %, ${cost}.`;
};

element.querySelector("tbody").replaceChildren(...rows.map((row) => make("tr", {},
    make("th", {scope: "row"}, `${row.name} `, make("small", {}, String(row.year))),
    make("td", {class: "new"}, row.new, make("small", {}, row.source)),
    make("td", {}, row.parameters === null ? "–" : short(row.parameters)),
    make("td", {}, row.multiply_adds === null ? "–" : short(row.multiply_adds)),
    make("td", {}, row.top1 === null ? "–" : `${show(row.top1)} %`),
    make("td", {}, row.top5 === null ? "–" : `${show(row.top5)} %`),
    make("td", {}, row.model ? ["shift", "explain"].flatMap((tab) => [
        make("a", {href: `?tab=${tab}&model=${row.model}`}, tab === "shift" ? "Shift" : "Explain"), " "]) : "–"))));
for (const list of element.querySelectorAll("select")) list.addEventListener("change", plot);
plot();
