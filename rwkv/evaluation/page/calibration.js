// Calibration of the predictions, of the reviews that the filters let through.

const LEAST_IN_BIN = 10;

function drawCalibration(data) {
  show("predicted");
  const { predicted } = data.facts;
  fillFilters(predicted, data.arrays);
  const update = () => {
    const passes = filterTable(predicted);
    const rows = sumByAlgorithm(predicted, data.arrays, passes);
    plotCalibration(predicted, rows);
    fillCalibrationTable(rows, totalLosses(predicted, data.arrays, passes));
    plotLosses(predicted, data.arrays, passes);
    document.getElementById("filter-count").textContent = `${wholeNumber(Math.max(0, ...rows.map((row) => row.count)))} reviews`;
  };
  for (const id of ["deck", "band", "same-day"]) document.getElementById(`filter-${id}`).onchange = update;
  document.getElementById("filter-reset").onclick = () => { for (const id of ["deck", "band", "same-day"]) document.getElementById(`filter-${id}`).selectedIndex = 0; update(); };
  update();
}

function fillFilters({ decks, bands, same_day_bands: sameDayBands }, arrays) {
  const deck = document.getElementById("filter-deck"), band = document.getElementById("filter-band");
  if (deck.options.length) return;
  const present = [...new Set(arrays.loss_band)].sort((a, b) => a - b);
  const paths = new Set(decks.flatMap((name) => name.split("::").map((_, depth, parts) => parts.slice(0, depth + 1).join("::"))));
  deck.append(new Option("all", ""), ...[...paths].sort().map((path) => new Option("\u2003".repeat(path.split("::").length - 1) + path.split("::").at(-1), path)));
  band.append(new Option("all", ""), ...present.map((i) => new Option(bands[i], i)));
  const isMixed = present[0] < sameDayBands && present.at(-1) >= sameDayBands;
  document.getElementById("filter-same-day").parentElement.hidden = !isMixed;
  deck.parentElement.hidden = paths.size < 2;
}

// passes[deck * bands + band]: whether reviews of that deck and interval are counted.
function filterTable({ decks, bands, same_day_bands: sameDayBands }) {
  const [deck, band, sameDay] = ["deck", "band", "same-day"].map((id) => document.getElementById(`filter-${id}`).value);
  const passes = new Uint8Array(decks.length * bands.length);
  decks.forEach((name, d) => bands.forEach((_, b) => {
    const within = !deck || name === deck || name.startsWith(`${deck}::`);
    const day = sameDay === "with" || (sameDay === "only") === (b < sameDayBands);
    passes[d * bands.length + b] = within && day && (band === "" || Number(band) === b) ? 1 : 0;
  }));
  return passes;
}

function sumByAlgorithm({ algorithms, bands, bin_edges: edges }, arrays, passes) {
  const rows = algorithms.map((name, number) => ({ name, number, count: 0, recalled: 0, sumP: 0, bins: edges.slice(1).map(() => ({ count: 0, recalled: 0, sumP: 0 })) }));
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
  const traces = [{ x: [0, 1], y: [0, 1], mode: "lines", line: { color: cssColour("quiet"), width: 1, dash: "dot" }, hoverinfo: "skip", showlegend: false }];
  for (const row of rows) {
    const colour = algorithmColour(row.name, row.number);
    const visible = !anyUsual || SHOWN_AT_FIRST.includes(row.name) ? true : "legendonly";
    const drawn = row.bins.filter((bin) => bin.count >= LEAST_IN_BIN);
    const x = drawn.map((bin) => bin.sumP / bin.count), bands = drawn.map((bin) => wilson(bin.recalled, bin.count));
    const shared = { legendgroup: row.name, name: plotText(row.name), visible };
    traces.push(
      { ...shared, x: [...x, ...x.toReversed()], y: [...bands.map(([low]) => low), ...bands.map(([, high]) => high).reverse()], mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: withAlpha(colour, 0.16), hoverinfo: "skip", showlegend: false },
      { ...shared, x, y: drawn.map((bin) => bin.recalled / bin.count), customdata: drawn.map((bin, i) => [bin.count, ...bands[i]]), mode: "lines+markers", line: { color: colour, width: 2 }, marker: { size: 6 }, hovertemplate: "predicted %{x:.1%}, recalled %{y:.1%}<br>%{customdata[1]:.1%} to %{customdata[2]:.1%}, %{customdata[0]:,} reviews<extra>%{fullData.name}</extra>" },
      { ...shared, x: edges, y: [...row.bins.map((bin) => bin.count), 0], yaxis: "y2", mode: "lines", line: { color: colour, width: 1.2, shape: "hv" }, fill: "tozeroy", fillcolor: withAlpha(colour, 0.1), showlegend: false, hovertemplate: "%{y:,} reviews<extra>%{fullData.name}</extra>" },
    );
  }
  drawChart("calibration-chart", traces, {
    margin: { l: 56, r: 14, t: 34, b: 44 },
    xaxis: axis({ range: [0, 1.005], tickformat: ".0%", tickmode: "linear", dtick: 0.2, title: { text: "predicted recall" }, anchor: "y2" }),
    yaxis: axis({ range: [0, 1.02], tickformat: ".0%", domain: [0.25, 1], title: { text: "recalled" } }),
    yaxis2: axis({ domain: [0, 0.19], title: { text: "reviews" }, nticks: 3, rangemode: "tozero" }),
  });
}

function fillCalibrationTable(rows, losses) {
  const head = ["", "reviews", "recalled", "mean prediction", "log loss"].map((text) => element("th", { textContent: text }));
  const best = Math.min(...losses.map((row) => row.loss));
  const lines = rows.map((row, i) => element("tr", {}, nameCell(row.name, i), ...[
    wholeNumber(row.count), percent(row.recalled / row.count), percent(row.sumP / row.count)].map((text) => element("td", { textContent: text })),
    element("td", { textContent: Number.isNaN(losses[i].loss) ? "–" : losses[i].loss.toFixed(4), className: losses[i].loss === best ? "best" : "" })));
  document.getElementById("calibration-table").replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

function nameCell(name, number, tag = "td") {
  return element(tag, {}, Object.assign(element("i"), { style: `background:${algorithmColour(name, number)}` }), name);
}
