// What the page offers beside its tabs: a view for a projector, a tour, and a fresh start. Nothing is asked of the server.
// `element` is gradio's.
const menu = element.querySelector("details");
const STEPS = [
    ["classify", "#workbench", "One picture, one model", "Choose them here: click a sample, upload or drop a picture, pick a model. Every tab looks at these two."],
    ["classify", "#classify-result", "What does it see?", "The answer in one sentence, the five best classes, and the picture at the size the network gets."],
    ["shift", "#shift-stage", "Does it stay when the picture moves?", "Drag the picture, press the arrow keys or click the map. Where the red line runs, the class changes."],
    ["explain", "#explain", "Why this class?", "Maps of the pixels that speak for and against a class, by several methods, and what each layer shows."],
    ["train", "#tab-train", "Train one yourself", "On drawn shapes, garments or your own pictures; then shift and explain what you trained. Evaluate, the tab before it, counts over whole data sets."],
];
let at = -1, box = null, before = null;

const leave = () => {
    document.body.classList.remove("presenting");
    element.querySelector("[data-do=present]").setAttribute("aria-pressed", "false");
};
const endTour = () => {
    document.querySelector(".toured")?.classList.remove("toured");
    box?.remove();
    box = null;
    before?.focus();
};
// A tab's parts come into being when it is opened for the first time.
const point = async (place, step) => {
    document.querySelector(".toured")?.classList.remove("toured");
    for (let tries = 0; tries < 100 && !document.querySelector(place); tries += 1)
        await new Promise((done) => setTimeout(done, 50));
    if (at === step && box) document.querySelector(place)?.classList.add("toured");
};
const show = (step) => {
    at = step;
    const [tab, place, title, text] = STEPS[step], button = document.getElementById(`tab-${tab}-button`);
    if (button?.getAttribute("aria-selected") !== "true") button?.click();
    if (place === "#workbench" && innerWidth >= 768) document.querySelector("#workbench:not(.open) .toggle-button")?.click();
    point(place, step);
    const last = step === STEPS.length - 1;
    box.querySelector("h2").textContent = title;
    box.querySelector("p").textContent = text;
    box.querySelector(".count").textContent = `${step + 1} of ${STEPS.length}`;
    box.querySelector("[data-go='-1']").disabled = step === 0;
    box.querySelector("[data-go='1']").textContent = last ? "Done" : "Next";
    box.querySelector("[data-go='1']").focus();
};
const tour = () => {
    leave();
    before = menu.querySelector("summary");
    box = document.createElement("section");
    box.id = "tour";
    box.setAttribute("role", "dialog");
    box.setAttribute("aria-labelledby", "tour-title");
    box.innerHTML = `<h2 id="tour-title"></h2><p aria-live="polite"></p><div class="pad"><span class="count"></span>
        <button type="button" data-go="-1">Back</button><button type="button" data-go="1">Next</button>
        <button type="button" data-go="0">End the tour</button></div>`;
    box.addEventListener("click", (event) => {
        const go = event.target.closest("button")?.dataset.go;
        if (go === undefined) return;
        const next = at + Number(go);
        if (go === "0" || next >= STEPS.length) endTour(); else show(next);
    });
    document.body.append(box);
    show(0);
};
const WORK = {
    present: (button) => {
        const isOn = document.body.classList.toggle("presenting");
        button.setAttribute("aria-pressed", String(isOn));
        if (isOn) window.convscopeSay("Large type, and only the stage. Escape brings the rest back.");
    },
    tour,
    reset: () => {
        sessionStorage.removeItem("picture");
        location.assign(location.pathname);
    },
};
element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button) return;
    menu.open = false;
    WORK[button.dataset.do](button);
});
document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (menu.open) { menu.open = false; menu.querySelector("summary").focus(); }
    else if (box) endTour();
    else leave();
});
