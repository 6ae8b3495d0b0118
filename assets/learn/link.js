// What is set in a bench, in the address of the page; the server is told, too, so that it stays there.
/** Keeps what `write` gives under `key` of the address; `take` says whether a link brings something else. */
const linkText = (key, write) => {
    let last = "", resting = 0;
    window[`convscopeLink_${key}`] = () => last;
    const follow = () => {
        const text = write(), query = new URLSearchParams(location.search);
        if (text === last || !element.checkVisibility()) return;
        last = text;
        query.set(key, text);
        if (!text) query.delete(key);
        history.replaceState(null, "", `?${query}`);
        trigger("release");
    };
    return {
        follow: () => { clearTimeout(resting); resting = setTimeout(follow, 200); },
        take: (text = last) => text !== last && ((last = text), true),
    };
};
/** The same of controls, "stride:2,mode:reflect", as far as they are not as they began or as an example has set them;
    `more` gives what is no control. */
const readControl = ({type, checked, value}) => (type === "checkbox" ? (checked ? "yes" : "") : value);
const setControl = (control, value) => { if (control.type === "checkbox") control.checked = Boolean(value); else control.value = value; };
const linkControls = (key, names, more = () => ({}), unsaid = []) => {
    const readAll = () => Object.fromEntries(names.map((name) => [name, readControl(element.querySelector(`[name=${name}]`))]));
    let begun = {}, base = {};
    const link = linkText(key, () => {
        const changed = Object.entries(readAll()).filter(([name, value]) => value !== base[name] && !unsaid.includes(value));
        return [...Object.entries(more()), ...changed].map((pair) => pair.join(":")).join(",");
    });
    return {
        begin: () => { begun = base = readAll(); },
        setBase: (isExample) => { base = isExample ? readAll() : begun; },
        follow: link.follow,
        // Of a link the controls, those included that are as they begin; null where it says what is shown already.
        take: (text) => link.take(text) ? {...begun, ...Object.fromEntries(text.split(",").map((pair) => pair.split(":")))} : null,
    };
};
