// Parts that several views share: the choice of a layer and channel, the chosen neurons, bars.

function poolChoice(only) {
    const model = models[state.model];
    const layers = model.layers.filter((layer) => !only || only.some(([ l ]) => l === layer.layer));
    const channels =
        model.channels(state.layer)
            .filter((c) => !only || only.some(([ l, k ]) => l === state.layer && k === c));
    const option = (value, chosen) =>
        h("option", { value, selected: value === chosen }, String(value));
    return h(
        "span", { class: "pool" },
        h("label", {}, "Layer ",
          h("select", {
              id: "layer",
              onchange: (event) => {
                  const l = Number(event.target.value),
                        open = only?.filter(([ k ]) => k === l).map(([, c ]) => c) ??
                      model.channels(l);
                  go({
                      layer: l,
                      channel: open.includes(state.channel) ? state.channel : open[0] ?? 0,
                      look: [ 1, 0, 0 ],
                      lasso: []
                  },
                     true);
              }
          },
            layers.map((layer) => option(layer.layer, state.layer)))),
        h("label", {}, "Channel ",
          h("select", {
              id: "channel",
              onchange: (event) =>
                  go({ channel: Number(event.target.value), look: [ 1, 0, 0 ], lasso: [] }, true)
          },
            channels.map((c) => option(c, state.channel)))));
}

function chips() {
    if (state.neurons.length === 0) return null;
    return h(
        "span", { class: "chips", "aria-label": "Chosen neurons" },
        state.neurons.map(
            (x) =>
                h("span", { class: "chip" }, nameOf(x),
                  button(
                      "×", `Leave ${nameOf(x)} out`, () => choose(x, true),
                      { "aria-label": `Leave ${nameOf(x)} out` }))),
        state.neurons.length > 1 ?
            button(
                "none", "Choose no neuron",
                () => go({ neurons: [], colour: "loss", kind: "input" }, true)) :
            null);
}

function bar(share, signed = false, colour = null) {
    const width = 100 * clamp(Math.abs(share), 0, 1);
    return h(
        "span", { class: signed ? "meter signed" : "meter", "aria-hidden": "true" }, h("span", {
            style: `width:${signed ? width / 2 : width}%;${
                        signed ? (share < 0 ? "right:50%;" : "left:50%;") : ""}` +
                `background:${
                        colour ??
                        (signed && share < 0 ? css(diverging(-0.8)) :
                             signed          ? css(diverging(0.8)) :
                                               "var(--accent)")}`
        }));
}

const pieces = (list) =>
    h("span", { class: "pieces" }, list.map((one) => h("bdi", {}, asName(one))));

// A link-like button for a neuron; with Shift or Ctrl it is added to the chosen.
function neuronButton(x) {
    return button(
        nameOf(x),
        `Layer ${x.l}, channel ${x.c}, neuron ${
            x.n}: show where it fires (Shift: add it to the chosen)`,
        (event) => choose(x, event.shiftKey || event.ctrlKey || event.metaKey),
        { class: "neuron" + (isChosen(x) ? " on" : ""), "data-neuron": nameOf(x) });
}

function tokenLine(t, lead) {
    return h(
        "li", {},
        button(
            [ lead, h("span", { class: "excerpt", dir: "auto" }, excerpt(t)) ],
            `Sequence ${sequenceOf(t)}, position ${positionOf(t)}`, () => go({ token: t }, true),
            { class: "line", "data-go": t }));
}

function section(title, extra, ...content) {
    return h(
        "details", { open: true, class: "section" }, h("summary", {}, title), extra, ...content);
}
