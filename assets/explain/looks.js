// How maps are drawn: the stage listens, the server learns the sign alone, so that a link has it.
const fields = [...element.querySelectorAll("[name]")];
element.querySelector("[name=colors]").replaceChildren(...COLORMAPS.map((name) => new Option(name, name)));
const read = ({type, checked, value}) => (type === "checkbox" ? checked : value);
const tell = () => {
    const looks = Object.fromEntries(fields.map((field) => [field.name, read(field)]));
    window.convscopeLooks = {...looks, opacity: Number(looks.opacity), share: Number(looks.share), clip: Number(looks.clip)};
    document.dispatchEvent(new Event("explain-looks"));
};
window.convscopeSign = (sign) => {
    element.querySelector("[name=sign]").value = sign;
    tell();
};
element.addEventListener("input", (event) => {
    tell();
    if (event.target.name !== "sign") return;
    const query = new URLSearchParams(location.search);
    query.set("show", event.target.value);
    history.replaceState(null, "", `?${query}`);
    trigger("release");
});
tell();
