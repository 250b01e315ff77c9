// The timeline: lanes over one axis of time, with a shared cursor and a selection of tokens.
// `data` comes from timeline.py; what the user points at goes back as the trigger `pointed`: {frame, start, stop, seq}.

const GUTTER = 118; // pixels left of the lanes, for their names
const STRIP = 72, TOKENS = 30, LINES = 58, BARS = 46, GAP = 8, AXIS = 22;
const LEAST_CELL = 7; // pixels of a token; narrower ones scroll
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function heightOf(lane) {
  return { strip: STRIP, tokens: TOKENS, lines: LINES, bars: BARS }[lane.kind];
}

// What is kept between two runs of the page's script.
class Timeline {
  constructor(root) {
    this.root = root;
    this.seq = 0;
    this.playing = null;
    root.innerHTML = "";
    this.names = document.createElement("div");
    this.names.className = "names";
    this.scroll = document.createElement("div");
    this.scroll.className = "scroll";
    this.scroll.tabIndex = 0;
    this.scroll.setAttribute("role", "slider");
    this.scroll.setAttribute("aria-label", "Timeline: arrow keys move the cursor, with shift they select tokens");
    root.append(this.names, this.scroll);
    this.observer = new ResizeObserver(() => this.data && this.layOut());
    this.observer.observe(root);
    this.listen();
  }

  update(data, send) {
    this.send = send;
    const known = this.data && this.data.id === data.id;
    this.data = data;
    if (!known) this.stop();
    // Every touch has a number; an answer to an older one must not undo what was done since.
    if (!known || data.seq >= this.seq) {
      this.seq = data.seq;
      this.frame = data.cursor;
      this.span = data.span;
    }
    if (!known || this.width !== this.root.clientWidth) this.layOut();
    else this.point();
  }

  // Draws everything that does not move.
  layOut() {
    const { data } = this;
    this.width = this.root.clientWidth;
    if (!this.width) return;
    const room = this.width - GUTTER;
    this.plot = Math.max(room, data.starts.length * LEAST_CELL);
    const total = data.lanes.reduce((sum, lane) => sum + heightOf(lane) + GAP, AXIS);
    this.total = total;
    this.names.innerHTML = "";
    this.scroll.innerHTML = "";
    const svg = element("svg", { width: this.plot, height: total, class: "plot" }, this.scroll);
    this.svg = svg;
    this.values = [];
    let top = 0;
    for (const lane of data.lanes) {
      const height = heightOf(lane);
      this.name(lane, top, height);
      const group = element("g", { transform: `translate(0 ${top})` }, svg);
      if (lane.kind === "strip") this.drawStrip(group);
      else if (lane.kind === "tokens") this.drawTokens(group);
      else {
        element("rect", { class: "ground", width: this.plot, height, rx: 3 }, group);
        if (lane.kind === "lines") this.drawLines(group, lane, height);
        else this.drawBars(group, lane, height);
      }
      top += height + GAP;
    }
    this.drawAxis(top);
    const bandTop = data.lanes[0].kind === "strip" ? STRIP : 0;
    this.band = element("rect", { class: "band", y: bandTop, height: total - bandTop - AXIS, width: 0 }, svg);
    this.hover = element("line", { class: "hover", y1: 0, y2: total - AXIS, x1: -9, x2: -9 }, svg);
    this.cursor = element("g", { class: "cursor" }, svg);
    element("line", { y1: 0, y2: total - AXIS + 3 }, this.cursor);
    this.label = element("text", { y: total - 6 }, this.cursor);
    this.picture = element("g", { class: "picture" }, svg);
    this.root.style.height = `${total + (this.plot > room ? 14 : 0)}px`;
    this.point();
  }

  x(frame) {
    return (frame / this.data.frames) * this.plot;
  }

  name(lane, top, height) {
    const box = document.createElement("div");
    box.className = "name";
    box.style.top = `${top}px`;
    box.style.height = `${height}px`;
    box.title = lane.help || "";
    const title = document.createElement("span");
    title.textContent = lane.name;
    box.append(title);
    const shown = [];
    for (const series of lane.series || []) {
      const value = document.createElement("span");
      value.className = "value";
      value.style.color = series.colour;
      box.append(value);
      shown.push(value);
    }
    if (lane.kind === "strip") {
      this.button = document.createElement("button");
      this.button.className = "play";
      this.button.title = "Play or pause (space)";
      this.button.textContent = "▶ Play";
      this.button.onclick = () => this.toggle();
      box.append(this.button);
    }
    this.names.append(box);
    this.values.push(shown);
  }

  drawStrip(group) {
    const { sprite, thumbs, side } = this.data;
    if (!sprite) {
      element("rect", { class: "ground", width: this.plot, height: STRIP, rx: 3 }, group);
      return;
    }
    const count = Math.max(1, Math.ceil(this.plot / STRIP));
    for (let n = 0; n < count; n++) {
      const left = (n * this.plot) / count, wide = this.plot / count;
      const frame = ((n + 0.5) / count) * this.data.frames;
      this.thumb(group, this.nearest(frame), left, 0, wide, STRIP);
    }
  }

