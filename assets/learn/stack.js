// Shapes, parameters, multiply-adds and receptive fields of a stack of layers: as analysis/convolution/layers.py, from
// which the names of layers and their numbers come.
const {kinds, limits} = told();
const product = (values) => values.reduce((total, value) => total * value, 1);
const sides = (values) => values.join(" × ");
const fail = (text) => { throw new Error(text); };
const LISTED = 4, TAKES = {true: "a map", false: "numbers in a row"};

// --- text ----------------------------------------------------------------------------------------------------------
const limit = (name, usual) => limits[name] ?? [usual === 0 ? 0 : 1, 1024];
const writeLayer = ({kind, numbers, inside}) => {
    if (inside) return `residual(${inside.map(writeLayer).join(" ")})`;
    const all = Object.entries(kinds[kind].numbers), isUsual = ([name, usual]) => numbers[name] === usual;
    const listed = all.slice(0, LISTED), last = listed.findLastIndex((each) => !isUsual(each));
    const parts = listed.slice(0, last + 1).map(([name]) => numbers[name]);
    parts.push(...all.slice(LISTED).filter((each) => !isUsual(each)).map(([name]) => `${name}=${numbers[name]}`));
    return parts.length ? `${kind}(${parts.join(",")})` : kind;
};
const readNumbers = (text, kind, given) => {
    const usual = Object.entries(kinds[kind].numbers), numbers = Object.fromEntries(usual);
    given.forEach((part, place) => {
        const [, named, digits] = /^(?:(\w+)\s*=\s*)?(\d{1,7})$/.exec(part) ?? [], name = named ?? usual[place]?.[0];
        if (!(name in numbers)) fail(`${text} has ${part} too much: ${kind} takes ${usual.map(([each]) => each).join(", ") || "no numbers"}.`);
        const [low, high] = limit(name, kinds[kind].numbers[name]);
        if (!(Number(digits) >= low && Number(digits) <= high)) fail(`${text}: ${name} must be a whole number from ${low} to ${high}.`);
        numbers[name] = Number(digits);
    });
    const missing = usual.find(([name]) => numbers[name] === null);
    if (missing) fail(`${text} does not say its ${missing[0]}: it is ${kind}(${usual.map(([each]) => each).join(", ")}).`);
    return numbers;
};
const readLayers = (text, isInside = false) => {
    const layers = [];
    let rest = text;
    while ((rest = rest.replace(/^[\s,;]+/, ""))) {
        const [, word] = /^([A-Za-z_]\w*)\s*/.exec(rest) ?? fail(`A layer is written as conv(6,5) or relu; ${rest.slice(0, 40)} is none.`);
        const kind = word.toLowerCase();
        rest = rest.slice(word.length).trimStart();
        let depth = 0, end = 0;
        while (rest[0] === "(" && end < rest.length && (depth += {"(": 1, ")": -1}[rest[end++]] ?? 0) > 0);
        if (depth) fail(`A bracket is opened at ${word}${rest.slice(0, 20)} and never closed.`);
        const inside = end ? rest.slice(1, end - 1) : "", whole = word + rest.slice(0, end);
        rest = rest.slice(end);
        if (!kinds[kind]) fail(`There is no layer called ${word}. There are ${Object.keys(kinds).join(", ")}.`);
        if (kind === "residual" && (isInside || !inside.trim())) fail(isInside ? "A residual block cannot hold another one." : "A residual block needs layers in its brackets.");
        const given = inside.trim() ? inside.split(",").map((part) => part.trim()) : [];
        layers.push(kind === "residual" ? {kind, numbers: {}, inside: readLayers(inside, true)} : {kind, numbers: readNumbers(whole, kind, given)});
    }
    return layers;
};

