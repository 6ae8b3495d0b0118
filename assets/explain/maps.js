// Signed maps as the server packs them (ui/explain/packed.py), and what is drawn of them: the same arithmetic as
// analysis/figures/overlay.py, so that another sign, colour or outline needs no request.
const OF_SIGN = {absolute: Math.abs, positive: (value) => Math.max(value, 0), negative: (value) => Math.max(-value, 0), signed: (value) => value};
const DIVERGING = [[33, 102, 172], [247, 247, 247], [178, 24, 43]];  // blue, white, red: against, zero, for
const SMOOTHING = 0.02;  // of the longer side, before the outline is taken
const unpackBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const unpackMap = ({values, peak, size: [height, width], ...rest}) =>
    ({...rest, height, width, known: {}, values: Float32Array.from(new Int16Array(unpackBytes(values).buffer), (value) => (value * peak) / 32767)});
const once = (map, key, make) => (map.known[key] ??= make());

const quantile = (sorted, share) => {
    const at = share * (sorted.length - 1), low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
};
const pick = (map, sign) => once(map, sign, () => map.values.map(OF_SIGN[sign]));
/** The magnitude that gets the strongest colour: a percentile, or the maximum where that is zero. */
const findStrongest = (map, sign, clip) => once(map, `${sign} ${clip}`, () => {
    const sorted = once(map, `sorted ${sign}`, () => pick(map, sign).map(Math.abs).sort());
    return quantile(sorted, clip / 100) || sorted.at(-1);
});
/** Both ways a Gaussian, whose borders are stretched. */
const smooth = (map, sign) => once(map, `smooth ${sign}`, () => {
    const {width, height} = map, sigma = SMOOTHING * Math.max(width, height), radius = (Math.round(sigma * 8 + 1) | 1) >> 1;
    const kernel = Float64Array.from({length: 2 * radius + 1}, (_, i) => Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)));
    const sum = kernel.reduce((total, value) => total + value, 0), end = (at, size) => Math.min(Math.max(at, 0), size - 1);
    const pass = (from, size, step, place) => from.map((_, cell) => {
        const at = place(cell), first = cell - at * step;
        let total = 0;
        for (let i = -radius; i <= radius; i += 1) total += kernel[i + radius] * from[first + end(at + i, size) * step];
        return total / sum;
    });
    const rows = pass(Float64Array.from(pick(map, sign), Math.abs), width, 1, (cell) => cell % width);
    return pass(rows, height, width, (cell) => Math.floor(cell / width));
});
/** Which cells belong to the strongest share: their numbers, or null where nothing is strong. */
const findMask = (map, sign, share) => once(map, `mask ${sign} ${share}`, () => {
    if (!share) return null;
    const blurred = smooth(map, sign), least = quantile(Float64Array.from(blurred).sort(), 1 - share);
    const mask = Uint8Array.from(blurred, (value) => Number(value >= least && value > 0));
    return mask.includes(1) ? mask : null;
});
const isFlat = (map, sign) => once(map, `flat ${sign}`, () => pick(map, sign).every((value, _, all) => value === all[0]));
/** The borders of a mask as a path, in cells. */
const traceMask = ({width, height}, mask) => {
    const parts = [], has = (row, column) => row >= 0 && column >= 0 && row < height && column < width && mask[row * width + column];
    for (let row = 0; row < height; row += 1) for (let column = 0; column < width; column += 1) {
        if (!has(row, column)) continue;
        if (!has(row - 1, column)) parts.push(`M${column} ${row}h1`);
        if (!has(row + 1, column)) parts.push(`M${column} ${row + 1}h1`);
        if (!has(row, column - 1)) parts.push(`M${column} ${row}v1`);
        if (!has(row, column + 1)) parts.push(`M${column + 1} ${row}v1`);
    }
    return parts.join("");
};
/** The frame around a mask: column, row, width, height. */
const findBox = ({width}, mask) => {
    const cells = [...mask.keys()].filter((cell) => mask[cell]), columns = cells.map((cell) => cell % width);
    const rows = cells.map((cell) => Math.floor(cell / width)), [left, top] = [columns, rows].map((all) => all.reduce((a, b) => Math.min(a, b)));
    return [left, top, ...[[columns, left], [rows, top]].map(([all, first]) => all.reduce((a, b) => Math.max(a, b)) - first + 1)];
};
const mixDiverging = (share) => {
    const [from, to] = share < 0.5 ? DIVERGING : DIVERGING.slice(1), part = share < 0.5 ? 2 * share : 2 * share - 1;
    return from.map((level, i) => level + part * (to[i] - level));
};
/** Pixels of a map: its colours over those of the picture, as far as `view` says. */
const colourMap = (map, picture, palette, {sign, view, opacity, share}, scale) => {
    const shown = pick(map, sign), pixels = new ImageData(map.width, map.height), flat = isFlat(map, sign);
    const mask = view === "strongest" ? findMask(map, sign, share || 0.1) : null;
    const part = view === "alone" ? 1 : view === "overlay" && !flat ? opacity : 0;
    for (let cell = 0; cell < shown.length; cell += 1) {
        const relative = scale > 0 ? Math.min(Math.max(shown[cell] / scale, -1), 1) : 0, level = 3 * Math.round(255 * relative);
        const colour = part === 0 ? [0, 0, 0] : sign === "signed" ? mixDiverging((relative + 1) / 2) : palette.subarray(level, level + 3);
        const dim = view === "strongest" && !mask?.[cell] ? 0.15 : 1;
        for (let i = 0; i < 3; i += 1) pixels.data[4 * cell + i] = part * colour[i] + (1 - part) * dim * picture[4 * cell + i];
        pixels.data[4 * cell + 3] = 255;
    }
    return pixels;
};
