// The picker of methods, and the settings of those that are chosen. The browser itself marks what is chosen, and sends
// it with whatever is asked next; `TABLE` comes from ui/explain/settings.py.
const facts = () => JSON.parse(document.querySelector("#explain-facts [data-facts]")?.dataset.facts ?? "{}");
const chosen = () => (props.value || "").split(",").filter(Boolean);
const node = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
};
const list = element.querySelector(".methods");
list.replaceChildren(...Object.entries(TABLE.groups).map(([group, title]) => {
    const rows = TABLE.methods.filter((method) => method.group === group).map(({name, title: label, about}) => {
        const row = node("div", {}, node("button", {type: "button", className: "only", textContent: label, title: about}),
            node("span", {className: "cost"}), node("button", {type: "button", className: "more"}));
        row.dataset.name = name;
        return row;
    });
    return rows.length ? node("details", {}, node("summary", {textContent: title}), ...rows) : "";
}));
const tellTime = (seconds) => (seconds < 3 ? "" : seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
const mark = () => {
    const {off = {}, seconds = {}} = facts(), now = chosen();
    for (const row of list.querySelectorAll("[data-name]")) {
        const [only, more] = row.querySelectorAll("button"), {name} = row.dataset, isShown = now.includes(name), title = only.textContent;
        only.setAttribute("aria-pressed", isShown);
        only.disabled = name in off;
        only.title = off[name] ?? TABLE.methods.find((method) => method.name === name).about;
        more.hidden = name in off || isShown && now.length === 1;
        more.textContent = isShown ? "−" : "+";
        more.title = isShown ? `Take ${title} away` : `Show ${title} as well`;
        more.setAttribute("aria-label", more.title);
        const cost = row.querySelector(".cost");
        cost.textContent = name in off ? "" : tellTime(seconds[name] ?? 0);
        cost.title = "About how long it takes here";
    }
    for (const group of list.querySelectorAll("details")) if (group.querySelector("[aria-pressed=true]")) group.open = true;
    window.convscopeMethods = now;
    document.dispatchEvent(new Event("explain-methods"));
};
list.addEventListener("click", (event) => {
    const button = event.target.closest("button"), name = button?.closest("[data-name]")?.dataset.name;
    if (!name) return;
    const now = chosen();
    const next = button.className === "only" ? [name]
        : now.includes(name) ? now.filter((each) => each !== name) : [...now, name];
    if (next.join() === now.join()) return;
    props.value = next.join();
    mark();
    trigger("select");
});
document.addEventListener("explain-facts", mark);
watch("value", mark);
mark();
