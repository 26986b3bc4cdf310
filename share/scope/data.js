// The data of the page. One element holds a JSON manifest; columns of numbers are in elements of
// their own, base64 of deflated bytes, and are decoded when they are first wanted. The form is
// described in docs/PROBE.md, "The page".

const page = JSON.parse(byId("scope").textContent);
const columns = new Map();  // number of a column: a promise of its array

function bytesOf(id) {
    const text = byId("column-" + id).textContent.trim().slice(1, -1);
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
}

async function decode(reference) {
    const stream = new Blob([ bytesOf(reference.column) ])
                       .stream()
                       .pipeThrough(new DecompressionStream("deflate"));
    const raw = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = reference.count;
    if (reference.type === "u8") return raw;
    if (reference.type === "i8") return new Int8Array(raw.buffer);
    // Bytes of one significance lie together, the lowest first: that deflates better.
    const width = reference.type === "u16" ? 2 : 4;
    const words = width === 2 ? new Uint16Array(n) : new Uint32Array(n);
    for (let b = 0; b < width; b++)
        for (let i = 0; i < n; i++) words[i] |= raw[b * n + i] << (8 * b);
    return reference.type === "f32" ? new Float32Array(words.buffer) : words;
}

function column(reference) {
    if (!columns.has(reference.column)) columns.set(reference.column, decode(reference));
    return columns.get(reference.column);
}

// ---- the text -----------------------------------------------------------------------------------

const text = {
    tokens: null,
    next: null,     // numbers of pieces; next is 0 where there is none, else 1 more
    starts : [ 0 ],  // of runs of tokens, mostly sequences, and the end
    sequence : null  // of each token
};
for (const [, length] of page.sequences)
    text.starts.push(text.starts[text.starts.length - 1] + length);
text.longest = Math.max(...page.sequences.map(([, length ]) => length));
text.count = text.starts[text.starts.length - 1];
text.sequences = page.sequences.length;

async function openText() {
    [text.tokens, text.next] = await Promise.all([ column(page.token), column(page.next) ]);
    text.sequence = new Uint32Array(text.count);
    for (let s = 0; s < text.sequences; s++)
        text.sequence.fill(s, text.starts[s], text.starts[s + 1]);
}

const piece = (t) => page.pieces[text.tokens[t]];
const nextPiece = (t) => (text.next[t] > 0 ? page.pieces[text.next[t] - 1] : null);
// In the record: id = sequence * length + position.
const idOf = (t) => page.sequences[text.sequence[t]][0] + t - text.starts[text.sequence[t]];
const positionOf = (t) => idOf(t) % page.length;
const sequenceOf = (t) => Math.floor(idOf(t) / page.length);

// The tokens around one, as elements with that one marked.
function excerpt(t, before = 6, after = 4) {
    const s = text.sequence[t];
    const from = Math.max(text.starts[s], t - before),
          to = Math.min(text.starts[s + 1], t + after + 1);
    const join = (a, b) => {
        let out = "";
        for (let i = a; i < b; i++) out += inText(piece(i)).replace(/\n/g, " ");
        return out;
    };
    return [
        h("bdi", {}, join(from, t)), h("mark", {}, h("bdi", {}, asName(piece(t)))),
        h("bdi", {}, join(t + 1, to))
    ];
}

// Tokens where a text is found, letter case aside; a match may lie over several.
function searchTokens(query) {
    const found = new Set(), first = [];
    const wanted = query.toLowerCase();
    if (wanted === "") return { found, first };
    for (let s = 0; s < text.sequences; s++) {
        const ends = [];
        let all = "";
        for (let t = text.starts[s]; t < text.starts[s + 1]; t++) {
            all += piece(t).toLowerCase();
            ends.push(all.length);
        }
        let i = 0;
        for (let at = all.indexOf(wanted); at >= 0; at = all.indexOf(wanted, at + 1)) {
            while (ends[i] <= at) i++;
            first.push(text.starts[s] + i);
            for (let j = i; j === i || ends[j - 1] < at + wanted.length; j++)
                found.add(text.starts[s] + j);
        }
    }
    return { found, first };
}

