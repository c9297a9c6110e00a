// Past reviews: a calendar, reviews and minutes a day, and retention by month.

const DAY_NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const CELL = 13;
const DAYS_A_YEAR = 364; // for histories without dates; whole weeks

function drawPast(data) {
  const { past } = data.facts;
  if (!past?.reviews) return;
  show("past");
  drawCalendar(data);
  drawDays(data);
  drawMonths(past);
}

// --- Calendar: a cell for each day, a column for each week.

function drawCalendar(data) {
  const { past } = data.facts,
    choice = document.getElementById("calendar-year"),
    first = data.arrays.day_first[0],
    last = first + data.arrays.day_reviews.length - 1;
  if (!choice.options.length) {
    const years = past.has_dates ? [yearOf(first), yearOf(last)] : [0, Math.floor((last - first) / DAYS_A_YEAR)];
    for (let year = years[1]; year >= years[0]; year--) choice.append(new Option(yearName(year, past, first), year));
    document.getElementById("calendar-label").hidden = choice.options.length < 2;
    // today may be long after the last review
    choice.value = past.has_dates ? yearOf(lastStudied(data)) : Math.floor((lastStudied(data) - first) / DAYS_A_YEAR);
  }
  choice.onchange = () => paintCalendar(Number(choice.value), data);
  choice.onchange();
}

function lastStudied({ arrays }) {
  return arrays.day_first[0] + arrays.day_reviews.findLastIndex((count) => count > 0);
}

function yearOf(day) {
  return new Date(day * 86_400_000).getUTCFullYear();
}

function yearName(year, past, first) {
  if (past.has_dates) return String(year);
  return `day ${first + year * DAYS_A_YEAR} to ${first + (year + 1) * DAYS_A_YEAR - 1}`;
}

// The first and last day of a year on the calendar.
function yearSpan(year, past, first) {
  if (!past.has_dates) return [first + year * DAYS_A_YEAR, first + (year + 1) * DAYS_A_YEAR - 1];
  return [Date.UTC(year, 0, 1), Date.UTC(year, 11, 31)].map((ms) => ms / 86_400_000);
}

function paintCalendar(year, data) {
  const { past } = data.facts,
    { arrays } = data,
    first = arrays.day_first[0],
    [from, to] = yearSpan(year, past, first);
  const weekday = (day) => (past.has_dates ? (((day + 3) % 7) + 7) % 7 : (day - from) % 7),
    column = (day) => Math.floor((day - from + weekday(from)) / 7);
  const counts = Array.from({ length: to - from + 1 }, (_, i) => arrays.day_reviews[from + i - first] ?? 0);
  const most = Math.max(1, ...arrays.day_reviews),
    left = past.has_dates ? 30 : 4;
  const svg = svgElement("svg", {
    width: left + CELL * (column(to) + 1),
    height: CELL * 7 + 16,
    role: "img",
    "aria-label": `Reviews by day, ${yearName(year, past, first)}`,
  });
  if (past.has_dates)
    [0, 2, 4].forEach((row) => svg.append(svgText(DAY_NAMES[row], 0, 16 + CELL * row + 10)));
  counts.forEach((count, i) => {
    const day = from + i,
      date = dayText(day, past.has_dates);
    if (past.has_dates && date.endsWith("-01"))
      svg.append(svgText(monthName(day), left + CELL * column(day), 10));
    const cell = svgElement("rect", {
      x: left + CELL * column(day),
      y: 16 + CELL * weekday(day),
      width: CELL - 2,
      height: CELL - 2,
      rx: 2,
      fill: count ? withAlpha("#11a08a", 0.25 + 0.75 * Math.sqrt(count / most)) : cssColour("grid"),
    });
    const minutes = arrays.day_minutes[day - first] ?? 0;
    cell.append(svgElement("title", {}, `${date}: ${counted(count, "review")}, ${counted(minutes, "minute")}`));
    svg.append(cell);
  });
  document.getElementById("calendar").replaceChildren(svg);
  const studied = counts.filter(Boolean).length,
    sum = counts.reduce((a, b) => a + b, 0);
  document.getElementById("calendar-note").textContent =
    `${counted(sum, "review")} on ${counted(studied, "day")}; ${wholeNumber(past.reviews)} on ${counted(past.days, "day")} in all`;
}

