// The panel of one card: its state in words, its history and its curve.

const RATING_NAMES = ["", "Again", "Hard", "Good", "Easy"];
const CARD_COLOUR = "#2f6fde";
let shownCard = null; // {card, opener}

function drawCard(data) {
  const panel = document.getElementById("card");
  document.getElementById("card-close").onclick = closeCard;
  document.onkeydown = (event) => {
    if (event.key === "Escape" && !panel.hidden) closeCard();
  };
  if (!panel.hidden && shownCard) fillCard(shownCard.card, data);
}

function closeCard() {
  document.getElementById("card").hidden = true;
  shownCard?.opener?.focus?.({ preventScroll: true });
}

// Opens the panel for a card of the map or of a list.
function showCard(card, data) {
  const panel = document.getElementById("card"),
    wasHidden = panel.hidden;
  shownCard = { card, opener: wasHidden ? document.activeElement : shownCard?.opener };
  panel.hidden = false;
  panel.scrollTop = 0;
  fillCard(card, data);
  document.getElementById("card-close").focus({ preventScroll: true });
}

function fillCard(card, data) {
  const { facts, arrays } = data;
  document.getElementById("card-name").textContent = cardName(card, data);
  document.getElementById("card-deck").textContent = `${deckOf(card, data)} · card ${arrays.id[card]}`;
  const reviews = historyOf(card, data);
  document.getElementById("card-why").textContent = whyThisCard(card, reviews, data);
  document.getElementById("card-numbers").hidden = !isSeen(card, data);
  fillNumbers(card, data);
  if (isSeen(card, data)) drawCurveChart("card-chart", curveTraces(card, CARD_COLOUR, data), arrays.goal[card], data);
  else say("card-chart", "A card without reviews has no forgetting curve.");
  fillHistory(reviews, facts.past);
}

// The reviews of a card, the earliest first.
function historyOf(card, { facts, arrays }) {
  if (!facts.past || !arrays.hist_first) return [];
  const reviews = [];
  for (let i = arrays.hist_first[card]; i < arrays.hist_first[card + 1]; i++)
    reviews.push({
      day: arrays.hist_day[i],
      rating: arrays.hist_rating[i],
      gap: arrays.hist_gap_s[i],
      seconds: arrays.hist_tenths[i] / 10,
      p: Object.fromEntries(
        facts.past.algorithms.map((name) => [name, sentRecall(arrays[`hist_p_${name}`][i], facts.cards)]),
      ),
    });
  return reviews;
}

function whyThisCard(card, reviews, data) {
  const kind = KINDS[data.arrays.flags[card] >> KIND_SHIFT];
  if (kind === "new") return "New: not studied yet, or reset.";
  if (!isSeen(card, data)) return "No prediction: its reviews are incomplete or were reset.";
  const left = daysLeft(card, data),
    goal = percent(data.arrays.goal[card], 0);
  const fall = !Number.isFinite(left)
    ? `stays above ${goal} up to the end of the curve`
    : left > 0
      ? `falls to ${goal} in ${duration(left * 86_400)}`
      : `fell to ${goal} ${duration(-left * 86_400)} ago`;
  const forgotten = reviews.filter((review) => review.rating === 1).length,
    last = reviews.at(-1);
  const parts = [`Recall is ${percent(recallNow(card, data), 0)} and ${fall}.`];
  if (last)
    parts.push(
      `Answered ${counted(reviews.length, "time")}, Again ${forgotten} of them; the last was ${RATING_NAMES[last.rating]}, ${duration(data.arrays.elapsed_s[card])} ago.`,
    );
  if (isSuspended(card, data)) parts.push("Suspended in Anki.");
  else if (isDue(card, data)) parts.push("Due now.");
  return parts.join(" ");
}

// Recall and interval by algorithm.
function fillNumbers(card, { facts, arrays }) {
  const days = (value) => (Number.isNaN(value) ? "–" : Number.isFinite(value) ? duration(value * 86_400) : "never");
  const due = arrays.anki_due[card];
  const rows = [
    ["RWKV, the curve", percent(sentRecall(arrays.recall[card], facts.cards), 0), days(arrays.interval_days[card])],
    ["RWKV-P, in a review now", percent(sentRecall(arrays.recall_asked[card], facts.cards), 0), ""],
    ["FSRS-6", percent(sentRecall(arrays.recall_fsrs[card], facts.cards), 0), days(arrays.fsrs_days[card])],
  ];
  if (!Number.isNaN(arrays.anki_days[card]) || !Number.isNaN(due))
    rows.push([`Anki${Number.isNaN(due) ? "" : `, ${dueText(due)}`}`, "", days(arrays.anki_days[card])]);
  fillTable("card-numbers", ["", "recall now", "interval"], rows);
}

function dueText(days) {
  if (days === 0) return "due today";
  return days > 0 ? `due in ${wholeNumber(days)} d` : `overdue by ${wholeNumber(-days)} d`;
}

function fillHistory(reviews, past) {
  if (!reviews.length) return fillTable("card-history", ["No reviews."], []);
  const named = past.algorithms;
  fillTable(
    "card-history",
    ["", "after", "answer", "time", ...named],
    reviews
      .toReversed()
      .map((review) => [
        dayText(review.day, past.has_dates),
        review.gap < 0 ? "first" : duration(review.gap),
        RATING_NAMES[review.rating],
        `${review.seconds.toFixed(review.seconds < 10 ? 1 : 0)} s`,
        ...named.map((name) => percent(review.p[name], 0)),
      ]),
  );
}
