// Live figures: a stream of events while the page is seen. Nothing here is needed to read a page.
"use strict";
(function () {
  const address = document.body.dataset.events;
  const told = document.querySelector("[data-faults]");
  const listed = document.querySelector("[data-problems]");
  const live = document.querySelector("[data-live]");
  const state = document.querySelector("[data-state]");
  if (!address || !window.EventSource || (!live && !listed)) return;

  const most = 300;
  let source = null, timer = 0, samples = [], known = null, spoken = null, lastID = "";

  function say(text) { if (state && state.textContent !== text) state.textContent = text; }

  function open() {
    clearTimeout(timer);
    if (source || document.hidden) return;
    // A new EventSource does not know the last event, so it gets the minutes before again.
    source = new EventSource(address);
    source.addEventListener("open", function () { say("Live"); });
    source.addEventListener("samples", function (e) { take(e); });
    source.addEventListener("faults", function (e) { faults(JSON.parse(e.data)); });
    source.addEventListener("error", function () {
      say("The connection is lost, or the login has ended; trying again");
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        timer = setTimeout(open, 5000);
      }
    });
  }
  function close() {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  }
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { close(); say("Paused"); } else open();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);

  function take(e) {
    const process = e.lastEventId.split("-")[0];
    if (process !== lastID) { samples = []; lastID = process; }
    const last = samples.length ? samples[samples.length - 1].t : 0;
    for (const s of JSON.parse(e.data)) if (s.t > last) samples.push(s);
    if (samples.length > most) samples = samples.slice(-most);
    if (live) { figures(); draw(); }
  }

  // Faults are told by a screen reader when they begin or end, and not with each new figure in them;
  // the page lists them itself at first.
  function faults(list) {
    const text = JSON.stringify(list);
    const first = known === null;
    if (text === known) return;
    known = text;
    if (listed && !first) show(list);
    const these = JSON.stringify(list.map(function (p) { return [p.storage, p.code || p.text, p.warning]; }));
    const same = these === spoken;
    spoken = these;
    if (!told || first || same) return;
    const bad = list.filter(function (p) { return !p.warning; }).length, warnings = list.length - bad;
    told.className = "changed alarm" + (bad ? "" : warnings ? " warn" : " good");
    if (!list.length) told.textContent = "No fault is known any more.";
    else told.textContent = (bad === 1 ? "1 fault" : bad + " faults") + ", " + (warnings === 1 ? "1 warning" : warnings + " warnings") + ": " + list[0].text;
  }
  function element(name, cls, text) {
    const e = document.createElement(name);
    if (cls) e.className = cls;
    if (text !== undefined) e.textContent = text;
    return e;
  }
  function show(list) {
    listed.replaceChildren();
    if (!list.length) { listed.append(element("p", "alarm good", "Everything is in order.")); return; }
    const ul = element("ul", "problems");
    for (const p of list) {
      const li = element("li", "alarm" + (p.warning ? " warn" : ""));
      li.append(element("strong", "", (p.warning ? "Warning" : "Fault") + (p.storage ? ", storage " + p.storage : "") + ":"), " ", element("bdi", "", p.text));
      if (p.code) li.append(" ", element("code", "", p.code));
      if (p.remedy) li.append(" ", element("span", "remedy", p.remedy));
      ul.append(li);
    }
    listed.append(ul);
  }

  function micros(v) {
    if (v === null || v < 0) return "–";
    if (v < 10) return Math.round(v * 10) / 10 + " µs";
    if (v < 1000) return Math.round(v) + " µs";
    if (v < 1e6) return (v / 1000).toPrecision(3) + " ms";
    return (v / 1e6).toPrecision(3) + " s";
  }
  function rate(v) { return v >= 100 ? Math.round(v).toLocaleString("en") : v.toFixed(1); }

  function figures() {
    const s = samples[samples.length - 1];
    if (!s) return;
    for (const e of document.querySelectorAll("[data-figure]")) {
      const name = e.dataset.figure, v = s[name];
      e.textContent = name === "connections" ? String(v) : e.dataset.unit === "time" ? micros(v) : rate(v) + "/s";
    }
  }

  function clockTime(seconds) { return new Date(seconds * 1000).toLocaleTimeString("en-GB"); }

  const charts = [];
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function build(box) {
    const names = box.dataset.chart.split(" "), time = box.dataset.unit === "time";
    const format = time ? micros : function (v) { return v === null ? "" : v >= 10 ? Math.round(v).toLocaleString("en") : String(Math.round(v * 100) / 100); };
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const series = [{}];
    names.forEach(function (n, i) {
      series.push({ stroke: colour("--chart-" + (i + 1)), width: 2, dash: i ? [6, 4] : undefined, points: { show: false }, spanGaps: false });
    });
    const plot = new uPlot({
      width: Math.max(200, box.clientWidth), height: box.clientHeight, legend: { show: false }, cursor: { show: false }, series: series,
      scales: {
        x: { time: true, range: function (u, min, max) { return max ? [max - most, max] : [Date.now() / 1000 - most, Date.now() / 1000]; } },
        y: { range: function (u, min, max) { return [0, max > 0 ? max * 1.1 : time ? 100 : 1]; } },
      },
      axes: [Object.assign({ space: 80, values: function (u, vs) { return vs.map(clockTime); } }, axis), Object.assign({ size: 70, values: function (u, vs) { return vs.map(format); } }, axis)],
    }, data(names), box);
    charts.push({ plot: plot, box: box, names: names });
  }
  function data(names) {
    const columns = [samples.map(function (s) { return s.t / 1000; })];
    for (const n of names) columns.push(samples.map(function (s) { return s[n] < 0 ? null : s[n]; }));
    return columns;
  }
  function draw() { for (const c of charts) c.plot.setData(data(c.names)); }
  function rebuild() {
    for (const c of charts) c.plot.destroy();
    charts.length = 0;
    for (const box of document.querySelectorAll("[data-chart]")) build(box);
  }
  if (live && window.uPlot) {
    rebuild();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
    if (window.ResizeObserver) {
      const seen = new ResizeObserver(function () {
        for (const c of charts) c.plot.setSize({ width: Math.max(200, c.box.clientWidth), height: c.box.clientHeight });
      });
      for (const c of charts) seen.observe(c.box);
    }
  }
  open();
})();
