// The pictures, perplexity by FLOPs and by speed, and the table of all points.

const shortNames = { flops: "FLOPs", speed: "Speed", table: "Points", about: "Origin" };

function tipOf(row) {
    return [
        [ "reads", settingOf(row) +
            (partOf(row) === "" ? "" : `: ${share(row.read)} of ${partOf(row)}`) ],
        [ "perplexity", `${exact(row.perplexity)} ${
            interval(row.perplexity_low, row.perplexity_high, fourFigures)}` ],
        [ "excess loss", row.excess === null ? "" : `${fine(row.excess)} ${
            interval(row.excess_low, row.excess_high, fine)}` ],
        [ "FLOPs", `${share(row.flops)}, router ${share(row.router)}` ],
        [ "FLOPs of layers", share(row.layer_flops) ],
        [ "tokens/s", row.tokens_per_second === null ? "" : exact(row.tokens_per_second) ],
        [ "speed", row.speed === null ? "" : `${exact(row.speed)} ${
            interval(row.speed_low, row.speed_high, fourFigures)}` ]
    ].filter(([, text ]) => text !== "");
}

function seriesBy(key) {
    return contenders.filter(shown).map((name) => ({
        name,
        line: curves.get(name).length > 1,
        dashed: hollowOf(name),
        marks: true,
        hollow: hollowOf(name),
        points: curves.get(name).map((row) => ({
            x: row[key],
            y: row.perplexity,
            low: lowOf(row),
            high: highOf(row),
            left: key === "speed" ? row.speed_low : null,
            right: key === "speed" ? row.speed_high : null,
            tip: () => tipOf(row)
        }))
    }));
}

// Each curve has a point in the picture, wherever it ends.
function mostShown() {
    if (chosen.reach === "all") return Infinity;
    const least = contenders.filter(shown).map(
        (name) => Math.min(...curves.get(name).map((row) => row.perplexity)));
    return Math.max(Number(chosen.reach) * first.perplexity, ...least);
}

function picture(key, title, label, log) {
    return chart(() => ({
        title,
        height: 460,
        x: { label, log: log() },
        y: { label: "perplexity", log: chosen.reach === "all", most: mostShown() },
        guides: contenders.filter((name) => shown(name) && isLevel(name))
                    .map((name) => ({ name, y: curves.get(name)[0].perplexity })),
        series: seriesBy(key)
    }));
}

const reaches = [
    ...[ "1.1", "1.5", "3" ].map((times) => [times, `${times} ×`,
        `Perplexities up to ${times} times that of ${first.model}`]),
    [ "all", "all, logarithmic", "All perplexities, on a logarithmic axis" ]
];

function flopsPart() {
    return part(
        "flops", "Perplexity by FLOPs",
        h("div", { class: "row" }, segments("reach", "Perplexities up to", reaches),
          segments("x", "Axis of FLOPs", [[ "log", "logarithmic" ], [ "linear", "linear" ]])),
        h("figure", {}, picture("flops", "Perplexity by FLOPs",
              "FLOPs of feed-forward layers, routers included; of all their blocks = 1",
              () => chosen.x === "log")),
        h("p", { class: "note" },
          (isPaired ?
               `Bars are intervals of 95 percent of the difference to ${first.model}, by the ` +
                   "same windows of the text; those of perplexities themselves, which are wider, " +
                   "are in the table. " :
               "Bars are intervals of 95 percent over windows of the text. ") +
              "Dotted levels are models that do not choose. Open marks and dashes are controls: " +
              "as many blocks as the router counts, drawn at random or chosen by an oracle."));
}

function speedPart() {
    if (!isTimed) return null;
    return part(
        "speed", "Perplexity by speed",
        h("figure", {}, picture("speed", "Perplexity by speed",
              `speed of decoding, of ${first.model} = 1`, () => false)),
        h("p", { class: "note" },
          `Each was measured in turns with ${first.model}, one session; bars are intervals of ` +
              "95 percent over rounds."));
}