  // One picture out of the sprite, cut to a width.
  thumb(group, number, left, top, wide, high) {
    const { sprite, thumbs, side } = this.data;
    const box = element("svg", { x: left, y: top, width: wide, height: high,
      viewBox: `${number * side + (side - (side * wide) / high) / 2} 0 ${(side * wide) / high} ${side}` }, group);
    const image = element("image", { width: thumbs.length * side, height: side }, box);
    image.setAttribute("href", sprite);
    box.style.overflow = "hidden";
  }

  nearest(frame) {
    const { thumbs } = this.data;
    let best = 0;
    for (let n = 1; n < thumbs.length; n++)
      if (Math.abs(thumbs[n] - frame) < Math.abs(thumbs[best] - frame)) best = n;
    return best;
  }

  drawTokens(group) {
    const { starts, frames, codes, colours, locked, changed } = this.data;
    for (let n = 0; n < starts.length; n++) {
      const left = this.x(starts[n]);
      const wide = this.x(n + 1 < starts.length ? starts[n + 1] : frames) - left;
      const cell = element("rect", { x: left + 0.5, y: 0, width: Math.max(1, wide - 1), height: TOKENS, rx: 3,
        fill: colours[n] }, group);
      element("title", {}, cell, `token ${n}: code ${codes[n]}`);
      if (wide > 30) element("text", { class: "code", x: left + wide / 2, y: TOKENS / 2 + 4 }, group, codes[n]);
      if (changed.includes(n))
        element("rect", { class: "changed", x: left + 1, y: TOKENS - 4, width: Math.max(1, wide - 2), height: 3 }, group);
      if (locked.includes(n))
        element("rect", { class: "locked", x: left + 1.5, y: 1, width: Math.max(1, wide - 3), height: TOKENS - 2,
          rx: 3 }, group);
    }
  }

  drawLines(group, lane, height) {
    const inside = height - 8;
    const y = (value) => 4 + inside * (1 - (clamp(value, lane.low, lane.high) - lane.low) / (lane.high - lane.low));
    if (lane.low < 0 && lane.high > 0)
      element("line", { class: "zero", x1: 0, x2: this.plot, y1: y(0), y2: y(0) }, group);
    for (const series of lane.series) {
      const points = series.values.map((value, n) => `${this.x(n + 0.5).toFixed(1)},${y(value).toFixed(1)}`);
      element("polyline", { class: "line", points: points.join(" "), stroke: series.colour }, group);
    }
  }

  drawBars(group, lane, height) {
    const { starts, frames } = this.data;
    const { values, colour } = lane.series[0];
    for (let n = 0; n < starts.length; n++) {
      const left = this.x(starts[n]);
      const wide = this.x(n + 1 < starts.length ? starts[n + 1] : frames) - left;
      const high = Math.max(1, ((height - 4) * clamp(values[n], 0, lane.high)) / lane.high);
      const bar = element("rect", { x: left + 1, y: height - high, width: Math.max(1, wide - 2), height: high, rx: 1.5,
        fill: colour, class: "bar" }, group);
      element("title", {}, bar, `token ${n}: ${values[n].toFixed(2)} ${lane.unit || ""}`);
    }
  }

  drawAxis(top) {
    const { frames, fps } = this.data;
    const seconds = frames / fps;
    const step = [0.2, 0.5, 1, 2, 5, 10, 20, 60].find((each) => (each / seconds) * this.plot >= 56) || 120;
    this.ticks = [];
    const group = element("g", { class: "axis", transform: `translate(0 ${top - GAP})` }, this.svg);
    for (let n = 0; n * step <= seconds + 1e-6; n++) {
      const x = this.x(n * step * fps);
      element("line", { x1: x, x2: x, y1: 0, y2: 4 }, group);
      const anchor = n === 0 ? "start" : x > this.plot - 16 ? "end" : "middle";
      const label = element("text", { x, y: 16, "text-anchor": anchor }, group, `${Number((n * step).toFixed(1))} s`);
      this.ticks.push([x, label]);
    }
  }

  // Moves what moves: cursor, selection, the numbers beside the lanes.
  point() {
    const { data } = this;
    if (!this.svg) return;
    const x = this.x(this.frame + 0.5);
    this.cursor.setAttribute("transform", `translate(${x} 0)`);
    this.label.textContent = `${(this.frame / data.fps).toFixed(2)} s`;
    this.label.setAttribute("text-anchor", x < 24 ? "start" : x > this.plot - 24 ? "end" : "middle");
    // The cursor's own time stands over those of the axis.
    for (const [place, label] of this.ticks) label.style.opacity = Math.abs(place - x) < 34 ? 0 : 1;
    if (this.span) {
      const left = this.x(data.starts[this.span[0]]);
      const right = this.x(this.span[1] < data.starts.length ? data.starts[this.span[1]] : data.frames);
      this.band.setAttribute("x", left);
      this.band.setAttribute("width", right - left);
    } else this.band.setAttribute("width", 0);
    const token = this.tokenAt(this.frame);
    data.lanes.forEach((lane, n) => (lane.series || []).forEach((series, m) => {
      const value = series.values[lane.kind === "bars" ? token : this.frame];
      this.values[n][m].textContent = `${series.name ? series.name + " " : ""}${value.toFixed(lane.digits)}`;
    }));
    this.scroll.setAttribute("aria-valuenow", this.frame);
    this.scroll.setAttribute("aria-valuemax", data.frames - 1);
    this.show();
  }

