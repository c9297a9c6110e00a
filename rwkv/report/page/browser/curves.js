// Forgetting curves of chosen cards, which can be searched by text, deck or id.

const MOST_FOUND = 50;
const MOST_CURVES = 6;
const CURVE_COLOURS = ["#2f6fde", "#e4762b", "#11a08a", "#d0478c", "#7a62d3", "#8a9a1f"];
let cardTexts = null; // searchable text of each card: lower case, with deck and id; created on first use
let chosenCards = null; // [{card, colour}]

function searchTexts({ facts, arrays }) {
  const decks = facts.cards.decks.map((name) => name.toLowerCase());
  return new TextDecoder()
    .decode(arrays.notes)
    .toLowerCase()
    .split("\n")
    .map((note, i) => `${note}\n${decks[arrays.deck[i]]}\n${arrays.id[i]}`);
}

function drawCurves(data) {
  if (!data.facts.cards.reviewed) return;
  show("curves");
  chosenCards ??= firstChoice(data);
  const search = document.getElementById("curve-search");
  search.oninput = () => listFound(search.value, data);
  listFound(search.value, data);
  plotCurves(data);
}

// Cards of low, medium and high recall.
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

function listFound(query, data) {
  const found = query.trim() ? findCards(query, data) : weakestCards(data, MOST_FOUND);
  const items = cardItems(found, data, chooseCard);
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
  const traces = chosenCards.flatMap(({ card, colour }) => curveTraces(card, colour, data));
  drawCurveChart("curve-chart", traces, data.facts.retention, data);
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
