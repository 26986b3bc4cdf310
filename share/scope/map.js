// The map of gates: a point a token, near where gates are alike. Colours are the input, the next
// token, a neuron or the loss; a lasso picks points, which are then marked in the text.

const mapPanes = [];  // {model, map, places, canvas, width, height}

const mapped = (model) => model.spec.maps?.map((map) => [map.layer, map.channel]) ?? [];

// Corners of the lasso are in 65535ths of the sides of the first model's map.
function inside(lasso, x, y) {
    let within = false;
    for (let i = 0, j = lasso.length - 2; i < lasso.length; j = i, i += 2) {
        const yi = lasso[i + 1], yj = lasso[j + 1];
        if (yi > y !== yj > y && x < ((lasso[j] - lasso[i]) * (y - yi)) / (yj - yi) + lasso[i])
            within = !within;
    }
    return within;
}

let pickedKey = "", pickedSet = new Set();
async function pickedTokens() {
    const model = models[state.model], map = model.map(state.layer, state.channel);
    if (state.lasso.length < 6 || !map) return new Set();
    const key = [ state.model, state.layer, state.channel, ...state.lasso ].join();
    if (key === pickedKey) return pickedSet;
    const { x, y, rows } = await model.places(map), picked = new Set();
    for (let i = 0; i < x.length; i++)
        if (inside(state.lasso, x[i], y[i])) picked.add(rows ? rows[i] : i);
    pickedKey = key;
    pickedSet = picked;
    return picked;
}

// ---- colours ------------------------------------------------------------------------------------

async function mapColours(model) {
    if (state.kind === "neurons" && state.neurons.length > 0) {
        const colour = await colourByNeurons(model);
        return {
            of: (t) =>
                (colour.fires[t] ? css(colour.scale === "diverging" ?
                                           diverging(colour.of(colour.values[t])) :
                                           sequential(0.25 + 0.75 * colour.of(colour.values[t]))) :
                                   null),
            key: legend(colour.scale, colour.low, colour.high, colour.what)
        };
    }
    if (state.kind === "loss") {
        const values = await surprise(model);
        return {
            of: (t) => css(sequential(0.1 + values[t] / 8)),
            key: legend("sequential", "0", "8 nats", "surprise")
        };
    }
    const of = state.kind === "next" ? (t) => text.next[t] - 1 : (t) => text.tokens[t];
    const seen = new Map();
    for (let t = 0; t < text.count; t++) seen.set(of(t), (seen.get(of(t)) ?? 0) + 1);
    seen.delete(-1);
    const top = [...seen ].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, kinds().length);
    const colours = new Map(top.map(([ id ], i) => [id, kinds()[i]]));
    const which = state.kind === "next" ? "next" : "input";
    const item = ([id, many]) => {
        const look = () => {
            byId("search").value = page.pieces[id].trim() || page.pieces[id];
            go({ find: byId("search").value }, true);
        };
        const shown = [
            h("i", { style: `background:${colours.get(id)}` }),
            h("bdi", {}, asName(page.pieces[id])),
            h("span", { class: "value" }, count(many))
        ];
        return h("li", {}, button(shown, `Search for ${asName(page.pieces[id])}`, look));
    };
    const others = h("li", {}, h("i", { style: `background:${grey()}` }), "all others");
    const name = `The most frequent ${which} tokens`;
    const key = h("ul", { class: "key", "aria-label": name }, top.map(item), others);
    return { of: (t) => colours.get(of(t)) ?? null, key };
}

// ---- drawing ------------------------------------------------------------------------------------

// The box of nearly all points: a few far ones would make the rest small. They are still there.
function boxOf({ x, y }) {
    const ends = (values) => {
        const sorted = Float64Array.from(values).sort(), cut = Math.floor(sorted.length * 0.01);
        return [ sorted[cut] / 65535, sorted[sorted.length - 1 - cut] / 65535 ];
    };
    const [x0, x1] = ends(x), [ y0, y1 ] = ends(y);
    return {
        x: (x0 + x1) / 2,
        y: (y0 + y1) / 2,
        width: Math.max(x1 - x0, 0.01),
        height: Math.max(y1 - y0, 0.01)
    };
}

// From the unit square of the map to the canvas.
function frameOf(pane) {
    const { width, height, map, box } = pane, aspect = map.aspect > 0 ? map.aspect : 1, room = 24;
    const fit =
        Math.min((width - 2 * room) / (aspect * box.width), (height - 2 * room) / box.height) *
        state.look[0];
    const w = fit * aspect, left = width / 2 - w * (box.x + state.look[1]),
          top = height / 2 - fit * (1 - box.y + state.look[2]);
    return {
        to: (x, y) => [left + x * w, top + (1 - y) * fit],
        from: (x, y) => [(x - left) / w, 1 - (y - top) / fit],
        w,
        h: fit
    };
}

