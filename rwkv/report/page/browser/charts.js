// Helpers of all charts: layout, number formats and elements.

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
  const chart = document.getElementById(id);
  if (chart.classList.contains("sentence")) {
    chart.replaceChildren();
    chart.classList.remove("sentence");
  }
  return Plotly.react(chart, traces, { ...shared, ...layout }, CHART_CONFIG);
}

// Shows a sentence instead of an empty chart.
function say(id, sentence) {
  const chart = document.getElementById(id);
  if (chart.data) Plotly.purge(chart);
  chart.replaceChildren(element("p", { className: "nothing", textContent: sentence }));
  chart.classList.add("sentence");
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

// Fills a table with a header and rows of text; the first column is left-aligned.
function fillTable(id, head, rows) {
  const cells = (tag, texts) =>
    element("tr", {}, ...texts.map((text) => (text instanceof Node ? text : element(tag, { textContent: text }))));
  document
    .getElementById(id)
    .replaceChildren(element("thead", {}, cells("th", head)), element("tbody", {}, ...rows.map((row) => cells("td", row))));
}

// Text in which parts between backticks are code.
function withCode(text) {
  return text.split("`").map((part, i) => (i % 2 ? element("code", { textContent: part }) : part));
}

function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

// A day as text: a date, or its number without dates.
function dayText(day, hasDates) {
  return hasDates ? new Date(day * 86_400_000).toISOString().slice(0, 10) : `day ${day}`;
}

const MOST_NAMED_DAYS = 60;

// An axis of days with ticks at whole days.
function dayAxis(hasDates, days, settings = {}) {
  if (!hasDates) return axis({ title: { text: "day" }, showgrid: false, rangemode: "tozero", ...settings });
  // For few days Plotly would label fractions.
  const whole = days <= MOST_NAMED_DAYS && { tickmode: "linear", dtick: Math.ceil(days / 7) * 86_400_000, tickformat: "%e %b" };
  return axis({ type: "date", showgrid: false, ...whole, ...settings });
}

// Plotly interprets some HTML in names and texts.
function plotText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function wholeNumber(value) {
  return Math.round(value).toLocaleString("en");
}

function counted(value, noun, several = `${noun}s`) {
  return `${wholeNumber(value)} ${Math.round(value) === 1 ? noun : several}`;
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
