// What was chosen, on the right: a token, the neurons, the tokens inside the lasso.

let inspectTurn = 0;

async function inspect() {
    const turn = ++inspectTurn, parts = [];
    if (state.view === "trace" && state.node >= 0)
        parts.push(h("div", { class: "of-model" }, await inspectNode()));
    for (const model of shownModels()) {
        const own = [];
        if (state.token >= 0) own.push(...await inspectToken(model));
        if (state.neurons.length > 0) own.push(...await inspectNeurons(model));
        if (state.lasso.length > 0) own.push(...await inspectPicked(model));
        if (own.length === 0) continue;
        parts.push(
            h("div", { class: "of-model" },
              state.pair ? h("h2", { class: "which" }, model.name) : null, own));
    }
    if (turn !== inspectTurn) return;  // a later one is on its way
    byId("inspector").classList.toggle("empty", parts.length === 0);
    byId("inspector").replaceChildren(...(parts.length ? [ closer(), ...parts ] : [ welcome() ]));
}

const closer = () => button(
    "×", "Choose nothing (Esc)",
    () =>
        go({
            token: -1,
            neurons: [],
            lasso: [],
            node: -1,
            colour: "loss",
            kind: state.kind === "neurons" ? "input" : state.kind
        },
           true),
    { class: "close", "aria-label": "Choose nothing" });

const welcome = () => h(
    "div", { class: "welcome" },
    state.view === "trace" ?
        [
            h("h2", {}, "Choose a node"),
            h("p", {}, "What it is made of, and where it goes, appears here.")
        ] :
        [
            h("h2", {}, "Choose a token"),
            h("p", {},
              "Its neurons, what they read and write, and the tokens with the most similar gates appear here. " +
                  "Choose a neuron to see where it fires. Arrow keys walk through the text, ? lists all keys.")
        ]);

// ---- a token ------------------------------------------------------------------------------------

async function inspectToken(model) {
    const t = state.token, pools = await model.pools(state.layer);
    const predictions = await model.predictions(t), losses = await model.losses();
    const nextOne = nextPiece(t);
    const head = h(
        "div", { class: "headline" }, h("h2", {}, h("bdi", {}, asName(piece(t)))),
        h("p", {}, `token ${count(idOf(t))} · sequence ${sequenceOf(t)}, position ${positionOf(t)}`,
          nextOne === null ? "" : [
              " · next ", h("b", {}, h("bdi", {}, asName(nextOne))),
              ` with probability ${percent(Math.exp(-losses[t] * model.spec.loss_scale))}`
          ]));
    return [
        head,
        predictions.length === 0 ?
            null :
            section(
                "Predictions", null,
                h("ul", { class: "bars" },
                  predictions.map(
                      (p) =>
                          h("li", {}, h("bdi", {}, asName(p.piece)), bar(Math.exp(p.logprob)),
                            h("span", { class: "value" }, percent(Math.exp(p.logprob))))))),
        await tokenNeurons(model, t), pools.length > 0 ? await tokenNeighbours(model, t) : null
    ];
}

async function tokenNeurons(model, t) {
    const hits = [];
    for (const pool of await model.pools(state.layer))
        for (let i = pool.begin(t); i < pool.begin(t + 1); i++)
            hits.push({
                l: pool.layer,
                c: pool.channel,
                n: pool.neuron[i],
                score: pool.scoreAt(i),
                activation: pool.activationAt(i),
                contribution: pool.contributionAt(i)
            });
    hits.sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
    const most = Math.abs(hits[0]?.contribution ?? 1) || 1;
    const shown = hits.slice(0, 12);
    const lenses = await Promise.all(shown.map((x) => model.lens(x.l, x.c, x.n)));
    const rows = shown.map(
        (x, i) =>
            h("tr", {}, h("td", {}, neuronButton(x)), h("td", { class: "value" }, number(x.score)),
              h("td", { class: "value" }, number(x.activation)),
              h("td", {}, bar(x.contribution / most, true),
                h("span", { class: "hidden" }, number(x.contribution))),
              lenses[i] ? h("td", { class: "lens" },
                            h("span", { class: "reads" }, pieces(lenses[i].reads.slice(0, 3))),
                            h("span", { class: "writes" }, pieces(lenses[i].writes.slice(0, 3)))) :
                          h("td", {})));
    const where = model.layers.length > 1 ?
        h("label", {}, "Layer ",
          h("select", {
              "aria-label": "Layer",
              onchange: (event) => go({ layer: Number(event.target.value) })
          },
            model.layers.map(
                (layer) =>
                    h("option", { value: layer.layer, selected: layer.layer === state.layer },
                      String(layer.layer))))) :
        null;
    return section(
        "Neurons",
        h("div", { class: "row" }, where,
          h("span", { class: "note" },
            `${shown.length} of ${
                hits.length} that fire on the page, the largest contribution first`),
          copyButtons(() => query.token(t), null)),
        h("div", { class: "scroll" },
          h("table", { class: "neurons" },
            h("thead", {},
              h("tr", {},
                [ "neuron", "score", "activation", "contribution" ].map(
                    (x) => h("th", { scope: "col" }, x)),
                h("th", { scope: "col" }, "reads ", h("span", { class: "arrow" }, "→"),
                  " writes"))),
            h("tbody", {}, rows))));
}

