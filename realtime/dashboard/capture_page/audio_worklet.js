// An AudioWorklet that hands on what it hears in stretches of 30 ms, and by that is the page's clock: unlike timers, it
// goes on at its pace while the page is hidden.

const STRETCH_S = 0.03;

registerProcessor(
  "capture",
  class extends AudioWorkletProcessor {
    #stretch = new Int16Array(Math.round(sampleRate * STRETCH_S));
    #filled = 0;
    #first = 0; // number of the stretch's first sample
    #power = 0;

    process([channels]) {
      const heard = channels[0];
      const length = heard?.length ?? 128;
      for (let at = 0; at < length; at++) {
        let sample = 0;
        for (const channel of channels) sample += channel[at] / channels.length;
        sample = Math.max(-1, Math.min(1, sample));
        if (this.#filled === 0) this.#first = currentFrame + at;
        this.#stretch[this.#filled++] = sample < 0 ? sample * 32768 : sample * 32767;
        this.#power += sample * sample;
        if (this.#filled === this.#stretch.length) this.#hand();
      }
      return true;
    }

    #hand() {
      const samples = this.#stretch.slice();
      const level = Math.sqrt(this.#power / samples.length);
      this.port.postMessage({ first: this.#first, samples, level }, [samples.buffer]);
      this.#filled = this.#power = 0;
    }
  },
);
