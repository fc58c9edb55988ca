// The picture and its mask: brush, eraser, zoom and move, by mouse, pen, touch and keys.
//
// The mask is a list of strokes in the picture's own pixels, drawn again when one is taken back: an
// undo costs no memory, however large the picture is.

const COLOUR = "rgb(255 203 0 / .55)";
const MOST_STROKES = 2000;

export class Painter {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.pen = canvas.getContext("2d");
    this.mask = document.createElement("canvas");
    this.strokes = [];
    this.tool = "brush";
    this.size = 40;
    this.view = { scale: 1, x: 0, y: 0 };
    this.pointers = new Map();
    this.at = null;
    new ResizeObserver(() => this.image && this.fitIfWhole()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
  }

  show(image) {
    this.image = image;
    this.mask.width = image.width;
    this.mask.height = image.height;
    this.strokes = [];
    this.stale = true;
    this.fit();
    this.changed();
  }

  get isEmpty() { return this.strokes.length === 0; }

  // ---- view ------------------------------------------------------------------------------------

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;  // hidden: it is observed, and fitted when it is shown
    const scale = Math.min((width - 32) / this.image.width, (height - 32) / this.image.height, 8);
    this.view = { scale, x: (width - this.image.width * scale) / 2, y: (height - this.image.height * scale) / 2 };
    this.whole = true;
    this.draw();
    this.changed();
  }

  fitIfWhole() { if (this.whole) this.fit(); else this.draw(); }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(32, Math.max(0.02, this.view.scale * factor));
    const by = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * by, y: y - (y - this.view.y) * by };
    this.whole = false;
    this.draw();
    this.changed();
  }

  shift(x, y) { this.view.x += x; this.view.y += y; this.whole = false; this.draw(); }

  // ---- pointers --------------------------------------------------------------------------------

  down(event) {
    if (!this.image) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    if (this.pointers.size === 2) {
      // The first finger had begun a stroke: it was meant to be a pinch.
      if (this.stroke) { this.strokes.pop(); this.stroke = null; this.redraw(); }
      return;
    }
    if (this.tool === "move" || this.isHeld || event.button === 1) return;
    if (event.button !== 0 || this.strokes.length >= MOST_STROKES) return;
    this.stroke = { erase: this.tool === "eraser", size: this.size / this.view.scale, points: [this.inPicture(event)] };
    this.strokes.push(this.stroke);
    this.drawStroke(this.stroke, 0);
    this.draw();
  }

  move(event) {
    if (!this.image) return;
    this.at = { x: event.offsetX, y: event.offsetY };
    const before = this.pointers.get(event.pointerId);
    if (before && this.pointers.size === 2) this.pinch(event);
    else if (before && this.stroke) {
      const from = this.stroke.points.length - 1;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.stroke.points.push(this.inPicture(each));
      if (this.stroke.points.length === from + 1) this.stroke.points.push(this.inPicture(event));
      this.drawStroke(this.stroke, from);
    } else if (before) this.shift(event.offsetX - before.x, event.offsetY - before.y);
    if (before) this.pointers.set(event.pointerId, this.at);
    this.draw();
  }

  pinch(event) {
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const before = this.pointers.get(event.pointerId);
    const far = (a) => Math.hypot(a.x - other.x, a.y - other.y) || 1;
    const middle = { x: (this.at.x + other.x) / 2, y: (this.at.y + other.y) / 2 };
    this.zoom(far(this.at) / far(before), middle.x, middle.y);
    this.shift((this.at.x - before.x) / 2, (this.at.y - before.y) / 2);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (this.stroke) { this.stroke = null; this.changed(); }
  }

  inPicture(event) {
    return [(event.offsetX - this.view.x) / this.view.scale, (event.offsetY - this.view.y) / this.view.scale];
  }

  // ---- mask ------------------------------------------------------------------------------------

  undo() { this.strokes.pop(); this.redraw(); this.changed(); }
  clear() { this.strokes = []; this.redraw(); this.changed(); }
  invert() { this.strokes.push({ invert: true }); this.redraw(); this.changed(); }

  redraw() {
    this.stale = true;
    this.mask.getContext("2d").clearRect(0, 0, this.mask.width, this.mask.height);
    for (const stroke of this.strokes) this.drawStroke(stroke, 0);
    this.draw();
  }

  drawStroke(stroke, from) {
    this.stale = true;
    const pen = this.mask.getContext("2d");
    pen.save();
    if (stroke.invert) {
      pen.globalCompositeOperation = "xor";
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, this.mask.width, this.mask.height);
    } else {
      pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
      pen.strokeStyle = "#fff";
      pen.lineWidth = stroke.size;
      pen.lineCap = pen.lineJoin = "round";
      pen.beginPath();
      pen.moveTo(...stroke.points[from]);
      pen.lineTo(...stroke.points[from]);
      for (const point of stroke.points.slice(from + 1)) pen.lineTo(...point);
      pen.stroke();
    }
    pen.restore();
  }

  // Returns the mask as a PNG, white where the picture is to change, black elsewhere.
  async maskFile() {
    const flat = document.createElement("canvas");
    flat.width = this.mask.width;
    flat.height = this.mask.height;
    const pen = flat.getContext("2d");
    pen.fillRect(0, 0, flat.width, flat.height);
    pen.drawImage(this.mask, 0, 0);
    return new Promise((done) => flat.toBlob(done, "image/png"));
  }

  // ---- drawing ---------------------------------------------------------------------------------

  draw() {
    if (this.waits || !this.image) return;
    this.waits = requestAnimationFrame(() => { this.waits = 0; this.paint(); });
  }

  paint() {
    const ratio = devicePixelRatio || 1, { canvas, pen, view, image } = this;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.imageSmoothingEnabled = view.scale < 3;
    pen.imageSmoothingQuality = "high";
    const place = [view.x, view.y, image.width * view.scale, image.height * view.scale];
    pen.drawImage(image, ...place);
    pen.drawImage(this.tinted(), ...place);
    canvas.classList.toggle("moving", this.tool === "move" || Boolean(this.isHeld));
    if (this.at && this.tool !== "move" && !this.isHeld) {
      for (const [colour, wide] of [["rgb(0 0 0 / .5)", 3], ["#fff", 1.5]]) {
        pen.beginPath();
        pen.arc(this.at.x, this.at.y, this.size / 2, 0, 2 * Math.PI);
        pen.strokeStyle = colour;
        pen.lineWidth = wide;
        pen.stroke();
      }
    }
  }

  // The mask in its colour, no larger than the screen needs.
  tinted() {
    const tint = this.tint ??= document.createElement("canvas");
    if (!this.stale) return tint;
    this.stale = false;
    const shrink = Math.min(1, 2048 / Math.max(this.mask.width, this.mask.height));
    tint.width = Math.max(1, Math.round(this.mask.width * shrink));
    tint.height = Math.max(1, Math.round(this.mask.height * shrink));
    const pen = tint.getContext("2d");
    pen.drawImage(this.mask, 0, 0, tint.width, tint.height);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = COLOUR;
    pen.fillRect(0, 0, tint.width, tint.height);
    return tint;
  }
}
