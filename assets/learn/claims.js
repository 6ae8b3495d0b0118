// The claims of the lecture: one is open; what is expected of it is said before it is checked on the server.
// What is received comes from ui/learn/claims.py. What was expected and found stays in this browser tab alone.
const find = (selector) => element.querySelector(selector), KEPT = "convscope-claims";
const MARKS = {holds: "✓", fails: "✗", open: "?"}, EXPECTED = {holds: "it holds", fails: "it does not hold"};
let scene = null, shown = null, pending = null, resting = 0;

const kept = (() => { try { return JSON.parse(sessionStorage.getItem(KEPT)) ?? {}; } catch { return {}; } })();
const keep = (name, more) => {
    kept[name] = {...kept[name], ...more};
    try { sessionStorage.setItem(KEPT, JSON.stringify(kept)); } catch { /* full, or forbidden: it is forgotten with the page */ }
};
const listed = () => scene.claims.filter((claim) => [claim.section, ""].includes(find("select").value));

/** Whether a prediction was right; null where there is none, or nothing can be told. */
const isRight = (claim, {expected, document} = {}) => {
    if (!document || expected === undefined || expected === null) return null;
    if (claim.guess) return document.number === null ? null : Math.abs(expected - document.number) <= claim.guess.share * Math.abs(document.number) + 1e-9;
    return document.verdict === "open" ? null : expected === document.verdict;
};
const inWords = (claim, expected) => claim.guess ? `${show(expected)} ${claim.guess.unit}`.trim() : EXPECTED[expected];
const judge = (claim, {expected, document}) => {
    if (expected === undefined || expected === null) return "";
    const right = isRight(claim, {expected, document}), said = `You expected ${claim.guess ? "" : "that "}${inWords(claim, expected)}`;
    const number = claim.guess && document.number !== null ? `; it is ${show(document.number)} ${claim.guess.unit}`.trimEnd() : "";
    return right === null ? `${said}.` : `${said}${number}: ${right ? "right" : claim.guess ? "not near" : "not so"}.`;
};

const list = () => {
    const sections = Object.entries(scene.sections).filter(([key]) => listed().some((claim) => claim.section === key));
    const entry = (claim) => {
        const verdict = kept[claim.name]?.document?.verdict;
        return make("button", {type: "button", "aria-current": String(claim.name === shown), onclick: () => open(claim.name, true)},
            make("span", {class: `mark ${verdict ?? ""}`, "aria-hidden": "true"}, MARKS[verdict] ?? "·"),
            make("span", {}, claim.title, make("span", {class: "beyond-view"}, verdict ? `: ${scene.verdicts[verdict]}` : ": not checked yet")));
    };
    const box = find(".list"), top = box.scrollTop;
    box.replaceChildren(...sections.flatMap(([key, title]) => [make("h2", {}, title), ...listed().filter((claim) => claim.section === key).map(entry)]));
    box.scrollTop = top;
    const done = scene.claims.filter((claim) => kept[claim.name]?.document), judged = done.map((claim) => isRight(claim, kept[claim.name])).filter((right) => right !== null);
    find(".score").textContent = `${done.length} of ${scene.claims.length} checked` + (judged.length ? `; ${judged.filter(Boolean).length} of ${judged.length} predictions right` : "");
};

const askFor = (claim, state) => {
    const form = find("form"), isAsked = state.expected === undefined && !state.document;
    find("legend").textContent = isAsked ? (claim.guess?.ask ?? "What do you expect?") : state.expected === null ? "" : `You expect ${claim.guess ? "" : "that "}${inWords(claim, state.expected)}.`;
    const ready = () => { find(".run").disabled = isAsked && !read(claim).isThere; };
    find(".answers").replaceChildren(...(!isAsked ? [] : claim.guess
        ? [make("label", {}, make("input", {class: "number", inputmode: "decimal", maxlength: 20, autocomplete: "off", "aria-label": claim.guess.ask, oninput: ready}), claim.guess.unit)]
        : Object.entries(EXPECTED).map(([value, text]) => make("label", {}, make("input", {type: "radio", name: "expected", value, onchange: ready}), text[0].toUpperCase() + text.slice(1)))));
    const isRead = Boolean(claim.command);
    find(".run").textContent = isRead ? "Show the newest result" : "Check it";
    find(".skip").hidden = !isAsked;
    find(".time").textContent = isRead ? "Networks have to be trained for this: the newest finished comparison that you can see is read." : claim.seconds >= scene.long ? `It takes about ${show(claim.seconds)} s.` : "";
    form.hidden = pending === claim.name || Boolean(state.document);
    find(".again").hidden = pending === claim.name || !state.document;
    ready();
};
const read = (claim) => {
    if (!claim.guess) { const chosen = find("[name=expected]:checked"); return {isThere: Boolean(chosen), expected: chosen?.value}; }
    const text = (find("input.number")?.value ?? "").replaceAll(",", "").replace("−", "-").trim(), expected = Number(text);
    return {isThere: text !== "" && Number.isFinite(expected), expected};
};