async function tokenNeighbours(model, t) {
    const pool = await model.pool(state.layer, state.channel), like = likeness([ pool ], t);
    const near = nearest(like, t, 10);
    return section(
        "Nearest gates",
        h("div", { class: "row" },
          h("span", { class: "note" },
            `cosine, layer ${state.layer}, channel ${state.channel}, other sequences`),
          button(
              "colour the text", "Colour every token by how like its gates are",
              () => go({ view: "text", colour: "likeness" }, true)),
          copyButtons(null, () => command.neighbours(t))),
        h("ol", { class: "lines" },
          near.map((r) => tokenLine(r, h("span", { class: "value" }, like[r].toFixed(2))))));
}

// Of other sequences; of equal ones the first.
function nearest(like, t, many) {
    const order = [];
    for (let r = 0; r < text.count; r++) {
        if (text.sequence[r] === text.sequence[t] || like[r] <= 0) continue;
        if (order.length === many && like[r] <= like[order[many - 1]]) continue;
        let at = order.length;
        while (at > 0 && like[order[at - 1]] < like[r]) at--;
        order.splice(at, 0, r);
        if (order.length > many) order.pop();
    }
    return order;
}

// ---- neurons ------------------------------------------------------------------------------------

async function inspectNeurons(model) {
    if (state.neurons.length > 1)
        return [
            await inspectCircuit(model),
            ...await inspectOne(model, state.neurons[state.neurons.length - 1])
        ];
    return inspectOne(model, state.neurons[0]);
}

async function inspectCircuit(model) {
    const colour = await colourByNeurons(model);
    const rows = topRows(Float32Array.from(colour.values, Math.abs), 8);
    let fires = 0;
    for (const one of colour.fires) fires += one;
    return h(
        "div", {},
        h("div", { class: "headline" }, h("h2", {}, `Circuit of ${state.neurons.length}`),
          h("p", {},
            `some of them fires at ${plural(fires, "token")}, ${
                percent(fires / text.count)} of the text`)),
        chips(),
        section(
            "Where they are strongest together", null,
            h("ol", { class: "lines" },
              rows.map(
                  (r) => tokenLine(r, h("span", { class: "value" }, number(colour.values[r])))))));
}

function topRows(values, many) {
    return Array.from(values.keys())
        .filter((r) => values[r] > 0)
        .sort((a, b) => values[b] - values[a] || a - b)
        .slice(0, many);
}

