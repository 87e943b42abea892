// Where the page begins.

import { Away, Refused } from "./api.js";
import { Page } from "./page.js";
import { clientName } from "./tab.js";

const $ = (id) => document.getElementById(id);

async function askName() {
  const dialog = $("who");
  dialog.showModal();
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  localStorage.setItem("s4al-name", $("who-name").value.trim());
}

async function main() {
  if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", "/"); // the cookie has it
  try {
    const round = JSON.parse($("round").textContent), client = await clientName();
    if (!round.annotator && !localStorage.getItem("s4al-name")) await askName();
    await new Page(round, client).begin();
  } catch (error) {
    $("message").hidden = false;
    $("message").textContent = error instanceof Away ? "The server does not answer. Reload the page when it is back." : error.message;
    if (!(error instanceof Away || error instanceof Refused)) throw error;
  }
}

main();