// ---- gates --------------------------------------------------------------------------------------

// One channel of one layer: hits of row r (a token) are those from begin(r) to begin(r + 1).
class Pool {
    constructor(spec, layer, columnsOf) {
        Object.assign(this, columnsOf);
        this.layer = layer.layer;
        this.channel = spec.channel;
        this.neurons = layer.neurons;
        const n = this.neuron.length;
        this.begins = new Uint32Array(text.count + 1);
        for (let r = 0; r < text.count; r++)
            this.begins[r + 1] = this.begins[r] + (this.counts ? this.counts[r] : layer.slots);
        for (let r = 0; r < text.count; r++)  // neurons of a row: the first, then differences
            for (let i = this.begins[r] + 1; i < this.begins[r + 1]; i++)
                this.neuron[i] += this.neuron[i - 1];
        this.hits = n;
        this.scoreOf = Float32Array.from(
            { length: spec.score_levels + 1 },
            (_, q) =>
                spec.score_low + ((spec.score_high - spec.score_low) * q) / spec.score_levels);
        const most = spec.activation_levels;
        this.activationOf = Float32Array.from({ length: 256 }, (_, u) => {
            const q = u < 128 ? u : u - 256;
            return Math.sign(q) * (q / most) ** 2 * spec.activation_most;
        });
        this.used = [];  // neurons that fire, ascending
        const fires = new Uint8Array(this.neurons);
        for (const one of this.neuron) fires[one] = 1;
        fires.forEach((on, one) => on && this.used.push(one));
        this.norms = new Float32Array(this.neurons);
        this.used.forEach((one, i) => {
            this.norms[one] = (this.norm[i] / 65535) * spec.norm_most;
        });
        this.index = null;
    }
    begin(row) {
        return this.begins[row];
    }
    scoreAt(hit) {
        return this.scoreOf[this.score[hit]];
    }
    activationAt(hit) {
        return this.activationOf[this.activation[hit] & 255];
    }
    // What it adds to the stream: its coefficient times the length of its row of w_out, with sign.
    contributionAt(hit) {
        return this.activationAt(hit) * this.norms[this.neuron[hit]];
    }
    rowOf(hit) {
        let low = 0, high = text.count;
        while (high - low > 1) {
            const middle = (low + high) >> 1;
            if (this.begins[middle] <= hit)
                low = middle;
            else
                high = middle;
        }
        return low;
    }
    // Hits by neuron: those of neuron n are order[start[n]] … order[start[n + 1] - 1].
    byNeuron() {
        if (this.index) return this.index;
        const start = new Uint32Array(this.neurons + 1), order = new Uint32Array(this.hits);
        for (let i = 0; i < this.hits; i++) start[this.neuron[i] + 1]++;
        for (let n = 0; n < this.neurons; n++) start[n + 1] += start[n];
        const at = start.slice();
        for (let i = 0; i < this.hits; i++) order[at[this.neuron[i]]++] = i;
        this.index = { start, order };
        return this.index;
    }
    hitsOf(neuron) {
        const { start, order } = this.byNeuron();
        return order.subarray(start[neuron], start[neuron + 1]);
    }
    countOf(neuron) {
        const { start } = this.byNeuron();
        return start[neuron + 1] - start[neuron];
    }
    // The hit of a neuron in a row; -1: it does not fire there.
    hitIn(row, neuron) {
        for (let i = this.begins[row]; i < this.begins[row + 1]; i++)
            if (this.neuron[i] === neuron) return i;
        return -1;
    }
}

