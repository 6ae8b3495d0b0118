// The strip of a lesson: opens what the address names, and sends each answer once.
const KEY = "convscope-lesson", find = (part) => element.querySelector(part);
const query = new URLSearchParams(location.search);
const strip = find(".lesson"), store = sessionStorage;
const opened = query.has("lesson") ? {lesson: query.get("lesson"), step: Number(query.get("step") ?? 1)}
    : JSON.parse(store.getItem(KEY) ?? "null");  // after a reload: the address says nothing of it any more
let lesson = null, step = 1;

const readAnswers = () => JSON.parse(store.getItem(`${KEY}-${lesson.name}`) ?? "{}");
const keepAnswer = (found) => store.setItem(`${KEY}-${lesson.name}`, JSON.stringify({...readAnswers(), [step]: found}));
const go = (number) => { location.search = lesson.steps[number - 1].link; };

const showQuestion = (question) => {
    find(".question").hidden = !question;
    if (!question) return;
    find(".ask").textContent = question.ask;
    const choices = Object.entries(question.choices);
    find(".choices").replaceChildren(...choices.map(([key, text]) => {
        const label = document.createElement("label"), input = document.createElement("input");
        Object.assign(input, {type: "radio", name: "lesson-choice", value: key});
        label.append(input, ` ${text}`);
        return label;
    }));
    find(".typed").hidden = choices.length > 0;
    find(".unit").textContent = question.unit;
    find(".send").textContent = question.kind === "predict" ? "That is what I expect" : "Answer";
};

const showAnswer = (found) => {
    find(".said").textContent = (found?.says ?? "") + (found?.kept === false ? " (Not handed in: there is no room for more answers.)" : "");
    find(".said").dataset.right = found ? Boolean(found.right) : "";
    for (const input of element.querySelectorAll(".question input, .send")) input.disabled = Boolean(found?.says && !found.again);
};

const show = () => {
    const now = lesson.steps[step - 1];
    store.setItem(KEY, JSON.stringify({lesson: lesson.name, step}));
    find(".title").textContent = lesson.title;
    find(".place").textContent = `Step ${step} of ${lesson.steps.length}`;
    find(".text").textContent = now.text;
    showQuestion(now.question);
    showAnswer(readAnswers()[step]);
    find(".back").disabled = step === 1;
    find(".next").textContent = step === lesson.steps.length ? "End of the lesson" : "Next";
    document.body.dataset.lessonHides = now.hide.join(" ");
    document.body.classList.add("in-lesson");
    strip.hidden = false;
};

const leave = () => {
    strip.hidden = true;
    store.removeItem(KEY);
    delete document.body.dataset.lessonHides;
    document.body.classList.remove("in-lesson");
};

const unfold = (isOpen) => {
    store.setItem(`${KEY}-folded`, isOpen ? "" : "yes");
    find(".whole").hidden = !isOpen;
    find(".fold").setAttribute("aria-expanded", isOpen);
    find(".fold").textContent = isOpen ? "Fold" : "Unfold";
};
unfold(!store.getItem(`${KEY}-folded`));
find(".fold").addEventListener("click", () => unfold(find(".whole").hidden));
find(".leave").addEventListener("click", leave);
find(".back").addEventListener("click", () => go(step - 1));
find(".next").addEventListener("click", () => step === lesson.steps.length ? leave() : go(step + 1));
find(".name input").value = localStorage.getItem(`${KEY}-name`) ?? "";
find(".name input").addEventListener("change", (event) => localStorage.setItem(`${KEY}-name`, event.target.value));
find(".question").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = element.querySelector(".choices input:checked")?.value ?? find(".number").value.trim();
    if (!chosen) {
        find(".said").textContent = "Choose or type an answer first.";
        return;
    }
    find(".said").textContent = "Looking…";
    find(".send").disabled = true;
    const shown = Object.fromEntries(new URLSearchParams(location.search));
    trigger("submit", {lesson: lesson.name, step, answer: chosen, name: find(".name input").value, shown});
});
watch("value", () => {
    const found = JSON.parse(props.value || "{}");
    if (!lesson || !found.made) return;
    if (found.problem) showAnswer({says: found.problem, again: true});
    else {
        keepAnswer(found);
        showAnswer(found);
    }
});

if (opened) server.open_lesson(opened.lesson).then((found) => {
    if (found.problem) {
        store.removeItem(KEY);
        window.convscopeSay?.(found.problem);
        return;
    }
    lesson = found;
    step = Math.min(Math.max(Math.round(opened.step) || 1, 1), found.steps.length);
    show();
});
