// What the bench of the convolution shows: planes, kernel, sum, formula; of the state that convolution.js keeps.
const drawPlane = (canvas, plane) => {
    const width = Math.min(rules.rank === 1 ? LINE : PANEL, find(".panels").clientWidth || LINE);
    return (rules.rank === 1 ? drawSignal : drawCells)(canvas, {...plane, width});
};
const drawInput = (explained) => {
    const {size, data} = input, [top, left] = [1, 2].map((axis) => (rules.transposed ? 0 : alongAxis(rules, axis).padding));
    const start = shown.channel * volume(size), seen = rules.transposed ? null : [0, 1, 2].map((axis) => listSeen(size[axis], rules, axis));
    const source = (row, column) => [sourceOf(row - top, size[1], rules.mode), sourceOf(column - left, size[2], rules.mode)];
    const drawn = drawPlane(find("canvas.input"), {
        rows: size[1] + 2 * top, columns: size[2] + 2 * left, scale: isPicture() ? [0, 255] : findScale(data),
        value: (row, column) => (source(row, column).includes(-1) ? 0 : data[start + toIndex(size, [shown.slice, ...source(row, column)])]),
        look: (row, column) => {
            if (seen && !(seen[0].has(shown.slice) && seen[1].has(row - top) && seen[2].has(column - left))) return "dropped";
            return row < top || column < left || row >= top + size[1] || column >= left + size[2] ? "padding" : "";
        },
    });
    const places = explained.parts[0].products.map(({place}) => place).filter(([slice]) => slice === shown.slice);
    if (!places.length) return;
    const [low, high] = [Math.min, Math.max].map((pick) => [1, 2].map((axis) => pick(...places.map((place) => place[axis]))));
    if (rules.dilation > 1 || rules.transposed) for (const [, row, column] of places) outline(drawn, row + top, column + left, 1, 1, "#fde68a");
    outline(drawn, low[0] + top, low[1] + left, high[0] - low[0] + 1, high[1] - low[1] + 1);
};
const drawOutput = (cell) => {
    const {size, data} = output, start = shown.filter * volume(size), plane = data.subarray(start, start + volume(size));
    const isShade = isPicture() && plane.every((value) => value >= 0 && value <= 255), index = (row, column) => toIndex(size, [cell[0], row, column]);
    const scale = isShade ? [0, 255] : findScale(plane);
    const drawn = drawPlane(find("canvas.output"), {
        rows: size[1], columns: size[2], scale,
        value: (row, column) => plane[index(row, column)], look: (row, column) => (index(row, column) > reached ? "later" : ""),
    });
    outline(drawn, cell[1], cell[2]);
    return scale;
};
const nameChannel = (channel) => (isPicture() && input.channels === 3 ? COLORS[channel] : `channel ${channel + 1}`);
// Small pictures of all planes, to choose the one that is shown large.
const drawThumbs = (place, tensor, names, isShown) => {
    const plane = volume(tensor.size) / tensor.size[0], count = tensor.channels * tensor.size[0], box = find(place);
    box.hidden = count === 1;
    if (box.children.length !== count) box.replaceChildren(...Array.from({length: count}, () => make("button", {type: "button"}, make("canvas"), make("span"))));
    if (count > 1) [...box.children].forEach((button, k) => {
        const [channel, slice] = [Math.floor(k / tensor.size[0]), k % tensor.size[0]];
        button.setAttribute("aria-pressed", isShown(channel, slice));
        if (box.drawn === tensor) return;
        const values = tensor.data.subarray(k * plane, (k + 1) * plane), [, rows, columns] = tensor.size;
        drawCells(button.firstChild, {rows, columns, width: 34, scale: findScale(values), value: (row, column) => values[row * columns + column]});
        button.lastChild.textContent = names(channel, slice);
        button.dataset.plane = k;
    });
    box.drawn = tensor;
};
const ownChannel = () => {  // that of the shown filter's group which is looked at, counted within the group
    const first = firstChannel(input, filters, rules, shown.filter), own = shown.channel - first;
    return own >= 0 && own < filters[0].kernels.length ? own : 0;
};
const drawKernel = () => {
    const {name, kernels, divisor} = filters[shown.filter], own = ownChannel(), [depth, rows, columns] = rules.kernel, box = find(".kernel");
    if (box.contains(document.activeElement) && document.activeElement.matches("table input")) return;  // it is being typed
    if (rules.rule === "median") return box.replaceChildren(make("p", {class: "note"}, `The middle one of ${rows * columns * depth} sorted values: no sum of products, so no kernel gives it.`));
    if (columns > WIDEST_TABLE) {
        box.replaceChildren(make("canvas"));
        return drawCells(box.firstChild, {rows: rows * depth, columns, width: 150, scale: findScale(kernels[own]), value: (row, column) => kernels[own][row * columns + column]});
    }
    const tables = Array.from({length: depth}, (_, slice) => {
        const table = make("table", {"aria-label": `Kernel${depth > 1 ? `, slice ${slice + 1}` : ""}`});
        for (let row = 0; row < rows; row += 1) for (let column = 0, line = table.insertRow(); column < columns; column += 1) {
            const index = toIndex(rules.kernel, [slice, row, column]);
            line.insertCell().append(make("input", {type: "number", step: "any", "data-cell": index, "aria-label": `row ${row + 1}, column ${column + 1}`, value: Number(kernels[own][index].toPrecision(3))}));
        }
        return table;
    });
    box.style.setProperty("--columns", columns);
    box.replaceChildren(...tables, make("label", {}, "divided by", make("input", {type: "number", step: "any", name: "divisor", value: divisor})), make("p", {class: "note"}, findPreset(name)?.name === name ? findPreset(name).about : ""));
};
const writeTerm = (value) => (value < 0 ? `(${writeNumber(value)})` : writeNumber(value));
const drawSum = (explained) => {
    const {kernel, rank} = rules, own = ownChannel(), {parts, divisor, bias, value} = explained, isMedian = rules.rule === "median";
    const grid = (caption, slice, read) => {
        const rows = Array.from({length: kernel[1]}, () => Array(kernel[2]).fill(null));
        for (const product of parts[own].products) {
            const [z, row, column] = toPlace(kernel, product.tap);
            if (z === slice) rows[row][column] = product;
        }
        const table = writeTable(caption, rows, (product) => (product ? writeNumber(read(product), 4) : "·"));
        if (caption.startsWith("Patch")) rows.flat().forEach((product, k) => { if (product?.isPadding) table.rows[Math.floor(k / kernel[2])].cells[k % kernel[2]].className = "padding"; });
        return table;
    };
    const where = parts.length > 1 ? `, ${nameChannel(parts[own].channel)}` : "";
    const lines = Array.from({length: kernel[0]}, (_, slice) => {
        const patch = grid(`Patch${where}${kernel[0] > 1 ? `, slice ${slice + 1}` : ""}`, slice, (product) => product.value);
        if (isMedian) return make("div", {class: "line"}, patch);
        const laid = grid(rules.flip ? "Kernel, turned around" : "Kernel", slice, (product) => product.weight);
        return make("div", {class: "line"}, patch, "×", laid, "=", grid("Products", slice, (product) => product.product));
    });
    const {products, sum} = parts[own], total = parts.reduce((all, part) => all + part.sum, 0), steps = [];
    if (isMedian) steps.push(`Sorted: ${products.map((each) => each.value).toSorted((a, b) => a - b).map((each) => writeNumber(each)).join(", ")}. The middle one is ${writeNumber(sum)}.`);
    else steps.push(`${products.length <= 27 ? products.map((each) => writeTerm(each.product)).join(" + ") : `The ${products.length} products`} = ${writeNumber(sum)}${where}.`);
    if (parts.length > 1) steps.push(`${parts.map((part) => `${nameChannel(part.channel)} ${writeTerm(part.sum)}`).join(" + ")} = ${writeNumber(total)}.`);
    steps.push(`${writeNumber(total)}${divisor === 1 ? "" : ` / ${divisor}`} + bias ${writeTerm(bias)} = `);
    find(".sum").replaceChildren(...lines, make("p", {}, steps.join(" "), make("strong", {}, writeNumber(value, 6))));
};
const countUnseen = () => {
    if (rules.transposed) return 0;
    const seen = axesOf(rules.rank).map((axis) => Array.from({length: input.size[axis]}, (_, i) => listSeen(input.size[axis], rules, axis).has(i)));
    return volume(input.size) - seen.reduce((product, along) => product * along.filter(Boolean).length, 1);
};
const nameCell = (cell) => (rules.rank === 1 ? `Cell ${cell[2] + 1}` : `${rules.rank === 3 ? `Slice ${cell[0] + 1}, row` : "Row"} ${cell[1] + 1}, column ${cell[2] + 1}`);
const compareFlip = () => {
    const other = convolve(input, filters, {...rules, flip: !rules.flip}), gaps = output.data.map((value, k) => Math.abs(value - other.data[k]));
    return {other, cells: gaps.filter((gap) => gap > 1e-9).length, most: Math.max(...gaps)};
};
const writeFinding = (cell, explained) => {
    const {products} = explained.parts[0], number = products.length * explained.parts.length, words = [];
    const made = rules.rule === "median" ? `the median of ${products.length} cells is` : `${number} product${number === 1 ? "" : "s"} ${explained.bias ? `and the bias ${writeNumber(explained.bias)} ` : ""}add${number === 1 && !explained.bias ? "s" : ""} up to`;
    words.push(`${nameCell(cell)} of ${bySides(output.size)}: ${made} ${writeNumber(explained.value, 6)}.`);
    const unseen = countUnseen();
    if (unseen) words.push(`${unseen} of ${volume(input.size)} input cells are in no window (shaded).`);
    if (rules.flip && rules.rule === "sum") {
        const {cells, most} = compareFlip();
        words.push(cells ? `Cross-correlation gives other numbers in ${cells} of ${output.data.length} cells, by up to ${writeNumber(most)}.` : "Cross-correlation gives the same: the kernel looks the same turned around.");
    }
    return words.join(" ");
};
const writeFacts = () => {
    const {rank, kernel, groups, transposed, rule, flip, stride, padding, dilation, mode} = rules, axes = axesOf(rank), names = AXES[rank];
    const lines = axes.map((axis) => writeFormula(input.size[axis], rules, axis)), isOne = new Set(lines).size === 1;
    const symbols = transposed ? "(H - 1)*S - 2P + D*(F - 1) + 1" : dilation > 1 ? "floor((H + 2P - D*(F - 1) - 1) / S) + 1" : "floor((H + 2P - F) / S) + 1";
    const perGroup = input.channels / groups, sides = axes.map((axis) => kernel[axis]).join("*"), number = filters.length;
    const parameters = `${number}*(${sides}*${perGroup} + 1) = ${number * (volume(kernel) * perGroup + 1)} parameters`;
    find(".formula").textContent = `Output = ${symbols} = ${isOne ? lines[0] : lines.map((line, k) => `${names[k]} ${line}`).join("; ")}. In all ${bySides(output.size)} x ${number}; ${rule === "median" ? "no parameters" : parameters}.`;
    const side = new Set(axes.map((axis) => kernel[axis])).size === 1 ? kernel[2] : `(${axes.map((axis) => kernel[axis]).join(", ")})`;
    const words = [`kernel_size=${side}`, ...Object.entries({stride: [stride, 1], padding: [padding, 0], dilation: [dilation, 1], groups: [groups, 1]}).filter(([, [value, usual]]) => value !== usual).map(([name, [value]]) => `${name}=${value}`)];
    if (mode !== "zeros") words.push(`padding_mode="${mode}"`);
    const line = `nn.Conv${transposed ? "Transpose" : ""}${rank}d(${input.channels}, ${number}, ${words.join(", ")})`;
    find(".code pre").textContent = rule === "median" ? "# no layer of torch.nn takes a median: scipy.ndimage.median_filter does" : flip ? `${line}  # true convolution: its weight is the flipped kernel` : line;
};
// Both ways over the same input, and two kernels in both orders of the brackets.
const drawBoth = () => {
    const place = find(".both > div");
    if (!find(".both").open) return;
    if (rules.rule === "median") return place.replaceChildren(make("p", {}, "A median is neither: it has no kernel that could be turned around."));
    const {other, cells, most} = compareFlip(), [, rows, columns] = output.size, start = shown.filter * volume(output.size) + at[0] * rows * columns;
    const ways = rules.flip ? [other, output] : [output, other], planes = ways.map(({data}) => data.subarray(start, start + rows * columns));
    const figures = [["Cross-correlation", planes[0]], ["Convolution", planes[1]], ["Their difference", planes[0].map((value, k) => value - planes[1][k])]].map(([title, plane]) => {
        const canvas = make("canvas", {role: "img", "aria-label": title});
        drawCells(canvas, {rows, columns, width: 150, scale: findScale(plane), value: (row, column) => plane[row * columns + column]});
        return make("figure", {}, make("figcaption", {}, title), canvas);
    });
    const size = input.size, first = shown.channel * volume(size), plane = {channels: 1, size, data: input.data.subarray(first, first + volume(size))};
    const {kernels, divisor} = filters[shown.filter], a = {size: rules.kernel, data: kernels[ownChannel()].map((weight) => weight / divisor)};
    const b = {size: rules.rank === 1 ? [1, 1, 3] : [1, 3, 3], data: (rules.rank === 1 ? [1, 0, -1] : [1, 0, -1, 1, 0, -1, 1, 0, -1])};
    const gap = (flip) => {
        const inTurn = convolveFully({...convolveFully(plane, a, flip)}, b, flip), joined = convolveFully(plane, convolveFully({channels: 1, ...a}, b, flip), flip);
        const largest = inTurn.data.reduce((largest, value, k) => Math.max(largest, Math.abs(value - joined.data[k])), 0);
        return largest < 1e-8 ? "0: the same" : writeNumber(largest);
    };
    const table = writeTable("Largest difference between (input * kernel) * edges and input * (kernel * edges), edges = vertical edges", [["Cross-correlation", gap(false)], ["Convolution", gap(true)]], String);
    place.replaceChildren(make("p", {}, cells ? `They differ in ${cells} of ${output.data.length} cells, by up to ${writeNumber(most)}.` : "They are the same here: every kernel looks the same turned around."), make("div", {class: "panels"}, ...figures), table);
};
const drawTables = () => {
    if (!find(".typed").open) return;
    const plane = ({size, data}, channel, slice) => {
        const start = (channel * size[0] + slice) * size[1] * size[2];
        return Array.from({length: size[1]}, (_, row) => [...data.subarray(start + row * size[2], start + (row + 1) * size[2])]);
    };
    find(".tables").replaceChildren(
        writeTable(`Input, ${nameChannel(shown.channel)}`, plane(input, shown.channel, shown.slice), (value) => writeNumber(value, 8)),
        writeTable(`Output, filter ${shown.filter + 1}`, plane(output, shown.filter, at[0]), (value) => writeNumber(value, 8)),
    );
};
// What depends on the cell that is looked at.
const drawCell = () => {
    const cell = hovered ?? at, explained = explainCell(input, filters, rules, shown.filter, cell), [low, high] = drawOutput(cell);
    const slices = explained.parts[0].products.map(({place}) => place[0]);
    if (rules.rank === 3 && slices.length && !slices.includes(shown.slice)) shown.slice = Math.min(Math.max(cell[0] * rules.stride - rules.padding + Math.floor(rules.kernel[0] / 2) * rules.dilation, 0), input.size[0] - 1);
    drawInput(explained);
    drawSum(explained);
    find(".of-output").textContent = `Output ${bySides(output.size)}${filters.length > 1 ? `, filter ${shown.filter + 1}` : ""}: ${low < 0 ? `±${writeNumber(high, 3)}` : `${writeNumber(low, 3)} to ${writeNumber(high, 3)}`}`;
    find(".finding").textContent = writeFinding(cell, explained);
    drawThumbs(".input-planes", input, (channel, slice) => (rules.rank === 3 ? `slice ${slice + 1}` : nameChannel(channel)), (channel, slice) => channel === shown.channel && slice === shown.slice);
    drawThumbs(".output-planes", output, (filter, slice) => (rules.rank === 3 ? `slice ${slice + 1}` : `filter ${filter + 1}`), (filter, slice) => filter === shown.filter && slice === cell[0]);
};
const renew = () => {
    const source = field("source").value;
    for (const part of all(".of-picture")) part.hidden = source !== "picture";
    for (const part of all(".of-numbers")) part.hidden = source === "picture";
    find(".of-layer").hidden = field("kernel").value !== "layer";
    let problem = "";
    try { compute(); } catch (error) { problem = error.message; }
    find(".refusal").textContent = problem;
    find(".refusal").hidden = !problem;
    for (const part of all(".panels, .pad, .sum, .formula, .code, .both")) part.hidden = !!problem;
    if (problem) { find(".finding").textContent = ""; return; }
    find(".grids").classList.toggle("lines", rules.rank === 1);
    const {name, bias} = filters[shown.filter];
    find(".of-input").textContent = `Input ${bySides(input.size)}${input.channels > 1 ? ` x ${input.channels}` : ""}${rules.padding && !rules.transposed ? `, padded by ${rules.padding}` : ""}`;
    find(".of-kernel").textContent = `Kernel ${bySides(rules.kernel)}${filters.length > 1 ? `, filter ${shown.filter + 1}` : ""}${filters[0].kernels.length > 1 ? `, ${nameChannel(firstChannel(input, filters, rules, shown.filter) + ownChannel())}` : ""}`;
    field("kernel").value = name;
    if (document.activeElement !== field("bias")) field("bias").value = bias;
    drawKernel();
    drawCell();
    writeFacts();
    drawBoth();
    drawTables();
    link.follow();
};

