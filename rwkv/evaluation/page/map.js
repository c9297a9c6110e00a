// The collection as a map: a field for each deck, in it cells in order of recall. Where there are more cards than cells
// fit, one cell stands for several neighbours.

const LEAST_CELL = 5;
const MOST_CELL = 22;
const FIELD_GAP = 3;
const FIELD_TITLE = 16;
let mapCells = [];

function drawMap(data) {
  show("map");
  const canvas = document.getElementById("map-canvas");
  const paint = () => paintMap(canvas, data);
  paint();
  drawScale();
  drawHistogram(data);
  canvas.onclick = (event) => {
    const cell = cellAt(canvas, event);
    if (cell) chooseCard(cell.first + ((cell.count - 1) >> 1), data);
  };
  canvas.onpointermove = (event) => showTip(canvas, event, data);
  canvas.onpointerleave = () => {
    document.getElementById("map-tip").hidden = true;
  };
  let width = canvas.clientWidth;
  window.onresize = () => {
    if (canvas.clientWidth !== width) {
      width = canvas.clientWidth;
      paint();
    }
  };
}

// Runs of cards of the same deck: cards lie in order of deck.
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

// Squarified treemap: rows of fields along the shorter side, each row as long as its fields stay near to squares.
function layOut(fields, x, y, width, height) {
  let rest = fields.reduce((sum, field) => sum + field.count, 0);
  const placed = [];
  for (let i = 0; i < fields.length;) {
    const side = Math.min(width, height),
      area = width * height;
    let end = i,
      sum = 0,
      worst = Infinity;
    while (end < fields.length) {
      const wider = sum + fields[end].count;
      const depth = ((wider / rest) * area) / side;
      const lengths = [fields[i].count, fields[end].count].map((count) => (side * count) / wider);
      const next = Math.max(...lengths.map((length) => Math.max(length / depth, depth / length)));
      if (next > worst) break;
      [worst, sum, end] = [next, wider, end + 1];
    }
    const depth = ((sum / rest) * area) / side;
    for (let along = 0; i < end; i++) {
      const length = (side * fields[i].count) / sum;
      placed.push(
        width >= height
          ? { ...fields[i], x, y: y + along, width: depth, height: length }
          : { ...fields[i], x: x + along, y, width: length, height: depth },
      );
      along += length;
    }
    if (width >= height) {
      x += depth;
      width -= depth;
    } else {
      y += depth;
      height -= depth;
    }
    rest -= sum;
  }
  return placed;
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
  const ink = cssColour("quiet");
  mapCells = [];
  let together = 1;
  for (const field of layOut(deckFields(data), 0, 0, width, height)) {
    const title = field.width > 60 && field.height > 44 ? FIELD_TITLE : 0;
    together = Math.max(together, paintField(pen, data, field, title));
    if (title) {
      pen.fillStyle = ink;
      pen.font = "11.5px system-ui, sans-serif";
      pen.save();
      pen.beginPath();
      pen.rect(field.x, field.y, field.width - 3 * FIELD_GAP, title);
      pen.clip();
      pen.fillText(field.name.split("::").at(-1), field.x + 1, field.y + 12);
      pen.restore();
    }
  }
  document.getElementById("map-group").textContent =
    together > 1 ? ` (or up to ${together} of about the same recall)` : "";
}

// Paints a field's cells; gives how many cards a cell stands for.
function paintField(pen, { facts, arrays }, field, title) {
  const width = Math.max(1, field.width - FIELD_GAP),
    height = Math.max(1, field.height - FIELD_GAP - title);
  const together = Math.max(1, Math.ceil((field.count * LEAST_CELL * LEAST_CELL) / (width * height)));
  const count = Math.ceil(field.count / together);
  const columns = Math.max(1, Math.round(Math.max(Math.sqrt((count * width) / height), width / MOST_CELL)));
  const rows = Math.ceil(count / columns);
  const stepX = width / columns,
    stepY = Math.min(height / rows, MOST_CELL);
  const gap = Math.min(stepX, stepY) > 6 ? 1 : 0;
  const newCard = cssColour("new-card");
  for (let cell = 0; cell < count; cell++) {
    const first = field.first + cell * together,
      last = Math.min(first + together, field.first + field.count);
    let sum = 0,
      known = 0;
    for (let i = first; i < last; i++)
      if (arrays.recall[i] !== facts.cards.unknown) {
        sum += arrays.recall[i];
        known++;
      }
    const x = field.x + (cell % columns) * stepX,
      y = field.y + title + Math.floor(cell / columns) * stepY;
    pen.fillStyle = known ? recallShade(sum / known / facts.cards.steps) : newCard;
    pen.fillRect(x, y, stepX - gap + (gap ? 0 : 0.4), stepY - gap + (gap ? 0 : 0.4));
  }
  mapCells.push({ ...field, y: field.y + title, columns, stepX, stepY, together, cells: count });
  return together;
}

function cellAt(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left,
    y = event.clientY - box.top;
  for (const field of mapCells) {
    const column = Math.floor((x - field.x) / field.stepX),
      row = Math.floor((y - field.y) / field.stepY);
    const cell = row * field.columns + column;
    if (column >= 0 && column < field.columns && row >= 0 && cell < field.cells) {
      const first = field.first + cell * field.together;
      return { x, y, first, count: Math.min(field.together, field.first + field.count - first), deck: field.name };
    }
  }
  return null;
}

function showTip(canvas, event, data) {
  const tip = document.getElementById("map-tip"),
    cell = cellAt(canvas, event);
  tip.hidden = !cell;
  if (!cell) return;
  const card = cell.first + ((cell.count - 1) >> 1);
  const others = cell.count > 1 ? ` and ${cell.count - 1} more` : "";
  tip.textContent = `${cardName(card, data)}${others} · ${cardRecall(card, data)} · ${cell.deck}`;
  tip.style.left = `${Math.max(0, Math.min(cell.x + 12, canvas.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${cell.y + 16}px`;
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
        marker: { color: middles.map(recallShade) },
        hovertemplate: "%{y} cards at %{x:.0%}<extra></extra>",
      },
    ],
    {
      bargap: 0.08,
      margin: { l: 46, r: 14, t: 6, b: 36 },
      xaxis: axis({ tickformat: ".0%", range: [0, 1], title: { text: "recall now" } }),
      yaxis: axis({ title: { text: "cards" }, nticks: 4 }),
    },
  );
}
