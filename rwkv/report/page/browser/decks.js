// Recall by deck, and leeches.

const MOST_LEECHES = 30;

function drawDecks(data) {
  const { past } = data.facts;
  if (!past) return;
  show("decks");
  document.getElementById("decks-note").textContent =
    `Recall now is the mean over reviewed cards. Retention covers reviews on a later day in the last ${past.deck_days} days.`;
  const rows = past.decks.map((deck) => [
    element("td", { textContent: deck.name.replaceAll("::", " › "), className: "name", title: deck.name }),
    wholeNumber(deck.cards),
    wholeNumber(deck.reviewed),
    percent(deck.recall, 0),
    percent(deck.fsrs, 0),
    deck.counted ? percent(deck.recalled / deck.counted, 0) : "–",
    wholeNumber(deck.due),
    wholeNumber(deck.leeches),
  ]);
  fillTable("decks-table", ["", "cards", "reviewed", "recall now", "by FSRS-6", "retention", "due now", "leeches"], rows);
  drawLeeches(data);
}

function drawLeeches(data) {
  const { lapses } = data.arrays,
    { leech_lapses: least } = data.facts.past,
    cards = [];
  for (let card = 0; card < lapses.length; card++) if (lapses[card] >= least) cards.push(card);
  cards.sort((a, b) => lapses[b] - lapses[a]);
  const more = cards.length > MOST_LEECHES ? `; the first ${MOST_LEECHES} of them` : "";
  document.getElementById("leeches-note").textContent = cards.length
    ? `${counted(cards.length, "card was", "cards were")} forgotten at least ${least} times in reviews on a later day${more}.`
    : `No card was forgotten ${least} times or more in reviews on a later day.`;
  const list = document.getElementById("leeches");
  list.hidden = !cards.length;
  const detail = (card) => `${lapses[card]} × forgotten, recall ${cardRecall(card, data)}`;
  list.replaceChildren(...cardItems(cards.slice(0, MOST_LEECHES), data, showCard, detail));
}
