// The text, coloured: by how surprising each token was, by chosen neurons, or by how like its gates
// are those of the chosen token. On the left every sequence is a strip of its colours.
// Sequences are filled with their tokens when they come near the screen.

const reading = {
    blocks: [],
    values: [],
    filled: new Set(),
    observers: [],
    marks: null
};

// What each token is coloured by: {of(t), scale, low, high, what}.
async function colouring(model) {
    if (state.colour === "neurons" && state.neurons.length > 0) return colourByNeurons(model);
    if (state.colour === "likeness" && state.token >= 0) {
        const pools = [ await model.pool(state.layer, state.channel) ];
        return {
            values: likeness(pools, state.token),
            scale: "sequential",
            low: "0",
            high: "1",
            of: (x) => Math.max(0, x),
            what: `cosine with the gates of token ${state.token}, layer ${state.layer}, channel ${
                state.channel}`,
            unit: "cosine"
        };
    }
    return {
        values: await surprise(model),
        scale: "sequential",
        low: "0",
        high: "8 nats",
        of: (x) => x / 8,
        what: "how surprising the token was: −ln p",
        unit: "nats"
    };
}

// Of each token, how unlikely it was to the model that had read those before it.
async function surprise(model) {
    const loss = await model.losses(), values = new Float32Array(text.count);
    for (let t = 1; t < text.count; t++)
        if (t > text.starts[text.sequence[t]]) values[t] = loss[t - 1] * model.spec.loss_scale;
    return values;
}

async function colourByNeurons(model) {
    const values = new Float32Array(text.count), fires = new Uint8Array(text.count);
    for (const x of state.neurons) {
        if (!model.has(x.l, x.c)) continue;
        const pool = await model.pool(x.l, x.c);
        for (const hit of pool.hitsOf(x.n)) {
            const row = pool.rowOf(hit);
            values[row] += state.measure === "score" ? pool.scoreAt(hit) : pool.contributionAt(hit);
            fires[row] = 1;
        }
    }
    let most = 1e-9;
    for (const value of values) most = Math.max(most, Math.abs(value));
    const signed = values.some((value) => value < 0);
    return {
        values,
        fires,
        scale: signed ? "diverging" : "sequential",
        of: (x) => x / most,
        low: signed ? number(-most) : "0",
        high: number(most),
        unit: state.measure,
        what: `${state.measure} of ${plural(state.neurons.length, "neuron")}`
    };
}

function paint(span, colour, t) {
    const x = colour.of(colour.values[t]);
    const quiet = colour.fires ? !colour.fires[t] : Math.abs(x) < 0.04;
    if (quiet) {
        span.style.background = "";
        span.style.color = "";
        return;
    }
    const rgb = colour.scale === "diverging" ? diverging(x) : sequential(x);
    span.style.background = css(rgb);
    span.style.color = inkOn(rgb);
}

function decorate(span, t) {
    span.classList.toggle("chosen", t === state.token);
    span.setAttribute("aria-selected", t === state.token ? "true" : "false");
    span.classList.toggle("found", reading.marks.found.has(t));
    span.classList.toggle("picked", reading.marks.picked.has(t));
}

function fillBlock(block) {
    if (reading.filled.has(block)) return;
    reading.filled.add(block);
    const s = Number(block.dataset.sequence), words = block.querySelector("p");
    const spans = [];
    for (let t = text.starts[s]; t < text.starts[s + 1]; t++) {
        const span = h(
            "span",
            { class: "token", role: "option", id: `t${block.dataset.pane}-${t}`, "data-t": t },
            inText(piece(t)));
        paint(span, reading.values[block.dataset.pane], t);
        decorate(span, t);
        spans.push(span);
    }
    words.replaceChildren(...spans);
    block.style.minHeight = "";
}

function repaint() {
    for (const block of reading.filled)
        for (const span of block.querySelectorAll(".token")) {
            paint(span, reading.values[block.dataset.pane], Number(span.dataset.t));
            decorate(span, Number(span.dataset.t));
        }
}

// ---- the strips ---------------------------------------------------------------------------------

