// Calibration of the predictions, of the reviews that the filters let through.

const LEAST_IN_BIN = 10;

function drawCalibration(data) {
  show("predicted");
  const { predicted } = data.facts;
  const update = () => {
    const passes = passingTable(predicted, chosenFilters());
    const rows = sumByAlgorithm(predicted, data.arrays, passes);
    plotCalibration(predicted, rows);
    fillCalibrationTable(rows, totalLosses(predicted, data.arrays, passes));
    plotLosses(predicted, data.arrays, passes);
    document.getElementById("filter-count").textContent =
      `${wholeNumber(Math.max(...rows.map((row) => row.count)))} reviews`;
  };
  if (!filterInput("deck").options.length) fillFilters(predicted, data.arrays);
  for (const name of FILTERS) filterInput(name).onchange = update;
  document.getElementById("filter-reset").onclick = () => {
    setFilters(usualFilters(predicted, data.arrays));
    update();
  };
  update();
}

// --- Filters: a deck's path, the number of an interval band, and what of same-day reviews; "" stands for all.

const FILTERS = ["deck", "band", "same-day"];

function filterInput(name) {
  return document.getElementById(`filter-${name}`);
}

function chosenFilters() {
  return Object.fromEntries(FILTERS.map((name) => [name, filterInput(name).value]));
}

function setFilters(chosen) {
  for (const name of FILTERS) filterInput(name).value = chosen[name];
}

// As the benchmark counts: without same-day reviews, unless there are no others.
function usualFilters({ same_day_bands: sameDayBands }, arrays) {
  return { deck: "", band: "", "same-day": arrays.loss_band.some((band) => band >= sameDayBands) ? "without" : "with" };
}

function fillFilters(predicted, arrays) {
  const { decks, bands, same_day_bands: sameDayBands } = predicted;
  const present = [...new Set(arrays.loss_band)].sort((a, b) => a - b);
  const paths = new Set(
    decks.flatMap((name) => name.split("::").map((_, depth, parts) => parts.slice(0, depth + 1).join("::"))),
  );
  const indented = (path) => "\u2003".repeat(path.split("::").length - 1) + path.split("::").at(-1);
  filterInput("deck").append(
    new Option("all", ""),
    ...[...paths].sort().map((path) => new Option(indented(path), path)),
  );
  filterInput("band").append(new Option("all", ""), ...present.map((i) => new Option(bands[i], i)));
  filterInput("deck").parentElement.hidden = paths.size < 2;
  filterInput("same-day").parentElement.hidden = present[0] >= sameDayBands || present.at(-1) < sameDayBands;
  setFilters(usualFilters(predicted, arrays));
}

// passes[deck * bands + band]: whether reviews of that deck and interval are counted.
function passingTable({ decks, bands, same_day_bands: sameDayBands }, chosen) {
  const passes = new Uint8Array(decks.length * bands.length);
  decks.forEach((name, d) =>
    bands.forEach((_, b) => {
      const isWithin = !chosen.deck || name === chosen.deck || name.startsWith(`${chosen.deck}::`);
      const isOfBand = chosen.band === "" || Number(chosen.band) === b;
      const isOfDay = chosen["same-day"] === "with" || (chosen["same-day"] === "only") === b < sameDayBands;
      passes[d * bands.length + b] = isWithin && isOfBand && isOfDay;
    }),
  );
  return passes;
}

// --- Calibration

function sumByAlgorithm({ algorithms, bands, bin_edges: edges }, arrays, passes) {
  const rows = algorithms.map((name, number) => ({
    name,
    number,
    count: 0,
    recalled: 0,
    sumP: 0,
    bins: edges.slice(1).map(() => ({ count: 0, recalled: 0, sumP: 0 })),
  }));
  for (let i = 0; i < arrays.bin_bin.length; i++) {
    if (!passes[arrays.bin_deck[i] * bands.length + arrays.bin_band[i]]) continue;
    const row = rows[arrays.bin_algorithm[i]];
    for (const sums of [row, row.bins[arrays.bin_bin[i]]]) {
      sums.count += arrays.bin_count[i];
      sums.recalled += arrays.bin_recalled[i];
      sums.sumP += arrays.bin_sum_p[i];
    }
  }
  return rows;
}

