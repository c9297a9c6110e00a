// The map of the collection: a field for each deck, with a cell for each card. If there are too many cards, a cell
// represents several neighbours.

const LEAST_CELL = 5;
const MOST_CELL = 22;
const FIELD_GAP = 3;
const FIELD_TITLE = 16;
const LABEL_FONT = "11.5px system-ui, sans-serif";
const MOST_SMALL = 60;
let mapFields = []; // as painted
let mapCards = null; // the cards in order of the map
let mapPlace = null; // {field, cell} that the keyboard is at

function drawMap(data) {
  show("map");
  const canvas = document.getElementById("map-canvas"),
    order = document.getElementById("map-order");
  const arrange = () => {
    mapCards = cardsInOrder(order.value, data);
    paintMap(canvas, data);
  };
  order.onchange = arrange;
  arrange();
  drawScale();
  drawHistogram(data);
  watchMap(canvas, data);
  let width = canvas.clientWidth;
  window.onresize = () => {
    if (canvas.clientWidth === width) return;
    width = canvas.clientWidth;
    paintMap(canvas, data);
  };
}

// Cards by deck, and in a deck first active, then suspended, then new cards. The stored order is by due day.
function cardsInOrder(order, data) {
  const { arrays, facts } = data,
    cards = Uint32Array.from({ length: facts.cards.count }, (_, card) => card),
    keys = {
      recall: (card) => arrays.recall[card],
      age: (card) => firstDay(card, data),
    };
  if (order === "due") return cards;
  const key = Float64Array.from(arrays.deck, (_, card) => {
    const value = keys[order](card);
    return Number.isNaN(value) ? Infinity : value;
  });
  const rank = Uint8Array.from(arrays.deck, (_, card) => (isSeen(card, data) ? 0 : 2) + (isSuspended(card, data) ? 1 : 0));
  return cards.sort(
    (a, b) => arrays.deck[a] - arrays.deck[b] || rank[a] - rank[b] || (key[a] === key[b] ? 0 : key[a] - key[b]),
  );
}

// The day of a card's first review. New cards come last, by id.
function firstDay(card, { arrays }) {
  if (!arrays.hist_first || arrays.hist_first[card] === arrays.hist_first[card + 1]) return Infinity;
  return arrays.hist_day[arrays.hist_first[card]];
}

// Runs of cards of the same deck. The cards are sorted by deck.
function deckFields({ facts, arrays }) {
  const counts = facts.cards.decks.map(() => 0),
    fields = [];
  for (const deck of arrays.deck) counts[deck]++;
  let first = 0;
  counts.forEach((count, deck) => {
    if (count) fields.push({ name: facts.cards.decks[deck], first, count });
    first += count;
  });
  return fields.sort((a, b) => b.count - a.count);
}

function mapHeight(width, cards) {
  const enough = Math.max(90, (1.3 * cards * MOST_CELL * MOST_CELL) / width);
  return Math.round(Math.min(enough, 460, Math.max(300, width * 0.42)));
}

function paintMap(canvas, data) {
  const width = canvas.clientWidth,
    height = mapHeight(width, data.facts.cards.count);
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = LABEL_FONT;
  mapFields = [];
  const small = [];
  let together = 1;
  for (const field of layOut(deckFields(data), 0, 0, width, height)) {
    const title = field.width > 50 && field.height > 40 ? FIELD_TITLE : 0;
    const label = title ? fieldLabel(pen, field.name, field.width - 3 * FIELD_GAP) : null;
    together = Math.max(together, paintField(pen, data, field, title));
    if (label) {
      pen.fillStyle = cssColour("quiet");
      pen.fillText(label, field.x + 1, field.y + 12);
    }
    if (field.name && (!label || label.endsWith("…"))) small.push(`${field.name} (${wholeNumber(field.count)})`);
  }
  if (mapPlace) markCell(canvas, data);
  document.getElementById("map-group").textContent = together > 1 ? ` (or up to ${together} neighbours)` : "";
  const rest = small.length > MOST_SMALL ? `, and ${small.length - MOST_SMALL} more` : "";
  document.getElementById("map-small").textContent = `Fields too small for their names, the largest first: ${small
    .slice(0, MOST_SMALL)
    .join(", ")}${rest}.`;
  document.getElementById("map-small").hidden = !small.length;
}