function drawMap(pane) {
    if (!pane.canvas.isConnected) return;
    pane.width = pane.canvas.parentElement.clientWidth;
    pane.height = pane.canvas.parentElement.clientHeight;
    const context = canvasFor(pane.canvas, pane.width, pane.height), frame = frameOf(pane);
    const { x, y, rows } = pane.places, found = reading.marks.found, picked = reading.marks.picked;
    const radius = clamp(1.5 * Math.sqrt(8000 / x.length) * Math.sqrt(state.look[0]), 1.2, 5);
    const marked = found.size > 0 || picked.size > 0, later = [];
    pane.at = new Float32Array(2 * x.length);
    context.fillStyle = grey();
    for (let i = 0; i < x.length; i++) {
        const t = rows ? rows[i] : i, [ px, py ] = frame.to(x[i] / 65535, y[i] / 65535),
              colour = pane.colours.of(t);
        pane.at[2 * i] = px;
        pane.at[2 * i + 1] = py;
        const on = marked && (found.has(t) || picked.has(t));
        if (colour === null && !on)
            context.fillRect(px - radius * 0.7, py - radius * 0.7, radius * 1.4, radius * 1.4);
        else
            later.push([ px, py, colour, on ]);
    }
    for (const strong of [false, true])
        for (const [px, py, colour, on] of later) {
            if (on !== strong) continue;
            context.globalAlpha = marked && !on ? 0.25 : 0.85;
            context.fillStyle = colour ?? ink();
            context.beginPath();
            context.arc(px, py, on ? radius * 1.5 : radius, 0, 7);
            context.fill();
        }
    context.globalAlpha = 1;
    drawChosen(pane, context);
    drawLasso(pane, context, frame);
}

function drawChosen(pane, context) {
    const { rows } = pane.places, i = rows ? rows.indexOf(state.token) : state.token;
    if (i < 0) return;
    context.strokeStyle = ink();
    context.lineWidth = 2;
    context.beginPath();
    context.arc(pane.at[2 * i], pane.at[2 * i + 1], 8, 0, 7);
    context.stroke();
}

function drawLasso(pane, context, frame) {
    const corners = pane.drawn ?? (pane.first ? state.lasso : []);
    if (corners.length < 4) return;
    context.beginPath();
    for (let i = 0; i < corners.length; i += 2)
        context.lineTo(...frame.to(corners[i] / 65535, corners[i + 1] / 65535));
    context.closePath();
    context.fillStyle = dark ? "rgb(240 220 130 / .10)" : "rgb(80 60 160 / .07)";
    context.fill();
    context.strokeStyle = ink();
    context.setLineDash([ 4, 3 ]);
    context.lineWidth = 1.2;
    context.stroke();
    context.setLineDash([]);
}

function pointAt(pane, px, py) {
    let best = -1, least = 100;
    for (let i = 0; i < pane.at.length / 2; i++) {
        const distance = (pane.at[2 * i] - px) ** 2 + (pane.at[2 * i + 1] - py) ** 2;
        if (distance < least) {
            least = distance;
            best = i;
        }
    }
    return best < 0 ? -1 : pane.places.rows ? pane.places.rows[best] : best;
}

// ---- hands --------------------------------------------------------------------------------------

function mapHands(pane) {
    const { canvas } = pane;
    let start = null;
    const spot = (event) => {
        const box = canvas.getBoundingClientRect();
        return [ event.clientX - box.left, event.clientY - box.top ];
    };
    canvas.addEventListener("pointerdown", (event) => {
        const [x, y] = spot(event);
        start = {
            x,
            y,
            look: state.look,
            pan: event.shiftKey || event.button === 1 || mapTool === "move" || !pane.first
        };
        pane.drawn = null;
        if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
        const [x, y] = spot(event);
        if (!start) {
            const t = pointAt(pane, x, y);
            return t < 0 ? tip(event) : tip(event, h("span", { class: "excerpt" }, excerpt(t)));
        }
        if (!start.moved && Math.hypot(x - start.x, y - start.y) < 4) return;
        start.moved = true;
        const frame = frameOf(pane);
        if (start.pan) {
            state.look = [
                start.look[0], start.look[1] - (x - start.x) / frame.w,
                start.look[2] - (y - start.y) / frame.h
            ];
            mapPanes.forEach(drawMap);
            return;
        }
        const [u, v] = frame.from(x, y);
        pane.drawn = (pane.drawn ?? []).concat(Math.round(u * 65535), Math.round(v * 65535));
        drawMap(pane);
    });
    canvas.addEventListener("pointerup", (event) => {
        const [x, y] = spot(event), drawn = pane.drawn, moved = start?.moved, pan = start?.pan;
        start = null;
        pane.drawn = null;
        if (moved && pan) return void go({ look: state.look });
        if (drawn && drawn.length >= 6) return void go({ lasso: thinned(drawn) }, true);
        const t = pointAt(pane, x, y);
        go(t >= 0 ? { token: t } : { lasso: [] }, true);
    });
    canvas.addEventListener("pointerleave", (event) => tip(event));
    canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        zoomMap(Math.exp(-event.deltaY * 0.0015), pane, ...spot(event));
    }, { passive: false });
}

