// Questions about stacks, with what Python has worked out: the notes' own come along, random ones are asked for.
const queue = [...told().questions], ABOUT = {notes: "the notes’ own, then any", size: "sizes", parameters: "parameters", receptive_field: "receptive fields"};
const UNITS = {k: 1e3, thousand: 1e3, m: 1e6, million: 1e6};
const HINTS = {size: "such as 28x28x6", parameters: "such as 760, or 138 million", receptive_field: "pixels, such as 7"};
const score = {asked: 0, right: 0};
let question = null;

const isRight = ({kind, answer, tolerance}, given) => {
    if (kind === "size") return (given.match(/\d{1,9}/g) ?? []).map(Number).join() === answer.join();
    const [, digits, unit] = /^([\d,]{1,20}(?:\.\d{1,9})?)\s*(k|thousand|m|million)?(?:\s.*)?$/.exec(given.trim().toLowerCase()) ?? [];
    return digits !== undefined && Math.abs(Number(digits.replaceAll(",", "")) * (UNITS[unit] ?? 1) - answer[0]) <= tolerance;
};
const takeNext = async () => {
    const kind = element.querySelector(".quiz-kind").value;
    if (kind !== "notes") queue.splice(0, queue.length, ...queue.filter((each) => each.kind === kind && each.isRandom));
    if (!queue.length) queue.push(...(await server.ask_quiz({kind})).map((each) => ({...each, isRandom: true})));
    question = queue.shift();
    const answer = element.querySelector(".answer");
    element.querySelector(".question").textContent = question.text;
    Object.assign(answer, {value: "", placeholder: HINTS[question.kind]});
    element.querySelector(".verdict").replaceChildren();
    answer.focus({preventScroll: true});
};
const judge = () => {
    const answer = element.querySelector(".answer"), right = isRight(question, answer.value);
    if (!answer.value.trim()) return answer.focus();
    if (!question.isJudged) score.asked += 1;
    if (!question.isJudged && right) score.right += 1;
    question.isJudged = true;
    const said = question.answer.map((value) => value.toLocaleString("en")).join(" × ");
    element.querySelector(".verdict").replaceChildren(
        make("p", {class: `finding ${right ? "good" : "bad"}`}, right ? `Right: ${said}.` : `No, it is ${said}.`, ` ${score.right} of ${score.asked} right so far.`),
        make("p", {class: "solution"}, question.solution),
        make("div", {class: "pad"}, make("button", {type: "button", class: "next", onclick: takeNext}, "Next question"),
            make("button", {type: "button", onclick: () => { turn("stack"); open(question); }}, "Look at it in the stack")));
    element.querySelector(".next").focus({preventScroll: true});
};
const startQuiz = () => { if (!question) takeNext(); };
element.querySelector(".quiz-kind").append(...Object.entries(ABOUT).map(([kind, title]) => make("option", {value: kind}, title)));
element.querySelector(".quiz-kind").addEventListener("change", takeNext);
element.querySelector(".quiz").addEventListener("submit", (event) => {
    event.preventDefault();
    judge();
});
