// Total log loss, and log loss over time.

// [{name, loss}] of the filtered reviews.
function totalLosses({ algorithms, bands }, arrays, passes) {
  const sums = algorithms.map(() => 0),
    counts = algorithms.map(() => 0);
  arrays.loss_deck.forEach((deck, i) => {
    if (!passes[deck * bands.length + arrays.loss_band[i]]) return;
    for (let a = 0; a < algorithms.length; a++) {
      sums[a] += arrays.loss_sum[i * algorithms.length + a];
      counts[a] += arrays.loss_count[i * algorithms.length + a];
    }
  });
  return algorithms.map((name, a) => ({ name, loss: sums[a] / counts[a] }));
}

function plotLosses(predicted, arrays, passes) {
  const { algorithms, bands, periods } = predicted;
  const sums = algorithms.map(() => new Float64Array(periods)),
    counts = algorithms.map(() => new Float64Array(periods));
  arrays.loss_deck.forEach((deck, i) => {
    if (!passes[deck * bands.length + arrays.loss_band[i]]) return;
    for (let a = 0; a < algorithms.length; a++) {
      sums[a][arrays.loss_period[i]] += arrays.loss_sum[i * algorithms.length + a];
      counts[a][arrays.loss_period[i]] += arrays.loss_count[i * algorithms.length + a];
    }
  });
  const most = Array.from({ length: periods }, (_, period) => Math.max(...counts.map((of) => of[period])));
  // Do not draw periods at the ends that the filters emptied.
  const first = most.findIndex((count) => count > 0),
    end = most.findLastIndex((count) => count > 0) + 1,
    cut = (column) => [...column].slice(Math.max(0, first), end);
  const x = cut(Array.from({ length: periods }, (_, period) => periodStart(predicted, period)));
  const shown = algorithms.map((name, a) => ({ name, a })).filter(({ name }) => shownAlgorithms.has(name));
  const lines = shown.map(({ name, a }) => ({
    x,
    y: cut(sums[a].map((sum, period) => (counts[a][period] >= LEAST_IN_BIN ? sum / counts[a][period] : NaN))),
    name: plotText(name),
    mode: "lines+markers",
    connectgaps: true,
    line: { color: algorithmColour(name, a), width: 2 },
    marker: { size: 5 },
    hovertemplate: "%{y:.3f}<extra>%{fullData.name}</extra>",
  }));
  if (!lines.some(({ y }) => y.filter((loss) => !Number.isNaN(loss)).length > 1))
    return say("loss-chart", `Log loss over time needs two periods with ${LEAST_IN_BIN} predicted reviews each.`);
  const bars = {
    type: "bar",
    x,
    y: cut(most),
    yaxis: "y2",
    name: "reviews",
    marker: { color: cssColour("line") },
    hovertemplate: "%{y:,} reviews<extra></extra>",
  };
  drawChart("loss-chart", [bars, ...lines], {
    showlegend: false,
    hovermode: "x",
    margin: { l: 56, r: 56, t: 14, b: 44 },
    bargap: 0.2,
    xaxis: dayAxis(predicted.has_dates, x.length * predicted.period_days),
    yaxis: axis({ title: { text: "log loss" }, overlaying: "y2", side: "left" }),
    yaxis2: axis({
      side: "right",
      showgrid: false,
      range: [0, 2.5 * Math.max(1, ...most)],
      nticks: 3,
      tickformat: ",d",
      title: { text: "reviews" },
    }),
  });
}

function periodStart({ first_day: first, period_days: days, has_dates: hasDates }, period) {
  const day = first + period * days;
  return hasDates ? dayText(day, true) : day;
}
