// The attribution graph of an answer: tokens from left to right, layers from bottom to top, the
// answer above all. Size is how much a node contributes, colour in which direction. A line is an
// edge; those of the node under the pointer, or of the chosen one, are drawn strong.

const drawnTrace = {
    nodes: [],
    lines: [],
    spots: []
};

const kindNames = {
    embedding: "embedding",
    position: "learned position",
    attention: "attention",
    neuron: "neuron",
    beside: "shared part of the layer",
    constant: "biases",
    remainder: "not linear",
    pruned: "left out of the graph",
    logit: "answer"
};

const levelOf = (node) =>
    (node.kind === "logit" ? Infinity :
         node.layer < 0    ? 0 :
                             1 + 2 * node.layer + (node.kind === "attention" ? 0 : 1));
const columnOf = (node, trace) =>
    (node.kind === "logit"  ? trace.tokens.length - 1 :
         node.position >= 0 ? node.position :
                              Math.max(0, node.source));

const answerOf = (trace) => asName(page.pieces[trace.answer]);

function nodeName(node, trace) {
    if (node.kind === "neuron")
        return nameOf({ l: node.layer, c: node.channel, n: node.neuron });
    if (node.kind === "embedding") return asName(page.pieces[trace.tokens[node.position]]);
    if (node.kind === "logit")
        return answerOf(trace) +
            (trace.against >= 0 ? ` − ${asName(page.pieces[trace.against])}` : "");
    if (node.kind === "attention")
        return `attention ${node.layer}${node.head >= 0 ? "." + node.head : ""} from ${
            asName(page.pieces[trace.tokens[node.source]])}`;
    return `${kindNames[node.kind]}${node.layer >= 0 ? " " + node.layer : ""}`;
}

// Where each node stands. Nodes of one token and level stand beside each other, the largest first.
function layout(trace) {
    const levels = [...new Set(trace.nodes.map(levelOf)) ].sort((a, b) => a - b), cells = new Map();
    trace.nodes.forEach((node, i) => {
        const key = `${levels.indexOf(levelOf(node))}.${columnOf(node, trace)}`;
        if (!cells.has(key)) cells.set(key, []);
        cells.get(key).push(i);
    });
    const rows = 6, widths = trace.tokens.map(() => 64);
    for (const [key, list] of cells) {
        list.sort((a, b) => trace.nodes[b].influence - trace.nodes[a].influence);
        const c = Number(key.split(".")[1]);
        widths[c] = Math.max(widths[c], Math.min(rows, list.length) * 19 + 22);
    }
    const lefts = [ 96 ];
    for (const width of widths) lefts.push(lefts[lefts.length - 1] + width);
    const heights = levels.map(
        (_, level) => 46 +
            17 *
                (Math.ceil(
                     Math.max(
                         1,
                         ...[...cells]
                             .filter(([ key ]) => Number(key.split(".")[0]) === level)
                             .map(([, list ]) => list.length)) /
                     rows) -
                 1));
    const total = heights.reduce((a, b) => a + b, 0) + 70, tops = [];
    let y = total - 44;
    for (const height of heights) {
        tops.push(y - height / 2);
        y -= height;
    }
    const spots = [];
    for (const [key, list] of cells) {
        const [level, c] = key.split(".").map(Number), perRow = Math.min(rows, list.length),
                      many = Math.ceil(list.length / rows);
        list.forEach((i, k) => {
            const row = Math.floor(k / rows),
                  inRow = row === many - 1 ? list.length - row * rows : perRow;
            spots[i] = [
                lefts[c] + widths[c] / 2 + ((k % rows) - (inRow - 1) / 2) * 19,
                tops[level] + (row - (many - 1) / 2) * 17
            ];
        });
    }
    return {
        spots,
        lefts,
        widths,
        levels,
        tops,
        width: lefts[lefts.length - 1] + 20,
        height: total
    };
}

