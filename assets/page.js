// What the whole page has in common; gradio calls it when the page is opened.
() => {
    // A message that no request is needed for.
    window.convscopeSay = (text) => {
        let box = document.getElementById("said");
        if (!box) {
            box = document.createElement("div");
            box.id = "said";
            box.setAttribute("role", "status");
            document.body.append(box);
        }
        box.textContent = text;
        clearTimeout(window.convscopeSilence);
        window.convscopeSilence = setTimeout(() => { box.textContent = ""; }, 4000);
    };

    // What an action is about may appear where nobody is looking: it is brought into view, and the keyboard to it.
    window.convscopeBring = async (place, control = "") => {
        for (let tries = 0; tries < 60; tries += 1) {
            const shown = document.querySelector(place), focused = control ? shown?.querySelector(control) : shown;
            if (focused?.checkVisibility()) {
                shown.scrollIntoView({block: "start"});
                if (control) focused.focus({preventScroll: true});
                return;
            }
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    };

    // Gradio's sliders report a value only when a pointer lets go of them: a key that is released, and Enter in their
    // number, have to count as well.
    document.addEventListener("keyup", (event) => {
        const input = event.target;
        if (!(input instanceof HTMLElement)) return;
        if (input.matches("input[type=range]")) input.dispatchEvent(new PointerEvent("pointerup", {bubbles: true}));
        if (event.key === "Enter" && input.matches("input[data-testid=number-input]")) input.blur();
    });

    // A link that names a shift opens there; else Shift opens where the class changes.
    window.convscopeStays = new URLSearchParams(location.search).has("dx");

    // What was measured at another shift than the one that is shown now is no longer beside it as if it were its own.
    document.addEventListener("shift-moved", ({detail}) => {
        for (const part of document.querySelectorAll("[data-shift]"))
            part.classList.toggle("stale", part.dataset.shift !== detail.join(","));
    });

    // On a phone the open sidebar would cover the page.
    if (window.innerWidth < 768) document.querySelector("#workbench.open .toggle-button")?.click();

    // A button of a result that leads on: to another tab, or to another sample.
    document.addEventListener("click", (event) => {
        const data = event.target.closest?.("[data-open], [data-show]")?.dataset;
        if (data?.show) document.querySelector(`#samples [data-name="${data.show}"]`)?.click();
        if (event.target.closest?.("#open-sidebar")) document.querySelector("#workbench .toggle-button").click();
        if (data?.open) document.getElementById(`tab-${data.open}-button`)?.click();
    });

    // What is typed into a list filters it, instead of being added to what is chosen. Gradio opens a list scrolled past
    // what is chosen, and cuts what does not fit.
    const showChosen = (list) => {
        const chosen = list?.querySelector("[aria-selected=true]");
        if (chosen) list.scrollTop += chosen.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
    };
    document.addEventListener("click", ({target}) => {
        if (!target.matches?.("input[role=combobox]")) return;
        target.select();
        for (const wait of [0, 50, 150]) setTimeout(() => showChosen(target.closest(".block")?.querySelector("[role=listbox]")), wait);
    });
    document.addEventListener("pointerover", ({target}) => { if (target.matches?.("input[role=combobox]")) target.title = target.value; });

    // Gradio's lists report a choice that is made with the pointer, and once more as they lose the focus by it; and a slider
    // that was below the list reports that the pointer is let go of.
    let pressed = null;
    const hush = (event) => {
        if (pressed?.closest("[data-testid=dropdown-option]")) event.stopImmediatePropagation();
        if (event.type === "pointerup") pressed = null;
    };
    document.addEventListener("pointerdown", (event) => { pressed = event.target; }, true);
    for (const name of ["blur", "pointerup"]) document.addEventListener(name, hush, true);

    // The first thing that the keyboard reaches leads past the sidebar to what was found.
    const skip = document.createElement("a");
    skip.id = "skip";
    skip.href = "#tabs";
    skip.textContent = "Skip to the result";
    skip.addEventListener("click", (event) => {
        event.preventDefault();
        const found = [...document.querySelectorAll("[role=tabpanel] :is(.finding, .empty)")];
        const target = found.find((each) => each.textContent && each.checkVisibility());
        if (!target) return;
        target.tabIndex = -1;
        target.focus();
        target.scrollIntoView({block: "nearest"});
    });
    document.body.prepend(skip);

    // What gradio and plotly leave without a name. A chart's words come with it; of its drawings, which lie on each
    // other, the first is the picture.
    const name = (node, key, value) => { if (node.getAttribute(key) !== value) node.setAttribute(key, value); };
    const nameAll = () => {
        for (const chart of document.querySelectorAll(".js-plotly-plot")) {
            for (const [index, drawing] of chart.querySelectorAll("svg.main-svg").entries()) {
                name(drawing, ...(index ? ["aria-hidden", "true"] : ["role", "img"]));
                if (!index && chart.layout?.meta?.words) name(drawing, "aria-label", chart.layout.meta.words);
            }
        }
        for (const thumbnail of document.querySelectorAll(".thumbnail-item[aria-label^=Thumbnail]")) {
            const picture = thumbnail.querySelector("img");
            if (picture?.alt) name(thumbnail, "aria-label", picture.alt);
        }
        for (const sidebar of document.querySelectorAll("#workbench")) {
            name(sidebar, "role", "region");
            name(sidebar, "aria-label", "Picture and model");
            name(sidebar.querySelector(".toggle-button"), "aria-label", "Picture and model");
        }
        for (const button of document.querySelectorAll("[aria-label='common.upload']")) {
            name(button, "aria-label", "Add files");
            name(button, "title", "Add files");
        }
    };
    // Cancel says what it would end.
    const nameCancel = () => {
        const bars = [...document.querySelectorAll("[role=progressbar][aria-label]")].filter((bar) => bar.checkVisibility());
        const doing = [...new Set(bars.map((bar) => bar.getAttribute("aria-label")))].join(", ");
        const cancel = document.getElementById("cancel");
        if (!cancel) return;
        name(cancel, "title", doing ? `Cancel: ${doing}` : "Ends what this page is computing for you; jobs are ended in their list");
        name(cancel, "aria-label", doing ? `Cancel: ${doing}` : "Cancel what this page is computing");
    };
    let isWaiting = false;
    new MutationObserver(() => {
        if (isWaiting) return;
        isWaiting = true;
        setTimeout(() => { isWaiting = false; nameAll(); nameCancel(); }, 200);
    }).observe(document.body, {childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label"]});
    nameAll();
    nameCancel();
}