// ---- the table ----------------------------------------------------------------------------------

const columns = [
    [ "model", "curve", (row) => named(nameOf(row)) ],
    [ "active", "reads", settingOf ],
    [ "perplexity", "perplexity", (row) => exact(row.perplexity) ],
    [ "", "95 %", (row) => interval(row.perplexity_low, row.perplexity_high, fourFigures) ],
    [ "excess", "excess loss", (row) => fine(row.excess ?? NaN) ],
    [ "", "95 %", (row) => interval(row.excess_low, row.excess_high, fine) ],
    [ "blocks", "blocks", (row) => (row.blocks > 0 ? exact(row.blocks) : "") ],
    [ "read", "read", (row) => (partOf(row) === "" ? "" : share(row.read)) ],
    [ "flops", "FLOPs", (row) => share(row.flops) ],
    [ "router", "router", (row) => share(row.router) ],
    [ "layer_flops", "layers", (row) => share(row.layer_flops) ],
    ...(isTimed ? [
        [ "tokens_per_second", "tokens/s", (row) => exact(row.tokens_per_second) ],
        [ "speed", "speed", (row) => exact(row.speed) ],
        [ "", "95 %", (row) => interval(row.speed_low, row.speed_high, fourFigures) ]
    ] : [])
];

function sortedRows() {
    const [key, sign] = chosen.sort;
    const value = (row) => (key === "model" ? nameOf(row) :
        key === "active" ? row.active ?? row.threshold : row[key]);
    return rows.filter((row) => shown(nameOf(row))).sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === y) return a.index - b.index;
        if (x === null || y === null) return x === null ? 1 : -1;
        return sign * (x < y ? -1 : 1);
    });
}

function headOf([ key, title ]) {
    const on = key !== "" && chosen.sort[0] === key;
    const text = title + (on ? (chosen.sort[1] > 0 ? " ↑" : " ↓") : "");
    return h(
        "th", { scope: "col", class: key === "model" || key === "active" ? "" : "value",
            "aria-sort": on ? (chosen.sort[1] > 0 ? "ascending" : "descending") : null },
        key === "" ? title :
            button(text, `Sort by ${title}`,
                () => choose({ sort: [ key, on ? -chosen.sort[1] : 1 ] }),
                { class: "link", "data-sort": key }));
}

function tablePart() {
    const box = h("div", { class: "scroll", id: "points" });
    const cell = (row) => ([ key, title, text ]) => (key === "model" ?
        h("th", { scope: "row" }, text(row)) :
        h("td", { class: title === "95 %" ? "value interval" : key === "active" ? "" : "value" },
          text(row)));
    const draw = () => box.replaceChildren(h(
        "table", { class: "plain runs" }, h("thead", {}, h("tr", {}, columns.map(headOf))),
        h("tbody", {}, sortedRows().map(
            (row) => h("tr", { "data-row": row.index }, columns.map(cell(row)))))));
    redraws.push(draw);
    draw();
    return part(
        "table", "All points", box,
        h("p", { class: "note" },
          "Read: of the neurons of sparse layers, or of the inputs of matrices where these are " +
              "left out. FLOPs are of feed-forward layers, routers included; under layers those " +
              "of all their matrices, attention's too: by these models that leave inputs out " +
              "compare with others."));
}

function aboutPart() {
    const known = [
        [ "text", page.text ], [ "tokens", page.tokens === undefined ? "" : count(page.tokens) ],
        [ "windows", page.windows === undefined ? "" : count(page.windows) ]
    ].filter(([, text ]) => text);
    return part(
        "about", "Origin",
        h("dl", { class: "known wide" },
          known.map(([ name, text ]) => [h("dt", {}, name), h("dd", {}, text)])),
        page.command ? h("div", { class: "command" }, h("pre", {}, page.command)) : null);
}
