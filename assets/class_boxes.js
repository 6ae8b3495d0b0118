// Boxes of pictures, one for each class. The value is JSON: {key, boxes: [{name, pictures: [numbers]}]}; the pictures
// themselves are sent with `submit`, once recording pauses, and `window.convscopeKept` hears which the server has.
// Before it stands what is possible: limits.boxes, pictures (of a box), least, and name (characters).
const FRAME_MS = 100, PRESS_MS = 300, BATCH_CHARS = 600_000, MOST_AT_ONCE = 200, PATIENCE_MS = 30_000;
const say = (text) => { element.querySelector(".boxes-say").textContent = text; };
const list = element.querySelector(".boxes");
const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
// Outlives this element, which the page removes while other settings are shown.
const state = window.convscopeBoxes ??= {
    key: random(), made: 0, named: 2, boxes: [1, 2].map((number) => ({name: `Class ${number}`, pictures: []})),
};
let recording = null, waiting = 0;

const make = (tag, attributes = {}, text = "") => {
    const made = Object.assign(document.createElement(tag), attributes);
    if (text) made.textContent = text;
    return made;
};
const all = () => state.boxes.flatMap((box) => box.pictures);
const save = () => {
    const boxes = state.boxes.map(({name, pictures}) => ({name, pictures: pictures.map((picture) => picture.number)}));
    props.value = JSON.stringify({key: state.key, boxes});
    element.querySelector("[data-do=add]").disabled = state.boxes.length >= limits.boxes;
    if (document.querySelector("#data-view")?.checkVisibility()) trigger("input");  // a look at other pictures is stale
};

// --- sending ---------------------------------------------------------------------------------------------------
const send = () => {
    if (waiting || recording) return;
    const batch = [];
    let size = 0;
    for (const picture of all()) {
        if (picture.kept) continue;
        size += picture.data.length;
        if (batch.length && (size > BATCH_CHARS || batch.length >= MOST_AT_ONCE)) break;
        batch.push([picture.number, strip(picture.data)]);
    }
    if (!batch.length) return;
    waiting = setTimeout(() => {
        waiting = 0;
        say("The server does not answer; the pictures are still here, and are sent again with the next one.");
    }, PATIENCE_MS);
    trigger("submit", {pictures: batch});
};
window.convscopeKept = ({sent, missing, message}) => {
    clearTimeout(waiting);
    waiting = 0;
    const tried = new Set(sent), away = new Set(missing);
    for (const picture of all()) picture.kept = !away.has(picture.number);
    if (message) {  // they would be refused again
        for (const box of state.boxes) box.pictures = box.pictures.filter((picture) => picture.kept || !tried.has(picture.number));
        say(message);
        draw();
        save();
        return;
    }
    showCounts();
    send();
};

// --- drawing ---------------------------------------------------------------------------------------------------
const count = (box) => {
    const number = box.pictures.length, away = box.pictures.filter((picture) => !picture.kept).length;
    const words = number === 1 ? "1 picture" : `${number} pictures`;
    if (recording === box || !away) return number < limits.least ? `${words}; at least ${limits.least} are needed` : words;
    return `${words}, ${away} on the way to the server`;
};
const showCounts = () => state.boxes.forEach((box) => { if (box.part) box.part.querySelector(".count").textContent = count(box); });
const showPicture = (box, picture) => {
    const item = make("li"), button = make("button", {type: "button", tabIndex: -1, title: "Delete this picture"}, "×");
    button.setAttribute("aria-label", `Delete picture ${box.pictures.indexOf(picture) + 1} of ${box.name}`);
    button.dataset.delete = picture.number;
    item.append(make("img", {src: picture.data, alt: ""}), button);
    const thumbs = box.part.querySelector(".thumbs");
    thumbs.prepend(item);  // the newest is in view
    thumbs.querySelectorAll("button").forEach((each, place) => { each.tabIndex = place ? -1 : 0; });
};
const drawBox = (box) => {
    const part = box.part = make("section", {className: "class-box"});
    const name = make("input", {type: "text", value: box.name, maxLength: limits.name});
    name.setAttribute("aria-label", "Name of the class");
    name.addEventListener("input", () => { box.name = name.value; save(); });
    const bar = make("div", {className: "pad"});
    for (const [action, text] of [["camera", "Camera"], ["files", "Files…"], ["remove", REMOVE]]) {
        const button = make("button", {type: "button"}, text);
        button.dataset.do = action;
        if (action === "camera") button.setAttribute("aria-pressed", "false");
        bar.append(button);
    }
    const viewer = make("div", {className: "viewer", hidden: true});
    const record = make("button", {type: "button", className: "record"}, HOLD);
    record.setAttribute("aria-pressed", "false");
    wireRecord(record, box);
    viewer.append(record);
    const files = make("input", {type: "file", multiple: true, accept: "image/*", hidden: true});
    files.addEventListener("change", async () => { await addFiles(box, [...files.files]); files.value = ""; });
    part.append(name, bar, viewer, files, make("p", {className: "count"}), make("ol", {className: "thumbs"}));
    part.addEventListener("dragover", (event) => { event.preventDefault(); part.classList.add("over"); });
    part.addEventListener("dragleave", () => part.classList.remove("over"));
    part.addEventListener("drop", (event) => {
        event.preventDefault();
        event.stopPropagation();
        part.classList.remove("over");
        addFiles(box, [...event.dataTransfer.files]);
    });
    list.append(part);
    box.pictures.forEach((picture) => showPicture(box, picture));
};
const draw = () => {
    closeCamera();
    list.replaceChildren();
    state.boxes.forEach(drawBox);
    showCounts();
};

