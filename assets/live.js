// A network before a camera. The value is JSON: {model, classes} or {message}. A picture is sent when the answer to the
// last one is there, at most ten a second.
const LEAST_MS = 100, RATE_OVER = 10, NAMED = 12;
const MUTE = "The server does not answer; try again.";
const find = (selector) => element.querySelector(selector), start = find("[data-do=start]");
let model = "", asked = 0;

const say = (text, isProblem = false) => {
    const place = find(".live-say");
    if (place.textContent !== text) place.textContent = text;
    place.classList.toggle("bad", isProblem);
};
const show = (source) => find(".live-seen").replaceChildren(source);
const ask = async (picture) => {
    const about = model;
    let answer;
    try {
        answer = await server.answer({model, picture: strip(picture)});
    } catch {
        answer = {};
    }
    if (about !== model) return null;
    if (!answer.bars) { closeCamera(); say(answer.message ?? MUTE, true); return null; }
    find(".live-bars").innerHTML = answer.bars;  // escaped where it was made
    say(answer.said);
    asked += 1;
    Object.assign(element.dataset, {asked, best: answer.best});
    return answer;
};
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const watchCamera = async () => {
    const mine = stream, times = [];
    while (stream && stream === mine) {
        const since = performance.now(), picture = takePicture(), answer = picture && await ask(picture);
        closeUnseen();
        if (answer && stream === mine) {
            times.push(performance.now());
            if (times.length > RATE_OVER) times.shift();
            const rate = (times.length - 1) * 1000 / (times.at(-1) - times[0]);
            if (times.length > 2) find(".live-rate").textContent = `${rate.toFixed(1)} answers a second. The network itself works for ${Math.max(1, Math.round(answer.ms))} ms on each of them; the rest is the camera's, and the way to the server and back.`;
        }
        await wait(Math.max(1, LEAST_MS - (performance.now() - since)));
    }
};
start.addEventListener("click", async () => {
    if (stream) { closeCamera(); return; }
    say("Opening the camera…");
    const problem = await openCamera(() => {
        start.textContent = "Start the camera";
        find(".live-rate").textContent = "";
    });
    if (!stream) { say(problem, problem !== ""); return; }
    show(video);
    video.play();
    start.textContent = "Stop the camera";
    watchCamera();
});
find("[data-do=file]").addEventListener("click", () => find("input").click());
find("input").addEventListener("change", async (event) => {
    const picture = await shrinkFile(event.target.files[0]);
    event.target.value = "";
    closeCamera();
    if (!picture) { say("This browser cannot open that file as a picture.", true); return; }
    show(Object.assign(new Image(), {src: picture, alt: "The picture that is asked about"}));
    ask(picture);
});
const receive = () => {
    const {classes = [], message = "", ...told} = JSON.parse(props.value || "{}");
    closeCamera();
    model = told.model ?? "";
    find(".live").hidden = !model;
    find(".live-bars").replaceChildren();
    const names = classes.slice(0, NAMED).join(", ") + (classes.length > NAMED ? ", …" : "");
    say(model ? `${model} tells apart: ${names}.` : message);
};
watch("value", receive);
receive();
