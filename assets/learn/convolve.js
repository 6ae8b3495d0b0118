// Convolution in one to three dimensions, as torch.nn.functional has it. What is true is analysis/convolution; this is
// the same arithmetic where it answers at once. A tensor is {channels, size: [depth, rows, columns], data}: a picture
// is one slice deep, a signal is one row of it as well.
// `rules`: {rank, kernel: [depth, rows, columns], stride, padding, mode, dilation, groups, transposed, flip, rule}.
const volume = ([depth, rows, columns]) => depth * rows * columns;
const toIndex = ([, rows, columns], [z, y, x]) => (z * rows + y) * columns + x;
const toPlace = ([, rows, columns], index) => [Math.floor(index / (rows * columns)), Math.floor(index / columns) % rows, index % columns];
const alongAxis = (rules, axis) => axis < 3 - rules.rank
    ? {kernel: 1, stride: 1, padding: 0, dilation: 1}
    : {kernel: rules.kernel[axis], stride: rules.stride, padding: rules.padding[axis] ?? rules.padding, dilation: rules.dilation};
const spanOf = ({kernel, dilation}) => dilation * (kernel - 1) + 1;
const outputLength = (length, rules, axis) => {
    const along = alongAxis(rules, axis), {stride, padding} = along;
    if (rules.transposed) return (length - 1) * stride - 2 * padding + spanOf(along);
    return Math.floor((length + 2 * padding - spanOf(along)) / stride) + 1;
};
const outputSize = (size, rules) => size.map((length, axis) => outputLength(length, rules, axis));
// Where the padding takes a cell outside from: a place inside, or -1 for zero.
const PADDED = {
    zeros: () => -1,
    reflect: (i, length) => (i < 0 ? -i : 2 * (length - 1) - i),
    replicate: (i, length) => (i < 0 ? 0 : length - 1),
    circular: (i, length) => ((i % length) + length) % length,
};
const sourceOf = (i, length, mode) => (i >= 0 && i < length ? i : PADDED[mode](i, length));
// The places along an axis, those in the padding and those that it repeats among them, that some window looks at.
const listSeen = (length, rules, axis) => {
    const {kernel, stride, padding, dilation} = alongAxis(rules, axis), seen = new Set();
    for (let out = 0; out < outputLength(length, rules, axis); out += 1) for (let k = 0; k < kernel; k += 1) {
        const i = out * stride - padding + k * dilation, source = sourceOf(i, length, rules.mode);
        seen.add(i);
        if (source >= 0) seen.add(source);
    }
    return seen;
};
// What each cell of the kernel meets at one place of the output: `place` in the input (outside it in the padding),
// `from`, the index there, -1 for zero. A transposed layer leaves out the cells that meet nothing.
const listTaps = (size, rules, out) => {
    const taps = [];
    for (let tap = 0; tap < volume(rules.kernel); tap += 1) {
        const at = toPlace(rules.kernel, tap), place = [], inside = [];
        for (let axis = 0; axis < 3; axis += 1) {
            const {stride, padding, dilation} = alongAxis(rules, axis);
            const i = rules.transposed
                ? (out[axis] + padding - at[axis] * dilation) / stride
                : out[axis] * stride - padding + at[axis] * dilation;
            place.push(i);
            inside.push(rules.transposed ? (Number.isInteger(i) && i >= 0 && i < size[axis] ? i : -1) : sourceOf(i, size[axis], rules.mode));
        }
        const from = inside.includes(-1) ? -1 : toIndex(size, inside);
        if (from >= 0 || !rules.transposed) taps.push({tap, place, from});
    }
    return taps;
};
// The weight that a tap meets: a true convolution turns the kernel around, on every axis.
const weightOf = (kernel, rules, tap) => kernel[rules.flip ? kernel.length - 1 - tap : tap];
const middleOf = (values) => values.toSorted((a, b) => a - b)[(values.length - 1) >> 1];
// A filter: {kernels: one for each channel of its group, divisor, bias}; filters of a group follow each other. Here is what one place of the output is made of, channel by channel.
const firstChannel = (input, filters, rules, filter) => Math.floor(filter / (filters.length / rules.groups)) * (input.channels / rules.groups);
const explainCell = (input, filters, rules, filter, out) => {
    const {kernels, divisor, bias} = filters[filter], first = firstChannel(input, filters, rules, filter);
    const taps = listTaps(input.size, rules, out), cells = volume(input.size);
    const parts = kernels.map((kernel, c) => {
        const products = taps.map(({tap, place, from}) => {
            const value = from < 0 ? 0 : input.data[(first + c) * cells + from], weight = weightOf(kernel, rules, tap);
            const isPadding = place.some((i, axis) => i < 0 || i >= input.size[axis]);
            return {tap, place, value, weight, product: value * weight, isPadding};
        });
        const sum = rules.rule === "median" ? middleOf(products.map(({value}) => value)) : products.reduce((total, {product}) => total + product, 0);
        return {channel: first + c, products, sum};
    });
    return {parts, divisor, bias, value: parts.reduce((total, {sum}) => total + sum, 0) / divisor + bias};
};
const convolve = (input, filters, rules) => {
    const size = outputSize(input.size, rules), cells = volume(size), plane = volume(input.size), data = new Float64Array(filters.length * cells);
    for (let index = 0; index < cells; index += 1) {
        const taps = listTaps(input.size, rules, toPlace(size, index));
        filters.forEach(({kernels, divisor, bias}, f) => {
            const first = firstChannel(input, filters, rules, f);
            let sum = 0;
            kernels.forEach((kernel, c) => {
                const start = (first + c) * plane;
                if (rules.rule === "median") sum += middleOf(taps.map(({from}) => (from < 0 ? 0 : input.data[start + from])));
                else for (const {tap, from} of taps) if (from >= 0) sum += input.data[start + from] * weightOf(kernel, rules, tap);
            });
            data[f * cells + index] = sum / divisor + bias;
        });
    }
    return {channels: filters.length, size, data};
};
// Every overlap of two planes, also partial ones: what associativity is about.
const convolveFully = (plane, kernel, flip) => {
    const padding = kernel.size.map((length) => length - 1), filter = {kernels: [kernel.data], divisor: 1, bias: 0};
    return convolve(plane, [filter], {rank: 3, kernel: kernel.size, stride: 1, padding, mode: "zeros", dilation: 1, groups: 1, flip});
};
// How the output gets its size, as analysis/convolution/sizes.py writes it.
const writeFormula = (length, rules, axis) => {
    const {kernel, stride, padding, dilation} = alongAxis(rules, axis), result = outputLength(length, rules, axis);
    const span = (end) => (dilation === 1 ? `${kernel}` : `${dilation}*(${kernel} - 1) ${end} 1`);
    if (rules.transposed) return `(${length} - 1)*${stride} - 2*${padding} + ${span("+")} = ${result}`;
    const free = length + 2 * padding - spanOf({kernel, dilation});
    return `floor((${length} + 2*${padding} - ${span("-")}) / ${stride}) + 1 = floor(${free} / ${stride}) + 1 = ${result}`;
};
