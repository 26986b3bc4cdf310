// Puts the page together: the heads of views, keys, and what happens when the state changes.

const opened = {
    view: null,
    key: ""
};
let renderTurn = 0;

const makers = {
    text: {
        open: openTextView,
        update: updateTextView,
        bar: textBar,
        key: () => `${state.pair}${state.model}`,
        available: () => text.count > 0
    },
    map: {
        open: openMapView,
        update: updateMapView,
        bar: mapBar,
        key: () => `${state.pair}${state.model}.${state.layer}.${state.channel}`,
        available: () => models.some((model) => mapped(model).length > 0)
    },
    usage: {
        open: openUsageView,
        bar: usageBar,
        key: () => `${state.pair}${state.model}.${state.layer}.${state.channel}.${
            state.neurons.map(nameOf)}.${dark}`,
        available: () => models[0].layers.length > 0
    },
    patch: {
        open: openPatchView,
        bar: patchBar,
        key: () => `${state.patch}${dark}`,
        available: () => Boolean(page.patch)
    },
    trace: {
        open: openTraceView,
        bar: traceBar,
        update: updateTraceView,
        key: () => `${state.trace}${dark}`,
        available: () => Boolean(page.traces?.length)
    }
};

function drawTabs() {
    byId("tabs").replaceChildren(...views.map((view, i) => {
        const there = makers[view.id].available();
        return h(
            "button", {
                type: "button",
                role: "tab",
                id: `tab-${view.id}`,
                "aria-selected": String(view.id === state.view),
                "aria-controls": "main",
                tabindex: view.id === state.view ? "0" : "-1",
                disabled: !there,
                title: there ? `${view.name} (${i + 1})` :
                                `${view.name}: not on this page. ${reasons[view.id] ?? ""}`,
                onclick: () => showView(view.id)
            },
            view.name);
    }));
}

const reasons = {
    patch: "Give sgatlin scope --facts FILE.json.",
    trace: "Give sgatlin scope --prompt TEXT --answer TEXT.",
    map: "It was left out."
};

function showView(id) {
    if (!makers[id].available())
        return notice(`${views.find((view) => view.id === id).name}: not on this page`);
    const change = { view: id }, model = models[state.model];
    if (id === "map" && !model.map(state.layer, state.channel) && mapped(model).length > 0)
        [change.layer, change.channel] =
            mapped(model).find(([ l ]) => l === state.layer) ?? mapped(model)[0];
    return go(change, true);
}

function drawModels() {
    const box = byId("models");
    box.hidden = models.length < 2;
    if (box.hidden) return;
    box.replaceChildren(
        ...models.map(
            (model, i) => button(
                model.name, `Show ${model.name}`, () => go({ model: i, pair: false }, true), {
                    "aria-pressed": String(!state.pair && state.model === i),
                    class: !state.pair && state.model === i ? "on" : ""
                })),
        button(
            "both", "Both beside each other (b)", () => go({ pair: !state.pair }, true),
            { "aria-pressed": String(state.pair), class: state.pair ? "on" : "" }));
}

async function render(now, before) {
    const turn = ++renderTurn,
          maker = makers[state.view].available() ? makers[state.view] : makers.text;
    await prepareText();
    if (turn !== renderTurn) return;
    drawTabs();
    drawModels();
    byId("found").textContent = state.find === "" ?
        "" :
        plural(reading.marks.first.length, "match").replace("matchs", "matches");
    byId("bar").replaceChildren(...maker.bar().filter(Boolean));
    const key = state.view + maker.key();
    if (opened.key !== key || !maker.update) {
        const moved = opened.view !== state.view;
        opened.key = key;
        opened.view = state.view;
        await maker.open(byId("main"));
        if (moved && before) window.scrollTo(0, 0);
    } else {
        await maker.update(before);
    }
    document.body.dataset.view = state.view;
    await inspect();
    if (before && state.token >= 0 && before.token !== state.token)
        say(`${asName(piece(state.token))}, sequence ${sequenceOf(state.token)}, position ${
            positionOf(state.token)}`);
}

// ---- the head and the foot ----------------------------------------------------------------------

function drawHead() {
    const model = models[0].spec;
    byId("title").textContent = models.map((one) => one.name).join(" beside ");
    document.title = `${models[0].name} · sgatlin scope`;
    byId("subtitle").textContent = [
        model.family, plural(model.layer_count ?? models[0].layers.length, "layer"),
        plural(text.count, "token"), page.source
    ].filter(Boolean).join(" · ");
    byId("foot").replaceChildren(
        h("p", {},
          `Written by sgatlin ${
              page.made_by}. Everything on this page is in this file; it asks nothing of any host. `,
          button(
              "Copy the command", "The command that wrote this page",
              () => copy(page.command, "Command"))),
        page.left_out?.length ? h("details", { open: true }, h("summary", {}, "What is not here"),
                                  h("ul", {}, page.left_out.map((line) => h("li", {}, line)))) :
                                "");
}

