// The settings of the methods that are chosen: "occlusion.window:32,layer:conv_head,baseline:blur", what is as usual
// left out. `TABLE` and `BASELINES` come from ui/explain/settings.py.
const node = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
};
const readAll = () => Object.fromEntries((props.value || "").split(",").filter(Boolean).map((pair) => pair.split(":")));
const facts = () => JSON.parse(document.querySelector("#explain-facts [data-facts]")?.dataset.facts ?? "{}");
const set = (name, value, usual) => {
    const all = readAll();
    if (value === "" || String(value) === String(usual)) delete all[name]; else all[name] = value;
    const text = Object.entries(all).map((pair) => pair.join(":")).join(",");
    if (text === props.value) return;
    props.value = text;
    trigger("select");
};
const pickFrom = (label, name, choices, usual, all) => {
    const select = node("select", {onchange: ({target}) => set(name, target.value, usual)}, ...choices.map(([value, text]) => new Option(text, value)));
    select.value = all[name] ?? usual;
    return node("label", {}, label, select);
};
const show = () => {
    const names = window.convscopeMethods ?? [], methods = TABLE.methods.filter(({name}) => names.includes(name)), all = readAll(), parts = [];
    if (methods.some(({layer}) => layer)) {
        const layers = (facts().layers ?? []).map((name) => [name, name]);
        parts.push(pickFrom("Layer", "layer", [["", "what suits the method"], ...layers.reverse()], "", all));
    }
    if (methods.some(({baseline}) => baseline)) parts.push(pickFrom("Compared with", "baseline", Object.entries(BASELINES), "mean", all));
    for (const {name, title, parameters} of methods) if (parameters.length) {
        const fields = parameters.map(({name: key, title: label, about, low, high, usual, whole}) => {
            const path = `${name}.${key}`, input = node("input", {
                type: "number", min: low, max: high, step: whole ? 1 : "any", value: all[path] ?? usual ?? "", placeholder: usual ?? "fits",
                onchange: ({target}) => { if (target.checkValidity()) set(path, target.value, usual ?? ""); else target.reportValidity(); },
            });
            return node("label", {title: about}, label, input);
        });
        parts.push(node("fieldset", {}, node("legend", {textContent: title}), ...fields));
    }
    const focused = element.contains(document.activeElement) ? [...element.querySelectorAll("input, select")].indexOf(document.activeElement) : -1;
    element.querySelector(".settings").replaceChildren(...parts);
    if (focused >= 0) element.querySelectorAll("input, select")[focused]?.focus();
};
document.addEventListener("explain-methods", show);
watch("value", show);
show();
