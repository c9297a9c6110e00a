// Choosing cards on the map by pointer or keyboard.

function watchMap(canvas, data) {
  canvas.onclick = (event) => {
    const place = placeAt(canvas, event);
    if (place) chooseCell(canvas, place, data);
  };
  canvas.onpointermove = (event) => {
    const place = placeAt(canvas, event);
    if (place) showTip(canvas, place, data);
    else hideTip();
  };
  canvas.onpointerleave = hideTip;
  canvas.onfocus = () => {
    if (canvas.matches(":focus-visible")) goTo(canvas, mapPlace ?? { field: mapFields[0], cell: 0 }, data);
  };
  canvas.onblur = hideTip;
  canvas.onkeydown = (event) => {
    const next = nextPlace(event.key);
    if (event.key === "Enter" || event.key === " ") {
      if (mapPlace) chooseCell(canvas, mapPlace, data);
    } else if (next) goTo(canvas, next, data);
    else return;
    event.preventDefault();
  };
}

function chooseCell(canvas, place, data) {
  const cards = cellCards(place.field, place.cell);
  mapPlace = place;
  paintMap(canvas, data);
  showCard(cards[(cards.length - 1) >> 1], data);
}

function placeAt(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return placeOf(event.clientX - box.left, event.clientY - box.top);
}

function placeOf(x, y) {
  for (const field of mapFields) {
    const column = Math.floor((x - field.x) / field.stepX),
      row = Math.floor((y - field.y) / field.stepY);
    const cell = row * field.columns + column;
    if (column >= 0 && column < field.columns && row >= 0 && cell < field.cells) return { field, cell };
  }
  return null;
}

// The cell next to the keyboard's cell: in the same field, or in the next one.
function nextPlace(key) {
  if (!mapPlace) return key.startsWith("Arrow") ? { field: mapFields[0], cell: 0 } : null;
  const { field, cell } = mapPlace;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: field.columns, ArrowUp: -field.columns }[key];
  if (key === "Home" || key === "End") return { field, cell: key === "Home" ? 0 : field.cells - 1 };
  if (!step) return null;
  const next = cell + step;
  if (next >= 0 && next < field.cells) return { field, cell: next };
  const number = mapFields.indexOf(field) + Math.sign(step),
    other = mapFields[(number + mapFields.length) % mapFields.length];
  return { field: other, cell: step > 0 ? 0 : other.cells - 1 };
}

function goTo(canvas, place, data) {
  mapPlace = place;
  paintMap(canvas, data);
  showTip(canvas, place, data);
}

// Marks the chosen cell. The map may have been repainted since.
function markCell(canvas, data) {
  const field = mapFields.find((one) => one.first === mapPlace.field.first);
  mapPlace = { field, cell: Math.min(mapPlace.cell, field.cells - 1) };
  const pen = canvas.getContext("2d");
  const [x, y, width, height] = cellBox(field, mapPlace.cell);
  pen.strokeStyle = cssColour("ink");
  pen.lineWidth = 2;
  pen.strokeRect(x - 1, y - 1, width + 2, height + 2);
}

function showTip(canvas, { field, cell }, data) {
  const tip = document.getElementById("map-tip"),
    cards = cellCards(field, cell);
  const card = cards[(cards.length - 1) >> 1],
    [x, y] = cellBox(field, cell);
  const others = cards.length > 1 ? ` and ${cards.length - 1} more` : "";
  const state = isSuspended(card, data) ? " · suspended" : isDue(card, data) ? " · to review now" : "";
  tip.textContent = `${shortened(cardName(card, data), 120)}${others} · ${cardRecall(card, data)}${state} · ${field.name}`;
  tip.hidden = false;
  tip.style.left = `${Math.max(0, Math.min(x + 12, canvas.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${y + field.stepY + 6}px`;
}

function hideTip() {
  document.getElementById("map-tip").hidden = true;
}
