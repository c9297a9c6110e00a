// What all charts share: how they look, how numbers are written, how elements are made.

const CHART_CONFIG = { displayModeBar: false, responsive: true };

function axis(settings = {}) {
  const grid = cssColour("grid");
  const title = settings.title ? { title: { standoff: 8, ...settings.title } } : {};
  return {
    gridcolor: grid,
    linecolor: grid,
    zerolinecolor: grid,
    fixedrange: true,
    automargin: true,
    tickmode: "auto",
    ...settings,
    ...title,
  };
}

function drawChart(id, traces, layout = {}) {
  const shared = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    dragmode: false,
    hovermode: "closest",
    font: { color: cssColour("ink"), family: "inherit", size: 12.5 },
    margin: { l: 46, r: 14, t: 30, b: 40 },
    legend: {
      orientation: "h",
      x: 0,
      y: 1.02,
      yanchor: "bottom",
      bgcolor: "rgba(0,0,0,0)",
      font: { size: isNarrow() ? 11 : 12.5 },
    },
    hoverlabel: { bgcolor: cssColour("panel"), bordercolor: cssColour("line"), font: { color: cssColour("ink") } },
  };
  return Plotly.react(id, traces, { ...shared, ...layout }, CHART_CONFIG);
}

function isNarrow() {
  return window.innerWidth < 600;
}

function show(id) {
  document.getElementById(id).hidden = false;
}

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

// Plotly reads some HTML in names and texts.
function plotText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function wholeNumber(value) {
  return Math.round(value).toLocaleString("en");
}

function shortNumber(value) {
  if (value < 10_000) return wholeNumber(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k` : `${(value / 1e6).toFixed(2)}M`;
}

function percent(p, places = 1) {
  return p === null || Number.isNaN(p) ? "–" : `${(100 * p).toFixed(places)}%`;
}

function duration(seconds) {
  for (const [size, unit] of [
    [31_557_600, "y"],
    [2_629_800, "mo"],
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
  ]) {
    if (seconds >= size) return `${(seconds / size).toFixed(seconds < 10 * size ? 1 : 0)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

// The 95% interval of a share of k in n (Wilson).
function wilson(k, n) {
  const z = 1.959964,
    share = k / n,
    square = z * z;
  const centre = (share + square / (2 * n)) / (1 + square / n);
  const half = (z / (1 + square / n)) * Math.sqrt((share * (1 - share)) / n + square / (4 * n * n));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}
