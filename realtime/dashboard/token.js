// What the feed asks for, as this page was given it.

/** The token of the address the page was opened by, kept for this tab and taken out of its history. */
export function givenToken() {
  const parameters = new URLSearchParams(location.search);
  const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? parameters.get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    parameters.delete("token");
    const rest = parameters.toString();
    history.replaceState(null, "", `${location.pathname}${rest ? `?${rest}` : ""}`);
  }
  return sessionStorage.getItem("token");
}

/** Asks the person for it in the page's form, and loads the page again with what was typed. */
export function askForToken() {
  const form = document.getElementById("token-form");
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", document.getElementById("token").value);
    location.reload();
  };
}
