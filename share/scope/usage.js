// How the neurons of a channel share the work, and which fire together, counted over the tokens of
// this page as `sgatlin probe usage` counts them.

// Gini coefficient of counts: 0 when all are equal, near 1 when few have all.
// Entropy is divided by that of equal counts.
function usageOf(pool) {
    const counts = Array.from({ length: pool.neurons }, (_, n) => pool.countOf(n));
    const sorted = counts.slice().sort((a, b) => a - b), total = pool.hits || 1;
    let used = 0, weighted = 0, entropy = 0;
    sorted.forEach((c, i) => {
        used += c > 0;
        weighted += (2 * (i + 1) - sorted.length - 1) * c;
        if (c > 0) entropy -= (c / total) * Math.log(c / total);
    });
    return {
        counts,
        used: used / pool.neurons,
        gini: weighted / (pool.neurons * total),
        entropy: pool.neurons > 1 ? entropy / Math.log(pool.neurons) : 1,
        most: sorted[sorted.length - 1]
    };
}

// The neurons that fire most, and how often j fires where i does: share[i][j].
function coActivation(pool, many) {
    const top = Array.from({ length: pool.neurons }, (_, n) => n)
                    .sort((a, b) => pool.countOf(b) - pool.countOf(a) || a - b)
                    .slice(0, many)
                    .filter((n) => pool.countOf(n) > 0);
    const place = new Map(top.map((n, i) => [n, i])),
          both = top.map(() => new Float64Array(top.length));
    for (let r = 0; r < text.count; r++) {
        const here = [];
        for (let i = pool.begin(r); i < pool.begin(r + 1); i++)
            if (place.has(pool.neuron[i])) here.push(place.get(pool.neuron[i]));
        for (const a of here)
            for (const b of here)
                if (a !== b) both[a][b]++;
    }
    const share = both.map((row, i) => row.map((x) => x / pool.countOf(top[i])));
    const order = seriated(share);
    return {
        neurons: order.map((i) => top[i]),
        share: order.map((i) => order.map((j) => share[i][j]))
    };
}

// An order in which neighbours are alike: always on to the most alike one that is left.
function seriated(share) {
    const left = new Set(share.keys()), order = [];
    let at = 0;
    while (left.size > 0) {
        left.delete(at);
        order.push(at);
        let best = -1, most = -1;
        for (const j of left) {
            const alike = share[at][j] + share[j][at];
            if (alike > most) {
                most = alike;
                best = j;
            }
        }
        at = best;
    }
    return order;
}

function usageTable(rows) {
    return h(
        "table", { class: "plain" },
        h("thead", {},
          h("tr", {},
            [ "layer", "channel", "neurons", "used", "Gini", "entropy", "most" ].map(
                (x) => h("th", { scope: "col" }, x)))),
        h("tbody", {},
          rows.map(
              ({ pool, usage }) =>
                  h("tr", {
                      class: pool.channel === state.channel && pool.layer === state.layer ? "on" :
                                                                                             ""
                  },
                    h("td", {},
                      button(
                          String(pool.layer), "Show this one",
                          () => go({ layer: pool.layer, channel: pool.channel }, true))),
                    h("td", {}, pool.channel), h("td", {}, count(pool.neurons)),
                    h("td", {}, percent(usage.used)), h("td", {}, usage.gini.toFixed(3)),
                    h("td", {}, usage.entropy.toFixed(3)), h("td", {}, count(usage.most))))));
}

// The outline of counts that fall: a step where the count changes, at most one a third of a pixel.
function stairs(order, left, step, y) {
    let path = "", last = -1;
    order.forEach(([ c ], i) => {
        if (c === last || (i > 0 && Math.floor(i * step * 3) === Math.floor((i - 1) * step * 3)))
            return;
        if (last >= 0) path += `L${(left + i * step).toFixed(1)} ${y(last).toFixed(1)}`;
        path += `L${(left + i * step).toFixed(1)} ${y(c).toFixed(1)}`;
        last = c;
    });
    return path + `L${(left + order.length * step).toFixed(1)} ${y(last).toFixed(1)}`;
}

