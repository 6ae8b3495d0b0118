// Planes of numbers as coloured cells, with the numbers in them where they fit.
const BLUE = [33, 102, 172], PALE = [247, 247, 247], RED = [178, 24, 43], NUMBER_SIDE = 26;
const blend = (a, b, share) => a.map((value, k) => Math.round(value + share * (b[k] - value)));
// Black to white from the lowest to the highest; where something is negative, blue below 0 and red above it.
const findScale = (data) => {
    let low = Infinity, high = -Infinity;
    for (const value of data) { low = Math.min(low, value); high = Math.max(high, value); }
    const most = Math.max(-low, high);
    return low < 0 ? [-most, most] : [Math.min(0, low), high || 1];
};
const colorOf = (value, [low, high]) => {
    if (low < 0) return blend(PALE, value < 0 ? BLUE : RED, Math.min(1, Math.abs(value) / (high || 1)));
    return blend([0, 0, 0], [255, 255, 255], Math.min(Math.max((value - low) / (high - low), 0), 1));
};
const inkOn = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff");
const writeNumber = (value, digits = 4) => String(Number.isInteger(value) ? value : Number(value.toPrecision(digits))).replace("-", "−");
const hatch = (() => {
    const tile = document.createElement("canvas"), ink = tile.getContext("2d");
    tile.width = tile.height = 8;
    for (const [shift, shade] of [[0, "rgb(255 255 255 / 70%)"], [1.5, "rgb(0 0 0 / 60%)"]]) {
        ink.strokeStyle = shade;
        ink.beginPath();
        for (const k of [-8, 0, 8]) { ink.moveTo(k + shift, 8); ink.lineTo(k + 8 + shift, 0); }
        ink.stroke();
    }
    return tile;
})();
// `value(row, column)`; `look(row, column)` says of a cell whether it is "padding", "dropped" or "later", or nothing.
const drawCells = (canvas, {rows, columns, value, scale, look = () => "", width, height = width}) => {
    const side = Math.max(2, Math.floor(Math.min(width / columns, height / rows))), ratio = Math.ceil(devicePixelRatio);
    canvas.width = columns * side * ratio;
    canvas.height = rows * side * ratio;
    canvas.style.width = `${columns * side}px`;
    canvas.dataset.side = side;
    const ink = canvas.getContext("2d");
    ink.scale(ratio, ratio);
    ink.textAlign = "center";
    ink.textBaseline = "middle";
    for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) {
        const number = value(row, column), shown = look(row, column), x = column * side, y = row * side;
        const color = colorOf(number, scale);
        ink.globalAlpha = {padding: 0.55, later: 0.12}[shown] ?? 1;
        ink.fillStyle = `rgb(${color.join(" ")})`;
        ink.fillRect(x, y, side, side);
        ink.globalAlpha = 1;
        if (shown === "dropped") { ink.fillStyle = ink.createPattern(hatch, "repeat"); ink.fillRect(x, y, side, side); }
        if (side >= 16) { ink.strokeStyle = "rgb(128 128 128 / 45%)"; ink.lineWidth = 1; ink.strokeRect(x + 0.5, y + 0.5, side, side); }
        if (side < NUMBER_SIDE || shown === "later") continue;
        const text = writeNumber(number, 3);
        ink.fillStyle = inkOn(shown === "padding" ? blend(color, PALE, 0.5) : color);
        ink.font = `${Math.min(14, side * 0.42, (side * 1.7) / text.length)}px system-ui, sans-serif`;
        ink.fillText(text, x + side / 2, y + side / 2);
    }
    return {ink, side};
};
const outline = ({ink, side, height = side}, row, column, rows = 1, columns = 1, color = "#f59e0b") => {
    for (const [width, shade] of [[4, "#000"], [2.5, color]]) {
        ink.strokeStyle = shade;
        ink.lineWidth = width;
        ink.strokeRect(column * side + 1, row * height + 1, columns * side - 2, rows * height - 2);
    }
};
const cellUnder = (canvas, event) => {
    const box = canvas.getBoundingClientRect(), side = Number(canvas.dataset.side) * (box.width / parseFloat(canvas.style.width));
    return [Math.floor((event.clientY - box.top) / side), Math.floor((event.clientX - box.left) / side)];
};
// The same numbers as a table.
const writeTable = (caption, rows, format = (value) => writeNumber(value)) => {
    const table = document.createElement("table");
    table.createCaption().textContent = caption;
    for (const row of rows) {
        const line = table.insertRow();
        for (const value of row) line.insertCell().textContent = format(value);
    }
    return table;
};
// A row of numbers: bars over their cells. As drawCells, but `value(0, column)`.
const drawSignal = (canvas, {columns, value, scale, look = () => "", width}) => {
    const side = Math.min(36, Math.floor(width / columns)), cell = Math.max(side, 24), bars = 70, ratio = Math.ceil(devicePixelRatio);
    canvas.width = columns * side * ratio;
    canvas.height = (bars + cell) * ratio;
    canvas.style.width = `${columns * side}px`;
    canvas.dataset.side = side;
    const ink = canvas.getContext("2d"), [low, high] = scale, zero = (bars - 6) * (high / (high - low)) + 3;
    ink.scale(ratio, ratio);
    ink.textAlign = "center";
    ink.textBaseline = "middle";
    for (let column = 0; column < columns; column += 1) {
        const number = value(0, column), shown = look(0, column), x = column * side, length = (number / (high - low)) * (bars - 6);
        ink.globalAlpha = {padding: 0.45, later: 0.12}[shown] ?? 1;
        ink.fillStyle = `rgb(${(number < 0 ? BLUE : RED).join(" ")})`;
        ink.fillRect(x + 2, Math.min(zero, zero - length), side - 4, Math.abs(length));
        ink.fillStyle = "rgb(247 247 247)";
        ink.fillRect(x, bars, side, cell);
        ink.globalAlpha = 1;
        if (shown === "dropped") { ink.fillStyle = ink.createPattern(hatch, "repeat"); ink.fillRect(x, bars, side, cell); }
        ink.strokeStyle = "rgb(128 128 128 / 60%)";
        ink.strokeRect(x + 0.5, bars + 0.5, side, cell);
        if (shown === "later") continue;
        const text = writeNumber(number, 3);
        ink.fillStyle = "#000";
        ink.font = `${Math.min(13, (side * 1.35) / text.length)}px system-ui, sans-serif`;
        ink.fillText(text, x + side / 2, bars + cell / 2);
    }
    return {ink, side, height: bars + cell};
};
// Pictures as the server sends them: side -> its pixels, red, green, blue, row by row.
const unpackPictures = (pictures = {}) => Object.fromEntries(Object.entries(pictures).map(([side, text]) => [side, Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]));
const greyOf = (red, green, blue) => (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;  // as Pillow has it
const fillSides = (select, pictures) => {
    const sides = Object.keys(pictures), before = select.value;
    select.replaceChildren(...sides.map((side) => new Option(side, side)));
    select.value = [before, "32", sides[0]].find((side) => sides.includes(side)) ?? "";
};
const copyText = async (node) => {
    try {
        await navigator.clipboard.writeText(node.textContent);
        window.convscopeSay("The line is in the clipboard.");
    } catch { getSelection().selectAllChildren(node); }
};
