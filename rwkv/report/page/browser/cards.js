// The data of a card. "Recall" is always by the forgetting curve (RWKV); other algorithms are named.

const SUSPENDED = 1,
  DUE = 2,
  KIND_SHIFT = 2;
const KINDS = ["reviewed", "new", "no usable history"];
let cardNames = null; // text of each card

function cardName(card, data) {
  cardNames ??= new TextDecoder().decode(data.arrays.notes).split("\n");
  return cardNames[card] || String(data.arrays.id[card]);
}

function isSeen(card, { facts, arrays }) {
  return arrays.recall[card] !== facts.cards.unknown;
}

function isSuspended(card, { arrays }) {
  return (arrays.flags[card] & SUSPENDED) !== 0;
}

function isDue(card, { arrays }) {
  return (arrays.flags[card] & DUE) !== 0;
}

function deckOf(card, { facts, arrays }) {
  return facts.cards.decks[arrays.deck[card]];
}

function sentRecall(step, { steps, unknown }) {
  return step === unknown ? NaN : step / steps;
}

// Recall now; NaN for a card without reviews.
function recallNow(card, { facts, arrays }) {
  return sentRecall(arrays.recall[card], facts.cards);
}

function cardRecall(card, data) {
  return isSeen(card, data) ? percent(recallNow(card, data), 0) : KINDS[data.arrays.flags[card] >> KIND_SHIFT];
}

// Days from now until recall falls to the desired retention; negative if it has fallen.
function daysLeft(card, { arrays }) {
  return arrays.interval_days[card] - arrays.elapsed_s[card] / 86_400;
}

// Recall at the curve's times: the sums modulo 256 of the stored differences.
function curveOf(card, { facts, arrays }) {
  let step = 0;
  return facts.cards.curve_times_s.map((_, i) => {
    step = (step + arrays.curves[i * facts.cards.count + card]) & 255;
    return step / facts.cards.steps;
  });
}

// The curve, with the moment of the report as one of its points.
function curvePoints(card, data) {
  const times = [...data.facts.cards.curve_times_s],
    recalls = curveOf(card, data);
  const now = Math.max(times[0], data.arrays.elapsed_s[card]);
  const place = times.findIndex((time) => time >= now);
  const at = place < 0 ? times.length : place;
  times.splice(at, 0, now);
  recalls.splice(at, 0, recallNow(card, data));
  return { times, recalls, now };
}

const TICKS_S = [
  [60, "1 min"],
  [3600, "1 h"],
  [86_400, "1 d"],
  [7 * 86_400, "1 wk"],
  [2_629_800, "1 mo"],
  [31_557_600, "1 y"],
  [10 * 31_557_600, "10 y"],
];

// The traces of one card: its curve, and a dot for now.
function curveTraces(card, colour, data) {
  const { times, recalls, now } = curvePoints(card, data),
    name = plotText(shortened(cardName(card, data), 40));
  return [
    {
      x: times,
      y: recalls,
      text: times.map(duration),
      name,
      mode: "lines",
      line: { color: colour, width: 2.5 },
      hovertemplate: "%{y:.1%} after %{text}<extra>%{fullData.name}</extra>",
    },
    {
      x: [now],
      y: [recallNow(card, data)],
      text: [duration(now)],
      name,
      mode: "markers",
      marker: { color: colour, size: 11, line: { color: cssColour("panel"), width: 2 } },
      hovertemplate: "now: %{y:.1%}, %{text} after the last review<extra></extra>",
    },
  ];
}

function drawCurveChart(id, traces, goal, data) {
  const times = data.facts.cards.curve_times_s,
    narrow = document.getElementById(id).clientWidth < 480;
  const ticks = TICKS_S.filter((_, i) => !narrow || i % 2 === 0);
  drawChart(id, traces, {
    showlegend: false,
    margin: { l: 50, r: 14, t: 10, b: 44 },
    xaxis: axis({
      type: "log",
      tickmode: "array",
      tickangle: 0,
      tickvals: ticks.map(([s]) => s),
      ticktext: ticks.map(([, name]) => name),
      range: [Math.log10(times[0]), Math.log10(times.at(-1))],
      title: { text: "since the last review" },
    }),
    yaxis: axis({ range: [0, 1.02], tickformat: ".0%", title: { text: "recall" } }),
    shapes: [
      {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: goal,
        y1: goal,
        line: { color: cssColour("quiet"), width: 1, dash: "dot" },
      },
    ],
    annotations: [
      {
        xref: "paper",
        x: 0.01,
        xanchor: "left",
        y: goal,
        yanchor: "top",
        showarrow: false,
        text: `desired ${percent(goal, 0)}`,
        font: { size: 11, color: cssColour("quiet") },
      },
    ],
  });
}

// A list of cards to choose from, with detail(card) beside each name.
function cardItems(cards, data, choose, detail = (card) => cardRecall(card, data)) {
  return cards.map((card) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", onclick: () => choose(card, data) },
        element("span", { className: "note", textContent: cardName(card, data) }),
        element("span", { className: "p", textContent: detail(card) }),
        element("span", { className: "deck", textContent: deckOf(card, data) }),
      ),
    ),
  );
}

// The cards with the lowest recall, without suspended ones.
function weakestCards(data, most) {
  const { recall } = data.arrays,
    counts = new Uint32Array(256),
    found = [];
  const isAsked = (card) => isSeen(card, data) && !isSuspended(card, data);
  for (let i = 0; i < recall.length; i++) if (isAsked(i)) counts[recall[i]]++;
  let limit = 0;
  for (let sum = counts[0]; sum < most && limit < data.facts.cards.steps;) sum += counts[++limit];
  for (let i = 0; i < recall.length; i++) if (recall[i] <= limit && isAsked(i)) found.push(i);
  return found.sort((a, b) => recall[a] - recall[b]).slice(0, most);
}