  // The frame at the cursor, in front of the strip.
  show() {
    this.picture.innerHTML = "";
    if (!this.data.sprite || this.data.lanes[0].kind !== "strip") return;
    const left = clamp(this.x(this.frame + 0.5) - STRIP / 2, 0, this.plot - STRIP);
    this.thumb(this.picture, this.nearest(this.frame), left, 0, STRIP, STRIP);
    element("rect", { x: left + 1, y: 1, width: STRIP - 2, height: STRIP - 2, class: "frame" }, this.picture);
  }

  tokenAt(frame) {
    const { starts } = this.data;
    let token = 0;
    while (token + 1 < starts.length && starts[token + 1] <= frame) token++;
    return token;
  }

  frameAt(event) {
    const place = this.svg.getBoundingClientRect();
    return clamp(Math.floor(((event.clientX - place.left) / place.width) * this.data.frames), 0, this.data.frames - 1);
  }

  tell() {
    const [start, stop] = this.span || [-1, -1];
    this.send({ frame: this.frame, start, stop, seq: this.seq });
  }

  listen() {
    const area = this.scroll;
    area.onpointerdown = (event) => {
      if (event.button !== 0 || !this.svg || !this.svg.contains(event.target)) return;
      this.stop();
      this.seq += 1;
      area.focus({ preventScroll: true });
      area.setPointerCapture(event.pointerId);
      this.frame = this.frameAt(event);
      const token = this.tokenAt(this.frame);
      this.anchor = event.shiftKey && this.span ? this.span[0] : token;
      this.span = [Math.min(this.anchor, token), Math.max(this.anchor, token) + 1];
      this.dragging = true;
      this.point();
    };
    area.onpointermove = (event) => {
      if (!this.svg) return;
      const frame = this.frameAt(event);
      this.hover.setAttribute("x1", this.x(frame + 0.5));
      this.hover.setAttribute("x2", this.x(frame + 0.5));
      if (!this.dragging) return;
      this.frame = frame;
      const token = this.tokenAt(frame);
      this.span = [Math.min(this.anchor, token), Math.max(this.anchor, token) + 1];
      this.point();
    };
    area.onpointerup = () => {
      if (this.dragging) this.tell();
      this.dragging = false;
    };
    area.onpointercancel = () => (this.dragging = false);
    area.onpointerleave = () => this.hover && (this.hover.setAttribute("x1", -9), this.hover.setAttribute("x2", -9));
    area.onkeydown = (event) => this.key(event);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key in steps) {
      const step = steps[event.key];
      this.stop();
      if (event.shiftKey) {
        const token = this.tokenAt(this.frame);
        const span = this.span || [token, token + 1];
        this.span = [span[0], clamp(span[1] + step, span[0] + 1, this.data.starts.length)];
      } else this.frame = clamp(this.frame + step, 0, this.data.frames - 1);
    } else if (event.key === "Home") this.frame = 0;
    else if (event.key === "End") this.frame = this.data.frames - 1;
    else if (event.key === "Escape") this.span = null;
    else if (event.key === " ") {
      event.preventDefault();
      this.toggle();
      return;
    } else return;
    event.preventDefault();
    this.seq += 1;
    this.point();
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.tell(), 150);
  }

  toggle() {
    if (this.playing) {
      this.stop();
      this.tell();
      return;
    }
    this.seq += 1;
    const { fps, frames } = this.data;
    const first = this.frame >= frames - 1 ? 0 : this.frame;
    const began = performance.now();
    this.button.textContent = "❚❚ Pause";
    const step = (now) => {
      this.frame = first + Math.floor(((now - began) / 1000) * fps);
      if (this.frame >= frames - 1) {
        this.frame = frames - 1;
        this.stop();
        this.tell();
      } else this.playing = requestAnimationFrame(step);
      this.point();
    };
    this.playing = requestAnimationFrame(step);
  }

  stop() {
    if (this.playing) cancelAnimationFrame(this.playing);
    this.playing = null;
    if (this.button) this.button.textContent = "▶ Play";
  }

  end() {
    this.stop();
    clearTimeout(this.settled);
    this.observer.disconnect();
  }
}

const timelines = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".timeline");
  if (!timelines.has(root)) timelines.set(root, new Timeline(root));
  const timeline = timelines.get(root);
  timeline.update(data, (value) => setTriggerValue("pointed", value));
  // Also called before an update, which must not take the focus away: only a timeline that is gone has ended.
  return () => setTimeout(() => {
    if (root.isConnected) return;
    timeline.end();
    timelines.delete(root);
  });
}
