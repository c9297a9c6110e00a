// The first screen: retention, today's reviews, weak cards, and how far to trust the predictions.

const MOST_WEAK = 5;

function glance(title, ...children) {
  return element("div", { className: "tile" }, element("h2", { textContent: title }), ...children.filter(Boolean));
}

function big(text) {
  return element("b", { textContent: text });
}

function line(text, className = "") {
  return element("span", { textContent: text, className });
}

function share([count, recalled]) {
  return count ? recalled / count : NaN;
}

function drawOverview(data) {
  const { facts } = data,
    tiles = [];
  if (facts.past) tiles.push(retentionTile(facts.past.retention));
  if (facts.due) tiles.push(todayTile(facts));
  if (facts.cards) tiles.push(cardsTile(facts.cards), weakTile(data));
  if (facts.trust) tiles.push(trustTile(facts.trust));
  if (!tiles.length) return;
  document.getElementById("overview").replaceChildren(...tiles);
  show("overview");
}

// Retention in reviews on a later day, in the last 30 days and before.
function retentionTile({ goal, month, before, month_days: days, month_ends: ends }) {
  const when = ends ? `${days} days before the latest of these reviews, ${counted(ends, "day")} ago` : `last ${days} days`;
  const title = "Retention";
  if (!month[0] && !before[0]) return glance(title, big("–"), line("No card has been reviewed on a later day yet."));
  return glance(
    title,
    big(percent(share(month))),
    line("true retention", "what"),
    line(`${when}: ${counted(month[0], "review")}`),
    line(before[0] ? `before: ${percent(share(before))} of ${wholeNumber(before[0])}` : "before: no reviews"),
    line(`goal: ${percent(goal, 0)}`),
  );
}

function todayTile({ due, cards }) {
  const minutes = due.minutes >= 1 ? `about ${counted(due.minutes, "minute")}` : "less than a minute";
  return glance(
    "Today",
    big(wholeNumber(due.reviews)),
    line(due.reviews === 1 ? "card to review now" : "cards to review now", "what"),
    line(due.reviews ? minutes : "Nothing is due."),
    due.recall === null ? null : line(`expected recall ${percent(due.recall, 0)} by RWKV\u2011P`),
    cards?.new ? line(`${counted(cards.new, "new card")} ${cards.new === 1 ? "is" : "are"} waiting`) : null,
  );
}

function cardsTile(cards) {
  const parts = [
    [cards.reviewed, "reviewed"],
    [cards.new, "new"],
    [cards.no_history, "without usable history"],
    [cards.suspended, "suspended"],
  ];
  return glance(
    "Remembered now",
    big(shortNumber(cards.known)),
    line(`of ${counted(cards.reviewed, "reviewed card")}, expected`, "what"),
    line(`mean recall ${percent(cards.mean_recall)}`),
    line(`${counted(cards.count, "card")}: ${parts
      .filter(([count]) => count)
      .map(([count, what]) => `${wholeNumber(count)} ${what}`)
      .join(", ")}`),
  );
}

function weakTile(data) {
  const cards = weakestCards(data, MOST_WEAK);
  if (!cards.length) {
    const why = data.facts.cards.reviewed ? "All reviewed cards are suspended." : "No card has been reviewed yet.";
    return Object.assign(glance("Weakest cards", line(why)), { id: "weak" });
  }
  const list = element("ol", { className: "found weak" }, ...cardItems(cards, data, showCard));
  list.setAttribute("aria-label", "Weakest cards");
  return Object.assign(glance("Weakest cards", list), { id: "weak" });
}

function trustTile({ sentence }) {
  return Object.assign(glance("How far to trust the predictions", element("p", { textContent: sentence })), { id: "trust" });
}
