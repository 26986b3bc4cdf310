// Colours, computed in OKLCH (Ottosson 2020): equal steps of a value are equal steps of lightness,
// so that a scale reads the same for colour-blind eyes and in grey print. Signed values go from
// blue to orange; kinds of things have the colours of Okabe and Ito.

const darkQuery = matchMedia("(prefers-color-scheme: dark)");
let dark = darkQuery.matches;

function oklch(lightness, chroma, hue) {
    const a = chroma * Math.cos((hue * Math.PI) / 180),
          b = chroma * Math.sin((hue * Math.PI) / 180);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    const linear = [
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s
    ];
    return linear.map((x) => {
        const y = clamp(x, 0, 1);
        return Math.round(255 * (y <= 0.0031308 ? 12.92 * y : 1.055 * y ** (1 / 2.4) - 0.055));
    });
}

const css = (rgb) => `rgb(${rgb[0]} ${rgb[1]} ${rgb[2]})`;

// From paper to deep violet, in the dark from night to pale yellow; t from 0 to 1.
const sequentialAt = (t) =>
    (dark ? oklch(
                0.25 + 0.6 * t, 0.03 + 0.12 * Math.sin(Math.PI * Math.min(1, t * 0.8 + 0.1)),
                290 - 200 * t) :
            oklch(
                0.985 - 0.59 * t, 0.005 + 0.165 * Math.sqrt(t) * (1 - 0.25 * t),
                95 + 190 * Math.min(1, t * 1.15)));

// t from -1 (blue) to 1 (orange).
const divergingAt = (t) => {
    const size = Math.sqrt(Math.abs(t));
    return dark ? oklch(0.25 + 0.45 * size, 0.14 * size, t < 0 ? 250 : 60) :
                  oklch(0.985 - 0.38 * size, 0.16 * size, t < 0 ? 250 : 55);
};

const scales = {
    sequential: [],
    diverging: []
};
function fillScales() {
    for (let i = 0; i <= 128; i++) {
        scales.sequential[i] = sequentialAt(i / 128);
        scales.diverging[i] = divergingAt(i / 64 - 1);
    }
}
fillScales();

const sequential = (t) => scales.sequential[Math.round(128 * clamp(t, 0, 1))];
const diverging = (t) => scales.diverging[Math.round(64 * (1 + clamp(t, -1, 1)))];

// Text on a colour.
const inkOn = (rgb) =>
    0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 ? "#16161d" : "#f6f5f1";

const kinds = () =>
    (dark ?
         [
             "#56b4e9", "#e69f00", "#3bc49b", "#e08dbb", "#f0e442", "#c9c9c9", "#f08a4b", "#4f9ede",
             "#b39ddb", "#8bd3c7"
         ] :
         [
             "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7a3e9d", "#444444",
             "#8c6d31", "#3b8686"
         ]);
const grey = () => (dark ? "rgb(110 110 122 / .45)" : "rgb(120 118 110 / .32)");
const ink = () => (dark ? "#e9e7e1" : "#1d1d24");

// A scale with the numbers at its ends.
function legend(scale, low, high, what) {
    const stops = [];
    for (let i = 0; i <= 16; i++) stops.push(css(scales[scale][Math.round((128 * i) / 16)]));
    return h(
        "span",
        { class: "legend", role: "img", "aria-label": `${what}, from ${low} to ${high}` },
        h("span", {}, low),
        h("span",
          { class: "ramp", style: `background:linear-gradient(90deg,${stops.join(",")})` }),
        h("span", {}, high));
}