function nodeMark(node, [ x, y ], most) {
    const size = 3 + 8 * Math.sqrt(Math.abs(node.contribution) / most),
          share = node.contribution / most;
    const colour = css(diverging(Math.sign(share) * (0.15 + 0.85 * Math.abs(share))));
    const common = {
        fill: [ "pruned", "remainder", "constant" ].includes(node.kind) ? "var(--paper)" : colour,
        stroke: "var(--soft)",
        "stroke-width": 1
    };
    if (node.kind === "embedding" || node.kind === "logit" || node.kind === "position")
        return h(
            "rect",
            { x: x - size, y: y - size, width: 2 * size, height: 2 * size, rx: 2, ...common });
    if (node.kind === "attention")
        return h("path", {
            d: `M${x} ${y - size * 1.2}L${x + size * 1.2} ${y}L${x} ${y + size * 1.2}L${
                x - size * 1.2} ${y}Z`,
            ...common
        });
    return h("circle", { cx: x, cy: y, r: size, ...common });
}

const levelName = (level, trace) =>
    (level === Infinity           ? "answer" :
         level > 2 * trace.layers ? "left out" :
         level === 0              ? "embedding" :
         level % 2                ? `attention ${(level - 1) / 2}` :
                                    `layer ${level / 2 - 1}`);

function drawTrace(trace) {
    const place = layout(trace),
          most = Math.max(
              1e-12,
              ...trace.nodes.filter((n) => n.kind !== "logit")
                  .map((n) => Math.abs(n.contribution)));
    const strongest = Math.max(1e-12, ...trace.edges.map(([, , w ]) => Math.abs(w)));
    drawnTrace.lines = trace.edges.map(([ from, to, weight ]) => {
        const [x0, y0] = place.spots[from], [ x1, y1 ] = place.spots[to], bend = (y0 - y1) * 0.45;
        return h("path", {
            class: "edge",
            d: `M${x0.toFixed(1)} ${y0.toFixed(1)}C${x0.toFixed(1)} ${(y0 - bend).toFixed(1)} ${
                x1.toFixed(1)} ${(y1 + bend).toFixed(1)} ${x1.toFixed(1)} ${y1.toFixed(1)}`,
            stroke: css(diverging(weight < 0 ? -0.9 : 0.9)),
            "stroke-width": (0.6 + 3.4 * Math.sqrt(Math.abs(weight) / strongest)).toFixed(2),
            style :
                `--strength:${(0.06 + 0.3 * Math.sqrt(Math.abs(weight) / strongest)).toFixed(3)}`
        });
    });
    drawnTrace.nodes = trace.nodes.map((node, i) => {
        const mark =
            h("g", {
                class: "node",
                tabindex: "0",
                role: "button",
                "data-node": i,
                "aria-label": `${nodeName(node, trace)}, contributes ${number(node.contribution)}`
            },
              nodeMark(node, place.spots[i], most));
        mark.addEventListener("mouseenter", (event) => {
            light(trace, i);
            tip(event, h("b", {}, h("bdi", {}, nodeName(node, trace))),
                ` ${number(node.contribution)}`);
        });
        mark.addEventListener("mouseleave", (event) => {
            light(trace, state.node);
            tip(event);
        });
        mark.addEventListener("focus", () => light(trace, i));
        mark.addEventListener("click", () => go({ node: state.node === i ? -1 : i }, true));
        mark.addEventListener(
            "keydown",
            (event) => (event.key === "Enter" || event.key === " ") &&
                (event.preventDefault(), event.stopPropagation(), go({ node: i }, true)));
        return mark;
    });
    return h(
        "svg", {
            viewBox: `0 0 ${place.width} ${place.height}`,
            width: place.width,
            height: place.height,
            class: "graph",
            role: "group",
            "aria-label": `Attribution graph, ${plural(trace.nodes.length, "node")}`
        },
        place.levels.map(
            (level, i) =>
                [h("line", {
                     x1: 92,
                     x2: place.width,
                     y1: place.tops[i],
                     y2: place.tops[i],
                     class: "grid"
                 }),
                 h("text", { x: 84, y: place.tops[i] + 3, class: "tick end" },
                   levelName(level, trace))]),
        trace.tokens.map(
            (id, c) =>
                h("text", {
                    x: place.lefts[c] + place.widths[c] / 2,
                    y: place.height - 14,
                    class: "tick middle word"
                },
                  asName(page.pieces[id]))),
        drawnTrace.lines, drawnTrace.nodes);
}