const keys = [
    [ "1 … 5", "views" ], [ "← →", "token before, after" ], [ "↑ ↓", "sequence before, after" ],
    [ "/", "search; Enter and Shift Enter go through what was found" ],
    [ "[ ]", "layer before, after" ], [ "+ − 0", "map: nearer, farther, whole" ],
    [ "b", "both models" ], [ "c", "copy a link to exactly this" ],
    [ "Esc", "close, choose nothing" ], [ "?", "this help" ]
];
const words = [
    [ "score", "the gate: what the router gives a neuron it selects" ],
    [ "activation", "the neuron's coefficient: what multiplies its row of w_out" ],
    [
        "contribution",
        "activation times the length of that row: how much it adds to the residual stream"
    ],
    [
        "reads, writes",
        "tokens whose embeddings are nearest to w_in, and whose logits w_out raises most"
    ],
    [ "layer·channel·neuron", "how neurons are named here, all from 0" ]
];

function openHelp() {
    const list = (rows) => h("dl", {}, rows.map(([ a, b ]) => [h("dt", {}, a), h("dd", {}, b)]));
    const dialog = byId("about");
    dialog.replaceChildren(
        h("form", { method: "dialog" },
          h("button", { class: "close", "aria-label": "Close" }, "×")),
        h("h2", {}, "Keys"), list(keys), h("h2", {}, "Words"), list(words),
        h("p", { class: "note" },
          "Scores and activations are rounded: to 1/64 of the range of a channel, and to 1/31 of the root of the largest activation. The record (scope.db) has them in full."));
    dialog.showModal();
}

// ---- keys ---------------------------------------------------------------------------------------

function step(tokens, sequences) {
    if (state.token < 0) return go({ token: 0 });
    const s = clamp(text.sequence[state.token] + sequences, 0, text.sequences - 1);
    const t = sequences ?
        Math.min(
            text.starts[s] + state.token - text.starts[text.sequence[state.token]],
            text.starts[s + 1] - 1) :
        state.token + tokens;
    return go({ token: clamp(t, 0, text.count - 1) });
}

function stepLayer(by) {
    const model = models[state.model], list = model.layers.map((layer) => layer.layer);
    const at = clamp(list.indexOf(state.layer) + by, 0, list.length - 1);
    go({ layer: list[at] ?? 0 });
}

const onKey = {
    ArrowLeft: () => step(-1, 0),
    ArrowRight: () => step(1, 0),
    ArrowUp: () => step(0, -1),
    ArrowDown: () => step(0, 1),
    "/": () => byId("search").focus(),
    "?": openHelp,
    b: () => models.length > 1 && go({ pair: !state.pair }, true),
    c: () => copy(linkHere(), "Link"),
    "[": () => stepLayer(-1),
    "]": () => stepLayer(1),
    "+": () => state.view === "map" && zoomMap(1.4),
    "-": () => state.view === "map" && zoomMap(1 / 1.4),
    0 : () => state.view === "map" && go({ look: [ 1, 0, 0 ] }),
    Escape: () =>
        go({
            token: -1,
            neurons: [],
            lasso: [],
            find: "",
            node: -1,
            colour: "loss",
            kind: state.kind === "neurons" ? "input" : state.kind
        },
           true)
};

function keyDown(event) {
    const field = event.target.closest?.("input, select, textarea, dialog");
    if (event.key === "Escape" && field?.id === "search") {
        field.value = "";
        field.blur();
        go({ find: "" });
        return;
    }
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    const tab = event.target.closest?.("[role=tab]"), arrows = event.key.startsWith("Arrow");
    if (tab && arrows) {
        const list = views.filter((view) => makers[view.id].available()).map((view) => view.id);
        const at =
            (list.indexOf(state.view) +
             (event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : list.length - 1)) %
            list.length;
        event.preventDefault();
        showView(list[at]).then(() => byId(`tab-${list[at]}`).focus());
        return;
    }
    const view = views[Number(event.key) - 1];
    if (view) return void showView(view.id);
    if (arrows && (event.key === "ArrowUp" || event.key === "ArrowDown") && state.token < 0 &&
        !event.target.closest?.(".reading"))
        return;  // scrolls
    const act = onKey[event.key];
    if (!act) return;
    event.preventDefault();
    act();
}

function searchKey(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const list = reading.marks.first;
    if (list.length === 0) return;
    const after = list.findIndex((t) => t > state.token);
    const before = list.filter((t) => t < state.token).length - 1;
    go({
        token: event.shiftKey ? list[(before + list.length) % list.length] :
                                 list[after < 0 ? 0 : after]
    });
}

// ---- the beginning ------------------------------------------------------------------------------

async function begin() {
    await openText();
    state = readHash(selfTestAsked() ? "" : location.hash);
    drawHead();
    byId("search").value = state.find;
    let wait = 0;
    byId("search").addEventListener("input", (event) => {
        clearTimeout(wait);
        wait = setTimeout(() => go({ find: event.target.value }), 120);
    });
    byId("search").addEventListener("keydown", searchKey);
    byId("link").addEventListener("click", () => copy(linkHere(), "Link"));
    byId("help").addEventListener("click", openHelp);
    document.addEventListener("keydown", keyDown);
    darkQuery.addEventListener("change", () => {
        dark = darkQuery.matches;
        fillScales();
        go({});
    });
    onState(render);
    addEventListener("popstate", () => {
        byId("search").value = state.find;
    });
    await render(state, null);
    document.body.dataset.ready = Math.round(performance.now());
    if (selfTestAsked()) await selfTest();
}

begin().catch((error) => {
    byId("main").replaceChildren(
        h("p", { class: "notice", role: "alert" },
          `This page could not be opened: ${error.message}. ` +
              "It needs a browser of 2023 or later (DecompressionStream)."));
    problems.push(String(error.stack ?? error));
    if (selfTestAsked()) report();
});