// Hits of each neuron, the most used first; the dashed line is equal use.
function usageBars(pool, usage) {
    const width = 640, height = 190, left = 44, bottom = 24, top = 8;
    const order = usage.counts.map((c, n) => [c, n]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
    const most = Math.max(1, usage.most), step = (width - left - 4) / order.length;
    const y = (c) => height - bottom - (Math.log1p(c) / Math.log1p(most)) * (height - bottom - top);
    const ticks = [ 1, 10, 100, 1000, 10000, 100000 ].filter((c) => c <= most);
    const equal = pool.hits / pool.neurons;
    const svg =
        h("svg", {
            viewBox: `0 0 ${width} ${height}`,
            class: "chart",
            role: "img",
            "aria-label": `Hits of each of ${pool.neurons} neurons, the most used first: ${
                count(usage.most)} down to ${count(order[order.length - 1][0])}`
        },
          ticks.map(
              (c) =>
                  [h("line", { x1: left, x2: width, y1: y(c), y2: y(c), class: "grid" }),
                   h("text", { x: left - 6, y: y(c) + 3, class: "tick end" }, count(c))]),
          h("path", {
              class: "area",
              d: `M${left} ${height - bottom}` + stairs(order, left, step, y) +
                  `L${width - 4} ${height - bottom}Z`
          }),
          h("line", { x1: left, x2: width - 4, y1: y(equal), y2: y(equal), class: "equal" }),
          h("text", { x: width - 6, y: y(equal) - 5, class: "tick end" }, "equal use"),
          state.neurons.filter((x) => x.l === pool.layer && x.c === pool.channel).map((x) => {
              const i = order.findIndex(([, n ]) => n === x.n);
              return h("line", {
                  x1: left + (i + 0.5) * step,
                  x2: left + (i + 0.5) * step,
                  y1: top,
                  y2: height - bottom,
                  class: "chosen-line"
              });
          }),
          h("text", { x: left, y: height - 6, class: "tick" }, "most used"),
          h("text", { x: width - 4, y: height - 6, class: "tick end" }, "least"));
    const rank = (event) => {
        const box = svg.getBoundingClientRect();
        return clamp(
            Math.floor((((event.clientX - box.left) / box.width) * width - left) / step), 0,
            order.length - 1);
    };
    svg.addEventListener(
        "mousemove",
        (event) =>
            tip(event,
                `${nameOf({ l: pool.layer, c: pool.channel, n: order[rank(event)][1] })}: ${
                    plural(order[rank(event)][0], "hit")}`));
    svg.addEventListener("mouseleave", (event) => tip(event));
    svg.addEventListener(
        "click",
        (event) => choose(
            { l: pool.layer, c: pool.channel, n: order[rank(event)][1] }, event.shiftKey));
    return svg;
}

function heatMap(pool) {
    const { neurons, share } = coActivation(pool, 36), cell = 14, room = 42,
                           size = room + neurons.length * cell;
    const x = (n) => ({ l: pool.layer, c: pool.channel, n });
    const cells = share.flatMap(
        (row, i) => row.map((value, j) => h("rect", {
                                x: room + j * cell,
                                y: room + i * cell,
                                width: cell - 0.5,
                                height: cell - 0.5,
                                fill: i === j ? "var(--line)" : css(sequential(value)),
                                "data-i": i,
                                "data-j": j
                            })));
    const svg =
        h("svg", {
            viewBox: `0 0 ${size} ${size}`,
            class: "heat",
            role: "img",
            "aria-label" :
                `How often pairs of the ${neurons.length} most used neurons fire together`
        },
          cells,
          neurons.map(
              (n, i) =>
                  [h("text", {
                       x: room - 4,
                       y: room + i * cell + 10,
                       class: "tick end" + (isChosen(x(n)) ? " on" : "")
                   },
                     n),
                   h("text", {
                       x: 0,
                       y: 0,
                       class: "tick" + (isChosen(x(n)) ? " on" : ""),
                       transform: `translate(${room + i * cell + 10} ${room - 4}) rotate(-90)`
                   },
                     n)]));
    const at = (event) =>
        (event.target.dataset?.i === undefined ?
             null :
             [ Number(event.target.dataset.i), Number(event.target.dataset.j) ]);
    svg.addEventListener("mousemove", (event) => {
        const spot = at(event);
        if (!spot) return tip(event);
        tip(event,
            `where ${neurons[spot[0]]} fires, ${neurons[spot[1]]} fires in ${
                percent(share[spot[0]][spot[1]])}`);
    });
    svg.addEventListener("mouseleave", (event) => tip(event));
    svg.addEventListener("click", (event) => {
        const spot = at(event);
        if (!spot) return;
        const pair = [...new Set(spot) ].map((i) => x(neurons[i]));
        go({ neurons: pair, colour: "neurons", kind: "neurons" }, true);
    });
    return svg;
}

const usageBar = () => [poolChoice(), chips(), copyButtons(query.usage, command.usage)];

async function openUsageView(main) {
    const columnsOf = [];
    for (const model of shownModels()) {
        const pools = await model.allPools(),
              rows = pools.map((pool) => ({ pool, usage: usageOf(pool) }));
        const shown =
            rows.find(({ pool }) => pool.layer === state.layer && pool.channel === state.channel);
        columnsOf.push(h(
            "div", { class: "usage" },
            state.pair ? h("h2", { class: "which" }, model.name) : null,
            shown ?
                [
                    h("h3", {}, "Hits of each neuron"),
                    h("p", { class: "note" },
                      `Layer ${state.layer}, channel ${state.channel}; logarithmic. ` +
                          `${
                              percent(
                                  shown.usage.used)} of the neurons fire at least once in these ${
                              plural(text.count, "token")}; Gini ${shown.usage.gini.toFixed(2)}.`),
                    usageBars(shown.pool, shown.usage), h("h3", {}, "Fire together"),
                    h("p", { class: "note" },
                      "Of the tokens at which the row's neuron fires, the share at which the column's fires too. The most used neurons, in an order that puts like beside like."),
                    h("div", { class: "row" }, legend("sequential", "0 %", "100 %", "share")),
                    heatMap(shown.pool)
                ] :
                h("p", { class: "note" }, "This channel is not on the page."),
            h("h3", {}, "All channels on this page"),
            h("div", { class: "scroll" }, usageTable(rows))));
    }
    main.replaceChildren(
        h("div", { class: "usage-view" + (columnsOf.length > 1 ? " two" : "") }, columnsOf));
}
