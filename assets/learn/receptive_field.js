// A unit of a layer on the picture: its frame follows at once, what moves it is measured when it comes to rest.
const panels = element.querySelector(".field-panels"), finding = element.querySelector(".finding");
const REST_MS = 250;
let scene = null, unit = [0, 0], resting = 0, isMeasured = true;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** First and last pixel, both included, of what the unit sees along one axis; all of it where that is not known. */
const see = (axis) => {
    const [stride, low, high] = scene.axes?.[axis] ?? [1, null, null];
    return low === null || high === null ? [0, scene.side[axis] - 1] : [unit[axis] * stride + low, unit[axis] * stride + high];
};
const cell = (axis) => [unit[axis] * scene.stride, scene.stride];
const inside = (axis) => {
    const [low, high] = see(axis);
    return Math.max(0, Math.min(high, scene.side[axis] - 1) - Math.max(low, 0) + 1);
};

const frame = (panel) => {
    const [[top, bottom], [left, right]] = [see(0), see(1)], [[row, high], [column, wide]] = [cell(0), cell(1)];
    const place = (box, x, y, width, height) => {
        for (const [name, value] of Object.entries({x, y, width, height})) box.setAttribute(name, value);
    };
    for (const box of panel.querySelectorAll(".window")) place(box, left, top, right - left + 1, bottom - top + 1);
    for (const box of panel.querySelectorAll(".cell")) place(box, column, row, wide, high);
};

const say = () => {
    const share = 100 * inside(0) * inside(1) / (scene.side[0] * scene.side[1]), where = `The unit at row ${unit[0]}, column ${unit[1]} of ${scene.layer}`;
    const can = scene.theoretical === null ? "looks where attention sends it, so no frame is fixed"
        : share > 99.95 ? `can see the whole picture (${show(scene.theoretical)} pixels a side)`
        : `can see ${show(scene.theoretical)} pixels a side, ${show(share, 2)} % of the picture`;
    const moved = isMeasured ? `it is really moved by as many as ${show(scene.effective, 3)} a side` : "what moves it is being measured…";
    const before = isMeasured && scene.before !== undefined ? `, before training by ${show(scene.before, 3)}` : "";
    finding.textContent = `${where} ${can}; ${moved}${before}.`;
    const area = scene.side[0] * scene.side[1], of = (side) => `${show(100 * Math.min(1, side * side / area), 2)} %`;
    const rows = [["Theoretical: kernels, strides, paddings", scene.theoretical === null ? "not fixed" : show(scene.theoretical), `${show(share, 2)} %`]];
    if (isMeasured) rows.push([`Effective: gradient over ${scene.pictures} ${scene.pictures === 1 ? "picture" : "pictures"}`, show(scene.effective, 3), of(scene.effective)]);
    if (isMeasured && scene.before !== undefined) rows.push(["The same before training", show(scene.before, 3), of(scene.before)]);
    element.querySelector("tbody").replaceChildren(...rows.map(([how, side, part]) =>
        make("tr", {}, make("th", {scope: "row"}, how), make("td", {}, side), make("td", {}, part))));
    for (const svg of panels.querySelectorAll("svg")) svg.setAttribute("aria-label", `${where}; arrow keys move it`);
};

const move = (row, column) => {
    const next = [clamp(row, 0, scene.map[0] - 1), clamp(column, 0, scene.map[1] - 1)];
    if (next[0] === unit[0] && next[1] === unit[1]) return;
    unit = next;
    isMeasured = false;
    panels.classList.add("stale");
    for (const panel of panels.children) frame(panel);
    say();
    clearTimeout(resting);
    resting = setTimeout(() => { window.convscopeUnit = unit.join(","); trigger("select"); }, REST_MS);
};

const point = (event) => {
    if (event.type === "pointermove" && !(event.buttons && event.pointerType === "mouse")) return;  // a finger scrolls
    const box = event.currentTarget.getBoundingClientRect();
    const at = [(event.clientY - box.top) / box.height * scene.side[0], (event.clientX - box.left) / box.width * scene.side[1]];
    move(...at.map((pixel) => Math.floor(pixel / scene.stride)));
};

const KEYS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
const press = (event) => {
    const step = KEYS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(unit[0] + step[0], unit[1] + step[1]);
};

const panel = ({title, image, caption}, index) => {
    const [height, width] = scene.side;
    return make("figure", {}, make("figcaption", {}, make("strong", {}, title), make("span", {}, caption)),
        draw("svg", {viewBox: `0 0 ${width} ${height}`, role: "group", tabindex: index ? -1 : 0, "aria-roledescription": "picture with a unit",
            onpointerdown: point, onpointermove: point, onkeydown: press},
            draw("image", {href: image, width, height}), draw("rect", {class: "window halo"}), draw("rect", {class: "window"}),
            draw("rect", {class: "cell halo"}), draw("rect", {class: "cell"})));
};

const draw_scene = () => {
    const next = told();
    if (!next.panels) return;
    const hadFocus = panels.contains(document.activeElement);
    scene = next;
    unit = [...scene.unit];
    isMeasured = true;
    panels.classList.remove("stale");
    const sees = scene.theoretical === null ? "no fixed frame" : `${show(scene.theoretical)} pixels a side, stride ${scene.stride}`;
    panels.replaceChildren(...[{title: "It can see", image: scene.picture, caption: sees}, ...scene.panels].map(panel));
    for (const each of panels.children) frame(each);
    element.querySelector(".field-notes").replaceChildren(...scene.notes.map((note) => make("p", {class: "note"}, note)));
    say();
    if (hadFocus) panels.querySelector("svg").focus();
};
watch("value", draw_scene);
draw_scene();
