// What a page of sgatlin scope tries of itself (trial.js): clicks, search, lasso, keyboard,
// addresses.

async function settled() {
    do await pause(30);
    while (changing > 0);
    await pause(10);
}
async function tab(id) {
    await click(byId(`tab-${id}`));
    check(
        `${id}: the tab is chosen`,
        byId(`tab-${id}`).getAttribute("aria-selected") === "true" && state.view === id);
}

// ---- what is tried ------------------------------------------------------------------------------

async function tryOpening() {
    outcome.measured.ready_ms = Number(document.body.dataset.ready);
    outcome.measured.tokens = text.count;
    outcome.measured.bytes = document.documentElement.outerHTML.length;
    check(
        "nothing was asked of any host", performance.getEntriesByType("resource").length === 0,
        performance.getEntriesByType("resource").map((entry) => entry.name).join());
    check(
        "no element came out of a text",
        document.querySelectorAll("main b, main i, main img, main script").length === 0);
    const scripts = [...document.scripts ].filter(
        (script) => !/^column-\d+$/.test(script.id) && script.id !== "scope");
    check("one script", scripts.length === 1, scripts.length);
    for (const span of document.querySelectorAll(".token"))
        if (span.textContent !== inText(piece(Number(span.dataset.t))))
            check(`token ${span.dataset.t} is shown as it is`, false, span.textContent);
    check(
        "all tabs have names",
        [...document.querySelectorAll("[role=tab]") ].every((one) => one.textContent.length > 0));
    check("all buttons have names", [
        ...document.querySelectorAll("button")
    ].every((one) => one.textContent.trim() || one.getAttribute("aria-label")));
}

async function tryText() {
    const spans = document.querySelectorAll(".token");
    check(
        "tokens are shown", spans.length >= Math.min(text.count, page.sequences[0][1]),
        spans.length);
    const span = spans[Math.min(5, spans.length - 1)], t = Number(span.dataset.t);
    await click(span);
    check(
        "a click chooses a token",
        state.token === t && byId(`t0-${t}`).classList.contains("chosen"), state.token);
    check("the inspector names it", byId("inspector").textContent.includes(asName(piece(t))));
    check("the address holds it", location.hash.includes(`t=${t}`), location.hash);
    await press("ArrowRight");
    check("→ goes on", state.token === Math.min(t + 1, text.count - 1), state.token);
    await press("ArrowDown");
    check(
        "↓ goes to the next sequence",
        text.sequences === 1 || text.sequence[state.token] === text.sequence[t] + 1, state.token);
    await press("ArrowUp");
    await press("ArrowLeft");
    check("and back", state.token === t, state.token);
    const pool = await models[0].pool(state.layer, state.channel);
    check(
        "gates are like themselves",
        pool.begin(t) === pool.begin(t + 1) || Math.abs(likeness([ pool ], t)[t] - 1) < 1e-5,
        likeness([ pool ], t)[t]);
    const near = byId("inspector").querySelector("[data-go]");
    if (near) {
        await click(near);
        check("a neighbour is gone to", state.token === Number(near.dataset.go), state.token);
    }
}

async function tryNeurons() {
    const one = byId("inspector").querySelector("button.neuron");
    check("the token's neurons are listed", Boolean(one));
    if (!one) return;
    await click(one);
    check(
        "a neuron is chosen",
        state.neurons.length === 1 && nameOf(state.neurons[0]) === one.dataset.neuron,
        state.neurons.map(nameOf).join());
    const x = state.neurons[0], pool = await models[state.model].pool(x.l, x.c);
    const fires = new Set(Array.from(pool.hitsOf(x.n), (hit) => pool.rowOf(hit)));
    let wrong = 0;
    for (const span of document.querySelectorAll(".token"))
        if ((span.style.background !== "") !== fires.has(Number(span.dataset.t))) wrong++;
    check("just the tokens where it fires are coloured", wrong === 0, wrong);
    const another = [...byId("inspector").querySelectorAll("button.neuron") ].find(
        (other) => other.dataset.neuron !== one.dataset.neuron);
    if (another) {
        await click(another, { shiftKey: true });
        check("Shift adds a neuron", state.neurons.length === 2, state.neurons.length);
        check(
            "the query names both", query.neurons(state.neurons).split("neuron =").length === 3,
            query.neurons(state.neurons));
        await click(byId("bar").querySelector(".chip button"));
        check("a chip takes one out", state.neurons.length === 1, state.neurons.length);
    }
    const before = JSON.stringify(state), hash = location.hash;
    await go(fresh());
    await go(readHash(hash));
    check(
        "the address gives the same state again", JSON.stringify(state) === before,
        `${JSON.stringify(state)}, expected ${before}`);
}

