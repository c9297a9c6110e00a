// Forgetting curves of chosen cards, found by their text, deck or id.

const MOST_FOUND = 50;
const MOST_CURVES = 6;
const CURVE_COLOURS = ["#2f6fde", "#e4762b", "#11a08a", "#d0478c", "#7a62d3", "#8a9a1f"];
const TICKS_S = [
  [60, "1 min"],
  [3600, "1 h"],
  [86_400, "1 d"],
  [7 * 86_400, "1 wk"],
  [2_629_800, "1 mo"],
  [31_557_600, "1 y"],
  [10 * 31_557_600, "10 y"],
];
let cardNames = null; // text of each card
let cardTexts = null; // the same in lower case with deck and id, to search in: made when it is first needed
let chosenCards = null; // [{card, colour}]

function cardName(card, data) {
  cardNames ??= new TextDecoder().decode(data.arrays.notes).split("\n");
  return cardNames[card] || String(data.arrays.id[card]);
}

function cardRecall(card, { facts, arrays }) {
  return arrays.recall[card] === facts.cards.unknown ? "new" : percent(arrays.recall[card] / facts.cards.steps, 0);
}

function searchTexts({ facts, arrays }) {
  const decks = facts.cards.decks.map((name) => name.toLowerCase());
  return new TextDecoder()
    .decode(arrays.notes)
    .toLowerCase()
    .split("\n")
    .map((note, i) => `${note}\n${decks[arrays.deck[i]]}\n${arrays.id[i]}`);
}

// Recall at the times of the facts: the differences from time to time, added up modulo 256.
function curveOf(card, { facts, arrays }) {
  let step = 0;
  return facts.cards.curve_times_s.map((_, i) => {
    step = (step + arrays.curves[i * facts.cards.count + card]) & 255;
    return step / facts.cards.steps;
  });
}

function recallAt(curve, times, seconds) {
  const right = Math.min(
    times.length - 1,
    Math.max(
      1,
      times.findIndex((time) => time >= seconds),
    ),
  );
  const share = Math.log(seconds / times[right - 1]) / Math.log(times[right] / times[right - 1]);
  return curve[right - 1] + Math.min(1, Math.max(0, share)) * (curve[right] - curve[right - 1]);
}

function isSeen(card, { facts, arrays }) {
  return arrays.recall[card] !== facts.cards.unknown;
}

function drawCurves(data) {
  show("curves");
  chosenCards ??= firstChoice(data);
  const search = document.getElementById("curve-search");
  search.oninput = () => listFound(search.value, data);
  listFound(search.value, data);
  plotCurves(data);
}

// Cards at the lower, middle and upper reaches of recall.
function firstChoice(data) {
  const seen = data.arrays.recall.filter((step) => step !== data.facts.cards.unknown).sort();
  const steps = new Set(seen.length ? [0.1, 0.5, 0.9].map((share) => seen[Math.floor(share * (seen.length - 1))]) : []);
  return [...steps].map((step, i) => ({ card: data.arrays.recall.indexOf(step), colour: CURVE_COLOURS[i] }));
}

function findCards(query, data) {
  cardTexts ??= searchTexts(data);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean),
    found = [];
  for (let i = 0; i < cardTexts.length && found.length < MOST_FOUND; i++) {
    if (isSeen(i, data) && words.every((word) => cardTexts[i].includes(word))) found.push(i);
  }
  return found;
}

function weakestCards(data) {
  const { recall } = data.arrays,
    counts = new Uint32Array(256),
    found = [];
  for (const step of recall) counts[step]++;
  let limit = 0;
  for (let sum = counts[0]; sum < MOST_FOUND && limit < data.facts.cards.steps;) sum += counts[++limit];
  for (let i = 0; i < recall.length; i++) if (recall[i] <= limit) found.push(i);
  return found.sort((a, b) => recall[a] - recall[b]).slice(0, MOST_FOUND);
}

function listFound(query, data) {
  const found = query.trim() ? findCards(query, data) : weakestCards(data);
  const items = found.map((card) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", onclick: () => chooseCard(card, data) },
        element("span", { className: "note", textContent: cardName(card, data) }),
        element("span", { className: "p", textContent: cardRecall(card, data) }),
        element("span", { className: "deck", textContent: data.facts.cards.decks[data.arrays.deck[card]] }),
      ),
    ),
  );
  const none = element("li", { className: "none", textContent: "No reviewed card matches." });
  document.getElementById("curve-found").replaceChildren(...(items.length ? items : [none]));
}

function chooseCard(card, data) {
  if (!isSeen(card, data) || chosenCards.some((choice) => choice.card === card)) return;
  if (chosenCards.length === MOST_CURVES) chosenCards.shift();
  const colour = CURVE_COLOURS.find((free) => !chosenCards.some((choice) => choice.colour === free));
  chosenCards.push({ card, colour });
  plotCurves(data);
}

function plotCurves(data) {
  const times = data.facts.cards.curve_times_s,
    { retention } = data.facts;
  const traces = chosenCards.flatMap(({ card, colour }) => {
    const curve = curveOf(card, data),
      name = plotText(cardName(card, data).slice(0, 40)),
      now = Math.max(times[0], data.arrays.elapsed_s[card]);
    const text = times.map(duration);
    return [
      {
        x: times,
        y: curve,
        text,
        name,
        mode: "lines",
        line: { color: colour, width: 2.5 },
        hovertemplate: "%{y:.1%} after %{text}<extra>%{fullData.name}</extra>",
      },
      {
        x: [now],
        y: [recallAt(curve, times, now)],
        text: [duration(now)],
        name,
        mode: "markers",
        marker: { color: colour, size: 11, line: { color: cssColour("panel"), width: 2 } },
        hovertemplate: "now: %{y:.1%}, %{text} after the last review<extra></extra>",
      },
    ];
  });
  const ticks = TICKS_S.filter((_, i) => !isNarrow() || i % 2 === 0);
  drawChart("curve-chart", traces, {
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
    yaxis: axis({ range: [0, 1.02], tickformat: ".0%" }),
    shapes: [
      {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: retention,
        y1: retention,
        line: { color: cssColour("quiet"), width: 1, dash: "dot" },
      },
    ],
    annotations: [
      {
        xref: "paper",
        x: 0.01,
        xanchor: "left",
        y: retention,
        yanchor: "top",
        showarrow: false,
        text: `desired ${percent(retention, 0)}`,
        font: { size: 11, color: cssColour("quiet") },
      },
    ],
  });
  const chips = chosenCards.map((choice) =>
    element(
      "button",
      {
        type: "button",
        title: "Remove",
        onclick: () => {
          chosenCards = chosenCards.filter((other) => other !== choice);
          plotCurves(data);
        },
      },
      Object.assign(element("i"), { style: `background:${choice.colour}` }),
      element("span", { textContent: `${cardName(choice.card, data)} · ${cardRecall(choice.card, data)}` }),
      "×",
    ),
  );
  document.getElementById("curve-chosen").replaceChildren(...chips);
}
