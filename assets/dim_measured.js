// What was measured at another moment of a training is dimmed until the slider rests.
const dim = () => {
    const slider = document.querySelector("#time-moment input[type=range]");
    const measured = document.querySelector("#time-measured");
    if (!slider || !measured) return;
    const moment = measured.querySelector("[data-moment]")?.dataset.moment;
    measured.style.opacity = moment === undefined || moment === slider.value ? 1 : 0.4;
};
document.addEventListener("input", dim);
new MutationObserver(dim).observe(document.body, {childList: true, subtree: true});