// Their texts, for whoever can run them.
async function tryCopies() {
    const x = {
        l: state.layer,
        c: state.channel,
        n: (await models[0].pool(state.layer, state.channel)).used[0]
    };
    const t = Math.min(3, text.count - 1);
    outcome.queries = [
        query.text(), query.neurons([ x, x ]), query.neuron(x), query.token(t),
        query.tokens([ 0, t ]), query.gates(), query.usage()
    ];
    outcome.commands = [ command.neuron(x), command.neighbours(t), command.usage() ];
    if (models[0].map(x.l, x.c)) outcome.commands.push(command.map());
    if (page.patch) outcome.commands.push(page.patch.command);
    if (page.traces) outcome.commands.push(page.traces[0].command);
    const copied = [], write = clipboard.write;
    clipboard.write = (one) => copied.push(one);  // the real one takes its own time
    const buttons = [...document.querySelectorAll("[data-copy]") ];
    for (const one of buttons) await click(one);
    clipboard.write = write;
    check(
        "every button copies a text",
        copied.length === buttons.length && copied.every((one) => one.length > 9), copied.join());
    check("and says so", Boolean(byId("notice")));
}

async function trySearch() {
    await press("/");
    check("/ goes to the search", document.activeElement === byId("search"));
    const word =
        Array.from(text.tokens.keys()).map(piece).find((one) => /[a-z]{3}/i.test(one)) ?? piece(0);
    byId("search").value = word.trim();
    byId("search").dispatchEvent(new Event("input", { bubbles: true }));
    await pause(200);
    await settled();
    check(
        "a word of the text is found",
        reading.marks.first.length > 0 && byId("found").textContent.length > 0,
        byId("found").textContent);
    await press("Enter", byId("search"));
    check("Enter goes to a match", reading.marks.first.includes(state.token), state.token);
    check("it is marked", document.querySelectorAll(".token.found").length > 0);
    await press("Escape", byId("search"));
    check("Esc ends the search", state.find === "" && reading.marks.found.size === 0);
}

async function tryMap() {
    await tab("map");
    const pane = mapPanes[0], box = pane.canvas.getBoundingClientRect();
    check("the map is drawn", pane.canvas.width > 0 && pane.at.length === 2 * pane.places.x.length);
    const at = (type, x, y) => pane.canvas.dispatchEvent(new PointerEvent(
        type, { clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerId: 1 }));
    const draw = async (corners) => {
        at("pointerdown", ...corners[0]);
        for (const corner of corners) at("pointermove", ...corner);
        at("pointerup", ...corners[corners.length - 1]);
        await settled();
    };
    const middle = [ pane.at[0], pane.at[1] ], r = 12;
    await draw([
        [ middle[0] - r, middle[1] - r ], [ middle[0] + r, middle[1] - r ],
        [ middle[0] + r, middle[1] + r ], [ middle[0] - r, middle[1] + r ]
    ]);
    const first = pane.places.rows ? pane.places.rows[0] : 0;
    check(
        "the lasso picks what is inside", reading.marks.picked.has(first),
        reading.marks.picked.size);
    let outside = 0;
    for (let i = 0; i < pane.places.x.length; i++) {
        const far = Math.abs(pane.at[2 * i] - middle[0]) > r + 3 ||
            Math.abs(pane.at[2 * i + 1] - middle[1]) > r + 3;
        outside += far && reading.marks.picked.has(pane.places.rows ? pane.places.rows[i] : i);
    }
    check("and nothing else", outside === 0, outside);
    const hash = location.hash, picked = reading.marks.picked.size;
    await go(fresh());
    await go(readHash(hash));
    check(
        "the lasso is in the address", reading.marks.picked.size === picked,
        reading.marks.picked.size);
    for (const kind of ["next", "loss", "input"]) await go({ kind });
    await press("+");
    check("+ comes nearer", state.look[0] > 1, state.look[0]);
    await press("0");
    check("0 shows the whole", state.look[0] === 1, state.look[0]);
    await press("1");
    check(
        "picked tokens are marked in the text",
        document.querySelectorAll(".token.picked").length > 0 || !reading.filled.size);
    await press("Escape");
}

