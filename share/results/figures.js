// Numbers for people, of pages of results.

const unique = (list) => [...new Set(list)];
const raised = (n) => String(n).replace(/[-0-9]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);

// 4.2M, 830k; what is larger than 999 G as a power.
function short(x) {
    if (!Number.isFinite(x)) return "–";
    let rest = Math.abs(x), power = 0;
    while (rest >= 999.5 && power < 3) {
        rest /= 1000;
        power++;
    }
    if (rest >= 999.5) return flopsText(x);
    const digits = rest >= 99.5 || (power === 0 && Number.isInteger(x)) ? 0 : rest >= 9.95 ? 1 : 2;
    const text = power === 0 && rest < 1 ? String(Number(rest.toPrecision(3))) :
                                           String(Number(rest.toFixed(digits)));
    return (x < 0 ? "−" : "") + text + [ "", "k", "M", "G" ][power];
}

// 4·10¹³
function flopsText(x) {
    if (x === null || !Number.isFinite(x)) return "–";
    if (x === 0) return "0";
    let power = Math.floor(Math.log10(Math.abs(x)) + 1e-12);
    let lead = Number((x / 10 ** power).toPrecision(3));
    if (Math.abs(lead) >= 10) {
        lead /= 10;
        power++;
    }
    return lead === 1 ? `10${raised(power)}` : `${lead}·10${raised(power)}`;
}

const figures = (x, n) => (Number.isFinite(x) ? Number(x.toPrecision(n)).toString() : "–");
const fourFigures = (x) =>
    (Number.isFinite(x) ? (x < 9999.5 ? x.toPrecision(4) : short(x)) : "–");
const lossText = (x) => (Number.isFinite(x) ? x.toFixed(4) : "–");
const signless = (text) => text.replace("-", "−");
function fine(x) {
    if (!Number.isFinite(x)) return "–";
    if (Math.abs(x) < 1e-9) return "0.0000";
    return signless(x !== 0 && Math.abs(x) < 0.00005 ? x.toExponential(1) : x.toFixed(4));
}
function secondsText(s) {
    if (!Number.isFinite(s)) return "–";
    if (s < 120) return `${figures(s, 3)} s`;
    if (s < 7200) return `${figures(s / 60, 3)} min`;
    return `${figures(s / 3600, 3)} h`;
}
const forms = {
    text: (x) => x,
    count: (x) => count(x),
    short,
    loss: lossText,
    fine,
    plain: (x) => (Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-3) ? flopsText(x) :
                                                                           signless(figures(x, 4))),
    flops: flopsText,
    time: secondsText,
    flag: (x) => (x ? "yes" : ""),
    list: (x) => x.map((one) => (one === null ? "–" : figures(one, 4))).join("  ")
};
const show = (form, x) => (x === null || x === undefined ? "" : forms[form](x));
const interval = (low, high, form) =>
    low === null || high === null || low === undefined ? "" : `[${form(low)}, ${form(high)}]`;
