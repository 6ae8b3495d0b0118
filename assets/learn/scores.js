// Scores of three classes, and what softmax with cross-entropy and the multiclass SVM make of them.
const find = (selector) => element.querySelector(selector);
const CLASSES = ["cat", "car", "frog"], LIMIT = 10, MARGIN = 1, LENGTH = 3;
const NOTES = [[[3.2, 5.1, -1.7], 0], [[1.3, 4.9, 2.0], 1], [[2.2, 2.5, -3.1], 2]];
let scores = [...NOTES[0][0]], right = 0;

// --- arithmetic: as analysis/losses ------------------------------------------------------------------------------
const sum = (values) => values.reduce((total, value) => total + value, 0);
const softmax = (values) => {
    const top = Math.max(...values), powers = values.map((value) => Math.exp(value - top)), total = sum(powers);
    return powers.map((power) => power / total);
};
const measure = (values, y) => {
    const probabilities = softmax(values), top = Math.max(...values);
    const margins = values.map((value, j) => (j === y ? 0 : Math.max(0, value - values[y] + MARGIN)));
    const inside = margins.map((margin) => Number(margin > 0));
    return {
        probabilities, margins,
        entropy: top + Math.log(sum(values.map((value) => Math.exp(value - top)))) - values[y],
        softGradient: probabilities.map((p, j) => p - Number(j === y)),
        hinge: sum(margins),
        hingeGradient: inside.map((is, j) => (j === y ? -sum(inside) : is)),
    };
};

// --- pictures ----------------------------------------------------------------------------------------------------
const place = (score) => 60 + (340 * (Math.min(Math.max(score, -LIMIT), LIMIT) + LIMIT)) / (2 * LIMIT);
const arrow = (from, by, y, name) => {
    const to = place(from + LENGTH * by), start = place(from), back = Math.sign(start - to) * 6;
    if (Math.abs(to - start) < 1.5) return draw("circle", {cx: start, cy: y, r: 2.5, class: `${name} still`});
    return draw("path", {d: `M${start} ${y}H${to}m${back} -4L${to} ${y}l${back} 4`, class: `arrow ${name}`});
};
const drawArrows = (found) => {
    find(".arrows").replaceChildren(...CLASSES.flatMap((name, j) => {
        const y = 26 + 44 * j;
        return [
            draw("text", {x: 4, y: y + 4, class: j === right ? "right" : ""}, name),
            draw("path", {d: `M60 ${y}H400`, class: "axis"}),
            draw("circle", {cx: place(scores[j]), cy: y, r: 5, class: "dot"}),
            arrow(scores[j], -found.softGradient[j], y - 12, "one"),
            arrow(scores[j], -found.hingeGradient[j], y + 12, "two"),
        ];
    }), ...[-10, -5, 0, 5, 10].map((tick) => draw("text", {x: place(tick), y: 148, class: "tick"}, show(tick))));
    const say = (gradient) => CLASSES.map((name, j) => `${name} ${show(-gradient[j], 2)}`).join(", ");
    find(".arrows").setAttribute("aria-label", `Minus the gradient. Cross-entropy: ${say(found.softGradient)}; SVM: ${say(found.hingeGradient)}`);
};
const drawCurve = (found) => {
    const steps = Array.from({length: 101}, (_, i) => -LIMIT + (2 * LIMIT * i) / 100);
    const at = (score) => measure(scores.map((value, j) => (j === right ? score : value)), right);
    const most = Math.max(...steps.map((score) => at(score).hinge), 1);
    const height = (loss) => 165 - (150 * loss) / most;
    const line = (key) => "M" + steps.map((score) => `${place(score).toFixed(1)} ${height(at(score)[key]).toFixed(1)}`).join("L");
    const flat = Math.max(...scores.filter((_, j) => j !== right)) + MARGIN;
    find(".curve").replaceChildren(...[
        flat < LIMIT ? draw("rect", {x: place(flat), y: 15, width: 400 - place(flat), height: 150, class: "flat"}) : null,
        draw("path", {d: "M60 15V165H400", class: "axis"}),
        draw("path", {d: line("entropy"), class: "line one"}), draw("path", {d: line("hinge"), class: "line two"}),
        draw("circle", {cx: place(scores[right]), cy: height(found.entropy), r: 5, class: "one"}),
        draw("circle", {cx: place(scores[right]), cy: height(found.hinge), r: 5, class: "two"}),
        ...[0, most].map((loss) => draw("text", {x: 54, y: height(loss) + 4, class: "tick end"}, show(loss, 3))),
        ...[-10, -5, 0, 5, 10].map((tick) => draw("text", {x: place(tick), y: 182, class: "tick"}, show(tick))),
    ].filter(Boolean));
    find(".curve").setAttribute("aria-label", `Both losses against the score of ${CLASSES[right]}; the SVM is 0 from ${show(flat)} on`);
    find(".curve ~ figcaption").textContent = `Loss against the score of ${CLASSES[right]}, the others as they are. Grey: the `
        + `SVM's flat region, from ${show(flat)} on, where it teaches nothing.`;
};