async function tryUsage() {
    await tab("usage");
    const pool = await models[0].pool(state.layer, state.channel), usage = usageOf(pool);
    check("hits are counted once", usage.counts.reduce((a, b) => a + b, 0) === pool.hits);
    outcome.measured.usage = {
        layer: pool.layer,
        channel: pool.channel,
        used: usage.used,
        gini: usage.gini,
        entropy: usage.entropy,
        most: usage.most,
        hits: pool.hits
    };
    check(
        "the chart and the table are there",
        document.querySelectorAll(".usage svg").length >= 2 &&
            document.querySelectorAll(".usage tbody tr").length > 0);
    const { neurons, share } = coActivation(pool, 8);
    let wrong = 0;
    neurons.forEach((a, i) => neurons.forEach((b, j) => {
        if (i === j) return;
        const both =
            Array.from(pool.hitsOf(a)).filter((hit) => pool.hitIn(pool.rowOf(hit), b) >= 0).length;
        wrong += Math.abs(share[i][j] - both / pool.countOf(a)) > 1e-9;
    }));
    check("co-activation is counted right", wrong === 0, wrong);
    const cell = document.querySelector(".heat rect[data-i='0'][data-j='1']");
    if (cell) {
        await click(cell);
        check("a cell chooses two neurons", state.neurons.length === 2, state.neurons.length);
    }
    await press("Escape");
}

async function tryPatch() {
    await tab("patch");
    check(
        "rows are drawn and listed",
        document.querySelectorAll(".patch-plot .mark").length > 0 &&
            document.querySelectorAll(".patch-view tbody tr").length === patchRows().size);
    const select = byId("bar").querySelector("[data-choice=metric]");
    if (!select) return;
    select.value = select.options[select.options.length - 1].value;
    select.dispatchEvent(new Event("change"));
    await settled();
    check(
        "another measure is shown",
        patchChoice().metric === select.value && location.hash.includes("p="), location.hash);
}

async function tryTrace() {
    await tab("trace");
    const trace = traceNow();
    check(
        "all nodes are drawn",
        drawnTrace.nodes.length === trace.nodes.length &&
            drawnTrace.lines.length === trace.edges.length);
    check(
        "no two nodes lie on each other",
        new Set(layout(trace).spots.map(String)).size === trace.nodes.length);
    const edge = trace.edges[0];
    if (!edge) return;
    await click(drawnTrace.nodes[edge[1]]);
    check("a node is chosen", state.node === edge[1], state.node);
    check("its edges are strong", drawnTrace.lines[0].classList.contains("on"));
    check(
        "its sources are listed",
        byId("inspector").textContent.includes(nodeName(trace.nodes[edge[0]], trace)) ||
            byId("inspector").querySelectorAll("li").length >= 10);
    await press("Escape");
    check("Esc lets it go", state.node === -1, state.node);
}

async function tryBoth() {
    await press("1");
    await press("b");
    check("both models are beside each other", document.querySelectorAll(".reading").length === 2);
    for (const id of ["map", "usage"])
        if (makers[id].available()) await tab(id);
    await press("b");
    check("and one again", shownModels().length === 1);
}

async function tryHelp() {
    await press("?");
    check("? opens the help", byId("about").open);
    byId("about").close();
    await press("1");
    check("1 is the text", state.view === "text");
    await go(readHash("#v=nothing&t=99999999999&n=1.2_x.y.z&m=7&l=-3&z=1.2&w=a&q=%E0%A4%A"));
    check(
        "an address that somebody wrote by hand does no harm",
        state.view === "text" && state.token === -1 && state.neurons.length === 0);
}

async function selfTest() {
    const parts = [ tryOpening, tryText, tryNeurons, tryCopies, trySearch ];
    if (makers.map.available()) parts.push(tryMap);
    if (makers.usage.available()) parts.push(tryUsage);
    if (makers.patch.available()) parts.push(tryPatch);
    if (makers.trace.available()) parts.push(tryTrace);
    if (models.length > 1) parts.push(tryBoth);
    parts.push(tryHelp);
    await tryAll(parts);
}
