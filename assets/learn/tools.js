// What the scripts of all benches begin with.

/** An element, e.g. make("button", {type: "button", class: "chosen", onclick: step}, "Step"); null children are left out. */
const make = (tag, properties = {}, ...children) => build(document.createElement(tag), properties, children);

/** The same of SVG. */
const draw = (tag, properties = {}, ...children) =>
    build(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

const build = (node, properties, children) => {
    for (const [name, value] of Object.entries(properties)) {
        if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
        else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
};

/** A number as it is read: at most so many significant digits, a true minus sign, no 1.0000000002. */
const show = (value, digits = 4) => String(Number(Number(value).toPrecision(digits))).replace("-", "−");

/** What the server has told this bench. */
const told = () => JSON.parse(props.value || "{}");

/** A slider and a number field for the same value; `take` gets what either is set to, within the ends. */
const slider = (label, value, {min, max, step}, take) => {
    const pair = ["range", "number"].map((type) => make("input", {type, min, max, step, value, "aria-label": label}));
    for (const input of pair) input.addEventListener("input", () => {
        if (!(input.valueAsNumber >= min && input.valueAsNumber <= max)) return;
        for (const other of pair) if (other !== input) other.value = input.value;
        take(input.valueAsNumber);
    });
    return make("div", {class: "slider"}, make("span", {"aria-hidden": "true"}, label), pair);
};
