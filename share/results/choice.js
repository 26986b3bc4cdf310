// What the reader chose of a page of results, in `chosen`: names that are left out, and one of
// several for each of its other members. `contenders` are the names, with a mark each.

const shown = (name) => !chosen.hidden.has(name);
const redraws = [];  // what is drawn anew when the choice changes
function choose(change) {
    Object.assign(chosen, change);
    for (const redraw of redraws) redraw();
}

// A choice of one of several: [[value, word], …] for a member of `chosen`.
function segments(member, label, list) {
    const box = h("span", { class: "segments", role: "group", "aria-label": label,
        id: `by-${member}` });
    const draw = () => box.replaceChildren(...list.map(
        ([ value, word, title ]) => button(
            word, title ?? `${label}: ${word}`, () => choose({ [member]: value }), {
                "aria-pressed": String(chosen[member] === value),
                class: chosen[member] === value ? "on" : "",
                "data-value": value
            })));
    redraws.push(draw);
    draw();
    return box;
}

// A name with its mark.
const named = (name, more = "") => h(
    "span", { class: `named ${more}`, title: name.length > 24 ? name : null }, markIcon(name),
        h("bdi", {}, name));

// ---- parts --------------------------------------------------------------------------------------

function part(id, title, ...content) {
    return h(
        "section", { id, "data-short": shortNames[id] ?? title, "aria-labelledby": `${id}-title` },
        h("h2", { id: `${id}-title` }, title), printKey(), ...content.flat().filter(Boolean));
}
// On paper the names stand with each part.
const printKey = () =>
    h("p", { class: "print-key", "aria-hidden": "true" }, contenders.map((name) => named(name)));

// The names in the head, which can be left out.
function drawLegend() {
    const box = byId("legend");
    const draw = () => box.replaceChildren(
        ...contenders.map((name) => h(
            "button", {
                type: "button",
                class: "contender",
                "data-contender": name,
                "aria-pressed": String(shown(name)),
                title: `${shown(name) ? "Leave out" : "Show"} ${name}`,
                onclick: () => {
                    const hidden = new Set(chosen.hidden);
                    if (!hidden.delete(name)) hidden.add(name);
                    choose({ hidden });
                }
            },
            markIcon(name), h("bdi", {}, name))),
        chosen.hidden.size > 0 ?
            button("all", "Show all", () => choose({ hidden: new Set() }), { class: "link" }) :
            "");
    redraws.push(draw);
    draw();
}