// --- filling ---------------------------------------------------------------------------------------------------
const add = (box, data) => {
    if (box.pictures.length >= limits.pictures) {
        say(`A box holds at most ${limits.pictures} pictures; put more into a zip.`);
        return false;
    }
    const picture = {number: state.made, data, kept: false};
    state.made += 1;
    box.pictures.push(picture);
    showPicture(box, picture);
    box.part.querySelector(".count").textContent = count(box);
    return true;
};
const addFiles = async (box, files) => {
    const strange = [];
    say("");
    for (const file of files) {
        const data = await shrinkFile(file);
        if (!data) strange.push(file.name);
        else if (!add(box, data)) break;
    }
    if (strange.length) say(`This browser cannot open ${strange.length === 1 ? strange[0] : `${strange.length} of the files, such as ${strange[0]}`}; a zip takes more kinds of pictures.`);
    save();
    showCounts();
    send();
};
const REMOVE = "Remove", HOLD = "Hold to record, or press", STOP = "Recording: press to stop";
let ticking = 0;
const startRecording = (box, button) => {
    recording = box;
    button.textContent = STOP;
    button.setAttribute("aria-pressed", "true");
    const take = () => { const data = takePicture(); if (data && !add(box, data)) stopRecording(); };
    say("");
    take();
    if (recording) ticking = setInterval(take, FRAME_MS);
};
const stopRecording = () => {
    if (!recording) return;
    clearInterval(ticking);
    const box = recording, button = box.part.querySelector(".record");
    recording = null;
    button.textContent = HOLD;
    button.setAttribute("aria-pressed", "false");
    save();
    showCounts();
    send();
};
// Held for a while, it records until it is let go of; pressed shortly, until it is pressed again.
const wireRecord = (button, box) => {
    let since = 0, wasOn = false, isHeld = false;
    const down = () => {
        if (isHeld) return;
        isHeld = true;
        wasOn = recording === box;
        since = performance.now();
        if (wasOn) stopRecording(); else startRecording(box, button);
    };
    const up = () => {
        if (isHeld && !wasOn && performance.now() - since > PRESS_MS) stopRecording();
        isHeld = false;
    };
    button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); down(); });
    for (const end of ["pointerup", "pointercancel"]) button.addEventListener(end, up);
    button.addEventListener("contextmenu", (event) => event.preventDefault());  // a phone's long press
    button.addEventListener("keydown", (event) => {
        if (event.key !== " " && event.key !== "Enter") return;
        event.preventDefault();
        if (!event.repeat) down();
    });
    button.addEventListener("keyup", (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); up(); } });
    button.addEventListener("blur", () => { isHeld = false; });
    button.addEventListener("click", (event) => {  // of a screen reader, which presses no key and no pointer
        if (event.detail === 0) { down(); isHeld = false; }
    });
};
const showCamera = async (box, button) => {
    const viewer = box.part.querySelector(".viewer"), wasOpen = !viewer.hidden;
    stopRecording();
    closeCamera();
    if (wasOpen) return;
    say("");
    const problem = await openCamera(() => {
        stopRecording();
        viewer.hidden = true;
        button.setAttribute("aria-pressed", "false");
    });
    if (problem || !stream) { say(problem); return; }
    viewer.append(video);
    viewer.hidden = false;
    button.setAttribute("aria-pressed", "true");
    video.play();
    viewer.scrollIntoView({block: "nearest"});
};

// --- buttons ---------------------------------------------------------------------------------------------------
const ACTIONS = {
    camera: showCamera,
    files: (box) => box.part.querySelector("input[type=file]").click(),
    remove: (box, button) => {
        if (box.pictures.length && !button.dataset.asked) {
            button.dataset.asked = "yes";
            button.textContent = `Lose ${box.pictures.length === 1 ? "1 picture" : `${box.pictures.length} pictures`}? Press again`;
            setTimeout(() => { delete button.dataset.asked; button.textContent = REMOVE; }, 4000);
            return;
        }
        state.boxes.splice(state.boxes.indexOf(box), 1);
        draw();
        save();
        element.querySelector("[data-do=add]").focus();
    },
    add: () => {
        state.named += 1;
        const box = {name: `Class ${state.named}`, pictures: []};
        state.boxes.push(box);
        drawBox(box);
        showCounts();
        save();
        const name = box.part.querySelector("input");
        name.focus();
        name.select();
    },
};
element.addEventListener("click", (event) => {
    const button = event.target.closest("button"), part = button?.closest(".class-box");
    const box = state.boxes.find((each) => each.part === part && part);
    if (button?.dataset.do) ACTIONS[button.dataset.do](box, button);
    if (!button?.dataset.delete) return;
    const next = button.closest("li").nextElementSibling ?? button.closest("li").previousElementSibling;
    box.pictures = box.pictures.filter((picture) => picture.number !== Number(button.dataset.delete));
    button.closest("li").remove();
    if (next) { next.querySelector("button").tabIndex = 0; next.querySelector("button").focus(); }
    save();
    showCounts();
});
element.addEventListener("keydown", (event) => {  // the arrows go from picture to picture
    const step = {ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling"}[event.key];
    const item = event.target.dataset?.delete && event.target.closest("li"), next = step && item && item[step];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.querySelector("button").tabIndex = 0;
    next.querySelector("button").focus();
});
draw();
save();
send();