class Model {
    constructor(spec) {
        this.spec = spec;
        this.name = spec.name;
        this.layers = spec.layers;
        this.opened = new Map();
        this.lenses = new Map();
    }
    layer(l) {
        return this.layers.find((layer) => layer.layer === l);
    }
    has(l, c) {
        return this.layer(l)?.hits.some((spec) => spec.channel === c) ?? false;
    }
    // Channels of a layer that are on the page.
    channels(l) {
        return this.layer(l)?.hits.map((spec) => spec.channel) ?? [];
    }
    pool(l, c) {
        const key = l * 65536 + c;
        if (!this.opened.has(key)) this.opened.set(key, this.openPool(l, c));
        return this.opened.get(key);
    }
    async openPool(l, c) {
        const layer = this.layer(l), spec = layer.hits.find((one) => one.channel === c);
        const names =
            [ "neuron", "score", "activation", "norm" ].concat(spec.counts ? [ "counts" ] : []);
        // Not kept in `columns`: a pool sums its differences up in place.
        const arrays = await Promise.all(names.map((name) => decode(spec[name])));
        return new Pool(spec, layer, Object.fromEntries(names.map((name, i) => [name, arrays[i]])));
    }
    pools(l) {
        return Promise.all(this.channels(l).map((c) => this.pool(l, c)));
    }
    async allPools() {
        return (await Promise.all(this.layers.map((layer) => this.pools(layer.layer)))).flat();
    }
    async losses() {
        if (!this.loss) this.loss = await column(this.spec.loss);
        return this.loss;
    }
    // Of a token: [{piece, logprob}], the likeliest first.
    async predictions(t) {
        const p = this.spec.predictions;
        if (!p) return [];
        const [ids, logs] = await Promise.all([ column(p.token), column(p.logprob) ]);
        return Array.from({ length: p.count }, (_, i) => ({
                                                    piece: page.pieces[ids[t * p.count + i]],
                                                    logprob: -logs[t * p.count + i] * p.scale
                                                }));
    }
    // What a neuron reads and writes: {reads: [piece], writes: [piece]}, or null.
    async lens(l, c, n) {
        const spec = this.spec.lens?.find((one) => one.layer === l && one.channel === c);
        if (!spec) return null;
        if (!this.lenses.has(spec)) {
            const names = [ "reads", "writes" ].filter((name) => spec[name]);
            const arrays = await Promise.all(names.map((name) => column(spec[name])));
            const lens = Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
            lens.rowOf = new Map((await this.pool(l, c)).used.map((neuron, i) => [neuron, i]));
            this.lenses.set(spec, lens);
        }
        const lens = this.lenses.get(spec), row = lens.rowOf.get(n);
        if (row === undefined) return null;
        const of = (name) =>
            (lens[name] ? Array.from(
                              lens[name].subarray(row * spec.count, (row + 1) * spec.count),
                              (id) => page.pieces[id]) :
                          []);
        return { reads: of("reads"), writes: of("writes") };
    }
    map(l, c) {
        return this.spec.maps?.find((map) => map.layer === l && map.channel === c);
    }
    async places(map) {
        const [x, y] = await Promise.all([ column(map.x), column(map.y) ]);
        return { x, y, rows: map.rows ? await column(map.rows) : null };
    }
}

const models = page.models.map((spec) => new Model(spec));

// Cosine of the gates of every row with those of one, in the pools given.
function likeness(pools, token) {
    const dot = new Float32Array(text.count), square = new Float32Array(text.count);
    for (const pool of pools) {
        const mine = new Float32Array(pool.neurons);
        for (let i = pool.begin(token); i < pool.begin(token + 1); i++)
            mine[pool.neuron[i]] = pool.scoreAt(i);
        for (let r = 0; r < text.count; r++)
            for (let i = pool.begin(r); i < pool.begin(r + 1); i++) {
                const score = pool.scoreAt(i);
                dot[r] += score * mine[pool.neuron[i]];
                square[r] += score * score;
            }
    }
    const own = Math.sqrt(square[token]) || 1;
    for (let r = 0; r < text.count; r++) dot[r] /= own * (Math.sqrt(square[r]) || 1);
    return dot;
}
