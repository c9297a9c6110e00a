// Filters of predicted reviews: a person, a deck's path, an interval band, and same-day reviews; "" is all.

const FILTERS = ["person", "deck", "band", "same-day"];

function filterInput(name) {
  return document.getElementById(`filter-${name}`);
}

function chosenFilters() {
  return Object.fromEntries(FILTERS.map((name) => [name, filterInput(name).value]));
}

function setFilters(chosen) {
  for (const name of FILTERS) filterInput(name).value = chosen[name];
}

// The default: the report's person without same-day reviews, as in the benchmark, unless there are no others.
function usualFilters({ own, deck_person: owners, same_day_bands: sameDayBands }, arrays) {
  const isOther = (band, i) => band >= sameDayBands && owners[arrays.loss_deck[i]] === own;
  return { person: String(own), deck: "", band: "", "same-day": arrays.loss_band.some(isOther) ? "without" : "with" };
}

function drawFilters(predicted, arrays) {
  if (filterInput("band").options.length) return;
  const { people, bands, same_day_bands: sameDayBands } = predicted;
  const present = [...new Set(arrays.loss_band)].sort((a, b) => a - b);
  filterInput("person").append(
    ...people.map((name, i) => new Option(name, i)),
    ...(people.length > 1 ? [new Option(`all ${people.length} people`, "")] : []),
  );
  filterInput("person").parentElement.hidden = people.length < 2;
  filterInput("band").append(new Option("all", ""), ...present.map((i) => new Option(bands[i], i)));
  filterInput("same-day").parentElement.hidden = present[0] >= sameDayBands || present.at(-1) < sameDayBands;
  const usual = usualFilters(predicted, arrays);
  filterInput("person").value = usual.person;
  fillDecks(predicted, arrays, { ...usual });
  setFilters(usual);
}

// The decks of the chosen person with the number of reviews after the other filters. Empty decks cannot be chosen.
function fillDecks(predicted, arrays, chosen) {
  const { decks, bands } = predicted,
    passes = passingTable(predicted, { ...chosen, deck: "" }),
    counts = new Map(),
    algorithms = predicted.algorithms.length;
  decks.forEach((name, deck) => {
    if (chosen.person === "" || Number(chosen.person) !== predicted.deck_person[deck]) return;
    for (const path of pathsOf(name)) counts.set(path, counts.get(path) ?? 0);
  });
  arrays.loss_deck.forEach((deck, i) => {
    if (!passes[deck * bands.length + arrays.loss_band[i]] || chosen.person === "") return;
    const most = Math.max(...arrays.loss_count.subarray(i * algorithms, (i + 1) * algorithms));
    for (const path of pathsOf(decks[deck])) counts.set(path, (counts.get(path) ?? 0) + most);
  });
  const options = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, count]) => {
    const option = new Option(`${"\u2003".repeat(path.split("::").length - 1)}${path.split("::").at(-1)} (${wholeNumber(count)})`, path);
    option.disabled = !count;
    return option;
  });
  filterInput("deck").replaceChildren(new Option("all", ""), ...options);
  filterInput("deck").parentElement.hidden = options.length < 2;
  filterInput("deck").value = counts.get(chosen.deck) ? chosen.deck : "";
}

// A deck's path and those of its parents.
function pathsOf(name) {
  return name.split("::").map((_, depth, parts) => parts.slice(0, depth + 1).join("::"));
}

// passes[deck * bands + band]: whether the filters accept reviews of this deck and interval.
function passingTable({ decks, deck_person: owners, bands, same_day_bands: sameDayBands }, chosen) {
  const passes = new Uint8Array(decks.length * bands.length);
  decks.forEach((name, d) =>
    bands.forEach((_, b) => {
      const isOfPerson = chosen.person === "" || Number(chosen.person) === owners[d];
      const isWithin = !chosen.deck || name === chosen.deck || name.startsWith(`${chosen.deck}::`);
      const isOfBand = chosen.band === "" || Number(chosen.band) === b;
      const isOfDay = chosen["same-day"] === "with" || (chosen["same-day"] === "only") === b < sameDayBands;
      passes[d * bands.length + b] = isOfPerson && isWithin && isOfBand && isOfDay;
    }),
  );
  return passes;
}
