// Light, dark, or as the system has it; the choice is kept in this browser.

const ORDER = ["auto", "light", "dark"];

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser that keeps nothing
  }
}

/** Wires the theme's button; `changed` is called when colours must be read again. */
export function followSystem(changed) {
  const name = document.getElementById("theme-name");
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    name.textContent = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // then it lasts as long as the page
    }
  };
  apply(ORDER.includes(stored()) ? stored() : "auto");
  document.getElementById("theme").addEventListener("click", () => {
    apply(ORDER[(ORDER.indexOf(document.documentElement.dataset.theme) + 1) % ORDER.length]);
    changed();
  });
}
