// What the whole page has in common; gradio calls it when the page is opened.
() => {
    // There are no accounts: a random name of this browser says whose a job is.
    if (!/(^|; )convscope_browser=/.test(document.cookie)) {
        const name = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0"));
        const manner = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
        document.cookie = `convscope_browser=${name.join("")}; path=/; max-age=31536000; ${manner}`;
    }

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
        if (data?.open) document.getElementById(`tab-${data.open}-button`)?.click();
    });

    // What is typed into a list filters it, instead of being added to what is chosen.
    document.addEventListener("click", ({target}) => { if (target.matches?.("input[role=combobox]")) target.select(); });

    // Gradio's lists report a choice that is made with the pointer, and once more as they lose the focus by it; and a slider
    // that was below the list reports that the pointer is let go of.
    let pressed = null;
    const hush = (event) => {
        if (pressed?.closest("[data-testid=dropdown-option]")) event.stopImmediatePropagation();
        if (event.type === "pointerup") pressed = null;
    };
    document.addEventListener("pointerdown", (event) => { pressed = event.target; }, true);
    for (const name of ["blur", "pointerup"]) document.addEventListener(name, hush, true);
}