// The edges of one node strong, the others faint; -1: all alike.
function light(trace, chosen) {
    const near = new Set([ chosen ]);
    trace.edges.forEach(([ from, to ], i) => {
        const on = from === chosen || to === chosen;
        if (on) near.add(from).add(to);
        drawnTrace.lines[i].classList.toggle("on", on);
        drawnTrace.lines[i].classList.toggle("off", chosen >= 0 && !on);
    });
    drawnTrace.nodes.forEach((mark, i) => {
        mark.classList.toggle("off", chosen >= 0 && !near.has(i));
        mark.classList.toggle("on", i === chosen);
    });
}

const traceNow = () => page.traces[state.trace] ?? page.traces[0];

function traceBar() {
    return [
        page.traces.length > 1 ?
            h("label", {}, "Prompt ",
              h("select", {
                  onchange: (event) => go({ trace: Number(event.target.value), node: -1 }, true)
              },
                page.traces.map(
                    (trace, i) =>
                        h("option", { value: i, selected: i === state.trace },
                          `${trace.prompt} → ${answerOf(trace)}`)))) :
            null,
        legend("diverging", "against", "for the answer", "contribution"),
        button(
            "Command", "Copy the command that prints this",
            () => copy(traceNow().command, "Command"))
    ];
}

function openTraceView(main) {
    const trace = traceNow();
    main.replaceChildren(h(
        "div", { class: "trace-view" },
        h("h3", {}, h("bdi", {}, trace.prompt), " → ",
          h("bdi", { class: "answer" }, answerOf(trace))),
        h("p", { class: "note" },
          `${
              trace.against >= 0 ?
                  `Logit above that of ${asName(page.pieces[trace.against])}` :
                  "Logit"} ${number(trace.value)}; probability ${percent(trace.probability)}. ` +
              `${plural(trace.nodes.length, "node")} of ${count(trace.all_nodes)} carry ${
                  percent(trace.node_share)} of the influence. ` +
              `With gates, attention weights and norms held fixed the edges into each node sum to its value: largest relative error ${
                  trace.sum_error.toExponential(1)}.`),
        h("div", { class: "scroll graph-box", tabindex: "0", "aria-label": "Graph" },
          drawTrace(trace)),
        h("p", { class: "note" },
          "■ embedding   ◆ attention, by the token it reads   ● neuron   ○ what is not linear, or was left out. Point at a node to see its edges, choose it for its sources.")));
    light(trace, state.node);
}

function updateTraceView() {
    light(traceNow(), state.node);
}

// For the inspector: what the chosen node is made of, and where it goes.
async function inspectNode() {
    const trace = traceNow(), node = trace.nodes[state.node];
    if (!node) return [];
    const list = (edges, end) =>
        h("ul", { class: "bars" },
          edges.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]))
              .slice(0, 10)
              .map(
                  (edge) => h(
                      "li", {},
                      button(
                          h("bdi", {}, nodeName(trace.nodes[edge[end]], trace)), "Go to this node",
                          () => go({ node: edge[end] }, true), { class: "neuron" }),
                      bar(edge[2] / Math.max(...edges.map((e) => Math.abs(e[2]))), true),
                      h("span", { class: "value" }, number(edge[2])))));
    const into = trace.edges.filter(([, to ]) => to === state.node),
          out = trace.edges.filter(([ from ]) => from === state.node);
    const x = { l: node.layer, c: node.channel, n: node.neuron },
          lens = node.kind === "neuron" ? await models[0].lens(x.l, x.c, x.n) : null;
    return [
        h("div", { class: "headline" }, h("h2", {}, h("bdi", {}, nodeName(node, trace))),
          h("p", {},
            `${kindNames[node.kind]}${node.position >= 0 ? `, token ${node.position} ` : ""}`,
            node.position >= 0 ? h("bdi", {}, asName(page.pieces[trace.tokens[node.position]])) :
                                 "",
            ` · contributes ${number(node.contribution)}, directly ${number(node.direct)}`)),
        lens ?
            h("dl", { class: "lens-list" }, h("dt", {}, "reads"), h("dd", {}, pieces(lens.reads)),
              h("dt", {}, "writes"), h("dd", {}, pieces(lens.writes))) :
            null,
        node.kind === "neuron" && models[0].has(x.l, x.c) ?
            h("div", { class: "row" },
              button(
                  "where it fires in the text", "Choose this neuron and go to the text",
                  () => {
                      choose(x, false);
                      go({ view: "text" });
                  })) :
            null,
        into.length ? section("Made of", null, list(into, 0)) : null,
        out.length ? section("Goes to", null, list(out, 1)) : null
    ];
}