function monthName(day) {
  return new Date(day * 86_400_000).toLocaleDateString("en", { month: "short", timeZone: "UTC" });
}

function svgElement(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function svgText(text, x, y) {
  return svgElement("text", { x, y, fill: cssColour("quiet"), "font-size": 10 }, text);
}

// --- Reviews and minutes, in spans of days to limit the number of bars.

const MOST_BARS = 90;

function drawDays({ facts, arrays }) {
  const { past } = facts,
    days = arrays.day_reviews.length,
    span = [1, 7, 28, 91].find((length) => days <= length * MOST_BARS) ?? Math.ceil(days / MOST_BARS);
  const bars = Math.ceil(days / span),
    first = arrays.day_first[0];
  const sums = (column) =>
    Array.from({ length: bars }, (_, i) => {
      const part = column.subarray(i * span, (i + 1) * span);
      return part.reduce((sum, value) => sum + value, 0) / part.length;
    });
  const x = Array.from({ length: bars }, (_, i) => (past.has_dates ? dayText(first + i * span, true) : first + i * span));
  const when = span === 1 ? "" : `, mean of ${span} days`;
  for (const [id, column, what] of [
    ["days-reviews", arrays.day_reviews, "reviews"],
    ["days-minutes", arrays.day_minutes, "minutes"],
  ]) {
    if (past.days < 2) {
      say(id, `All ${what} are on one day: ${wholeNumber(sums(column).reduce((a, b) => a + b, 0) * span)}.`);
      continue;
    }
    drawChart(
      id,
      [
        {
          type: "bar",
          x,
          y: sums(column),
          marker: { color: cssColour("accent") },
          hovertemplate: `%{x}: %{y:.1f} ${what} a day${when}<extra></extra>`,
        },
      ],
      {
        bargap: 0.1,
        margin: { l: 50, r: 14, t: 14, b: 44 },
        xaxis: dayAxis(past.has_dates, days),
        yaxis: axis({ title: { text: `${what} a day${when}` }, rangemode: "tozero" }),
      },
    );
  }
}

// --- Retention by month

const LEAST_IN_MONTH = 10;

function drawMonths({ months, retention, has_dates: hasDates }) {
  const kinds = [
    ["young", "#e4762b"],
    ["mature", "#11a08a"],
  ];
  const enough = (kind) => months.filter((month) => month[kind] >= LEAST_IN_MONTH).length;
  if (!kinds.some(([kind]) => enough(kind) > 1))
    return say("months-chart", `This chart needs two months with ${LEAST_IN_MONTH} reviews on a later day each.`);
  const x = months.map((month) => (hasDates ? month.name : plotText(month.name)));
  const traces = kinds
    .filter(([kind]) => enough(kind))
    .map(([kind, colour]) => ({
      x,
      y: months.map((month) => (month[kind] >= LEAST_IN_MONTH ? month[`${kind}_recalled`] / month[kind] : null)),
      customdata: months.map((month) => month[kind]),
      name: kind,
      mode: "lines+markers",
      connectgaps: true,
      line: { color: colour, width: 2 },
      marker: { size: 6 },
      hovertemplate: `%{x}: %{y:.1%} of %{customdata:,} ${kind}<extra></extra>`,
    }));
  const low = Math.min(...traces.flatMap((trace) => trace.y.filter((value) => value !== null)), retention.goal);
  drawChart("months-chart", traces, {
    xaxis: axis({ type: "category", showgrid: false, nticks: isNarrow() ? 5 : 12, tickangle: 0 }),
    yaxis: axis({ tickformat: ".0%", range: [Math.max(0, low - 0.08), 1.005], title: { text: "recalled" } }),
    shapes: [
      {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: retention.goal,
        y1: retention.goal,
        line: { color: cssColour("quiet"), width: 1, dash: "dot" },
      },
    ],
    annotations: [
      {
        xref: "paper",
        x: 0.01,
        xanchor: "left",
        y: retention.goal,
        yanchor: "bottom",
        showarrow: false,
        text: `goal ${percent(retention.goal, 0)}`,
        font: { size: 11, color: cssColour("quiet") },
      },
    ],
  });
}
