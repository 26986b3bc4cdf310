// Queries of the record and commands that give what a view shows. Where the page kept no record,
// they begin with the command that makes one.

const quoted = (s) => (/^[\w./:-]+$/.test(s) ? s : `'${s.replace(/'/g, "'\\''")}'`);
const recordOf = (model) => quoted(model.spec.records ?? "scope.db");
const record = () => recordOf(models[state.model]);
const first = (mark) => {
    const { records, record_command } = models[state.model].spec;
    return records || !record_command ? "" : `${mark} ${record_command}\n`;
};

const poolIs = (l, c) => `layer = ${l} AND channel = ${c}`;
const neuronIs = (x) => `${poolIs(x.l, x.c)} AND neuron = ${x.n}`;
const hitsOf = (condition, order) =>
    "SELECT h.token, t.sequence, t.position, h.text, h.layer, h.channel, h.neuron, h.score,\n" +
    "  h.activation, h.contribution\nFROM neuron_hits h JOIN tokens t ON t.id = h.token\n" +
    `WHERE ${condition}\nORDER BY ${order};`;

// Each gives a text when it is called: nothing is put together before somebody wants it.
const query = {
    text: () => "SELECT id, sequence, position, text, next_text, logprob FROM tokens ORDER BY id;",
    neurons: (list) =>
        hitsOf(list.map((x) => `(${neuronIs(x)})`).join("\n   OR "), "h.token, h.layer, h.channel"),
    neuron: (x) => hitsOf(neuronIs(x), "h.score DESC"),
    token: (t) => "SELECT layer, channel, neuron, score, activation, contribution FROM hits\n" +
        `WHERE token = ${idOf(t)} AND layer = ${state.layer}\nORDER BY contribution DESC;`,
    tokens: (list) => `SELECT * FROM tokens WHERE id IN (${list.map(idOf).join(", ")});`,
    gates: () => "SELECT token, neuron, score FROM hits\n" +
        `WHERE ${poolIs(state.layer, state.channel)}\nORDER BY token, neuron;`,
    usage: () => "SELECT neuron, hits FROM neurons\n" +
        `WHERE ${poolIs(state.layer, state.channel)}\nORDER BY hits DESC, neuron;`
};

const command = {
    text: () => models[state.model].spec.record_command ?? page.command,
    neurons: (list) => list.map((x) => command.neuron(x)).join("\n"),
    neuron: (x) => `sgatlin probe neuron ${x.l} ${x.c} ${x.n} --records ${record()} --model ` +
        quoted(models[state.model].spec.path),
    neighbours: (t) => `sgatlin probe neighbours ${record()} --layer ${state.layer} --channel ` +
        `${state.channel} --token ${idOf(t)} --other-sequences`,
    map: () => {
        const map = models[state.model].map(state.layer, state.channel);
        return `sgatlin probe map ${record()} --layer ${state.layer} --channel ${state.channel}` +
            (map ? ` --rows ${map.x.count} --seed ${map.seed}` : "") + " --out map.svg";
    },
    usage: () => `sgatlin probe usage ${record()} --layers ${state.layer} --channels ` +
        `${state.channel}`
};

function copyButtons(sql, line) {
    const one = (text, title, what, make, mark) => button(
        text, title, () => copy(first(mark) + make(), what), { "data-copy": text.toLowerCase() });
    return h(
        "span", { class: "copies" },
        sql ?
            one("SQL", "Copy a query of the record that gives these numbers", "Query", sql, "--") :
            null,
        line ? one("Command", "Copy the command that prints this", "Command", line, "#") : null);
}
