// The light or dark theme: the system's, until the button changes it.

const THEMES = ["auto", "light", "dark"];
const THEME_SIGNS = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" };
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = rememberedTheme();
let themeColours = {}; // cache for the current theme

function rememberedTheme() {
  try {
    return THEMES.includes(localStorage.theme) ? localStorage.theme : "auto";
  } catch {
    return "auto"; // storage may be denied to pages from a file
  }
}

function isDark() {
  return chosenTheme === "dark" || (chosenTheme === "auto" && systemIsDark.matches);
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  document.getElementById("theme").textContent = THEME_SIGNS[chosenTheme];
  themeColours = {};
}

function watchTheme(redraw) {
  const changed = () => {
    applyTheme();
    redraw();
  };
  systemIsDark.addEventListener("change", changed);
  document.getElementById("theme").addEventListener("click", () => {
    chosenTheme = THEMES[(THEMES.indexOf(chosenTheme) + 1) % THEMES.length];
    try {
      localStorage.theme = chosenTheme;
    } catch {
      /* it is then not remembered */
    }
    changed();
  });
}

// A colour of style.css, such as "ink".
function cssColour(name) {
  themeColours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return themeColours[name];
}

// Colours of the algorithms, distinguishable with red-green colour blindness.
const ALGORITHM_COLOURS = {
  RWKV: "#2f6fde",
  "RWKV-P": "#11a08a",
  "FSRS-6": "#e4762b",
  "FSRS-6-default": "#c9a227",
  AVG: "#8b93a1",
  "MOVING-AVG": "#b86fc6",
};
const OTHER_COLOURS = ["#d0478c", "#7a62d3", "#5b8c2a", "#a05a3c", "#3d9fc2", "#b3423a"];

function algorithmColour(name, number) {
  return ALGORITHM_COLOURS[name] ?? OTHER_COLOURS[number % OTHER_COLOURS.length];
}

// Recall 0..1 as a colour [r, g, b]: from vermilion over sand to teal and blue; most of the change is above a half.
const RECALL_STOPS = [
  [0, 142, 32, 60],
  [0.5, 208, 72, 62],
  [0.7, 240, 150, 80],
  [0.85, 246, 214, 140],
  [0.93, 126, 196, 178],
  [1, 24, 116, 152],
];

function recallColour(p) {
  let i = 1;
  while (i < RECALL_STOPS.length - 1 && p > RECALL_STOPS[i][0]) i++;
  const [low, high] = [RECALL_STOPS[i - 1], RECALL_STOPS[i]];
  const share = Math.min(1, Math.max(0, (p - low[0]) / (high[0] - low[0])));
  return [1, 2, 3].map((k) => Math.round(low[k] + share * (high[k] - low[k])));
}

const RECALL_CSS = Array.from({ length: 256 }, (_, step) => `rgb(${recallColour(step / 255)})`);

// The same colours for CSS, in 256 shades.
function recallShade(p) {
  return RECALL_CSS[Math.round(255 * p)];
}

function withAlpha(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}
