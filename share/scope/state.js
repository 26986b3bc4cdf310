// What is shown, all of it: the part of the address behind # holds the whole state, so that a link
// shows another reader exactly the same. Views read `state` and change it by go(…).

const views = [
    { id: "text", name: "Text" }, { id: "map", name: "Map" }, { id: "usage", name: "Usage" },
    { id: "patch", name: "Patching" }, { id: "trace", name: "Trace" }
];

const fresh = () => ({
    view: "text",
    model: 0,
    pair: false,  // the other model beside it
    layer : models[0].layers[0]?.layer ?? 0,
    channel: models[0].layers[0]?.hits[0]?.channel ?? 0,
    token: -1,         // the chosen one
    neurons : [],       // the chosen circuit: [{l, c, n}]
    colour : "loss",    // text: loss, neurons, likeness
    measure : "score",  // of neurons: score, contribution
    kind : "input",     // colours of the map: input, next, neurons, loss
    find : "",
    lasso: [],          // corners on the map, in 65535ths of its sides: [x, y, x, y, …]
    look : [ 1, 0, 0 ],  // of the map: zoom, and the middle's offset
    patch : "",          // views of their own choices
    trace : 0,
    node: -1
});

// Short keys of the address, and how values are written there. What is as at the beginning is left
// out.
const numberOf = (text, low, otherwise) => {
    const value = Number(text);
    return Number.isFinite(value) && value >= low ? value : otherwise;
};
const codes = {
    view: [ "v", String, (s) => (views.some((view) => view.id === s) ? s : "text") ],
    model: [ "m", String, (s) => (models[Number(s)] ? Number(s) : 0) ],
    pair: [ "b", (x) => (x ? "1" : "0"), (s) => s === "1" && models.length > 1 ],
    layer: [ "l", String, (s) => numberOf(s, 0, 0) ],
    channel: [ "c", String, (s) => numberOf(s, 0, 0) ],
    token: [ "t", String, (s) => (Number(s) < text.count ? Math.floor(numberOf(s, 0, -1)) : -1) ],
    neurons: [
        "n", (list) => list.map((x) => `${x.l}.${x.c}.${x.n}`).join("_"),
        (s) =>
            s.split("_")
                .map((item) => item.split(".").map(Number))
                .filter(
                    (item) => item.length === 3 && item.every((x) => Number.isInteger(x) && x >= 0))
                .map(([ l, c, n ]) => ({ l, c, n }))
    ],
    colour: [ "y", String, (s) => ([ "loss", "neurons", "likeness" ].includes(s) ? s : "loss") ],
    measure: [ "e", String, (s) => (s === "contribution" ? s : "score") ],
    kind :
        [ "k", String, (s) => ([ "input", "next", "neurons", "loss" ].includes(s) ? s : "input") ],
    find: [ "q", encodeURIComponent, decodeURIComponent ],
    lasso :
        [ "z", (list) => list.join("."), (s) => s.split(".").map(Number).filter(Number.isFinite) ],
    look: [
        "w", (list) => list.map((x) => Math.round(x * 1000)).join("."),
        (s) =>
            (s.split(".").length === 3 && s.split(".").every((x) => Number.isFinite(Number(x))) ?
                 s.split(".").map((x) => Number(x) / 1000) :
                 [ 1, 0, 0 ])
    ],
    patch: [ "p", encodeURIComponent, decodeURIComponent ],
    trace: [ "r", String, (s) => numberOf(s, 0, 0) ],
    node: [ "o", String, (s) => numberOf(s, 0, -1) ]
};

function writeHash(of) {
    const base = fresh(), parts = [];
    for (const [name, [ key, write ]] of Object.entries(codes)) {
        const value = write(of[name]);
        if (value !== write(base[name])) parts.push(`${key}=${value}`);
    }
    return parts.join("&");
}

function readHash(hash) {
    const read = fresh();
    for (const part of hash.replace(/^#/, "").split("&")) {
        const at = part.indexOf("=");
        const entry = Object.entries(codes).find(([, code ]) => code[0] === part.slice(0, at));
        if (!entry) continue;
        try {
            read[entry[0]] = entry[1][2](part.slice(at + 1));
        } catch {  // an address that somebody cut or wrote by hand
            continue;
        }
    }
    const model = models[read.model];
    if (model.layers.length > 0 && !model.has(read.layer, read.channel)) {
        read.layer = model.layer(read.layer) ? read.layer : model.layers[0].layer;
        read.channel = model.channels(read.layer)[0] ?? 0;
    }
    read.neurons =
        read.neurons.filter((x) => model.has(x.l, x.c) && x.n < model.layer(x.l).neurons);
    return read;
}

let state = null;
let changing = 0;  // changes that are not shown yet
const listeners = [];
const onState = (call) => listeners.push(call);

// Changes the state and shows it. step: the reader can go back to what was before.
function go(change, step = false) {
    const before = state;
    state = {...state, ...change };
    const model = models[state.model];
    if (!model.has(state.layer, state.channel)) state.channel = model.channels(state.layer)[0] ?? 0;
    const hash = "#" + writeHash(state);
    if (hash !== location.hash) {
        try {
            history[step ? "pushState" : "replaceState"](null, "", hash);
        } catch {  // too many in a short time; the next one will come through
        }
    }
    changing++;
    return Promise.all(listeners.map((call) => call(state, before))).finally(() => changing--);
}

addEventListener("popstate", () => {
    const read = readHash(location.hash);
    if (writeHash(read) !== writeHash(state)) go(read);
});

const linkHere = () => location.href.split("#")[0] + "#" + writeHash(state);

// The models that a view shows: one, or both beside each other.
const shownModels = () =>
    (state.pair ? [ models[state.model], ...models.filter((m, i) => i !== state.model) ] :
                  [ models[state.model] ]);

const sameNeuron = (a, b) => a.l === b.l && a.c === b.c && a.n === b.n;
const nameOf = (x) => `${x.l}·${x.c}·${x.n}`;
const isChosen = (x) => state.neurons.some((y) => sameNeuron(x, y));

function choose({ l, c, n }, more) {
    const x = { l, c, n };
    const others = state.neurons.filter((y) => !sameNeuron(x, y));
    const neurons =
        more ? (others.length < state.neurons.length ? others : [...others, x ]) : [ x ];
    go({
        neurons,
        layer: x.l,
        channel: x.c,
        colour: neurons.length ? "neurons" : "loss",
        kind: neurons.length        ? "neurons" :
            state.kind === "neurons" ? "input" :
                                       state.kind
    },
       true);
}