// A deck's name with its parent, shortened with an ellipsis to fit.
function fieldLabel(pen, name, width) {
  const parts = name.split("::");
  const texts = parts.length > 1 ? [parts.slice(-2).join(" › "), parts.at(-1)] : [name];
  const fitting = texts.find((text) => pen.measureText(text).width <= width);
  if (fitting) return fitting;
  let text = texts.at(-1);
  while (text && pen.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return text ? `${text}…` : null;
}

// Paints a field's cells. Returns the number of cards per cell.
function paintField(pen, data, field, title) {
  const width = Math.max(1, field.width - FIELD_GAP),
    height = Math.max(1, field.height - FIELD_GAP - title);
  const together = Math.max(1, Math.ceil((field.count * LEAST_CELL * LEAST_CELL) / (width * height)));
  const cells = Math.ceil(field.count / together);
  const columns = Math.max(1, Math.round(Math.max(Math.sqrt((cells * width) / height), width / MOST_CELL)));
  const rows = Math.ceil(cells / columns);
  const painted = { ...field, y: field.y + title, columns, together, cells };
  painted.stepX = width / columns;
  painted.stepY = Math.min(height / rows, MOST_CELL);
  for (let cell = 0; cell < cells; cell++) paintCell(pen, data, painted, cell);
  mapFields.push(painted);
  return together;
}

function paintCell(pen, data, field, cell) {
  const cards = cellCards(field, cell),
    known = cards.filter((card) => isSeen(card, data));
  const [x, y, width, height] = cellBox(field, cell);
  const mean = known.reduce((sum, card) => sum + data.arrays.recall[card], 0) / known.length;
  pen.fillStyle = known.length ? recallShade(mean / data.facts.cards.steps) : cssColour("new-card");
  pen.fillRect(x, y, width, height);
  if (!isSuspended(cards[0], data)) return;
  pen.strokeStyle = cssColour("ink");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, y + height);
  pen.lineTo(x + width, y);
  pen.stroke();
}

function cellBox(field, cell) {
  const gap = Math.min(field.stepX, field.stepY) > 6 ? 1 : -0.4;
  return [
    field.x + (cell % field.columns) * field.stepX,
    field.y + Math.floor(cell / field.columns) * field.stepY,
    field.stepX - gap,
    field.stepY - gap,
  ];
}

function cellCards(field, cell) {
  const first = field.first + cell * field.together;
  return Array.from(mapCards.subarray(first, Math.min(first + field.together, field.first + field.count)));
}

function drawScale() {
  const canvas = document.getElementById("map-scale"),
    pen = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    pen.fillStyle = `rgb(${recallColour(x / (canvas.width - 1))})`;
    pen.fillRect(x, 0, 1, canvas.height);
  }
}

function drawHistogram({ facts, arrays }) {
  if (!facts.cards.reviewed) return say("map-histogram", "No card has been reviewed yet.");
  const bars = 50,
    counts = new Array(bars).fill(0);
  for (const step of arrays.recall)
    if (step !== facts.cards.unknown) counts[Math.min(bars - 1, Math.floor((step / facts.cards.steps) * bars))]++;
  const middles = counts.map((_, i) => (i + 0.5) / bars);
  drawChart(
    "map-histogram",
    [
      {
        type: "bar",
        x: middles,
        y: counts,
        width: 1 / bars,
        marker: { color: middles.map(recallShade) },
        customdata: middles.map((middle) => [middle - 0.5 / bars, middle + 0.5 / bars]),
        hovertemplate: "%{y} cards at %{customdata[0]:.0%} to %{customdata[1]:.0%}<extra></extra>",
      },
    ],
    {
      bargap: 0.08,
      margin: { l: 46, r: 24, t: 6, b: 36 },
      xaxis: axis({ tickformat: ".0%", tickmode: "linear", tick0: 0, dtick: 0.2, range: [0, 1], title: { text: "recall now" } }),
      yaxis: axis({ title: { text: "cards" }, nticks: 4, rangemode: "tozero", tickformat: ",d" }),
    },
  );
}
