"""A button that asks before anything is lost."""

import gradio as gr
from gradio.components import Component


def ask_first(button: gr.Button, about: Component, text: str) -> gr.HTML:
    """Has a button ask, in the browser, before it does anything.

    Args:
        button: The button; its title is also the answer that means yes.
        about: What is asked about; its value takes the place of ``{}`` in the text.
        text: What is asked, and what will be lost.

    Returns:
        The question, whose ``select`` means yes.
    """
    elem_id = f"{button.elem_id}-question"
    question = gr.HTML(
        html_template=_TEMPLATE,
        css_template=_STYLE,
        js_on_load=_SCRIPT,
        elem_id=elem_id,
        elem_classes="beyond-view",
        text=text,
        yes=button.value,
    )
    button.click(None, about, None, js=_ASK.replace("ELEM_ID", elem_id))
    return question


_TEMPLATE = """<dialog><form method="dialog"><p></p>
<menu><button value="yes"></button><button value="" autofocus>Cancel</button></menu></form></dialog>"""
_STYLE = """
dialog { background: var(--background-fill-primary, white); border: 1px solid var(--border-color-primary);
  border-radius: 10px; color: var(--body-text-color); height: fit-content; inset: 0; margin: auto !important;
  max-width: min(30rem, 90vw); padding: 1.2rem; position: fixed; }
dialog::backdrop { background: rgb(0 0 0 / 45%); }
p { line-height: 1.45; margin: 0 0 1rem; overflow-wrap: anywhere; }
menu { display: flex; flex-direction: row-reverse; gap: 0.6rem; margin: 0; padding: 0; }
button { background: none; border: 1px solid var(--border-color-primary); border-radius: 6px; cursor: pointer;
  min-height: 2.4rem; min-width: 6rem; padding: 0 1rem; }
button[value=yes] { background: #b91c1c; border-color: #b91c1c; color: white; }
button:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
"""
_SCRIPT = """
const dialog = element.querySelector("dialog");
dialog.querySelector("[value=yes]").textContent = props.yes;
dialog.addEventListener("ask", (event) => {
    dialog.querySelector("p").textContent = props.text.replace("{}", event.detail ?? "");
    dialog.returnValue = "";
    dialog.showModal();
});
dialog.addEventListener("close", () => { if (dialog.returnValue === "yes") trigger("select"); });
"""
_ASK = """(about) => {
    document.querySelector("#ELEM_ID dialog").dispatchEvent(new CustomEvent("ask", {detail: about}));
}"""
