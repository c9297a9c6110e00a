// Due cards of the days ahead, and the workload by desired retention.

function drawAhead(data) {
  const { forecast, workload } = data.facts;
  if (!forecast && !workload) return;
  show("ahead");
  if (forecast) drawForecast(forecast);
  if (workload) drawWorkload(data);
}

function drawForecast({ days, rwkv, anki, anki_backlog: backlog }) {
  const note = anki
    ? ` Anki has ${wholeNumber(anki[0] + backlog)} due today, ${wholeNumber(backlog)} of them as backlog.`
    : "";
  document.getElementById("forecast-note").textContent =
    `The next due day of each card; today includes the backlog. Reviews that follow from answers on these days are not counted.${note}`;
  if (!rwkv.some(Boolean) && !anki?.some(Boolean) && !backlog)
    return say("forecast-chart", `No card is due within ${counted(days, "day")}.`);
  const x = rwkv.map((_, day) => day),
    text = x.map((day) => (day === 0 ? "today" : `in ${day} d`));
  const traces = [
    {
      type: "bar",
      x,
      y: rwkv,
      text,
      textposition: "none",
      name: "RWKV",
      marker: { color: cssColour("accent") },
      hovertemplate: "%{text}: %{y} cards<extra>RWKV</extra>",
    },
  ];
  if (anki)
    traces.push({
      x,
      y: anki.map((count, day) => (day === 0 ? count + backlog : count)),
      text,
      name: "Anki, backlog on today's bar",
      mode: "lines+markers",
      line: { color: "#e4762b", width: 2 },
      marker: { size: 5 },
      hovertemplate: "%{text}: %{y} cards<extra>Anki</extra>",
    });
  drawChart("forecast-chart", traces, {
    showlegend: Boolean(anki),
    bargap: 0.15,
    xaxis: daysAhead(days),
    yaxis: axis({ title: { text: "cards" }, rangemode: "tozero", tickformat: ",d" }),
  });
}

// Days from now; the first is today.
function daysAhead(days) {
  return axis({
    tickmode: "linear",
    tick0: 0,
    dtick: days > 14 ? 5 : 1,
    range: [-0.6, days - 0.4],
    title: { text: "days from today (0)" },
    showgrid: false,
  });
}

function drawWorkload({ facts }) {
  const { retention, reviews, played, cards } = facts.workload,
    slider = document.getElementById("workload-slider");
  if (!cards) return;
  show("workload");
  const sample = played < cards ? ` Simulated with a sample of at least ${wholeNumber(played)} of ${counted(cards, "card")}.` : "";
  document.getElementById("workload-note").textContent =
    `Mean minutes a day over ${reviews[0].length} days, if every card is reviewed when its recall falls to the desired retention. New cards are not counted.${sample}`;
  if (slider.max === "" || Number(slider.max) !== retention.length - 1) {
    Object.assign(slider, { min: 0, max: retention.length - 1, step: 1 });
    slider.value = nearest(retention, facts.retention);
  }
  slider.oninput = () => drawChosenRetention(facts, Number(slider.value));
  drawChosenRetention(facts, Number(slider.value));
}

function nearest(values, wanted) {
  return values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function drawChosenRetention(facts, chosen) {
  const { retention, reviews, minutes } = facts.workload,
    accent = cssColour("accent");
  const name = percent(retention[chosen], 0);
  document.getElementById("workload-value").textContent = name;
  drawChart(
    "workload-retention",
    [
      {
        x: retention,
        y: minutes.map(mean),
        customdata: reviews.map(mean),
        mode: "lines+markers",
        line: { color: accent, width: 2.5 },
        marker: { size: retention.map((_, i) => (i === chosen ? 13 : 6)), color: accent },
        hovertemplate: "%{y:.1f} minutes and %{customdata:.0f} reviews a day at %{x:.0%}<extra></extra>",
      },
    ],
    {
      margin: { l: 50, r: 14, t: 14, b: 44 },
      xaxis: axis({ tickformat: ".0%", tickvals: retention, tickmode: "array", title: { text: "desired retention" } }),
      yaxis: axis({ rangemode: "tozero", title: { text: "mean minutes a day" } }),
    },
  );
  drawChart(
    "workload-days",
    [
      {
        type: "bar",
        x: minutes[chosen].map((_, day) => day),
        y: minutes[chosen],
        customdata: reviews[chosen],
        marker: { color: accent },
        hovertemplate: "day %{x}: %{y:.1f} minutes, %{customdata:.0f} reviews<extra></extra>",
      },
    ],
    {
      bargap: 0.15,
      margin: { l: 50, r: 14, t: 14, b: 44 },
      xaxis: daysAhead(minutes[chosen].length),
      yaxis: axis({ title: { text: `minutes at ${name}` }, rangemode: "tozero" }),
    },
  );
}
