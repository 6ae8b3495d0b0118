// The list of jobs. The value is JSON: the names of jobs that have not ended. What the page does not know of them it
// asks for, {known: {name: version}, do?, name?}, and goes on asking while any of the jobs that it knows is busy.
const PAUSE = 2000, LATER = 10000, BUSY = ["running", "waiting", "stopping"];
const chip = element.querySelector(".chip"), list = element.querySelector("#job-list"), rows = list.querySelector("ol");
const tell = list.querySelector("input"), title = document.title;
const lines = new Map();
let order = [], pause = 0, isAsking = false, last = Promise.resolve();

const isBusy = (line) => BUSY.includes(line?.state);
const make = (tag, className, text = "") => Object.assign(document.createElement(tag), {className, textContent: text});
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// A button of a line asks first where something is lost, or where the job is somebody else's.
const ask = (row, name, [action, label, question], button) => {
    const box = make("div", "question"), yes = make("button", "yes", label), no = make("button", "", "Leave it");
    const leave = () => { box.remove(); button.focus(); };
    yes.onclick = () => { box.remove(); look({do: action, name}); row.querySelector(".open").focus(); };
    no.onclick = leave;
    box.append(make("p", "", question), no, yes);
    row.querySelector(".question")?.remove();
    row.append(box);
    no.focus();
};
const offer = (row, line) => {
    const key = JSON.stringify(line.actions), box = row.querySelector(".actions");
    if (box.dataset.key === key) return;
    const had = box.contains(document.activeElement);
    row.querySelector(".question")?.remove();
    box.dataset.key = key;
    box.replaceChildren(...line.actions.map((action) => {
        const button = make("button", "", action[1]);
        button.setAttribute("aria-label", `${action[1]}: ${line.name}`);
        button.onclick = () => action[2] ? ask(row, line.name, action, button) : act(line, action[0]);
        return button;
    }));
    if (had) (box.querySelector("button") ?? row.querySelector(".open")).focus();
};
const act = (line, action) => {
    look({do: action, name: line.name});
    if (action === "resume") show(line.name);
};
// In its tab; where that has to be opened first, what is asked for then says which job is to be in it.
const show = (name) => {
    list.hidePopover();
    last = last.then(() => {
        const tab = document.getElementById(`tab-${lines.get(name)?.opens}-button`);
        if (!tab || tab.ariaSelected === "true") return trigger("select", {name});
        props.value = JSON.stringify({open: name});
        tab.click();
        setTimeout(() => { props.value = ""; }, 500);
    });
};
const draw = (line) => {
    let row = rows.querySelector(`[data-name="${line.name}"]`);
    if (!row) {
        row = make("li", "job");
        row.dataset.name = line.name;
        row.append(make("button", "open"), make("span", "actions"), make("p", "about"), make("div", "progress"));
        row.querySelector(".progress").append(document.createElement("span"));
        row.querySelector(".open").onclick = () => show(line.name);
    }
    write(row.querySelector(".open"), line.title);
    row.querySelector(".open").disabled = !line.opens;
    write(row.querySelector(".about"), line.about);
    row.dataset.state = line.state;
    row.querySelector(".progress").hidden = line.share === null;
    row.querySelector(".progress span").style.width = `${100 * (line.share ?? 0)}%`;
    offer(row, line);
    return row;
};
const count = () => {
    const busy = [...lines.values()].filter(isBusy), waiting = busy.filter((line) => line.state === "waiting").length;
    const words = [busy.length > waiting && `${busy.length - waiting} running`, waiting && `${waiting} waiting`];
    write(chip, words.filter(Boolean).join(", ") || "No jobs");
    chip.classList.toggle("busy", busy.length > 0);
    return busy.length;
};

