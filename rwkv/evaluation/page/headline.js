// The tiles at the top.

function tile(value, what, detail) {
  return element(
    "div",
    { className: "tile" },
    element("b", { textContent: value }),
    element("span", { className: "what", textContent: what }),
    element("span", { textContent: detail }),
  );
}

function drawHeadline({ facts, arrays }) {
  const tiles = [];
  const { cards, predicted } = facts;
  if (cards) {
    const below = arrays.recall.filter((step, i) => step < facts.retention * cards.steps && !arrays.flags[i]).length;
    tiles.push(
      tile(
        shortNumber(cards.count),
        "cards",
        `${shortNumber(cards.count - cards.seen)} new, ${shortNumber(cards.suspended)} suspended`,
      ),
      tile(percent(cards.mean_recall), "recall now", `mean of ${shortNumber(cards.seen)} reviewed cards`),
      tile(shortNumber(cards.known), "known now", "cards, expected"),
      tile(shortNumber(below), `below ${percent(facts.retention, 0)}`, "cards to review now"),
    );
  }
  if (predicted) {
    tiles.push(
      tile(
        percent(predicted.recalled / predicted.reviews),
        "recalled",
        `of ${shortNumber(predicted.reviews)} predicted reviews`,
      ),
    );
    const losses = totalLosses(predicted, arrays, passingTable(predicted, usualFilters(predicted, arrays)));
    const best = losses.reduce((a, b) => (b.loss < a.loss ? b : a));
    const rival = losses.find((row) => row.name === "FSRS-6" && row !== best && !Number.isNaN(row.loss));
    const detail = rival ? `${best.name}; FSRS-6 ${rival.loss.toFixed(3)}` : best.name;
    tiles.push(tile(best.loss.toFixed(3), "log loss", detail));
  }
  if (!tiles.length) return;
  document.getElementById("headline").replaceChildren(...tiles);
  show("headline");
}
