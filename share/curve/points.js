// What the page has: points, which are rows with the columns of `sgatlin curve --csv`, and the
// curves that they make, one a model and one for each control of it.

const page = JSON.parse(byId("curve").textContent);
const rows = page.rows;
const first = rows[0];  // what the others are beside, a dense model as a rule

const controls = {
    random: "random blocks",
    oracle: "oracle",
    oracle_norm: "oracle by norms"
};
const nameOf = (row) => row.model + (row.control ? `, ${controls[row.control]}` : "");
const models = unique(rows.map((row) => row.model));
const contenders = unique(rows.map(nameOf));
const curves = new Map(contenders.map((name) => {
    const list = rows.filter((row) => nameOf(row) === name);
    list.sort((a, b) => a.flops - b.flops);
    return [name, list];
}));

// A control has the colour of its model, and a mark of its own, which is open.
const placeOf = new Map(contenders.map((name, i) => [name, i]));
const colourOf = (name) => kinds()[models.indexOf(curves.get(name)[0].model) % kinds().length];
const hollowOf = (name) => curves.get(name)[0].control !== "";
// Whether a point reads a part: of neurons, or of inputs of matrices. What reads all of a model is
// a level that others are measured by.
const partOf = (row) => (row.blocks > 0 ? "neurons" : row.select === "inputs" ? "inputs" : "");
const isLevel = (name) => curves.get(name).length === 1 && partOf(curves.get(name)[0]) === "";

const isPaired = rows.some((row) => row.excess !== null);
const isTimed = rows.some((row) => row.speed !== null);
// An interval of perplexity: that of the difference to the first model, where it is known.
const lowOf = (row) => (!isPaired ? row.perplexity_low : row.excess === null ? null :
    first.perplexity * Math.exp(row.excess_low));
const highOf = (row) => (!isPaired ? row.perplexity_high : row.excess === null ? null :
    first.perplexity * Math.exp(row.excess_high));
const isLogarithmic = Math.max(...rows.map((row) => row.flops)) >
    6 * Math.min(...rows.map((row) => row.flops));

const chosen = {
    hidden: new Set(),
    reach: "1.5",
    x: isLogarithmic ? "log" : "linear",
    sort: [ "index", 1 ]
};
rows.forEach((row, index) => (row.index = index));

const settingOf = (row) => (row.active !== null ? `active ${figures(row.active, 4)}` :
    row.threshold !== null ? `threshold ${figures(row.threshold, 4)}` : "as it is");
const exact = (x) => (x === null ? "" : fourFigures(x));
const share = (x) => (x === null ? "" : `${(100 * x).toFixed(1)} %`);
