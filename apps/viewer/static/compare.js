// Two videos that play as one: beside each other, under a wipe, or as their difference.
// `data` comes from comparing.py: a length (4 bytes, little-endian), so much JSON {id, names, sizes, fps, frames}, and
// the bytes of both videos.

const MODES = { beside: "Side by side", wipe: "Wipe", difference: "Difference" };
const SPEEDS = { 1: "1 ×", 0.5: "½ ×", 0.25: "¼ ×" };

function make(tag, className, parent, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const files = about.sizes.map((size) => bytes.subarray(at, (at += size)));
  return { about, files };
}

class Comparison {
  constructor(root) {
    this.mode = "beside";
    this.speed = 1;
    this.frame = 0;
    this.wipe = 0.5;
    this.urls = [];
    root.innerHTML = "";
    this.bar(root);
    this.stage = make("div", "stage", root);
    this.panes = [0, 1].map((number) => {
      const pane = make("div", `pane pane-${number}`, this.stage);
      const video = make("video", "", pane);
      video.muted = true;
      video.playsInline = true;
      video.preload = "auto";
      return { pane, video, name: make("div", "name", pane) };
    });
    this.handle = make("div", "handle", this.stage);
    this.controls(root);
    this.listen();
    this.show();
  }

  bar(root) {
    const bar = make("div", "bar", root);
    this.modes = Object.entries(MODES).map(([mode, title]) => {
      const button = make("button", "mode", bar, title);
      button.onclick = () => {
        this.mode = mode;
        this.show();
      };
      return [mode, button];
    });
  }

  controls(root) {
    const row = make("div", "controls", root);
    const button = (text, title, action) => {
      const made = make("button", "step", row, text);
      made.title = title;
      made.setAttribute("aria-label", title);
      made.onclick = action;
      return made;
    };
    button("◀", "One frame back", () => this.seek(this.frame - 1));
    this.play = button("Play", "Play or pause (space)", () => this.toggle());
    button("▶", "One frame on", () => this.seek(this.frame + 1));
    this.slider = make("input", "slider", row);
    this.slider.type = "range";
    this.slider.min = 0;
    this.slider.step = 1;
    this.slider.setAttribute("aria-label", "Frame");
    this.slider.oninput = () => this.seek(Number(this.slider.value));
    this.counter = make("span", "counter", row);
    this.speeds = make("select", "speed", row);
    this.speeds.setAttribute("aria-label", "Speed");
    for (const [value, title] of Object.entries(SPEEDS)) make("option", "", this.speeds, title).value = value;
    this.speeds.value = "1";
    this.speeds.onchange = () => {
      this.speed = Number(this.speeds.value);
      for (const { video } of this.panes) video.playbackRate = this.speed;
    };
  }

  listen() {
    const drag = (event) => {
      if (this.mode !== "wipe" || !(event.buttons & 1)) return;
      const box = this.stage.getBoundingClientRect();
      this.wipe = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      this.place();
    };
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      drag(event);
    });
    this.stage.addEventListener("pointermove", drag);
    this.stage.tabIndex = 0;
    this.stage.addEventListener("keydown", (event) => {
      if (event.key === " ") this.toggle();
      else if (event.key === "ArrowLeft") this.seek(this.frame - 1);
      else if (event.key === "ArrowRight") this.seek(this.frame + 1);
      else return;
      event.preventDefault();
    });
  }

  update(data) {
    const { about, files } = unpack(data);
    if (this.about && this.about.id === about.id) return;
    this.pause();
    this.forget();
    this.about = about;
    this.urls = files.map((file) => URL.createObjectURL(new Blob([file], { type: "video/mp4" })));
    this.panes.forEach(({ video, name }, number) => {
      video.src = this.urls[number];
      video.playbackRate = this.speed;
      name.textContent = about.names[number];
    });
    this.slider.max = about.frames - 1;
    this.seek(Math.min(this.frame, about.frames - 1));
    this.show();
  }

  // The middle of a frame, where rounding does no harm.
  timeOf(frame) {
    return (frame + 0.5) / this.about.fps;
  }

  seek(frame) {
    if (!this.about) return;
    this.pause();
    this.frame = Math.min(Math.max(frame, 0), this.about.frames - 1);
    for (const { video } of this.panes) video.currentTime = this.timeOf(this.frame);
    this.count();
  }

  toggle() {
    if (this.playing) this.seek(this.frame);
    else this.run();
  }

  async run() {
    if (!this.about) return;
    if (this.frame >= this.about.frames - 1) this.seek(0);
    this.playing = true;
    this.play.textContent = "Pause";
    try {
      await Promise.all(this.panes.map(({ video }) => video.play()));
    } catch {
      this.pause();
      return;
    }
    this.tick();
  }

  // The second video follows the first; both stop where the shorter one ends, and begin again.
  tick() {
    if (!this.playing) return;
    const [first, second] = this.panes.map(({ video }) => video);
    this.frame = Math.floor(first.currentTime * this.about.fps);
    if (this.frame >= this.about.frames - 1 || first.ended || second.ended) {
      for (const video of [first, second]) {
        video.currentTime = this.timeOf(0);
        video.play().catch(() => this.pause());
      }
      this.frame = 0;
    } else if (Math.abs(first.currentTime - second.currentTime) > 0.6 / this.about.fps) {
      second.currentTime = first.currentTime;
    }
    this.count();
    this.request = requestAnimationFrame(() => this.tick());
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.play.textContent = "Play";
    for (const { video } of this.panes) video.pause();
  }

  count() {
    this.slider.value = this.frame;
    this.counter.textContent = `frame ${this.frame} of ${this.about.frames}`;
  }

  show() {
    this.stage.dataset.mode = this.mode;
    for (const [mode, button] of this.modes) button.setAttribute("aria-pressed", mode === this.mode);
    this.place();
  }

  place() {
    const share = `${100 * this.wipe}%`;
    this.panes[1].pane.style.clipPath = this.mode === "wipe" ? `inset(0 0 0 ${share})` : "";
    this.handle.style.left = share;
  }

  forget() {
    for (const url of this.urls) URL.revokeObjectURL(url);
    this.urls = [];
  }
}

const known = new WeakMap();

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".comparison");
  if (!known.has(root)) known.set(root, new Comparison(root));
  const comparison = known.get(root);
  comparison.update(data);
  return () => {
    comparison.pause();
    comparison.forget();
    known.delete(root);
  };
}