const strip = {
    row: 12,
    canvas: null,
    box: null
};

function drawStrips() {
    const { canvas, box } = strip;
    if (!canvas?.isConnected) return;
    const width = box.clientWidth, height = box.clientHeight;
    const context = canvasFor(canvas, width, height);
    const longest = text.longest, colour = reading.values[0];
    const from = Math.floor(box.scrollTop / strip.row);
    const to = Math.min(text.sequences, from + Math.ceil(height / strip.row) + 1);
    canvas.style.transform = `translateY(${box.scrollTop}px)`;
    for (let s = from; s < to; s++) {
        const y = s * strip.row - box.scrollTop, step = (width - 8) / longest;
        for (let t = text.starts[s]; t < text.starts[s + 1]; t++) {
            const x = colour.of(colour.values[t]);
            const quiet = colour.fires && !colour.fires[t];
            context.fillStyle = quiet ?
                css(sequential(0.02)) :
                css(colour.scale === "diverging" ? diverging(x) : sequential(x));
            context.fillRect(
                4 + (t - text.starts[s]) * step, y + 2, Math.max(step, 0.7) + 0.25, strip.row - 3);
            if (reading.marks.picked.has(t) || reading.marks.found.has(t)) {
                context.fillStyle = kinds()[1];
                context.fillRect(4 + (t - text.starts[s]) * step, y, Math.max(step, 2), 2);
            }
        }
        if (state.token >= 0 && text.sequence[state.token] === s) {
            context.strokeStyle = ink();
            context.lineWidth = 1.2;
            context.strokeRect(2.5, y + 0.5, width - 6, strip.row - 1);
            context.fillStyle = ink();
            context.fillRect(3 + (state.token - text.starts[s]) * step, y, 2.5, strip.row);
        }
    }
}

function stripsView() {
    strip.row = clamp(Math.floor((innerHeight - 160) / text.sequences), 10, 19);
    strip.canvas = h("canvas", { "aria-hidden": "true" });
    strip.box =
        h("div", { class: "strips", title: "Each row is a sequence; click to go there" },
          h("div", { style: `height:${text.sequences * strip.row + 4}px` }, strip.canvas));
    strip.box.addEventListener("scroll", framed(drawStrips), { passive: true });
    strip.box.addEventListener("click", (event) => {
        const box = strip.box.getBoundingClientRect();
        const s = Math.floor((event.clientY - box.top + strip.box.scrollTop) / strip.row);
        if (s >= text.sequences) return;
        const longest = text.longest;
        const p = Math.floor(((event.clientX - box.left - 4) / (box.width - 8)) * longest);
        go({ token: text.starts[s] + clamp(p, 0, page.sequences[s][1] - 1) }, true);
    });
    new ResizeObserver(framed(drawStrips)).observe(strip.box);
    return strip.box;
}

// ---- the view -----------------------------------------------------------------------------------

function textBar() {
    const select = h(
        "select", {
            id: "colour-by",
            "aria-label": "Colour by",
            onchange: (event) => go({ colour: event.target.value }, true)
        },
        h("option", { value: "loss" }, "surprise"),
        h("option", { value: "neurons", disabled: state.neurons.length === 0 }, "chosen neurons"),
        h("option", { value: "likeness", disabled: state.token < 0 },
          "gates like the chosen token's"));
    select.value = state.colour;
    const measure = state.colour !== "neurons" ?
        null :
        h("select",
          { "aria-label": "Measure", onchange: (event) => go({ measure: event.target.value }) },
          [ "score", "contribution" ].map(
              (m) => h("option", { value: m, selected: m === state.measure }, m)));
    const colour = reading.values[0];
    return [
        h("label", {}, "Colour by ", select), measure,
        state.colour === "likeness" ? poolChoice() : null, chips(),
        legend(colour.scale, colour.low, colour.high, colour.what),
        state.neurons.length > 0 ?
            copyButtons(() => query.neurons(state.neurons), () => command.neurons(state.neurons)) :
            copyButtons(query.text, command.text)
    ];
}