// The title says that a job of one's own is done, until somebody looks at the page.
const isSeen = () => document.visibilityState === "visible" && document.hasFocus();
const greet = () => { if (isSeen()) document.title = title; };
for (const event of ["focus", "visibilitychange", "pointerdown", "keydown"]) window.addEventListener(event, greet, true);
const announce = (line) => {
    const text = `${line.title}: ${line.state}`;
    if (isSeen()) return window.convscopeSay(text);
    document.title = `(done) ${title}`;
    try { if (tell.checked) new Notification(title, {body: text, tag: line.name}); } catch { /* some phones have none */ }
};
const may = () => window.Notification?.permission === "granted";
list.querySelector(".tell").hidden = !window.Notification;
tell.checked = may() && localStorage.getItem("convscope_tell") === "yes";
tell.onchange = async () => {
    if (tell.checked && !may()) await Notification.requestPermission();
    if (tell.checked && !may()) window.convscopeSay("This browser does not allow that; its settings for this page can.");
    tell.checked &&= may();
    localStorage.setItem("convscope_tell", tell.checked ? "yes" : "");
};

const take = (found) => {
    for (const line of found.lines) {
        if (isBusy(lines.get(line.name)) && !isBusy(line) && line.owner === "own") announce(line);
        lines.set(line.name, line);
    }
    for (const name of [...lines.keys()]) if (!found.order.includes(name)) {
        lines.delete(name);
        rows.querySelector(`[data-name="${name}"]`)?.remove();
    }
    found.lines.forEach(draw);
    if (order.join() !== found.order.join() || rows.children.length !== found.order.length) {
        order = found.order;
        const held = document.activeElement;
        rows.append(...order.map((name) => rows.querySelector(`[data-name="${name}"]`) ?? draw(lines.get(name))));
        if (rows.contains(held)) held.focus();
    }
    list.querySelector(".none").hidden = order.length > 0;
    if (found.said) window.convscopeSay(found.said);
};
const look = (asked = {}) => {
    clearTimeout(pause);
    isAsking = true;
    last = last.then(async () => {
        clearTimeout(pause);
        const known = Object.fromEntries([...lines].map(([name, line]) => [name, line.version]));
        const found = await server.follow({known, ...asked});
        isAsking = false;
        if (found) take(found);
        if (count()) pause = setTimeout(look, found ? PAUSE : LATER);
    }).catch(reportError);
    return last;
};

// What the page learns of by the way: from the server's answers, and from what is shown of a job that is busy.
window.convscopeJob = (name) => { if (!isBusy(lines.get(name)) && !isAsking) look(); };
watch("value", () => {
    const names = JSON.parse(props.value || "[]");
    if (!Array.isArray(names)) return;  // what the page says itself
    props.value = "";  // the same answer is news again
    if (names.some((name) => !isBusy(lines.get(name)))) look();
});
const place = () => {
    const at = chip.getBoundingClientRect();
    list.style.top = `${Math.max(at.bottom + 6, 6)}px`;
    const width = Math.min(480, innerWidth - 16);
    Object.assign(list.style, {width: `${width}px`, left: `${Math.max(at.right - width, 8)}px`});
};
list.addEventListener("beforetoggle", (event) => {
    if (event.newState === "open") place();
    for (const question of event.newState === "open" ? [] : rows.querySelectorAll(".question")) question.remove();
});
list.addEventListener("toggle", (event) => {
    chip.setAttribute("aria-expanded", event.newState === "open");
    if (event.newState === "open") look();
});
document.addEventListener("click", async (event) => {
    const name = event.target.closest?.("[data-job]")?.dataset.job;
    if (!name) return;
    await look();
    list.showPopover();
    const row = rows.querySelector(`[data-name="${name}"]`);
    (row?.querySelector(".actions button") ?? row?.querySelector(".open") ?? chip).focus();
});
if (!customElements.get("busy-job")) {
    customElements.define("busy-job", class extends HTMLElement {
        connectedCallback() { window.convscopeJob?.(this.dataset.name); }
    });
}