const ways = (claim, state) => {
    const links = [];
    if (claim.preset) links.push(make("a", {class: "train for-the-owner", href: `?tab=train&arms=${claim.preset}`}, "Train the networks: filled in"));
    if (claim.see && (state.document || claim.command)) links.push(make("a", {class: "see", href: `?${claim.see}`}, claim.command ? "Open its bench" : "Try it by hand"));
    if (claim.command) links.push(make("code", {class: "command for-the-owner"}, claim.command));
    find(".ways").replaceChildren(...links);
};

const draw_card = () => {
    const claim = scene.claims.find((each) => each.name === shown), state = kept[shown] ?? {}, place = listed().indexOf(claim), found = state.document;
    find("article").hidden = false;
    find("#claim-title").textContent = claim.title;
    find(".place").textContent = `${scene.sections[claim.section]}${place >= 0 ? `, ${place + 1} of ${listed().length}` : ""}`;
    find("blockquote").textContent = claim.claim;
    find(".working").hidden = pending !== shown;
    find(".result").hidden = !found && !state.problem;
    find(".result .scrolled").hidden = !found?.facts.length;
    const finding = find(".finding"), said = found ? scene.verdicts[found.verdict] : "";
    finding.className = `finding ${{holds: "good", fails: "bad"}[found?.verdict] ?? ""}`;
    finding.textContent = state.problem ?? (found ? `${said[0].toUpperCase()}${said.slice(1)}.` : "");
    find(".said").textContent = found ? judge(claim, state) : "";
    const agrees = {true: "yes", false: "no", null: "open"};
    find("tbody").replaceChildren(...(found?.facts ?? []).map((fact) => make("tr", {},
        ...[fact.what, fact.claimed, fact.found].map((text) => make("td", {}, text)),
        make("td", {class: `mark ${{true: "holds", false: "fails"}[fact.holds] ?? ""}`}, agrees[fact.holds]))));
    find(".about").textContent = found?.note ?? "";
    find(".control").textContent = found?.control ? `The check can tell: with something broken (${found.control.broken}) it ${scene.verdicts[found.control.verdict]}.` : "";
    askFor(claim, state);
    ways(claim, state);
    find(".back").disabled = place <= 0;
    find(".next").disabled = place < 0 ? listed().length === 0 : place === listed().length - 1;
};

const open = (name, follows = false) => {
    shown = name;
    list();
    draw_card();
    find("[aria-current=true]")?.scrollIntoView?.({block: "nearest"});
    if (!follows) return;
    find("#claim-title").focus({preventScroll: true});
    clearTimeout(resting);
    resting = setTimeout(() => {
        const query = new URLSearchParams(location.search);
        query.set("claim", name);
        history.replaceState(null, "", `?${query}`);
        window.convscopeClaim = name;
        trigger("release");
    }, 200);
};
const step = (by) => { const at = listed().findIndex((claim) => claim.name === shown); open(listed()[Math.max(0, at + by)].name, true); };

const run = (expected) => {
    if (kept[shown]?.expected === undefined) keep(shown, {expected});
    keep(shown, {problem: undefined});
    pending = shown;
    draw_card();
    trigger("submit", {name: shown});
};
window.convscopeClaimChecked = (answer) => {
    if (!answer.made || !pending) return;
    const name = answer.name ?? pending;
    keep(name, answer.problem !== undefined ? {problem: answer.problem} : {document: answer, problem: undefined});
    pending = null;
    list();
    draw_card();
    if (name === shown) find(".result").scrollIntoView({block: "nearest"});
};

find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const claim = scene.claims.find((each) => each.name === shown);
    run(kept[shown]?.expected === undefined ? read(claim).expected ?? null : kept[shown].expected);
});
find(".skip").addEventListener("click", () => run(null));
find(".again").addEventListener("click", () => run(null));
find(".stop").addEventListener("click", () => document.querySelector("#cancel")?.click());
find(".back").addEventListener("click", () => step(-1));
find(".next").addEventListener("click", () => step(1));
find("select").addEventListener("change", () => { if (!listed().some((claim) => claim.name === shown)) open(listed()[0].name, true); else { list(); draw_card(); } });

const take = () => {
    const next = told();
    if (!next.claims) return;
    const isFirst = scene === null;
    scene = next;
    if (isFirst) find("select").replaceChildren(make("option", {value: ""}, `All parts (${scene.claims.length})`),
        ...Object.entries(scene.sections).map(([value, title]) => make("option", {value}, `${title} (${scene.claims.filter((claim) => claim.section === value).length})`)));
    const wanted = scene.open || shown || scene.claims[0].name;
    window.convscopeClaim = wanted;
    if (wanted !== shown) open(wanted);
};
watch("value", take);
take();