async function inspectOne(model, x) {
    if (!model.has(x.l, x.c))
        return [ h(
            "p", { class: "note" },
            `Layer ${x.l}, channel ${x.c} of ${model.name} is not on this page.`) ];
    const pool = await model.pool(x.l, x.c), hits = Array.from(pool.hitsOf(x.n)),
          lens = await model.lens(x.l, x.c, x.n);
    hits.sort((a, b) => pool.scoreAt(b) - pool.scoreAt(a) || a - b);
    const seen = new Map();
    for (const hit of hits) {
        const one = text.tokens[pool.rowOf(hit)];
        seen.set(one, (seen.get(one) ?? 0) + 1);
    }
    const tokens = [...seen ].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 8);
    const head =
        h("div", { class: "headline" }, h("h2", {}, `Neuron ${nameOf(x)}`),
          h("p", {},
            `layer ${x.l}, channel ${x.c}, neuron ${x.n} · fires at ${
                plural(hits.length, "token")}, ${percent(hits.length / text.count)} of the text`));
    return [
        head,
        lens ?
            h("dl", { class: "lens-list" }, h("dt", {}, "reads"), h("dd", {}, pieces(lens.reads)),
              h("dt", {}, "writes"), h("dd", {}, pieces(lens.writes))) :
            null,
        h("div", { class: "row" }, copyButtons(() => query.neuron(x), () => command.neuron(x))),
        section(
            "Fires most often at", null,
            h("ul", { class: "bars" },
              tokens.map(
                  ([ id, many ]) =>
                      h("li", {}, h("bdi", {}, asName(page.pieces[id])), bar(many / hits.length),
                        h("span", { class: "value" }, count(many)))))),
        section(
            "Highest scores", null,
            h("ol", { class: "lines" },
              hits.slice(0, 8).map(
                  (hit) => tokenLine(
                      pool.rowOf(hit),
                      h("span", { class: "value" }, number(pool.scoreAt(hit))))))),
        section("Fires together with", null, coActive(pool, x, hits))
    ];
}

function coActive(pool, x, hits) {
    const together = new Map();
    for (const hit of hits) {
        const row = pool.rowOf(hit);
        for (let i = pool.begin(row); i < pool.begin(row + 1); i++)
            if (pool.neuron[i] !== x.n)
                together.set(pool.neuron[i], (together.get(pool.neuron[i]) ?? 0) + 1);
    }
    const list = [...together ].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 6);
    return h(
        "ul", { class: "bars" },
        list.map(
            ([ n, many ]) =>
                h("li", {}, neuronButton({...x, n }), bar(many / hits.length),
                  h("span", { class: "value" }, percent(many / hits.length)))));
}

// ---- tokens inside the lasso --------------------------------------------------------------------

async function inspectPicked(model) {
    const picked = await pickedTokens(), seen = new Map(), fires = new Map();
    const pool = await model.pool(state.layer, state.channel);
    for (const t of picked) {
        seen.set(text.tokens[t], (seen.get(text.tokens[t]) ?? 0) + 1);
        for (let i = pool.begin(t); i < pool.begin(t + 1); i++)
            fires.set(pool.neuron[i], (fires.get(pool.neuron[i]) ?? 0) + 1);
    }
    const tokens = [...seen ].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 8);
    const special =
        [...fires ]
            .filter(([, many ]) => many >= Math.max(2, picked.size * 0.1))
            .map(([ n, many ]) => [n, many, many / picked.size / (pool.countOf(n) / text.count)])
            .sort((a, b) => b[1] * Math.log(b[2]) - a[1] * Math.log(a[2]))
            .slice(0, 8);
    const list = Array.from(picked).sort((a, b) => a - b);
    return [
        h("div", { class: "headline" }, h("h2", {}, plural(picked.size, "token"), " in the lasso"),
          h("p", {}, `layer ${state.layer}, channel ${state.channel}`)),
        h("div", { class: "row" },
          button(
              "show in the text", "Go to the first of them",
              () => go({ view: "text", token: list[0] ?? -1 }, true)),
          copyButtons(() => query.tokens(list), null)),
        section(
            "Tokens", null,
            h("ul", { class: "bars" },
              tokens.map(
                  ([ id, many ]) =>
                      h("li", {}, h("bdi", {}, asName(page.pieces[id])), bar(many / picked.size),
                        h("span", { class: "value" }, count(many)))))),
        section(
            "Neurons that set them apart", null,
            h("ul", { class: "bars" },
              special.map(
                  ([ n, many, lift ]) =>
                      h("li", {}, neuronButton({ l: state.layer, c: state.channel, n }),
                        bar(many / picked.size),
                        h("span", { class: "value" },
                          `${percent(many / picked.size)} · ${number(lift)}×`))))),
        section(
            "In the text", null,
            h("ol", { class: "lines" }, list.slice(0, 12).map((t) => tokenLine(t, null))))
    ];
}
