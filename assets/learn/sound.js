// Scanning a sound: the word moves in the browser alone. What is received comes from ui/learn/sound.py.
const find = (selector) => element.querySelector(selector);
const range = find("input[type=range]"), canvas = find("canvas"), chart = find(".sound-scores");
const CELL = {width: 6, height: 5}, TALL = 100, VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
let scan = null, audio = null, playing = null;

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const samples = (text) => new Int16Array(bytes(text).buffer);
const seconds = (frame) => frame * scan.seconds_per_frame;
const time = (frame) => `${seconds(frame).toFixed(2)} s`;
const percent = (share) => `${(100 * share).toFixed(0)} %`;
const best = (scores) => scores.reduce((found, score, place) => (score > scores[found] ? place : found), 0);

/** The colour of a level from 0 to 255. */
const shade = (level) => {
    const at = (level / 255) * (VIRIDIS.length - 1), low = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return VIRIDIS[low].map((value, i) => value + (at - low) * (VIRIDIS[low + 1][i] - value));
};

/** The spectrogram with the word at one of its places: the background, and over it the frames that hear the word. */
const levelsAt = (index) => {
    const levels = scan.levels.slice(), size = scan.seen * scan.bands;
    if (scan.patches.length) levels.set(scan.patches.subarray(index * size, (index + 1) * size), scan.places[index] * scan.bands);
    return levels;
};

const paint = (levels, found) => {
    const {frames, bands} = scan, small = new OffscreenCanvas(frames, bands), image = new ImageData(frames, bands);
    for (let t = 0; t < frames; t++)
        for (let band = 0; band < bands; band++)
            image.data.set([...shade(levels[t * bands + band]), 255], 4 * ((bands - 1 - band) * frames + t));
    small.getContext("2d").putImageData(image, 0, 0);
    canvas.width = frames * CELL.width;
    canvas.height = bands * CELL.height;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    const frame = (place, color, dash) => {
        context.strokeStyle = color;
        context.lineWidth = 4;
        context.setLineDash(dash);
        context.strokeRect(place * CELL.width + 2, 2, scan.seen * CELL.width - 4, canvas.height - 4);
    };
    if (scan.trained_at + scan.seen <= frames) frame(scan.trained_at, "#ffffff", [8, 6]);
    if (found !== null) frame(found, "#f97316", []);
};

const plotScores = (scores, found) => {
    const top = Math.max(4, ...scores), bottom = Math.min(-4, ...scores), middle = scan.seen / 2;
    const y = (score) => TALL * (top - score) / (top - bottom);
    const bar = (place, kind) => draw("rect", {x: place, y: 0, width: scan.seen, height: TALL, class: kind});
    chart.setAttribute("viewBox", `0 0 ${scan.frames} ${TALL}`);
    chart.replaceChildren(
        ...(scan.trained_at < scores.length ? [bar(scan.trained_at, "fixed")] : []),
        ...(found === null ? [] : [bar(found, "found")]),
        draw("line", {x1: 0, x2: scan.frames, y1: y(0), y2: y(0), class: "zero"}),
        draw("polyline", {points: scores.map((score, place) => `${place + middle},${y(score)}`).join(" "), class: "scores"}),
    );
};

const listTimes = () => {
    const whole = scan.frames * scan.seconds_per_frame, step = whole > 6 ? 2 : 0.4;
    const marks = Array.from({length: Math.floor(whole / step + 1e-6) + 1}, (_, i) => i * step);
    find(".sound-times").replaceChildren(...marks.map((mark) =>
        make("span", {style: `left: ${(100 * mark) / whole}%`}, `${show(mark, 2)} s`)));
};