function makePane(pane, model) {
    const blocks = [];
    for (let s = 0; s < text.sequences; s++)
        blocks.push(
            h("section", {
                class: "sequence",
                "data-sequence": s,
                "data-pane": pane,
                style: `min-height:${Math.ceil(page.sequences[s][1] / 14) * 28 + 40}px`
            },
              h("h3", {}, String(sequenceOf(text.starts[s]))), h("p", { dir: "auto" })));
    const box =
        h("div", {
            class: "reading",
            tabindex: "0",
            role: "listbox",
            "aria-label" :
                `Text, ${plural(text.count, "token")}${state.pair ? ", " + model.name : ""}`,
            "data-pane": pane
        },
          state.pair ? h("h2", { class: "which" }, model.name) : null, blocks);
    box.addEventListener("click", (event) => {
        const t = event.target.closest?.(".token")?.dataset.t;
        if (t !== undefined) go({ token: Number(t) }, true);
    });
    box.addEventListener("mousemove", (event) => {
        const t = event.target.closest?.(".token")?.dataset.t;
        if (t === undefined) return tip(event);
        const colour = reading.values[pane], silent = colour.fires && !colour.fires[t];
        tip(event, h("b", {}, h("bdi", {}, asName(piece(Number(t))))),
            ` ${silent ? "does not fire" : `${number(colour.values[t])} ${colour.unit}`}`);
    });
    box.addEventListener("mouseleave", (event) => tip(event));
    return box;
}

async function openTextView(main) {
    reading.filled.clear();
    for (const observer of reading.observers) observer.disconnect();
    const panes = shownModels().map((model, i) => makePane(i, model));
    main.replaceChildren(
        h("div", { class: "text-view" + (panes.length > 1 ? " two" : "") }, stripsView(), panes));
    reading.observers = panes.map((pane) => {
        const observer = new IntersectionObserver((entries) => {
            for (const entry of entries)
                if (entry.isIntersecting) fillBlock(entry.target);
        }, { root: scrolls(pane) ? pane : null, rootMargin: "900px 0px" });
        for (const block of pane.querySelectorAll(".sequence")) observer.observe(block);
        return observer;
    });
    for (const pane of panes)
        fillBlock(pane.querySelector(".sequence"));  // before anything scrolls
    drawStrips();
    reveal();
}

async function prepareText() {
    reading.values = await Promise.all(shownModels().map(colouring));
    reading.marks = await marks();
}

// Found by the search, and inside the lasso.
async function marks() {
    const found = searchTokens(state.find);
    return {...found, picked: await pickedTokens() };
}

// On a wide screen a pane scrolls by itself, on a narrow one the page does.
const scrolls = (pane) => getComputedStyle(pane).overflowY === "auto";

// Scrolls to the chosen token.
function reveal(smooth = false) {
    if (state.token < 0) return;
    for (const pane of document.querySelectorAll(".reading")) {
        const block = pane.querySelector(`[data-sequence="${text.sequence[state.token]}"]`);
        fillBlock(block);
        const span = byId(`t${pane.dataset.pane}-${state.token}`);
        pane.setAttribute("aria-activedescendant", span.id);
        const box = span.getBoundingClientRect(), own = scrolls(pane),
              frame = own ? pane.getBoundingClientRect() : { top: 0, bottom: innerHeight };
        if (box.top > frame.top + 40 && box.bottom < frame.bottom - 40) continue;
        (own ? pane : window).scrollTo({
            top: (own ? pane.scrollTop : scrollY) + box.top - frame.top -
                (frame.bottom - frame.top) * 0.35,
            behavior: smooth && !matchMedia("(prefers-reduced-motion: reduce)").matches ?
                "smooth" :
                "auto"
        });
    }
    const top = text.sequence[state.token] * strip.row;
    if (strip.box?.isConnected &&
        (top < strip.box.scrollTop ||
         top > strip.box.scrollTop + strip.box.clientHeight - strip.row))
        strip.box.scrollTop = top - strip.box.clientHeight / 2;
}

function updateTextView(before) {
    repaint();
    drawStrips();
    if (before && before.token !== state.token) reveal(true);
}
