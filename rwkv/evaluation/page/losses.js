// Log loss in all, and over time.

// [{name, loss}] of the reviews that pass.
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
  const x = Array.from({ length: periods }, (_, period) => periodStart(predicted, period));
  const most = Array.from({ length: periods }, (_, period) => Math.max(...counts.map((of) => of[period])));
  const traces = [
    {
      type: "bar",
      x,
      y: most,
      yaxis: "y2",
      name: "reviews",
      marker: { color: cssColour("line") },
      showlegend: false,
      hovertemplate: "%{y:,} reviews<extra></extra>",
    },
  ];
  algorithms.forEach((name, a) => {
    const y = [...sums[a]].map((sum, period) => (counts[a][period] >= LEAST_IN_BIN ? sum / counts[a][period] : null));
    const visible =
      !algorithms.some((other) => SHOWN_AT_FIRST.includes(other)) || SHOWN_AT_FIRST.includes(name)
        ? true
        : "legendonly";
    traces.push({
      x,
      y,
      name: plotText(name),
      visible,
      mode: "lines+markers",
      connectgaps: true,
      line: { color: algorithmColour(name, a), width: 2 },
      marker: { size: 5 },
      hovertemplate: "%{y:.3f}<extra>%{fullData.name}</extra>",
    });
  });
  drawChart("loss-chart", traces, {
    hovermode: "x",
    margin: { l: 56, r: isNarrow() ? 34 : 50, t: 34, b: 44 },
    bargap: 0.2,
    xaxis: axis(predicted.has_dates ? { type: "date", showgrid: false } : { title: { text: "day" }, showgrid: false }),
    yaxis: axis({ title: { text: "log loss" }, overlaying: "y2", side: "left" }),
    yaxis2: axis({
      side: "right",
      showgrid: false,
      rangemode: "tozero",
      range: [0, 2.5 * Math.max(1, ...most)],
      nticks: 3,
    }),
  });
}

function periodStart({ first_day: first, period_days: days, has_dates: hasDates }, period) {
  const day = first + period * days;
  return hasDates ? new Date(day * 86_400_000).toISOString().slice(0, 10) : day;
}