/** The sentence and the table: both answers side by side. */
const answer = (scores, index) => {
    const place = best(scores), isFound = scores[place] > 0, listens = scan.trained_at < scores.length;
    const fixed = listens ? scores[scan.trained_at] : null, isHeard = listens && fixed > 0;
    const where = scan.hasWord ? `${scan.title} begins at ${time(scan.places[index])}. ` : `${scan.title}. `;
    const alone = listens ? `Listening only at ${time(scan.trained_at)}, the network says ${isHeard ? "yes" : "no"}` : "The recording ends before the fixed network listens";
    const slid = isFound ? `finds the word at ${time(place)}` : "finds no such word anywhere";
    find(".finding").textContent = `${where}${alone}; slid over the recording, the same network ${slid}.`;
    const row = (...cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
    find("tbody").replaceChildren(
        row(`only at ${time(scan.trained_at)}`, listens ? (isHeard ? "yes" : "no") : "–", listens ? show(fixed, 3) : "–"),
        row("everywhere", isFound ? `yes, at ${time(place)}` : "no", show(scores[place], 3)),
    );
    canvas.setAttribute("aria-label", `Spectrogram of ${time(scan.frames)}${isFound ? `, the word found from ${time(place)} to ${time(place + scan.seen)}` : ""}`);
    chart.setAttribute("aria-label", `Score over time: at most ${show(scores[place], 3)} at ${time(place)}, at least ${show(Math.min(...scores), 3)}`);
    return isFound ? place : null;
};

/** How often both are right, by where the word is: measured on new recordings, half of them with another word. */
const plotAccuracy = () => {
    const {places, fixed, scanned} = scan.accuracy, last = places[places.length - 1];
    const x = (place) => 44 + (250 * place) / last, y = (share) => 8 + 84 * (1 - share) / 0.6;
    const line = (shares, kind) => draw("polyline", {class: kind, points: shares.map((share, i) => `${x(places[i])},${y(Math.max(share, 0.4))}`).join(" ")});
    const text = (at, left, words, anchor) => draw("text", {x: left, y: at, "text-anchor": anchor}, words);
    const away = fixed.filter((_, i) => places[i] !== scan.trained_at);
    const mean = (shares) => shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const words = `Right answers by where the word begins: fixed ${percent(fixed[places.indexOf(scan.trained_at)])} at ${time(scan.trained_at)}, ${percent(mean(away))} elsewhere (guessing: 50 %); slid, ${percent(mean(scanned))} everywhere.`;
    const plot = find(".sound-accuracy");
    plot.setAttribute("aria-label", words);
    plot.replaceChildren(
        draw("line", {x1: 44, x2: 294, y1: y(0.5), y2: y(0.5), class: "zero"}),
        line(fixed, "fixed"), line(scanned, "found"),
        text(y(1) + 4, 40, "100 %", "end"), text(y(0.5) + 4, 40, "50 %", "end"),
        text(116, 44, "0 s", "start"), text(116, 294, `word at ${time(last)}`, "end"),
    );
    plot.nextElementSibling.textContent = words;
};

const update = () => {
    const index = Number(range.value), scores = scan.scores[index];
    find("output").textContent = scan.hasWord ? time(scan.places[index]) : "";
    const found = answer(scores, index);
    paint(levelsAt(index), found);
    plotScores(scores, found);
};

const receive = () => {
    const news = told();
    if (!news.scores) return;
    stop();
    scan = {...news, levels: bytes(news.levels), patches: bytes(news.patches), hasWord: news.places.length > 1};
    range.max = scan.places.length - 1;
    if (scan.hasWord && range.dataset.touched === undefined) range.value = Math.floor(scan.places.length * 0.7);
    find(".sound-place").hidden = !scan.hasWord;
    listTimes();
    plotAccuracy();
    update();
};

// --- hearing it ------------------------------------------------------------------------------------------------
const stop = () => {
    playing?.stop();
    playing = null;
    find("[data-play]").textContent = "▶ Play";
};
const play = () => {
    if (playing) return stop();
    audio ??= new AudioContext();
    const heard = Float32Array.from(samples(scan.background), (value) => value / 32768), word = samples(scan.word);
    const start = Math.round(seconds(scan.places[Number(range.value)]) * scan.rate);
    word.forEach((value, i) => { heard[start + i] += value / 32768; });
    const buffer = audio.createBuffer(1, heard.length, scan.rate);
    buffer.copyToChannel(heard, 0);
    playing = audio.createBufferSource();
    playing.buffer = buffer;
    playing.connect(audio.destination);
    playing.onended = stop;
    playing.start();
    find("[data-play]").textContent = "■ Stop";
};

range.addEventListener("input", () => {
    range.dataset.touched = "";
    stop();
    update();
});
find("[data-play]").addEventListener("click", () => scan && play());
watch("value", receive);
receive();