// --- words and numbers -------------------------------------------------------------------------------------------
const fix = (value, digits = 2) => make("data", {value}, (Object.is(Math.round(value * 100), -0) ? 0 : value).toFixed(digits).replace("-", "−"));
const tabulate = (found) => {
    const heads = ["class", "score s", "eˢ", "probability p", "cross-entropy gradient", "margin max(0, sⱼ − sᵧ + 1)", "SVM gradient"];
    find("table").replaceChildren(
        make("caption", {}, "What the two losses make of the scores"),
        make("thead", {}, make("tr", {}, heads.map((head) => make("th", {scope: "col"}, head)))),
        make("tbody", {}, CLASSES.map((name, j) => make("tr", {class: j === right ? "chosen" : null},
            make("th", {scope: "row"}, j === right ? `${name} (right)` : name),
            make("td", {}, fix(scores[j], 1)),
            make("td", {}, fix(Math.exp(scores[j]), Math.exp(scores[j]) < 1 ? 2 : 1)),
            make("td", {}, fix(found.probabilities[j])), make("td", {}, fix(found.softGradient[j])),
            make("td", {}, j === right ? "–" : fix(found.margins[j], 1)), make("td", {}, fix(found.hingeGradient[j], 0))))),
        make("tfoot", {}, make("tr", {}, make("th", {scope: "row"}, "loss"), make("td"), make("td"), make("td"),
            make("td", {class: "entropy"}, fix(found.entropy)), make("td", {class: "hinge"}, fix(found.hinge, 1)), make("td"))));
};
const renew = () => {
    const found = measure(scores, right), name = CLASSES[right], best = CLASSES[scores.indexOf(Math.max(...scores))];
    const parts = found.margins.filter((_, j) => j !== right).map((margin) => show(margin, 3)).join(" + ");
    const flat = found.hinge === 0 ? ` It is flat here: ${name} is at least ${MARGIN} above all others, so only cross-entropy goes on pushing.` : "";
    find(".finding").textContent = `The picture is a ${name}; the highest score has ${best}. Cross-entropy −ln ${found.probabilities[right].toFixed(2)} = `
        + `${found.entropy.toFixed(2)}; SVM ${parts} = ${show(found.hinge, 3)}.${flat}`;
    drawArrows(found);
    drawCurve(found);
    tabulate(found);
};
const layOut = () => {
    find(".fields").replaceChildren(...CLASSES.map((name, j) => slider(name, scores[j], {min: -LIMIT, max: LIMIT, step: 0.1}, (value) => {
        scores[j] = value;
        renew();
    })), make("fieldset", {}, make("legend", {}, "The picture is a"), CLASSES.map((name, j) => make("label", {},
        make("input", {type: "radio", name: "right-class", checked: j === right, onchange: () => { right = j; renew(); }}), name))));
    renew();
};
find(".presets").replaceChildren(...NOTES.map(([values, y]) => make("button", {type: "button", onclick: () => {
    [scores, right] = [[...values], y];
    layOut();
}}, `A ${CLASSES[y]}: ${values.map((value) => show(value)).join(", ")}`)));
layOut();
