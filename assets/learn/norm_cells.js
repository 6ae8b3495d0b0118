// Which cells of (N, C, H, W) are averaged over by four normalisations, as sets.
const find = (selector) => element.querySelector(selector);
const SIDE = 3;
const KINDS = {
    batch: ["Batch norm", "all pictures, one channel", (a, b) => a.c === b.c],
    layer: ["Layer norm", "one picture, all channels", (a, b) => a.n === b.n],
    instance: ["Instance norm", "one picture, one channel", (a, b) => a.n === b.n && a.c === b.c],
    group: ["Group norm", "one picture, a group of channels", (a, b) => a.n === b.n && Math.floor((a.c * sizes.groups) / sizes.C) === Math.floor((b.c * sizes.groups) / sizes.C)],
};
const sizes = {N: 3, C: 4, groups: 2};
let at = {n: 0, c: 0};

const cells = () => Array.from({length: sizes.N * sizes.C}, (_, i) => ({n: i % sizes.N, c: Math.floor(i / sizes.N)}));
// The sets of a kind: how many there are, and how many numbers each has.
const count = (isSame) => {
    const all = cells(), shared = all.filter((cell) => isSame(cell, at)).length;
    return {sets: all.length / shared, size: shared * SIDE * SIDE, pictures: new Set(all.filter((cell) => isSame(cell, at)).map((cell) => cell.n)).size};
};
const drawKind = ([title, what, isSame], name) => {
    const step = 34, size = 30, [width, height] = [sizes.N * step + 24, sizes.C * step + 22];
    const squares = cells().map((cell) => draw("g", {
        class: `${isSame(cell, at) ? "in" : "out"}${cell.n === at.n && cell.c === at.c ? " here" : ""}`,
        onclick: () => go(cell.n - at.n, cell.c - at.c),
    }, Array.from({length: SIDE * SIDE}, (_, i) => draw("rect", {
        x: 20 + cell.n * step + (i % SIDE) * 10, y: 18 + cell.c * step + Math.floor(i / SIDE) * 10, width: 9, height: 9,
    })), draw("rect", {x: 20 + cell.n * step - 1, y: 18 + cell.c * step - 1, width: size + 1, height: size + 1, class: "frame"})));
    const {sets, size: many} = count(isSame);
    return make("figure", {}, draw("svg", {
        viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, class: "grid-of-cells",
        "aria-label": `${title}, ${what}: ${sets} sets of ${many} numbers; chosen: picture ${at.n + 1}, channel ${at.c + 1}`, onkeydown: press(name), "data-kind": name,
    }, draw("text", {x: width / 2, y: 11, class: "tick"}, "N →"), draw("text", {x: 2, y: 34, class: "tick start"}, "C"), squares),
    make("figcaption", {}, make("b", {}, title), ` ${what}`));
};
const go = (dn, dc) => {
    at = {n: Math.min(Math.max(at.n + dn, 0), sizes.N - 1), c: Math.min(Math.max(at.c + dc, 0), sizes.C - 1)};
    renew();
};
const press = (name) => (event) => {
    const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!move) return;
    event.preventDefault();
    go(...move);
    find(`[data-kind=${name}]`).focus();
};
const renew = () => {
    find(".kinds").replaceChildren(...Object.entries(KINDS).map(([name, kind]) => drawKind(kind, name)));
    const one = (name) => count(KINDS[name][2]), [group, batch] = [one("group"), one("batch")];
    find(".finding").textContent = `One mean for ${batch.size} numbers of ${batch.pictures} ${batch.pictures === 1 ? "picture" : "pictures"} in batch norm; of one picture for `
        + `${one("layer").size} in layer, ${one("instance").size} in instance, ${group.size} in group norm. `
        + (sizes.N === 1 ? "With a single picture, batch and instance norm are the same." : "Only batch norm mixes pictures.");
    const heads = ["normalisation", "one set is", "sets", "numbers in each", "a set covers pictures", "the same with torch.nn"];
    const code = {batch: `BatchNorm2d(${sizes.C})`, layer: `GroupNorm(1, ${sizes.C})`, instance: `InstanceNorm2d(${sizes.C}, affine=True)`, group: `GroupNorm(${sizes.groups}, ${sizes.C})`};
    find("table").replaceChildren(
        make("caption", {}, `Sets of cells in a batch of ${sizes.N} × ${sizes.C} × ${SIDE} × ${SIDE}; each normalisation then has one scale and one shift per channel`),
        make("thead", {}, make("tr", {}, heads.map((head) => make("th", {scope: "col"}, head)))),
        make("tbody", {}, Object.entries(KINDS).map(([name, [title, what, isSame]]) => {
            const found = count(isSame);
            return make("tr", {"data-name": name}, make("th", {scope: "row"}, title), [what, found.sets, found.size, found.pictures].map((value) => make("td", {}, String(value))),
                make("td", {}, make("code", {}, code[name])));
        })));
};
const layOut = () => {
    const fitting = Array.from({length: sizes.C}, (_, i) => i + 1).filter((groups) => sizes.C % groups === 0);
    if (!fitting.includes(sizes.groups)) sizes.groups = fitting.at(-1) === 1 ? 1 : fitting[1];
    const choose = (label, key, choices) => make("label", {}, `${label} `, make("select", {onchange: (event) => {
        sizes[key] = Number(event.target.value);
        at = {n: Math.min(at.n, sizes.N - 1), c: Math.min(at.c, sizes.C - 1)};
        layOut();
    }}, choices.map((choice) => make("option", {value: choice, selected: choice === sizes[key]}, String(choice)))));
    find(".across").replaceChildren(choose("Pictures N", "N", [1, 2, 3, 4]), choose("Channels C", "C", [2, 3, 4, 6]), choose("Groups of group norm", "groups", fitting));
    renew();
};
layOut();
