// What every emotion looks like. Behind `export default` this is JSON: the report of realtime.export reads it too.
export default {
  "neutral": { "colour": "#c0c7cd", "ink": "#111", "pleasant": 0, "strokes": "M8.6 10v.01M15.4 10v.01M8.2 15.6h7.6" },
  "joy": { "colour": "#f0e442", "ink": "#111", "pleasant": 1, "strokes": "M8.6 10v.01M15.4 10v.01M7.2 13.8c1.2 3.6 8.4 3.6 9.6 0" },
  "happy": { "as": "joy" },
  "happiness": { "as": "joy" },
  "joyful": { "as": "joy" },
  "excited": {
    "colour": "#e69f00", "ink": "#111", "pleasant": 1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.9 7.2c.8-1 2.4-1.2 3.2-.6M17.1 7.2c-.8-1-2.4-1.2-3.2-.6M7.4 13.6h9.2c-.3 4.6-8.9 4.6-9.2 0z"
  },
  "powerful": {
    "colour": "#e69f00", "ink": "#111", "pleasant": 1,
    "strokes": "M8.6 10.4v.01M15.4 10.4v.01M6.4 7.2h3.8M17.6 7.2h-3.8M7.8 14.6c2 2 6.4 2 8.4 0"
  },
  "peaceful": {
    "colour": "#7744dd", "ink": "#fff", "pleasant": 1,
    "strokes": "M6.8 9.8c.8 1.2 2.4 1.2 3.2 0M14 9.8c.8 1.2 2.4 1.2 3.2 0M8.4 14.8c1.6 1.6 5.6 1.6 7.2 0"
  },
  "calm": { "as": "peaceful" },
  "boredom": {
    "colour": "#7744dd", "ink": "#fff", "pleasant": -1,
    "strokes": "M6.8 9.6h3.2M14 9.6h3.2M8.6 11v.01M15.4 11v.01M8.4 16.4l7.2-1.2"
  },
  "surprise": {
    "colour": "#56b4e9", "ink": "#111", "pleasant": 0,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.9 7.2c.8-1 2.4-1.2 3.2-.6M17.1 7.2c-.8-1-2.4-1.2-3.2-.6M12 14a1.7 2.1 0 1 0 .01 0"
  },
  "sadness": {
    "colour": "#0072b2", "ink": "#fff", "pleasant": -1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.6 8.5l3.2-1.7M17.4 8.5l-3.2-1.7M8 16.9c1.3-2.6 6.7-2.6 8 0"
  },
  "surprised": { "as": "surprise" },
  "sad": { "as": "sadness" },
  "anger": {
    "colour": "#d55e00", "ink": "#111", "pleasant": -1,
    "strokes": "M8.6 10.6v.01M15.4 10.6v.01M6.6 6.9l3.4 1.7M17.4 6.9l-3.4 1.7M8.2 16.6l2-1.2h3.6l2 1.2"
  },
  "angry": { "as": "anger" },
  "mad": { "as": "anger" },
  "frustrated": {
    "colour": "#cc79a7", "ink": "#111", "pleasant": -1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.6 6.9l3.4 1.7M17.4 6.9l-3.4 1.7M8 16l2-1 2 1 2-1 2 1"
  },
  "fear": {
    "colour": "#cc79a7", "ink": "#111", "pleasant": -1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.6 8.5l3.2-1.7M17.4 8.5l-3.2-1.7M7.4 16.2l1.5-1.5 1.6 1.5 1.5-1.5 1.5 1.5 1.6-1.5 1.5 1.5"
  },
  "fearful": { "as": "fear" },
  "scared": { "as": "fear" },
  "disgust": {
    "colour": "#009e73", "ink": "#111", "pleasant": -1,
    "strokes": "M7.2 8.8l2.6 1.3-2.6 1.3M16.8 8.8l-2.6 1.3 2.6 1.3M7.8 15.2h8.4M13.2 15.4v1.2a1.2 1.3 0 0 0 2.4 0v-1.2"
  },
  "disgusted": { "as": "disgust" },
  "anticipation": {
    "colour": "#e69f00", "ink": "#111", "pleasant": 1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.9 7.2c.8-1 2.4-1.2 3.2-.6M17.1 7.2c-.8-1-2.4-1.2-3.2-.6M9 15c1.6 1.4 4.4 1.4 6 0"
  },
  "curious to dive deeper": {
    "colour": "#e69f00", "ink": "#111", "pleasant": 1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.9 7.2c.8-1 2.4-1.2 3.2-.6M14.2 8h3.2M9.2 15.4c1.4.8 3.6.6 5-.6"
  },
  "trust": {
    "colour": "#7744dd", "ink": "#fff", "pleasant": 1,
    "strokes": "M8.6 10v.01M15.4 10v.01M8.2 14.6c1.8 1.8 5.8 1.8 7.6 0"
  },
  "shame": {
    "colour": "#7744dd", "ink": "#fff", "pleasant": -1,
    "strokes": "M6.8 9.8c.8 1.2 2.4 1.2 3.2 0M14 9.8c.8 1.2 2.4 1.2 3.2 0M9.4 16.4c1-1 4.2-1 5.2 0"
  },
  "guilt": {
    "colour": "#e69f00", "ink": "#111", "pleasant": -1,
    "strokes": "M8.6 10.8v.01M15.4 10.8v.01M6.6 8.5l3.2-1.7M17.4 8.5l-3.2-1.7M9 16h6"
  },
  "contempt": {
    "colour": "#7744dd", "ink": "#fff", "pleasant": -1,
    "strokes": "M8.6 10v.01M15.4 10v.01M6.8 8h3.2M14 8h3.2M8.4 15.8c2.6.4 5.2-.2 7-1.8"
  },
  "other": {
    "colour": "#7744dd", "ink": "#fff", "pleasant": 0,
    "strokes": "M8.6 10v.01M15.4 10v.01M8.2 15.6h2M11 15.6h2M13.8 15.6h2"
  },
  "unknown": { "colour": "#8d97a1", "ink": "#111", "pleasant": 0, "strokes": "M9.6 9.6c0-3.2 4.9-3.2 4.9 0 0 2-2.5 2-2.5 4M12 17v.01" }
}