const SHOWN_AT_FIRST = ["RWKV", "RWKV-P", "FSRS-6"];

function plotCalibration({ bin_edges: edges }, rows) {
  const anyUsual = rows.some((row) => SHOWN_AT_FIRST.includes(row.name));
  const traces = [
    {
      x: [0, 1],
      y: [0, 1],
      mode: "lines",
      line: { color: cssColour("quiet"), width: 1, dash: "dot" },
      hoverinfo: "skip",
      showlegend: false,
    },
  ];
  for (const row of rows) {
    const colour = algorithmColour(row.name, row.number);
    const visible = !anyUsual || SHOWN_AT_FIRST.includes(row.name) ? true : "legendonly";
    const drawn = row.bins.filter((bin) => bin.count >= LEAST_IN_BIN);
    const x = drawn.map((bin) => bin.sumP / bin.count),
      bands = drawn.map((bin) => wilson(bin.recalled, bin.count));
    const shared = { legendgroup: row.name, name: plotText(row.name), visible };
    traces.push(
      {
        ...shared,
        x: [...x, ...x.toReversed()],
        y: [...bands.map(([low]) => low), ...bands.map(([, high]) => high).reverse()],
        mode: "lines",
        line: { width: 0 },
        fill: "toself",
        fillcolor: withAlpha(colour, 0.16),
        hoverinfo: "skip",
        showlegend: false,
      },
      {
        ...shared,
        x,
        y: drawn.map((bin) => bin.recalled / bin.count),
        customdata: drawn.map((bin, i) => [bin.count, ...bands[i]]),
        mode: "lines+markers",
        line: { color: colour, width: 2 },
        marker: { size: 6 },
        hovertemplate:
          "predicted %{x:.1%}, recalled %{y:.1%}<br>%{customdata[1]:.1%} to %{customdata[2]:.1%}, %{customdata[0]:,} reviews<extra>%{fullData.name}</extra>",
      },
      {
        ...shared,
        x: edges,
        y: [...row.bins.map((bin) => bin.count), 0],
        yaxis: "y2",
        mode: "lines",
        line: { color: colour, width: 1.2, shape: "hv" },
        fill: "tozeroy",
        fillcolor: withAlpha(colour, 0.1),
        showlegend: false,
        hovertemplate: "%{y:,} reviews<extra>%{fullData.name}</extra>",
      },
    );
  }
  drawChart("calibration-chart", traces, {
    margin: { l: 56, r: 14, t: 34, b: 44 },
    xaxis: axis({
      range: [0, 1.005],
      tickformat: ".0%",
      tickmode: "linear",
      dtick: 0.2,
      title: { text: "predicted recall" },
      anchor: "y2",
    }),
    yaxis: axis({ range: [0, 1.02], tickformat: ".0%", domain: [0.25, 1], title: { text: "recalled" } }),
    yaxis2: axis({ domain: [0, 0.19], title: { text: "reviews" }, nticks: 3, rangemode: "tozero" }),
  });
}

function fillCalibrationTable(rows, losses) {
  const head = ["", "reviews", "recalled", "mean prediction", "log loss"].map((text) =>
    element("th", { textContent: text }),
  );
  const isFair = rows.every((row) => row.count === rows[0].count);
  const best = isFair ? Math.min(...losses.map((row) => row.loss)) : null;
  const lines = rows.map((row, i) =>
    element(
      "tr",
      {},
      nameCell(row.name, i),
      ...[wholeNumber(row.count), percent(row.recalled / row.count), percent(row.sumP / row.count)].map((text) =>
        element("td", { textContent: text }),
      ),
      element("td", {
        textContent: Number.isNaN(losses[i].loss) ? "–" : losses[i].loss.toFixed(4),
        className: losses[i].loss === best ? "best" : "",
      }),
    ),
  );
  document
    .getElementById("calibration-table")
    .replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

function nameCell(name, number, tag = "td") {
  return element(tag, {}, Object.assign(element("i"), { style: `background:${algorithmColour(name, number)}` }), name);
}
