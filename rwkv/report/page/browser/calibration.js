// Calibration of the predictions of the filtered reviews.

const LEAST_IN_BIN = 10;
// The groups of a calibration line, and the fewest reviews of one.
const MOST_GROUPS = 15;
const LEAST_IN_GROUP = 40;
const SHOWN_AT_FIRST = ["RWKV", "RWKV-P", "FSRS-6"];
let shownAlgorithms = null; // names

function drawCalibration(data) {
  show("predicted");
  const { predicted } = data.facts,
    { algorithms } = predicted;
  if (!shownAlgorithms) {
    const usual = algorithms.filter((name) => SHOWN_AT_FIRST.includes(name));
    shownAlgorithms = new Set(usual.length ? usual : algorithms);
  }
  const update = () => {
    fillDecks(predicted, data.arrays, chosenFilters());
    const passes = passingTable(predicted, chosenFilters());
    const rows = sumByAlgorithm(predicted, data.arrays, passes);
    drawToggles(algorithms, update);
    plotCalibration(predicted, rows);
    fillCalibrationTable(rows, totalLosses(predicted, data.arrays, passes));
    plotLosses(predicted, data.arrays, passes);
    document.getElementById("filter-count").textContent =
      counted(Math.max(...rows.map((row) => row.count)), "review");
  };
  drawFilters(predicted, data.arrays);
  for (const name of FILTERS) filterInput(name).onchange = update;
  document.getElementById("filter-reset").onclick = () => {
    const usual = usualFilters(predicted, data.arrays);
    fillDecks(predicted, data.arrays, usual);
    setFilters(usual);
    update();
  };
  update();
}

// The legend of both charts: a button for each algorithm.
function drawToggles(algorithms, update) {
  const buttons = algorithms.map((name, number) => {
    const isShown = shownAlgorithms.has(name);
    const button = element(
      "button",
      {
        type: "button",
        onclick: () => {
          if (!shownAlgorithms.delete(name)) shownAlgorithms.add(name);
          update();
          document.querySelectorAll("#algorithms button")[number].focus();
        },
      },
      Object.assign(element("i"), { style: `background:${algorithmColour(name, number)}` }),
      element("span", { textContent: name }),
      isShown ? "✓" : "+",
    );
    button.setAttribute("aria-pressed", isShown);
    return button;
  });
  document.getElementById("algorithms").replaceChildren(...buttons);
}

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

// Joins neighbouring bins into groups of about equal numbers of reviews.
function equalGroups(bins, total) {
  const groups = Math.max(1, Math.min(MOST_GROUPS, Math.floor(total / LEAST_IN_GROUP))),
    joined = [];
  let sums = { count: 0, recalled: 0, sumP: 0 };
  for (const bin of bins) {
    sums = { count: sums.count + bin.count, recalled: sums.recalled + bin.recalled, sumP: sums.sumP + bin.sumP };
    if (sums.count < total / groups) continue;
    joined.push(sums);
    sums = { count: 0, recalled: 0, sumP: 0 };
  }
  const last = joined.at(-1);
  if (!sums.count) return joined;
  if (!last || sums.count >= total / groups / 2) return [...joined, sums];
  joined[joined.length - 1] = {
    count: last.count + sums.count,
    recalled: last.recalled + sums.recalled,
    sumP: last.sumP + sums.sumP,
  };
  return joined;
}

function calibrationTraces(row) {
  const colour = algorithmColour(row.name, row.number),
    groups = equalGroups(row.bins, row.count);
  const x = groups.map((group) => group.sumP / group.count),
    bands = groups.map((group) => wilson(group.recalled, group.count));
  const shared = { name: plotText(row.name) };
  return [
    {
      ...shared,
      x: [...x, ...x.toReversed()],
      y: [...bands.map(([low]) => low), ...bands.map(([, high]) => high).reverse()],
      mode: "lines",
      line: { width: 0 },
      fill: "toself",
      fillcolor: withAlpha(colour, 0.16),
      hoverinfo: "skip",
    },
    {
      ...shared,
      x,
      y: groups.map((group) => group.recalled / group.count),
      customdata: groups.map((group, i) => [group.count, ...bands[i]]),
      mode: "lines+markers",
      line: { color: colour, width: 2 },
      marker: { size: 6 },
      hovertemplate:
        "predicted %{x:.1%}, recalled %{y:.1%}<br>%{customdata[1]:.1%} to %{customdata[2]:.1%}, %{customdata[0]:,} reviews<extra>%{fullData.name}</extra>",
    },
  ];
}

function plotCalibration(predicted, rows) {
  const shown = rows.filter((row) => shownAlgorithms.has(row.name) && row.count >= LEAST_IN_GROUP);
  if (!shown.length) {
    const most = Math.max(...rows.map((row) => row.count));
    return say(
      "calibration-chart",
      most >= LEAST_IN_GROUP
        ? "Choose an algorithm with predictions of these reviews."
        : `${wholeNumber(most)} of these reviews were predicted. A diagram needs ${LEAST_IN_GROUP}.`,
    );
  }
  const diagonal = {
    x: [0, 1],
    y: [0, 1],
    mode: "lines",
    line: { color: cssColour("quiet"), width: 1, dash: "dot" },
    hoverinfo: "skip",
  };
  // The axis starts a tenth below the lowest point, to give predictions near 1 more space.
  const traces = shown.flatMap(calibrationTraces);
  const lowest = Math.min(...traces.flatMap((trace) => [...trace.x, ...trace.y])),
    low = Math.min(0.8, Math.max(0, Math.floor(10 * lowest - 0.2) / 10));
  drawChart("calibration-chart", [diagonal, ...traces], {
    showlegend: false,
    margin: { l: 56, r: 24, t: 14, b: 44 },
    xaxis: axis({ range: [low, 1.005], tickformat: ".0%", tickmode: "linear", dtick: low > 0.5 ? 0.05 : low > 0 ? 0.1 : 0.2, title: { text: "predicted recall" } }),
    yaxis: axis({ range: [low, 1.005], tickformat: ".0%", title: { text: "recalled" } }),
  });
}

function fillCalibrationTable(rows, losses) {
  const isFair = rows.every((row) => row.count === rows[0].count);
  const best = isFair ? Math.min(...losses.map((row) => row.loss)) : null;
  const lines = rows.map((row, i) => [
    nameCell(row.name, i),
    wholeNumber(row.count),
    percent(row.recalled / row.count),
    percent(row.sumP / row.count),
    element("td", {
      textContent: Number.isNaN(losses[i].loss) ? "–" : losses[i].loss.toFixed(4),
      className: losses[i].loss === best ? "best" : "",
    }),
  ]);
  fillTable("calibration-table", ["", "reviews", "recalled", "mean prediction", "log loss"], lines);
}

function nameCell(name, number, tag = "td") {
  return element(tag, {}, Object.assign(element("i"), { style: `background:${algorithmColour(name, number)}` }), name);
}
