// A list of any length of which only what can be seen is in the page. Rows differ in height: each is measured when
// it is first shown and estimated before; offsets come from a Fenwick tree, so no row costs more than log n.

const ESTIMATE = 84;
const MARGIN = 400; // pixels kept ready above and below

class Heights {
  constructor() {
    this.count = 0;
    this.values = new Float32Array(256);
    this.tree = new Float64Array(257);
  }

  push(height) {
    if (this.count === this.values.length) {
      const values = new Float32Array(2 * this.count);
      values.set(this.values);
      this.values = values;
      this.tree = new Float64Array(values.length + 1);
      for (let i = 0; i < this.count; i++) this.#add(i, values[i]);
    }
    this.values[this.count] = height;
    this.#add(this.count++, height);
  }

  set(index, height) {
    const change = height - this.values[index];
    if (change) {
      this.values[index] = height;
      this.#add(index, change);
    }
    return change;
  }

  #add(index, change) {
    for (let i = index + 1; i < this.tree.length; i += i & -i) this.tree[i] += change;
  }

  /** Where row `index` begins; with `count`, where the last one ends. */
  offset(index) {
    let sum = 0;
    for (let i = index; i > 0; i -= i & -i) sum += this.tree[i];
    return sum;
  }

  /** The row at `offset`. */
  at(offset) {
    let index = 0;
    let left = offset;
    for (let step = this.values.length; step > 0; step >>= 1) {
      if (index + step < this.tree.length && this.tree[index + step] <= left) {
        index += step;
        left -= this.tree[index];
      }
    }
    return Math.max(0, Math.min(index, this.count - 1));
  }
}

export class VirtualList {
  #heights = new Heights();
  #shown = new Map(); // index -> element
  #stale = new Set();
  #placed = 0; // where this list scrolled to, to tell its own scrolling from a person's
  #kept = null; // index that stays in the page because it has the focus

  /** `build(index)` makes an element, `fill(element, index)` gives it its content and returns whether it is seen. */
  constructor(scroller, space, { build, fill, onFollow }) {
    Object.assign(this, { scroller, space, build, fill, onFollow, following: true, changed: true });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => {
      for (const index of this.#shown.keys()) this.#stale.add(index);
      this.changed = true;
      this.onResize?.();
    }).observe(scroller);
  }

  clear() {
    this.#heights = new Heights();
    this.#shown.clear();
    this.#stale.clear();
    this.#kept = null;
    this.space.replaceChildren();
    this.changed = true;
  }

  get count() {
    return this.#heights.count;
  }

  grow(count) {
    while (this.#heights.count < count) this.#heights.push(ESTIMATE);
    this.changed = true;
  }

  refresh(index) {
    this.#stale.add(index);
    this.changed = true;
  }

  hide(index) {
    this.#heights.set(index, 0);
    this.#stale.add(index);
    this.changed = true;
  }

  element(index) {
    return this.#shown.get(index);
  }

  follow(on) {
    if (this.following === on) return;
    this.following = on;
    this.changed = true;
    this.onFollow?.(on);
  }

  #scrolled() {
    const { scrollTop, clientHeight } = this.scroller;
    if (Math.abs(scrollTop - this.#placed) <= 2) return; // our own doing
    this.#placed = scrollTop;
    this.follow(scrollTop + clientHeight >= this.#heights.offset(this.count) - 24);
    this.changed = true;
    this.onScroll?.();
  }

  #scrollTo(top) {
    this.scroller.scrollTop = top;
    this.#placed = this.scroller.scrollTop;
  }

  /** Bring a row into sight and keep its element there, so that it can take the focus. */
  reveal(index, { focus = false } = {}) {
    const { scrollTop, clientHeight } = this.scroller;
    const top = this.#heights.offset(index);
    const bottom = top + this.#heights.values[index];
    if (top < scrollTop || bottom > scrollTop + clientHeight) {
      this.follow(index >= this.count - 1);
      this.#scrollTo(top < scrollTop ? top - 8 : bottom - clientHeight + 8);
    }
    this.draw();
    if (focus) {
      this.#kept = index;
      this.#shown.get(index)?.focus({ preventScroll: true });
    }
  }

  /** Bring the page up to date; call it once a frame. */
  draw() {
    if (!this.changed) return;
    this.changed = false;
    if (!this.count) return;
    // Measuring may change what fits: twice settles it, since heights only have to be right where they are seen.
    for (let pass = 0; pass < 3 && this.#pass(); pass++);
  }

  #pass() {
    const heights = this.#heights;
    const height = this.scroller.clientHeight;
    this.space.style.height = `${heights.offset(this.count)}px`;
    if (this.following) this.#scrollTo(heights.offset(this.count) - height);
    const top = this.scroller.scrollTop;
    const first = heights.at(top - MARGIN);
    const last = heights.at(top + height + MARGIN);
    const anchor = heights.at(top);
    for (const [index, element] of this.#shown) {
      if ((index < first || index > last) && index !== this.#kept) {
        element.remove();
        this.#shown.delete(index);
      }
    }
    const fresh = [];
    let next = this.space.firstElementChild;
    for (let index = first; index <= last; index++) {
      let element = this.#shown.get(index);
      const isNew = !element;
      if (isNew) {
        element = this.build(index);
        this.#shown.set(index, element);
        while (next && this.#indexOf(next) < index) next = next.nextElementSibling;
        this.space.insertBefore(element, next);
      }
      element.dataset.index = index;
      if (isNew || this.#stale.delete(index)) {
        element.hidden = !this.fill(element, index);
        fresh.push(index);
      }
    }
    let above = 0;
    const measured = fresh.map((index) => this.#shown.get(index).offsetHeight);
    let changed = false;
    fresh.forEach((index, i) => {
      const change = heights.set(index, measured[i]);
      if (change) changed = true;
      if (index < anchor) above += change;
    });
    for (const [index, element] of this.#shown) element.style.transform = `translateY(${heights.offset(index)}px)`;
    if (changed) this.space.style.height = `${heights.offset(this.count)}px`;
    if (above && !this.following) this.#scrollTo(top + above);
    return changed;
  }

  #indexOf(element) {
    return Number(element.dataset.index);
  }
}