// So that an address stays short: at most 60 corners.
function thinned(corners) {
    const step = Math.max(1, Math.ceil(corners.length / 120)), kept = [];
    for (let i = 0; i < corners.length / 2; i += step)
        kept.push(corners[2 * i], corners[2 * i + 1]);
    return kept;
}

function zoomMap(factor, pane = mapPanes[0], px = pane.width / 2, py = pane.height / 2) {
    const [u, v] = frameOf(pane).from(px, py), zoom = clamp(state.look[0] * factor, 0.5, 60);
    const before = state.look;
    state.look = [ zoom, before[1], before[2] ];
    const [x, y] = frameOf(pane).to(u, v), frame = frameOf(pane);
    state.look = [ zoom, before[1] - (px - x) / frame.w, before[2] - (py - y) / frame.h ];
    go({ look: state.look });
}

let mapTool = "lasso";

function mapBar() {
    const model = models[state.model],
          tool = (id, name, title) => button(name, title, () => {
              mapTool = id;
              go({});
          }, { "aria-pressed": String(mapTool === id), class: mapTool === id ? "on" : "" });
    const select =
        h("select", {
            id: "map-kind",
            "aria-label": "Colour by",
            onchange: (event) => go({ kind: event.target.value }, true)
        },
          [
              [ "input", "input token" ], [ "next", "next token" ], [ "loss", "surprise" ],
              [ "neurons", "chosen neurons" ]
          ]
              .map(
                  ([ id, name ]) =>
                      h("option", {
                          value: id,
                          selected: id === state.kind,
                          disabled: id === "neurons" && state.neurons.length === 0
                      },
                        name)));
    return [
        poolChoice(mapped(model)), h("label", {}, "Colour by ", select), chips(),
        h("span", { class: "segments", role: "group", "aria-label": "Hand" },
          tool("lasso", "Lasso", "Draw around points"),
          tool("move", "Move", "Move the map (or hold Shift)")),
        h("span", { class: "segments" }, button("+", "Nearer (+)", () => zoomMap(1.4)),
          button("−", "Farther (−)", () => zoomMap(1 / 1.4)),
          button("whole", "The whole map (0)", () => go({ look: [ 1, 0, 0 ] }))),
        copyButtons(query.gates, command.map)
    ];
}

async function openMapView(main) {
    mapPanes.length = 0;
    const list = shownModels(), boxes = [];
    for (const model of list) {
        const map = model.map(state.layer, state.channel);
        if (!map) {
            boxes.push(
                h("div", { class: "missing" },
                  mapped(model).length === 0 ? `No map of ${model.name} is on this page.` :
                                               `Layer ${state.layer}, channel ${state.channel} of ${
                                                   model.name} has no map here; these have: ` +
                          mapped(model).map(([ l, c ]) => `${l}·${c}`).join(", ") + "."));
            continue;
        }
        const canvas = h("canvas", {
            tabindex: "0",
            role: "img",
            "aria-label": `Map of the gates of layer ${map.layer}, channel ${map.channel} of ${
                model.name}: ${plural(map.x.count, "token")}`
        });
        const pane = {
            model,
            map,
            canvas,
            places: await model.places(map),
            colours: await mapColours(model),
            first: model === list[0]
        };
        pane.box = boxOf(pane.places);
        mapPanes.push(pane);
        mapHands(pane);
        boxes.push(
            h("figure", { class: "map" },
              list.length > 1 ? h("h2", { class: "which" }, model.name) : null,
              h("div", { class: "canvas" }, canvas),
              h("figcaption", {}, pane.colours.key, h("p", {}, quality(map)))));
    }
    main.replaceChildren(h("div", { class: "map-view" + (list.length > 1 ? " two" : "") }, boxes));
    for (const pane of mapPanes)
        new ResizeObserver(framed(() => drawMap(pane))).observe(pane.canvas.parentElement);
    mapPanes.forEach(drawMap);
}

const quality = (map) => `UMAP of cosine between gates. ` +
    (Number.isFinite(map.trustworthiness) ?
         `Trustworthiness ${map.trustworthiness.toFixed(3)}; of the ${
             map.quality_neighbours} nearest gates ${
             percent(map.overlap)} are among the nearest here. ` :
         "") +
    `Who is near whom means something; sizes of clusters, gaps between them and directions do not.`;

async function updateMapView() {
    for (const pane of mapPanes) {
        pane.colours = await mapColours(pane.model);
        const caption = pane.canvas.closest("figure").querySelector("figcaption");
        caption.firstChild.replaceWith(pane.colours.key);
        drawMap(pane);
    }
}