// --- arithmetic ------------------------------------------------------------------------------------------------------
// `axis`: a cell q looks at the pixels from q * stride + low to q * stride + high; null where it sees the whole picture.
const isWhole = ({axis}) => !axis || axis.high === Infinity;
const seen = (row) => (isWhole(row) ? row.side : row.axis.high - row.axis.low + 1);
const keep = (before, more = {}) => ({shape: before.shape, axis: before.axis, side: before.side, parameters: 0, macs: 0, previous: 1, sums: {}, ...more});
const slide = (layer, before, channels) => {
    const {kernel, padding, dilation = 1} = layer.numbers, stride = layer.numbers.stride || kernel, span = dilation * (kernel - 1) + 1;
    const at = before.axis ?? {stride: 1, low: 0, high: 0}, [height, width] = before.shape.slice(1);
    const [h, w] = [height, width].map((size) => Math.floor((size + 2 * padding - span) / stride) + 1);
    if (Math.min(h, w) < 1) fail(`a window of ${span} × ${span} does not fit into ${sides([height, width])} with padding ${padding}.`);
    const axis = {stride: at.stride * stride, low: at.low - padding * at.stride, high: at.high + (span - 1 - padding) * at.stride};
    return keep(before, {shape: [channels, h, w], axis, previous: span, sums: {
        size: `⌊(${height} + 2·${padding} − ${span}) / ${stride}⌋ + 1 = ${h}${h === w ? "" : `, and ${w} across`}`,
        field: axis.high < Infinity ? `${seen(before)} + (${span} − 1)·${at.stride} = ${axis.high - axis.low + 1}` : "",
    }});
};
const share = (number, groups, what) => { if (number % groups) fail(`${number} ${what} cannot be shared out evenly among ${groups} groups.`); };
const pool = (layer, before) => {
    const {kernel, padding} = layer.numbers;
    if (padding > kernel / 2) fail(`a window of ${kernel} can be padded by ${Math.floor(kernel / 2)} at most, not by ${padding}.`);
    return [slide(layer, before, before.shape[0])];
};
const norm = (layer, before) => {
    const {numbers: {groups}} = layer, [channels, ...places] = before.shape, {axis} = before;
    share(channels, groups ?? 1, "channels");
    const row = keep(before, {parameters: 2 * channels, sums: {parameters: `2·${channels} = ${2 * channels}`}});
    // Unlike those of a batch, the mean and variance of a picture come from all of its cells.
    return [groups && axis && places.length ? {...row, previous: Math.max(...places), axis: {stride: axis.stride, low: -Infinity, high: Infinity}} : row];
};
const MEASURES = {
    conv(layer, before) {
        const {filters, kernel, groups, bias} = layer.numbers, channels = before.shape[0];
        share(channels, groups, "input channels");
        share(filters, groups, "filters");
        const cells = (kernel * kernel * channels) / groups, row = slide(layer, before, filters);
        row.sums.parameters = `${filters}·(${kernel}·${kernel}·${channels / groups} + ${bias}) = ${filters * (cells + bias)}`;
        return [{...row, parameters: filters * (cells + bias), macs: product(row.shape) * cells}];
    },
    pool, avgpool: pool, norm, groupnorm: norm,
    flatten: (layer, before) => [keep(before, {shape: [product(before.shape)], sums: {size: `${before.shape.join("·")} = ${product(before.shape)}`}})],
    gap: (layer, before) => [keep(before, {shape: before.shape.slice(0, 1), axis: null, previous: Math.max(...before.shape.slice(1))})],
    linear(layer, before) {
        const [features] = before.shape, {units, bias} = layer.numbers;
        const parameters = units * (features + bias), sums = {parameters: `${units}·(${features} + ${bias}) = ${parameters}`};
        return [keep(before, {shape: [units], axis: null, parameters, macs: units * features, previous: features, sums})];
    },
    residual(layer, before) {
        const rows = measureAll(layer.inside, before), end = rows.at(-1), other = shortcut(end, before), last = other.at(-1) ?? before;
        if (sides(end.shape) !== sides(last.shape)) fail(`the layers inside make ${sides(end.shape)}, the shortcut ${sides(last.shape)}; they cannot be added.`);
        const isLocal = end.axis && end.axis.stride === last.axis?.stride, axis = isLocal && {stride: end.axis.stride, low: Math.min(end.axis.low, last.axis.low), high: Math.max(end.axis.high, last.axis.high)};
        return [...rows, ...other.map((row) => ({...row, text: `shortcut ${row.text}`})), keep(end, {axis, text: "add"})];
    },
};
// Nothing, or a projection where the shape changes: 1 x 1 with the stride, then a norm (He et al. 2016).
const shortcut = (end, before) => {
    if (sides(end.shape) === sides(before.shape)) return [];
    if (end.shape.length !== 3) fail("only layers that make a map can have a shortcut around them.");
    return measureAll(readLayers(`conv(${end.shape[0]},1,${Math.ceil(before.shape[1] / end.shape[1])},bias=0) norm`), before);
};
const measure = (layer, before) => {
    const needs = kinds[layer.kind].needs_map, isMap = before.shape.length === 3;
    if (needs !== null && needs !== isMap) fail(`it needs ${TAKES[needs]}, but gets ${isMap ? `${sides(before.shape)}: put flatten or gap in between` : `${before.shape[0]} numbers in a row`}.`);
    return (MEASURES[layer.kind] ?? ((_, row) => [keep(row)]))(layer, before).map((row) => ({text: writeLayer(layer), layer, before: before.shape, ...row}));
};
const measureAll = (layers, before) => layers.reduce((rows, layer) => [...rows, ...measure(layer, rows.at(-1) ?? before)], []);
/** The rows of a stack as far as it goes, each with `of`, the place of its layer; `problem` says why it ends. */
const outline = (input, layers) => {
    const rows = [];
    let before = {shape: input, axis: {stride: 1, low: 0, high: 0}, side: Math.max(...input.slice(1))};
    for (const [of, layer] of layers.entries()) {
        try {
            rows.push(...measure(layer, before).map((row) => ({...row, of})));
        } catch (error) {
            return {rows, problem: `Layer ${of + 1}, ${writeLayer(layer)}: ${error.message}`};
        }
        before = rows.at(-1);
    }
    return {rows, problem: ""};
};
const total = (rows, key) => rows.reduce((sum, row) => sum + row[key], 0);
